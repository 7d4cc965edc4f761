"""Several processes that serve one port: each has the interpreter, and thus a core, to itself.

    supervisor -> worker 1 proves and serves the models -> the others do -> (a signal) -> all come to rest

A worker listens only when its models are proven.

Workers are spawned and never forked, since gRPC does not survive a fork. The kernel parts connections among them, not
calls, so a caller that wants all of them opens several. Files of the models are mapped, and their memory shared.

    WorkerError      a worker could not start; it has said why
    CrashLoopError   workers died again and again
"""

from bascule_server.workers.port import bound, bound_alone, with_port
from bascule_server.workers.supervisor import CrashLoopError, WorkerError, supervise

__all__ = ["CrashLoopError", "WorkerError", "bound", "bound_alone", "supervise", "with_port"]
