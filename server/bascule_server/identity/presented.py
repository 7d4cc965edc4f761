"""What a caller proves itself with: a token in the call's metadata, or the certificate of its connection."""

from collections.abc import Callable, Iterable, Sequence

from bascule_server.errors import Reason, ServiceError

KEY = "authorization"
_SCHEME = "bearer "


def token_of(authorization: str) -> str:
    """The bearer token.

    Raises:
        ServiceError: UNAUTHENTICATED, it is something else.
    """
    if authorization[: len(_SCHEME)].lower() != _SCHEME:
        raise ServiceError(Reason.UNAUTHENTICATED)
    return authorization[len(_SCHEME) :]


class Presented:
    """Of one call, read as far as somebody asks."""

    __slots__ = ("_metadata", "_peer_names")

    def __init__(
        self, metadata: Iterable[tuple[str, str | bytes]], peer_names: Callable[[], Iterable[bytes] | None]
    ) -> None:
        """Takes the two places.

        Args:
            metadata: of the call.
            peer_names: the names in the certificate with which the connection was made; none where there is none.
        """
        self._metadata = metadata
        self._peer_names = peer_names

    @property
    def authorization(self) -> str | None:
        """What the metadata say of the caller; None where they say nothing.

        Raises:
            ServiceError: UNAUTHENTICATED, they say several things.
        """
        found = None
        for key, value in self._metadata:
            if key == KEY:
                if found is not None or not isinstance(value, str):
                    raise ServiceError(Reason.UNAUTHENTICATED)
                found = value
        return found

    @property
    def certificate_names(self) -> Sequence[str]:
        """The names in the certificate of the connection: its alternative names, or without any its common name."""
        return [name.decode("utf-8", "replace") for name in self._peer_names() or ()]
