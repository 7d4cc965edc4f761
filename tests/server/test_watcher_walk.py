"""Whatever is published, damaged, planned and removed in whatever order: what ever served is followed by what does."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from changing_versions import Scene
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from bascule.v1.model_admin_service_pb2 import Canary, ServingPlan
from bascule_server.versions.plan import PlanError
from bascule_server.versions.watcher import RETRY_SECONDS

Change: TypeAlias = tuple[str, Any]

versions = st.integers(1, 5)
plans = st.builds(
    lambda order, stable, canary, shadow, also: ServingPlan(
        stable=order[0] * stable,
        canary=Canary(version=order[1] * canary, weight=0.5 * canary),
        shadow=order[2] * shadow,
        also=order[3 : 3 + also],
    ),
    st.permutations(range(1, 6)),
    *[st.booleans()] * 3,
    st.integers(0, 2),
)
steps = st.one_of(
    st.tuples(st.just("publish"), versions),
    st.tuples(st.just("publish"), versions),
    st.tuples(st.just("remove"), versions),
    st.tuples(st.just("damage"), versions),
    st.tuples(st.just("mend"), versions),
    st.tuples(st.just("plan"), plans),
    st.tuples(st.just("plan"), st.just(PlanError("not a plan"))),
    st.tuples(st.just("wait"), st.sampled_from([1.0, RETRY_SECONDS])),
)


class Walk:
    """Changes what a watcher sees, and says what must be so after it has looked."""

    def __init__(self, root: Path) -> None:
        self._scene = Scene(root)
        self._lie: set[str] = set()
        """The versions that lie there now."""
        self._lay: set[str] = set()
        """Those that ever did."""
        self._serve: set[str] = set()

    def change(self, what: str, value: Any) -> None:
        shelf, name = self._scene.shelf, f"m/{value}"
        match what:
            case "publish":
                shelf.publish(name)
                self._lie.add(name)
                self._lay.add(name)
            case "remove" if name in self._lie:
                shelf.remove(name)
                self._lie.remove(name)
            case "damage":
                shelf.damaged.add(name)
            case "mend":
                shelf.damaged.discard(name)
            case "plan":
                shelf.plans["m"] = value
            case "wait":
                self._scene.now += value

    async def look(self) -> None:
        scene, served = self._scene, self._serve
        await scene.look()
        known = [f"{each.model}/{each.version}" for each in scene.models.known()]
        assert len(known) == len(set(known))
        assert set(scene.states.values()) <= {"SERVING", "FAILED"}
        self._serve = {name for name, state in scene.states.items() if state == "SERVING"}
        assert self._serve <= self._lay
        assert self._serve or not served
        # What is gone serves only where nothing else can.
        assert self._serve <= self._lie or len(self._serve) == 1
        if self._serve:
            self._check_answer()

    def _check_answer(self) -> None:
        plan = self._scene.shelf.plans.get("m", ServingPlan())
        assert f"m/{self._scene.answering}" in self._serve
        if isinstance(plan, ServingPlan) and f"m/{plan.stable}" in self._serve & self._lie:
            assert self._scene.answering == plan.stable

    async def end(self) -> None:
        """Whatever was let go was disposed of, each once."""
        await self._scene.disposed()
        loaded, told = len(self._serve), self._scene.told
        assert len(self._scene.shelf.released) == sum(line.endswith(" SERVING") for line in told) - loaded
        self._scene.loader.shutdown()


async def walk(root: Path, rounds: list[list[Change]]) -> None:
    walking = Walk(root)
    for changes in rounds:
        for change in changes:
            walking.change(*change)
        await walking.look()
    await walking.end()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(steps, max_size=4), max_size=10))
def test_something_that_was_published_always_answers_and_all_else_is_let_go(rounds: list[list[Change]]) -> None:
    with TemporaryDirectory() as root, capture_logs():
        asyncio.run(walk(Path(root), rounds))
