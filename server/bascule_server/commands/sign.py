"""``bascule sign``: says who published an artifact."""

from pathlib import Path

import click

from bascule_server.commands.failure import CommandFailed


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--key",
    metavar="FILE",
    type=click.Path(path_type=Path),
    required=True,
    help="The publisher's private Ed25519 key (PEM), as `openssl genpkey -algorithm ed25519` makes.",
)
def sign(folder: Path, key: Path) -> None:
    """Signs the artifact in DIR (models/<model>/<version>), after checking that every file of it is whole.

    The signature goes to DIR/manifest.sig. A server whose configuration names publishers loads what they signed alone.
    """
    from bascule_server.artifact import signature
    from bascule_server.artifact.reading import ArtifactError, read_manifest, verify
    from bascule_server.config import ConfigError

    try:
        private_key = signature.read_private_key(key)
        verify(folder, read_manifest(folder))
        signature.sign(folder, private_key)
    except (ArtifactError, ConfigError) as error:
        raise CommandFailed(str(error)) from error
    except OSError as error:
        raise CommandFailed(f"{folder}: cannot be written to: {error.strerror}") from error
    click.echo(f"signed {folder}")
