"""What the server reads of files while it runs: again when they change, and as it was where they cannot be used.

Files that change are exchanged one by one, and some tools write them in place, so what is read may be half of it: it
counts when it is the same twice in a row. The bytes are compared, and not times. What can be used is taken, anything
else is refused once, and looked at again when it changes.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

import structlog

from bascule_server.config import ConfigError
from bascule_server.faults import fault

LOOK_SECONDS = 1.0
"""How often it is looked whether files have changed."""

MAX_FILE_BYTES = 4 * 1024 * 1024

Value = TypeVar("Value")
Observe: TypeAlias = Callable[[str, str], None]
"""Is told of a name in the configuration, and that its files were ``taken`` or ``refused``."""

_log = structlog.get_logger()


class Rotated(Generic[Value]):
    """What was last read of files that could be used."""

    def __init__(self, name: str, paths: Sequence[Path], read: Callable[..., Value]) -> None:
        """Reads it for the first time.

        Args:
            name: what the configuration calls it.
            paths: its files.
            read: makes it of their bytes, one argument for each. Raises ``ConfigError`` where it cannot be used.

        Raises:
            ConfigError: it cannot be read, or not be used.
        """
        self.name = name
        self._paths = paths
        self._read = read
        contents = self._contents()
        self.value: Value = read(*contents)
        self._settled: Sequence[bytes] | str = contents
        """What was decided about, or why nothing could be read."""
        self._last: Sequence[bytes] | str = contents
        """The same of the last look."""

    def look(self, observe: Observe) -> None:
        """Takes what the files hold, where that has changed, is what they held at the last look, and can be used."""
        seen: Sequence[bytes] | str
        try:
            seen = self._contents()
        except ConfigError as error:
            seen = str(error)
        last, self._last = self._last, seen
        if seen == self._settled or seen != last:
            return
        self._settled = seen
        try:
            self.value = self._usable(seen)
        except ConfigError as error:
            _log.warning("file refused", what=self.name, error=str(error))
            observe(self.name, "refused")
        else:
            _log.info("file taken", what=self.name)
            observe(self.name, "taken")

    def _usable(self, seen: Sequence[bytes] | str) -> Value:
        if isinstance(seen, str):
            raise ConfigError(seen)
        try:
            return self._read(*seen)
        except ConfigError:
            raise
        except Exception as exception:
            fault(exception)
            raise ConfigError(f"{self.name}: cannot be used, for a reason that nobody foresaw") from exception

    def _contents(self) -> list[bytes]:
        return [_bytes_of(self.name, path) for path in self._paths]


def _bytes_of(name: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{name}: got {path}, which cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(f"{name}: got {path}, which is larger than {MAX_FILE_BYTES:,} bytes; expected less")
    return content
