"""The transport ``core`` as it is in a worker, whose environment is set before grpcio is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bascule_server.footprint import OF_WORKERS

TESTS = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_passes_all_tests_of_the_transports_there_too() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "core"]
    subprocess.run([*command, TESTS / "contract", TESTS / "server"], check=True, env=OF_WORKERS | os.environ)
