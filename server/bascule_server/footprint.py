"""The footprint of a process that serves: threads of native libraries, and memory that loading a model left behind."""

import ctypes
import gc
import os

SETTINGS = {
    # A process serves with one core, and there may be one process a core: products in several threads would wait for
    # each other. Of NumPy's BLAS, and of FAISS's.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Polars reads tables when a model is loaded, and its allocator then keeps what it read them into.
    "_RJEM_MALLOC_CONF": "dirty_decay_ms:0,muzzy_decay_ms:0",
}
"""Variables of the environment that the libraries look at once, when they are loaded."""

OF_WORKERS = {
    # gRPC's core then reads and writes in the thread that waits for it. Its threads for that are of use where a core is
    # free for them; where each core has a worker, a call takes a tenth more with them.
    "GRPC_EXPERIMENTS": "-event_engine_listener",
}
"""The same for one process of several, of which there is best one a core. gRPC looks when it is imported."""

COLLECT_EVERY = 10_000
"""Objects between two looks for garbage that refers to itself; an answer makes none. Python's own default is 700."""


def keep_small() -> None:
    """Makes the settings, but for those that the environment has already. Before the libraries are imported."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


def give_back() -> None:
    """Gives back what loading left behind. What it loaded stays: no collection need ever look at it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY)
    give_back_memory()


def give_back_memory() -> None:
    """Gives back what was freed and is still held for what may come."""
    # glibc's; other C libraries give memory back by themselves, or have no such call.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
