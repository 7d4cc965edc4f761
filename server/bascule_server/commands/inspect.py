"""``bascule inspect``: prints an artifact for a person, and checks it as the server would."""

from pathlib import Path

import click


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def inspect(folder: Path) -> None:
    """Prints the artifact in DIR (models/<model>/<version>) and checks it.

    Every file is compared with the manifest and the golden queries are replayed. The exit status is 0 where all of that
    is in order and 1 where it is not.
    """
    from rich.console import Console

    from bascule_server.artifact import ArtifactError, read_manifest
    from bascule_server.artifact_tables import artifact_tables
    from bascule_server.servable import load_servable

    # Names of an artifact are text, whatever they hold.
    console = Console(markup=False, emoji=False, highlight=False)
    try:
        manifest = read_manifest(folder)
        for table in artifact_tables(manifest):
            console.print(table)
        load_servable(folder)
    except ArtifactError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(1) from error
    console.print("in order: every file is whole, and the golden queries get the answers of training")
