"""One worker: a process that serves as its supervisor says, and says how it is.

supervisor -> standard input    the configuration, in one line of JSON; at its end the worker comes to rest
standard output -> supervisor   SERVING, once it does; beats, see ``pulse.py``
"""

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path

from bascule_server.config import ConfigError, ServerConfig
from bascule_server.workers.pulse import SERVING, Pulse

CANNOT_START = 2
"""Exit status."""


def main(models_root: Path) -> int:
    """Serves in this process; the exit status where it could not start."""
    from bascule_server.artifact.reading import ArtifactError
    from bascule_server.logs import configure_logs
    from bascule_server.process import run_here
    from bascule_server.server import ListenError

    config = ServerConfig.model_validate_json(sys.stdin.buffer.readline())
    configure_logs(config.log_level)
    threading.Thread(target=_end_with_supervisor, name="supervisor", daemon=True).start()
    try:
        run_here(config, lambda proven: _serve(proven, models_root))
    except (ArtifactError, ConfigError, ListenError) as error:
        sys.stderr.write(f"Error: {error}\n")
        return CANNOT_START
    return 0


async def _serve(config: ServerConfig, models_root: Path) -> None:
    from bascule_server import process

    pulse = asyncio.create_task(Pulse(sys.stdout.fileno()).keep())
    try:
        await process.serve(config, models_root, _say_serving)
    finally:
        pulse.cancel()


def _end_with_supervisor() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _say_serving(_port: int) -> None:
    os.write(sys.stdout.fileno(), SERVING)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
