"""The log: JSON, one object a line, on standard error."""

import json
import logging
import os
import select
import sys

import structlog


class StandardError:
    """Loses lines rather than calls, where the disk is full or nobody reads any more."""

    def __init__(self) -> None:
        self.lost_count = 0
        """Lines that were lost, at least in part."""
        self._has_part = False

    def write(self, text: str) -> None:
        """Writes what can be written without waiting."""
        try:
            self._write_at_once("\n" + text if self._has_part else text)
        except (OSError, ValueError):
            self.lost_count += 1

    def flush(self) -> None:
        """Nothing is kept back."""

    def _write_at_once(self, text: str) -> None:
        """Raises ``OSError`` or ``ValueError`` where that cannot be done."""
        try:
            descriptor = sys.stderr.fileno()
        except (AttributeError, OSError, ValueError):
            sys.stderr.write(text)
            return
        data, ready = text.encode(), select.poll()
        ready.register(descriptor, select.POLLOUT)
        # A pipe that has room at all takes so much without waiting.
        for start in range(0, len(data), select.PIPE_BUF):
            if not ready.poll(0):
                raise BlockingIOError
            os.write(descriptor, data[start : start + select.PIPE_BUF])
            self._has_part = start + select.PIPE_BUF < len(data)


STANDARD_ERROR = StandardError()
"""Where everything is logged."""


def configure_logs(level: str) -> None:
    """Has everything of at least ``level`` logged as JSON: our own lines, and the warnings of libraries.

    Tracebacks of libraries are left out: exceptions may hold what a caller sent.
    """
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(STANDARD_ERROR),  # type: ignore[arg-type]  # all it needs
    )
    handler = logging.StreamHandler(STANDARD_ERROR)
    handler.setFormatter(_LibraryLine())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


class _LibraryLine(logging.Formatter):
    """A library's line: which library, how bad, and where. Its text may hold what a caller sent."""

    def format(self, record: logging.LogRecord) -> str:
        where = f"{record.filename}:{record.lineno}"
        level = record.levelname.lower()
        return json.dumps({"event": "library", "library": record.name, "where": where, "level": level})
