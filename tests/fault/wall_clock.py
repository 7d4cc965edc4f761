"""The wall clock of other processes, which can be set while they run."""

import os
import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")


class WallClock:
    """That of the processes which are started with its environment. It is right until it is set."""

    def __init__(self, folder: Path) -> None:
        """Makes what shows it, in ``folder``. Skips the test where nothing can: it takes Linux and a C compiler."""
        compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
        if compiler is None:
            pytest.skip("there is no C compiler")
        library = folder / "wall_clock.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl"], check=True)
        self._file = folder / "ahead"
        self._file.write_bytes(struct.pack("q", 0))
        self.environment: Mapping[str, str] = {"LD_PRELOAD": str(library), "WALL_CLOCK": str(self._file)}

    def set(self, seconds_ahead: int) -> None:
        """Sets it, to so many seconds ahead of the right time; below 0: behind."""
        # One write of eight bytes in place: those who have the file mapped see the old time or the new one.
        file = os.open(self._file, os.O_WRONLY)
        try:
            os.pwrite(file, struct.pack("q", seconds_ahead), 0)
        finally:
            os.close(file)
