"""Tables in the Parquet files of an artifact, as polars reads them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from bascule_server.artifact.reading import ArtifactError

UNREADABLE = (
    *(pl.exceptions.PolarsError, OSError, ValueError, TypeError, ArithmeticError, RuntimeError),
    # What polars did not foresee is no ``Exception``, and would end a server that goes on beside a version which fails.
    pl.exceptions.PanicException,
)
"""What is raised at a table that training did not write."""


@contextmanager
def reading_table(path: Path) -> Iterator[None]:
    """Reads a table inside, whatever it holds.

    Raises:
        ArtifactError: it cannot be read, or holds what it must not.
    """
    try:
        yield
    except UNREADABLE as error:
        raise ArtifactError(f"{path}: {error}") from error
