"""Workers die and hang, and the server is stopped and started. See ``run.Fault``.

Others ask after each of these: of clients who have seen one, the budget of repeated calls is partly spent, and they see
one a day and not every ten seconds.
"""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator

from fault.chaos.scene import Scene
from fault.waiting import until


def worker_killed(scene: Scene, chance: random.Random) -> AsyncIterator[None]:
    """SIGKILL."""
    return _lost(scene, chance, signal.SIGKILL)


def worker_stopped(scene: Scene, chance: random.Random) -> AsyncIterator[None]:
    """SIGSTOP: it hangs, until its supervisor sees that."""
    return _lost(scene, chance, signal.SIGSTOP)


async def _lost(scene: Scene, chance: random.Random, number: signal.Signals) -> AsyncIterator[None]:
    before = scene.logged("serving")
    os.kill(chance.choice(sorted(scene.serving.worker_pids())), number)
    yield
    await until(lambda: scene.logged("serving") > before)
    await scene.clients.renew()


async def workers_exchanged(scene: Scene, _: random.Random) -> AsyncIterator[None]:
    """SIGHUP."""
    before = scene.logged("workers exchanged")
    scene.serving.process.send_signal(signal.SIGHUP)
    yield
    await until(lambda: scene.logged("workers exchanged") > before)
    await scene.clients.renew()


async def server_restarted(scene: Scene, _: random.Random) -> AsyncIterator[None]:
    """SIGTERM, and a new start."""
    scene.serving.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(scene.serving.ended) == 0
    yield
    await scene.start()
    await scene.clients.renew()
    await scene.answers_again()
