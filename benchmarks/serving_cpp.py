"""Builds the programs in C++ below peers/: the server that computes nothing, and the open-loop generator.

They need Debian's ``g++``, ``libgrpc++-dev``, ``libnghttp2-dev``, ``protobuf-compiler-grpc`` and ``protobuf-compiler``.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import google.rpc
from figures import OUT
from serving_child import printed

PEERS = Path(__file__).parent / "peers"
PROTOS = Path(__file__).parents[1] / "protos"
BUILD = OUT / "serving" / "build"
TOOLS = ("g++", "protoc", "grpc_cpp_plugin")
HTTP2 = ("-lnghttp2",)
GRPC = ("-lgrpc++", "-lgpr", "-lprotobuf", "-labsl_synchronization", "-lpthread")
DEFINITIONS = ("bascule/v1/recommendation_service", "google/rpc/status")
HEADERS = (Path("/usr/include/grpcpp/grpcpp.h"), Path("/usr/include/nghttp2/nghttp2.h"))


def missing() -> str | None:
    """What to install, where something is missing."""
    if all(shutil.which(tool) for tool in TOOLS) and all(header.exists() for header in HEADERS):
        return None
    return "apt-get install g++ libgrpc++-dev libnghttp2-dev protobuf-compiler protobuf-compiler-grpc"


def open_loop_program() -> Path:
    """The path of the open-loop generator, built if it is not up to date."""
    return _built(PEERS / "open_loop.cc", [], HTTP2)


def no_work_program() -> Path:
    """The path of the server that computes nothing, built if it is not up to date."""
    if not _is_newer(BUILD / f"{DEFINITIONS[0]}.pb.cc", [PROTOS / f"{DEFINITIONS[0]}.proto"]):
        _generate()
    generated = [BUILD / f"{name}.pb.cc" for name in DEFINITIONS]
    return _built(PEERS / "no_work.cc", [*generated, BUILD / f"{DEFINITIONS[0]}.grpc.pb.cc"], GRPC)


def _generate() -> None:
    googleapis = Path(next(iter(google.rpc.__path__))).parents[1]
    BUILD.mkdir(parents=True, exist_ok=True)
    plugin = f"--plugin=protoc-gen-grpc={shutil.which('grpc_cpp_plugin')}"
    definitions = [f"{name}.proto" for name in DEFINITIONS]
    places = [f"-I{PROTOS}", f"-I{googleapis}", f"--cpp_out={BUILD}", f"--grpc_out={BUILD}"]
    printed(["protoc", plugin, *places, *definitions])


def _built(source: Path, generated: Sequence[Path], libraries: Sequence[str]) -> Path:
    program = BUILD / source.stem
    sources = [source, *generated]
    if not _is_newer(program, sources):
        BUILD.mkdir(parents=True, exist_ok=True)
        printed(["g++", "-std=c++17", "-O2", "-Wall", f"-I{BUILD}", *sources, "-o", program, *libraries])
    return program


def _is_newer(made: Path, sources: Sequence[Path]) -> bool:
    return made.exists() and made.stat().st_mtime > max(path.stat().st_mtime for path in sources)
