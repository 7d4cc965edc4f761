"""What a caller proves itself with: a token in the call's metadata, or the certificate of its connection."""

from collections.abc import Callable, Iterable, Sequence

from bascule_server.errors import Reason, ServiceError

KEY = "authorization"
_SCHEME = "bearer "


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
    def token(self) -> str | None:
        """The bearer token; None where there is none.

        Raises:
            ServiceError: UNAUTHENTICATED, there are several, or something else in its place.
        """
        values = [value for key, value in self._metadata if key == KEY]
        if not values:
            return None
        value = values[0]
        if len(values) > 1 or not isinstance(value, str) or value[: len(_SCHEME)].lower() != _SCHEME:
            raise ServiceError(Reason.UNAUTHENTICATED)
        return value[len(_SCHEME) :]

    @property
    def certificate_names(self) -> Sequence[str]:
        """The names in the certificate of the connection: its alternative names, or without any its common name."""
        return [name.decode("utf-8", "replace") for name in self._peer_names() or ()]
