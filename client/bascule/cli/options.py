"""Options that several commands have."""

import click

from bascule.channel import DEFAULT_TARGET

server_option = click.option(
    "--server",
    envvar="BASCULE_SERVER",
    default=DEFAULT_TARGET,
    show_default=True,
    metavar="HOST:PORT",
    help="The server to ask. Also by BASCULE_SERVER.",
)

model_option = click.option(
    "--model", default="", metavar="NAME", help="The model to ask; not needed where the server has only one."
)

count_option = click.option(
    "--count", type=click.IntRange(min=1, max=1000), default=10, show_default=True, help="How many items."
)
