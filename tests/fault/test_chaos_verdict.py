"""The verdict over what happened while faults struck: whatever breaks a promise is told, and nothing else."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from fault.chaos.run import FAULTS, Struck
from fault.chaos.schedule import LANES, drawn
from fault.chaos.stalls import stalls
from fault.chaos.verdict import Measured, complaints
from fault.steady_load import Call

QUIET = Measured(p99_milliseconds=10.0, megabytes=100.0)
GOOD = Call("single", meant=10.0, longest_seconds=3.0, began=10.0, ended=10.1, status="OK", versions=Counter({1: 1}))
FAILED = replace(GOOD, status="UNAVAILABLE: away", versions=Counter())
RESTARTED = Struck("server restarted", began=9.0, over=10.0, recovered=11.0)
KILLED = Struck("worker killed", began=9.0, over=9.0, recovered=11.0)


def told(calls: Sequence[Call] = (), *faults: Struck, begun: int | None = None, after: Measured = QUIET) -> list[str]:
    return list(complaints(calls, len(calls) if begun is None else begun, faults, {1}, QUIET, after))


def test_nothing_is_told_of_what_went_well() -> None:
    assert told([GOOD], KILLED) == []


def test_a_call_may_fail_where_a_fault_excuses_it_and_nowhere_else() -> None:
    assert told([FAILED], RESTARTED) == []
    assert "worker killed" in told([FAILED], KILLED)[0]
    assert "no fault" in told([FAILED], replace(RESTARTED, began=12.0, over=13.0, recovered=14.0))[0]
    assert "INTERNAL" in told([replace(FAILED, status="INTERNAL: oh")], RESTARTED)[0]


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (replace(GOOD, wrong=["version 1 for u1: []"]), "version 1 for u1"),
        (replace(GOOD, versions=Counter({2: 1})), "not published whole"),
        (replace(GOOD, ended=14.1), "ended after 4.1 s"),
    ],
)
def test_wrong_and_late_answers_are_told_whatever_happened(call: Call, word: str) -> None:
    (said,) = told([call], RESTARTED)
    assert word in said


def test_a_call_that_never_ended_and_a_server_that_did_not_recover_are_told() -> None:
    assert told([GOOD], begun=2) == ["2 calls were begun, and 1 ended"]
    assert told([GOOD], Struck("worker killed", 9.0)) == ["worker killed: did not recover"]


def test_what_fails_while_the_machine_stands_still_is_no_fault_of_the_server_unless_it_is_wrong() -> None:
    (stall,) = stalls([replace(GOOD, meant=9.5), replace(GOOD, meant=9.6), GOOD])
    assert (stall.began, stall.recovered) == (9.5, 10.0)
    assert told([FAILED], stall) == []
    assert told([replace(GOOD, ended=14.1)], stall) == []
    assert told([replace(GOOD, wrong=["version 1 for u1: []"])], stall)


def test_a_server_that_stays_slow_or_large_is_told() -> None:
    assert "p99" in told(after=replace(QUIET, p99_milliseconds=101.0))[0]
    assert "memory" in told(after=replace(QUIET, megabytes=121.0))[0]


def test_a_schedule_is_the_same_for_the_same_seed_and_has_every_fault() -> None:
    assert drawn(7, 120) == drawn(7, 120) != drawn(8, 120)
    assert drawn(7, 30) == [strike for strike in drawn(7, 120) if strike.at < 30]
    assert (
        {strike.fault for strike in drawn(7, 120)} == set(FAULTS) == {each for lane in LANES.values() for each in lane}
    )
