"""A worker that gives no sign of life hangs, one that was stopped is seen at once, and one never heard of has time."""

import asyncio
import os
import signal
import subprocess
import sys
import time

from bascule_server.workers.pulse import BEAT, MOST_SILENT_TICKS, MOST_STOPPED_TICKS, Pulse, Silence, state_of


def test_it_hangs_after_too_many_ticks_without_a_sign_of_life() -> None:
    silence = Silence()
    silence.heard()
    assert not any(silence.tick("S") for _ in range(MOST_SILENT_TICKS))
    assert silence.tick("R")


def test_a_sign_of_life_makes_all_ticks_before_it_forgotten() -> None:
    silence = Silence()
    for _ in range(3):
        silence.heard()
        assert not any(silence.tick("R") for _ in range(MOST_SILENT_TICKS))


def test_before_the_first_sign_of_life_any_number_of_ticks_may_pass() -> None:
    silence = Silence()
    assert not any(silence.tick("R") for _ in range(10 * MOST_SILENT_TICKS))


def test_one_that_was_stopped_hangs_at_once() -> None:
    silence = Silence()
    silence.heard()
    assert [silence.tick("T") for _ in range(MOST_STOPPED_TICKS)] == [False] * (MOST_STOPPED_TICKS - 1) + [True]


def test_one_that_was_looked_at_for_a_moment_does_not_hang() -> None:
    silence = Silence()
    assert not any(silence.tick(state) for state in "TSTSTRTS")


def test_a_process_tells_its_state() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    os.kill(process.pid, signal.SIGSTOP)
    deadline = time.monotonic() + 30
    while state_of(process.pid) != "T":
        assert time.monotonic() < deadline
    process.kill()
    process.communicate()
    assert state_of(process.pid) == ""


async def test_a_loop_that_goes_round_is_vouched_for() -> None:
    reading, writing = os.pipe()
    keeping = asyncio.create_task(Pulse(writing).keep())
    with os.fdopen(reading, "rb") as beats:
        assert await asyncio.to_thread(beats.readline) == BEAT
        assert await asyncio.to_thread(beats.readline) == BEAT
    keeping.cancel()
