"""``bascule inspect``: prints an artifact for a person, and checks it as the server would."""

from pathlib import Path

import click

from bascule_server.commands.failure import CommandFailed


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--publisher",
    "publishers",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Public key (PEM) of a publisher: the artifact must be signed by one of them. May be given several times.",
)
def inspect(folder: Path, publishers: tuple[Path, ...]) -> None:
    """Prints the artifact in DIR (models/<model>/<version>) and checks it.

    Every file is compared with the manifest and the golden queries are replayed. The exit status is 0 where all of that
    is in order, 1 where it is not, and 2 where it could not be checked.
    """
    from rich.console import Console

    from bascule_server.artifact.reading import ArtifactError, read_manifest
    from bascule_server.artifact.signature import read_publishers
    from bascule_server.artifact.tables import artifact_tables
    from bascule_server.config import ConfigError
    from bascule_server.servable import load_servable

    # Names of an artifact are text, whatever they hold.
    console = Console(markup=False, emoji=False, highlight=False)
    try:
        manifest = read_manifest(folder)
        for table in artifact_tables(manifest):
            console.print(table)
        load_servable(folder, read_publishers(publishers))
    except ConfigError as error:
        raise CommandFailed(str(error)) from error
    except ArtifactError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(1) from error
    signed = ", the signature is one of the publishers'" if publishers else ""
    console.print(f"in order: every file is whole{signed}, and the golden queries get the answers of training")
