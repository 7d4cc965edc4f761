"""Options that several commands have."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from bascule.channel import DEFAULT_TARGET

if TYPE_CHECKING:
    import grpc

    from bascule.client import Client

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


_token_file_option = click.option(
    "--token-file",
    envvar="BASCULE_TOKEN_FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Tell the server who calls by the key or token in this file. Also by BASCULE_TOKEN_FILE.",
)

_certificate_option = click.option(
    "--certificate",
    envvar="BASCULE_CERTIFICATE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Connect with this certificate and its key (PEM, both in the file). Also by BASCULE_CERTIFICATE.",
)


@dataclass(frozen=True)
class Connection:
    """How to reach a server, and as whom."""

    server: str
    ca: Path | None
    token_file: Path | None
    certificate: Path | None

    def client(self, *, model: str = "", connections: int = 1) -> "Client":
        """A client; see ``Client``."""
        from bascule.client import Client

        try:
            return Client(
                self.server,
                model=model,
                credentials=self._credentials(),
                token=None if self.token_file is None else self._token,
                connections=connections,
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from error

    def _credentials(self) -> "grpc.ChannelCredentials | None":
        import grpc

        if self.ca is None:
            if self.certificate is not None:
                raise click.UsageError("--certificate is for encrypted connections; give --ca too")
            return None
        own = None if self.certificate is None else self.certificate.read_bytes()
        return grpc.ssl_channel_credentials(self.ca.read_bytes(), own, own)

    def _token(self) -> str:
        """Read for each call, since tokens are exchanged before they expire."""
        from bascule.cli import CommandFailed

        try:
            return cast(Path, self.token_file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise CommandFailed(f"{self.token_file}: no token can be read: {error}") from error


def connection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command a ``connection``."""

    @wraps(command)
    def with_connection(
        *args: Any,  # noqa: ANN401 - the command's own
        server: str,
        ca: Path | None,
        token_file: Path | None,
        certificate: Path | None,
        **options: Any,  # noqa: ANN401 - the command's own
    ) -> Any:  # noqa: ANN401 - the command's own
        return command(*args, connection=Connection(server, ca, token_file, certificate), **options)

    return _server_option(_ca_option(_token_file_option(_certificate_option(with_connection))))


model_option = click.option(
    "--model", default="", metavar="NAME", help="The model to ask; not needed where the server has only one."
)

count_option = click.option(
    "--count", type=click.IntRange(min=1, max=1000), default=10, show_default=True, help="How many items."
)
