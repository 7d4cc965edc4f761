"""The house keeps its shape: who may import whom, what is called what, and what never enters it."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "bascule": ROOT / "client" / "bascule",
    "bascule_server": ROOT / "server" / "bascule_server",
    "bascule_training": ROOT / "training" / "bascule_training",
}
"""From left to right: each may import only what stands left of it."""

ROOMS = {
    "bascule_server": ("artifact", "retrieval", "scoring", "messages", "batching", "services", "transports"),
    "bascule_training": (
        *("data", "evaluation", "baselines", "towers", "fitting"),
        *("closed_form", "classic", "ranking", "publishing", "report"),
    ),
}
"""From left to right: each may import only what stands left of it."""

CLIENT_MODULES_FOR_THE_SERVER = re.compile(r"bascule\.(v1|standard_protos)(\.|$)")
BASE_DEPENDENCIES = {"bascule", "google", "grpc", "grpc_health", "numpy"}
VAGUE_NAMES = {"common", "utils", "util", "helpers", "helper", "misc", "manager", "core", "base"}


def _modules(package: str) -> list[Path]:
    return sorted(PACKAGES[package].rglob("*.py"))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _top(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_stands_left_of_it(package: str) -> None:
    names = list(PACKAGES)
    right = set(names[names.index(package) + 1 :])
    wrong = [(path.name, name) for path in _modules(package) for name in _imports(path) if _top(name) in right]
    assert not wrong


@pytest.mark.parametrize("package", ROOMS)
def test_a_room_imports_only_rooms_left_of_it(package: str) -> None:
    rooms = ROOMS[package]
    wrong = [
        (path.name, name)
        for number, room in enumerate(rooms)
        for path in (PACKAGES[package] / room).rglob("*.py")
        for name in _imports(path)
        if name.startswith(tuple(f"{package}.{right}." for right in rooms[number + 1 :]))
    ]
    assert not wrong
    assert all((PACKAGES[package] / room / "__init__.py").exists() for room in rooms)


def test_the_server_takes_nothing_of_the_client_but_the_stubs() -> None:
    imported = [(path.name, name) for path in _modules("bascule_server") for name in _imports(path)]
    wrong = [
        each for each in imported if _top(each[1]) == "bascule" and not CLIENT_MODULES_FOR_THE_SERVER.match(each[1])
    ]
    assert not wrong


def test_the_client_needs_nothing_but_its_base_dependencies() -> None:
    paths = [path for path in _modules("bascule") if "cli" not in path.parts and path.name != "__main__.py"]
    names = {_top(name) for path in paths for name in _imports(path)}
    assert names - sys.stdlib_module_names <= BASE_DEPENDENCIES


def test_no_file_has_a_name_that_says_nothing() -> None:
    names = {part for package in PACKAGES for path in _modules(package) for part in path.with_suffix("").parts}
    assert not names & VAGUE_NAMES


def test_importing_the_client_loads_neither_the_server_nor_what_the_command_line_needs() -> None:
    code = "import sys, bascule; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not set(loaded) & {"bascule_server", "bascule_training", "click", "keras", "polars", "rich", "tensorflow"}


@pytest.mark.parametrize("name", ["requirements-dev.txt", "requirements-server.txt"])
def test_a_lock_pins_every_package_by_hash_and_names_no_index(name: str) -> None:
    text = (ROOT / name).read_text()
    pinned = re.findall(r"^\S+==\S+", text, re.MULTILINE)
    assert len(pinned) > 20
    assert text.count("--hash=sha256:") >= len(pinned)
    assert "://" not in text
    assert "index-url" not in text


def test_the_servers_lock_has_neither_tensorflow_nor_a_compiler_of_definitions() -> None:
    packages = set(re.findall(r"^(\S+)==", (ROOT / "requirements-server.txt").read_text(), re.MULTILINE))
    assert not packages & {"grpcio-tools", "implicit", "keras", "scipy", "tensorflow"}


def test_no_code_reads_a_pickle() -> None:
    texts = {path: path.read_text() for package in PACKAGES for path in _modules(package)}
    assert not [path.name for path, text in texts.items() if re.search(r"\bimport pickle|allow_pickle=True", text)]
