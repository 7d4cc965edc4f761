"""Runs a program to its end, as every part of the serving benchmark that needs a process of its own does."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def printed(command: Sequence[str | Path | float], variables: Mapping[str, str] | None = None) -> str:
    """What a program prints. Where it fails, what it complained of is shown and the benchmark ends.

    Args:
        command: the program and its arguments.
        variables: its environment; None: ours.
    """
    words = [str(word) for word in command]
    done = subprocess.run(words, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{done.stdout[-2_000:]}{done.stderr[-2_000:]}")
    return done.stdout


def environment(**added: str) -> dict[str, str]:
    """What every process of a benchmark gets: one thread for products, and the kernels that suit the processor."""
    forced = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    kept = {name: value for name, value in os.environ.items() if name not in forced}
    return {**kept, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **added}
