"""What the package shows, and what it loads."""

import subprocess
import sys

import bascule

HEAVY = ("tensorflow", "keras", "bascule_server", "bascule_training", "click", "polars", "rich", "pydantic")


def test_the_public_names_are_sorted_and_all_there() -> None:
    assert bascule.__all__ == sorted(bascule.__all__)
    assert all(hasattr(bascule, name) for name in bascule.__all__)


def test_every_public_error_is_a_bascule_error() -> None:
    errors = [getattr(bascule, name) for name in bascule.__all__ if name.endswith("Error")]
    assert all(issubclass(error, bascule.BasculeError) for error in errors)


def test_the_client_loads_neither_the_server_nor_tensorflow_nor_the_command_line() -> None:
    program = "import sys, bascule, bascule.testing; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "grpc" in loaded
    assert not set(HEAVY) & set(loaded)


def test_numpy_is_loaded_by_the_first_array_since_it_takes_longer_than_all_the_rest() -> None:
    subprocess.run([sys.executable, "-c", "import sys, bascule; assert 'numpy' not in sys.modules"], check=True)
