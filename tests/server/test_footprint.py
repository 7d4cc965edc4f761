"""A process that serves has one thread for products and gives back what loading took."""

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bascule_server import footprint


@pytest.fixture
def collector() -> Iterator[None]:
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


def test_the_settings_are_made_but_for_those_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"OMP_NUM_THREADS": "4"})
    footprint.keep_small()
    assert dict(os.environ) == {**footprint.SETTINGS, "OMP_NUM_THREADS": "4"}


@pytest.mark.usefixtures("collector")
def test_what_is_loaded_is_no_longer_looked_at() -> None:
    footprint.give_back()
    assert gc.get_freeze_count() > 0
    assert gc.get_threshold()[0] == footprint.COLLECT_EVERY


def test_the_command_makes_the_settings_before_it_imports_the_libraries(tmp_path: Path) -> None:
    program = """
import os, sys
from bascule_server import footprint
from bascule_server.commands.serve import serve
assert not {"numpy", "polars", "faiss"} & sys.modules.keys(), "imported before the settings are made"
try:
    serve(["--models", sys.argv[1]], standalone_mode=False)
except Exception as error:
    assert "no model" in str(error) or "models" in str(error), error
# Polars puts its own settings before those of its allocator, which go by the last.
assert all(os.environ[name].endswith(value) for name, value in footprint.SETTINGS.items())
"""
    environment = {name: value for name, value in os.environ.items() if name not in footprint.SETTINGS}
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "none")], check=True, env=environment, timeout=60)
