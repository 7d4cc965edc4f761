"""Options that several commands have."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bascule.channel import DEFAULT_TARGET

if TYPE_CHECKING:
    from bascule.client import Client

Command = TypeVar("Command", bound=Callable[..., Any])

_server_option = click.option(
    "--server",
    envvar="BASCULE_SERVER",
    default=DEFAULT_TARGET,
    show_default=True,
    metavar="HOST:PORT",
    help="The server to ask. Also by BASCULE_SERVER.",
)

_ca_option = click.option(
    "--ca",
    envvar="BASCULE_CA",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Connect over TLS to a server that these certificate authorities (PEM) vouch for. Also by BASCULE_CA.",
)


def connection_options(command: Command) -> Command:
    """What ``open_client`` takes: ``server`` and ``ca``."""
    return _server_option(_ca_option(command))


def open_client(server: str, ca: Path | None, *, model: str = "", connections: int = 1) -> "Client":
    """A client as the connection options say; see ``Client``."""
    import grpc

    from bascule.client import Client

    credentials = None if ca is None else grpc.ssl_channel_credentials(ca.read_bytes())
    return Client(server, model=model, credentials=credentials, connections=connections)


model_option = click.option(
    "--model", default="", metavar="NAME", help="The model to ask; not needed where the server has only one."
)

count_option = click.option(
    "--count", type=click.IntRange(min=1, max=1000), default=10, show_default=True, help="How many items."
)
