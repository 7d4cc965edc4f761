"""Both transports with the oldest grpcio that is promised. All other tests run with the newest one that is locked."""

import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = (
    "test_server.py",
    "services/test_health.py",
    "test_core_proof.py",
    "test_metrics.py",
    "test_gate.py",
    "test_tls_rotation.py",
)
"""Of tests/server: what goes over a wire and needs no TensorFlow."""
TOOLS = ("hypothesis", "pytest", "pytest-asyncio", "pytest-timeout", "trustme")


def promised() -> tuple[str, str]:
    """The oldest grpcio that the server's extra takes, and the first that it does not."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (requirement,) = (each for each in project["optional-dependencies"]["server"] if each.startswith("grpcio>"))
    found = re.fullmatch(r"grpcio>=([\d.]+),<([\d.]+)", requirement)
    assert found
    return found[1], found[2]


def test_the_newest_promised_grpcio_is_the_one_that_is_locked() -> None:
    _, bound = promised()
    locked = re.search(
        r"^grpcio==([\d.]+)", (ROOT / "requirements-server.txt").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert locked
    major, minor, *_ = map(int, locked[1].split("."))
    assert bound == f"{major}.{minor + 1}"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_transports_work_with_the_oldest_promised_grpcio(tmp_path: Path) -> None:
    oldest, _ = promised()
    venv.create(tmp_path / "venv", with_pip=False)
    python = str(tmp_path / "venv" / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", python, "install"]
    subprocess.run([*pip, "--no-compile", f"{ROOT}[server]", f"grpcio=={oldest}.0", *TOOLS], check=True)
    tests = [str(ROOT / "tests" / "server" / name) for name in TESTS]
    subprocess.run([python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(ROOT), *tests], check=True)
