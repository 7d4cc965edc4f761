"""The wheel without extras, in an empty environment: it brings the client's dependencies alone, and a call works."""

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

CALL = """
from bascule import Client, Query
from bascule.testing import LocalServer

with LocalServer(lambda query: [("dune", 0.5), ("alien", 0.25)]) as server, Client(server.address) as client:
    client.wait_ready()
    print(*client.recommend("42").item_ids)
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds our wheel and what it asks for, nothing else."""
    folder = tmp_path_factory.mktemp("base")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheel_options = ["--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*pip, "wheel", *wheel_options, str(ROOT)], check=True)
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    (wheel,) = folder.glob("bascule-*.whl")
    subprocess.run([*pip, "--python", str(python), "install", "--no-compile", str(wheel)], check=True)
    return python


def _output(python: Path, *arguments: str) -> str:
    return subprocess.run([str(python), *arguments], check=True, capture_output=True, text=True, cwd="/").stdout


def test_the_client_brings_its_own_dependencies_and_nothing_else(python: Path) -> None:
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "list", "--format", "json"],
        check=True,
        capture_output=True,
        text=True,
    )
    names = {package["name"].lower().replace("_", "-") for package in json.loads(listing.stdout)}
    assert names == {"bascule", "grpcio", "numpy", "protobuf", "typing-extensions"}


def test_a_call_works(python: Path) -> None:
    assert _output(python, "-c", CALL).split() == ["dune", "alien"]


def test_importing_loads_neither_tensorflow_nor_the_server(python: Path) -> None:
    trace = subprocess.run(
        [str(python), "-X", "importtime", "-c", "import bascule"], check=True, capture_output=True, text=True, cwd="/"
    ).stderr
    modules = {line.rpartition("|")[2].strip().partition(".")[0] for line in trace.splitlines()}
    assert "bascule" in modules
    assert not modules & {"tensorflow", "bascule_server", "bascule_training", "polars", "click"}


def test_the_command_says_what_it_lacks(python: Path) -> None:
    result = subprocess.run([str(python), "-m", "bascule"], capture_output=True, text=True, cwd="/", check=False)
    assert result.returncode == 2
    assert "pip install 'bascule[cli]'" in result.stderr
