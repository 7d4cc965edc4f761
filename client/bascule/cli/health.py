"""``bascule health``."""

import click

from bascule.cli.options import server_option


@click.command()
@server_option
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=3.0, show_default=True, help="Seconds.")
def health(server: str, timeout: float) -> None:
    """Ask whether a server is ready. The exit status is 0 if it is, and 1 if not."""
    from bascule.client import Client

    with Client(server) as client:
        is_serving = client.is_serving(timeout=timeout)
    click.echo("SERVING" if is_serving else "NOT_SERVING")
    raise click.exceptions.Exit(0 if is_serving else 1)
