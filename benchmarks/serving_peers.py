"""Starts the peers: Triton, MLServer, and a C++ server that computes nothing.

Triton comes in the wheel ``nvidia-pytriton``, whose own wrapper is not used: the binary is started as is, with its
environment activated, since it otherwise answers with empty tensors. It does the same with NumPy 2.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import serving_cpp
from serving_child import environment, printed
from serving_model import Generated
from serving_protocols import Bascule, OpenInference
from serving_servers import Running, Server, free_ports, started, wait_for_port, written_port

from bascule_server.retrieval.quantised_items import QuantisedItems

TRITON = "triton"
TRITON_TWICE = "triton x2"
"""The model in two processes, behind the same front end."""
MLSERVER = "mlserver"
NO_WORK = "no work"
"""The C++ server."""
PEERS = Path(__file__).parent / "peers"
KERNEL = PEERS / "our_search.py"
TRITON_PACKAGES = "nvidia-pytriton==0.7.0 'numpy<2' ai-edge-litert==2.3.0"
MLSERVER_PACKAGES = "mlserver==1.7.1 ai-edge-litert==2.3.0"


def peers(model: Generated, triton_python: Path, mlserver_python: Path) -> dict[str, Server | str]:
    """Every peer by name, or how to install what it lacks.

    Args:
        model: what to serve.
        triton_python: the Python of an environment with Triton.
        mlserver_python: the Python of an environment with MLServer.
    """
    _write_search(model)
    found: dict[str, Server | str] = {}
    triton = _triton_environment(triton_python)
    for name, instances in ((TRITON, 1), (TRITON_TWICE, 2)):
        start = partial(_triton, triton, model, instances) if triton else None
        found[name] = Server(start, OpenInference()) if start else _hint(TRITON_PACKAGES)
    mlserver = mlserver_python.with_name("mlserver")
    is_there = mlserver.exists()
    found[MLSERVER] = (
        Server(partial(_mlserver, mlserver, model), OpenInference()) if is_there else _hint(MLSERVER_PACKAGES)
    )
    found[NO_WORK] = serving_cpp.missing() or Server(_no_work, Bascule(), computes=False)
    return found


def _write_search(model: Generated) -> None:
    """What ``peers/our_search.py`` reads beside the weights: the items in 8 bits, and what is lost to these."""
    quantised = QuantisedItems(np.load(model.item_vectors))
    (model.weights / "items.tflite").write_bytes(quantised.model)
    np.save(model.weights / "lost.npy", [quantised.lengths.max(), quantised.errors.max()])


def _hint(packages: str) -> str:
    return f"pip install {packages}, in an environment of its own"


class _TritonEnvironment(NamedTuple):
    python: Path
    packages: Path
    """The environment's folder of packages."""
    libraries: Path
    """The folder of the interpreter's own library."""
    version: str
    """Such as 3.11."""

    @property
    def files(self) -> Path:
        """What the wheel brings of Triton."""
        return self.packages / "pytriton" / "tritonserver"

    def variables(self) -> dict[str, str]:
        """As if the environment were activated."""
        libraries = f"{self.packages / 'nvidia_pytriton.libs'}{os.pathsep}{self.libraries}"
        folder = self.python.parent
        return environment(
            PATH=f"{folder}{os.pathsep}{os.environ['PATH']}",
            VIRTUAL_ENV=str(folder.parent),
            LD_LIBRARY_PATH=libraries,
            PYTHONPATH=str(self.packages),
        )


def _triton_environment(python: Path) -> _TritonEnvironment | None:
    """Where Triton is; None where it is not installed."""
    if not python.exists():
        return None
    ask = (
        "import json, sysconfig as s;"
        "print(json.dumps([s.get_path('purelib'), s.get_config_var('LIBDIR'), s.get_python_version()]))"
    )
    packages, libraries, version = json.loads(printed([python, "-c", ask]))
    found = _TritonEnvironment(python, Path(packages), Path(libraries), version)
    return found if (found.files / "bin" / "tritonserver").exists() else None


@contextmanager
def _triton(installed: _TritonEnvironment, model: Generated, instances: int) -> Iterator[Running]:
    with tempfile.TemporaryDirectory() as folder:
        backends, repository = Path(folder) / "backends", Path(folder) / "models"
        shutil.copytree(installed.files / "backends", backends)
        stubs = installed.files / "python_backend_stubs" / installed.version
        shutil.copytree(stubs, backends / "python", dirs_exist_ok=True)
        _write_triton_model(repository / "recommend", model, instances)
        (port,) = free_ports(1)
        options = {
            "model-repository": repository,
            "backend-directory": backends,
            "grpc-address": "127.0.0.1",
            "grpc-port": port,
            "allow-http": "false",
            "allow-metrics": "false",
        }
        command = [
            str(installed.files / "bin" / "tritonserver"),
            *(f"--{name}={each}" for name, each in options.items()),
        ]
        with started(TRITON, command, installed.variables()) as process:
            wait_for_port(process, port)
            yield Running(f"127.0.0.1:{port}", process.pid)


def _write_triton_model(folder: Path, model: Generated, instances: int) -> None:
    # Triton finds modules in the model's own folder alone.
    version = folder / "1"
    (version / "peers").mkdir(parents=True)
    shutil.copy(PEERS / "triton_model.py", version / "model.py")
    shutil.copy(KERNEL, version / "peers" / KERNEL.name)
    group = f"instance_group {{ count: {instances} kind: KIND_CPU }}\n"
    paths = {"weights": model.weights, "item_vectors": model.item_vectors}
    parameters = "".join(
        f'parameters {{ key: "{name}" value: {{ string_value: "{path}" }} }}\n' for name, path in paths.items()
    )
    config = (PEERS / "triton_config.pbtxt").read_text(encoding="utf-8")
    (folder / "config.pbtxt").write_text(config + group + parameters, encoding="utf-8")


@contextmanager
def _mlserver(program: Path, model: Generated) -> Iterator[Running]:
    with tempfile.TemporaryDirectory() as folder:
        grpc_port, http_port, metrics_port = free_ports(3)
        settings = {
            "host": "127.0.0.1",
            "grpc_port": grpc_port,
            "http_port": http_port,
            "metrics_port": metrics_port,
            "parallel_workers": 0,
            "debug": False,
        }
        model_settings = {
            "name": "recommend",
            "implementation": "peers.mlserver_runtime.RecommenderRuntime",
            "max_batch_size": 64,
            "max_batch_time": 0.002,
            "parameters": {"extra": {"weights": str(model.weights), "item_vectors": str(model.item_vectors)}},
        }
        (Path(folder) / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        (Path(folder) / "model-settings.json").write_text(json.dumps(model_settings), encoding="utf-8")
        variables = environment(PYTHONPATH=str(PEERS.parent))
        with started(MLSERVER, [str(program), "start", folder], variables) as process:
            wait_for_port(process, grpc_port)
            yield Running(f"127.0.0.1:{grpc_port}", process.pid)


@contextmanager
def _no_work() -> Iterator[Running]:
    with tempfile.TemporaryDirectory() as folder:
        port_file = Path(folder) / "port"
        command = [str(serving_cpp.no_work_program()), str(port_file)]
        with started("no_work", command, environment()) as process:
            yield Running(f"127.0.0.1:{written_port(process, port_file)}", process.pid)
