"""The log: JSON, one object a line, on standard error."""

import json
import logging
import sys
from contextlib import suppress

import structlog


class _StandardError:
    """Loses lines rather than calls, where the disk is full or nobody reads any more."""

    def write(self, text: str) -> None:
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()


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
        logger_factory=structlog.WriteLoggerFactory(_StandardError()),  # type: ignore[arg-type]  # all it needs
    )
    handler = logging.StreamHandler(_StandardError())
    handler.setFormatter(_LibraryLine())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


class _LibraryLine(logging.Formatter):
    """A library's line: which library, how bad, and where. Its text may hold what a caller sent."""

    def format(self, record: logging.LogRecord) -> str:
        where = f"{record.filename}:{record.lineno}"
        level = record.levelname.lower()
        return json.dumps({"event": "library", "library": record.name, "where": where, "level": level})
