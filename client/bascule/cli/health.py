"""``bascule health``."""

import click

from bascule.cli.options import Connection, connection_options


@click.command()
@connection_options
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=3.0, show_default=True, help="Seconds.")
def health(connection: Connection, timeout: float) -> None:
    """Ask whether a server is ready. The exit status is 0 if it is, and 1 if not."""
    with connection.client() as client:
        is_serving = client.is_serving(timeout=timeout)
    click.echo("SERVING" if is_serving else "NOT_SERVING")
    raise click.exceptions.Exit(0 if is_serving else 1)
