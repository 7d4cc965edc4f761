"""Arrays in a ``.npz`` file, which take as much memory as they take on the disk: none is compressed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import Any
from zipfile import ZIP_STORED, BadZipFile
from zlib import error as ZlibError  # noqa: N812 - it is a class

import numpy as np
from numpy.typing import NDArray

UNREADABLE = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, MemoryError),
    *(BadZipFile, ZlibError, TokenError),
)
"""What numpy and zipfile raise at arrays that they did not write."""


@contextmanager
def stored_arrays(path: Path) -> Iterator[Mapping[str, NDArray[Any]]]:
    """The arrays by their names, each read when it is asked for. Raises one of ``UNREADABLE``."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        if any(info.compress_type != ZIP_STORED for info in arrays.zip.infolist()):
            raise ValueError("got compressed arrays; expected them as `numpy.savez` writes them")
        yield arrays
