"""A shadow ranks what another version has answered, for the count of what they share alone: nobody waits for it."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import numpy as np
import pytest
from changing_versions import ChangingVersions
from hypothesis import given
from hypothesis import strategies as st

from bascule.v1 import recommendation_service_pb2 as pb
from bascule.v1.artifact_pb2 import CategoricalFeature, Feature, Manifest
from bascule.v1.model_admin_service_pb2 import ServingPlan
from bascule.v1.recommendation_service_pb2_grpc import RecommendationServiceStub
from bascule_server.batching.batcher import Batcher
from bascule_server.batching.row_queue import RowQueue
from bascule_server.calls import Call
from bascule_server.errors import Reason, ServiceError
from bascule_server.messages.encoding import RowAnswer
from bascule_server.models import Models, Route, ServingModel
from bascule_server.scoring.item_ids import ItemIds
from bascule_server.scoring.query import Answer, NothingKnownError, Query, Question, Rank, Ranking
from bascule_server.servable import ServableVersion
from bascule_server.versions.shadow import MAX_WAITING, Shadow

WORKER = ThreadPoolExecutor(1)
LETTERS = ItemIds(list("abcdefgh"))
REQUEST = pb.RecommendItemsRequest(query=pb.Query(user=pb.User(user_id="u")))
COUNTRY = Feature(name="country", categorical=CategoricalFeature(vocabulary="c.json", size=2))


def ranking(letters: str) -> Ranking:
    (items,) = LETTERS.listed([np.array(["abcdefgh".index(letter) for letter in letters], np.int64)])
    return Ranking(items, np.zeros(len(letters), np.float32), pb.RankingPath.RANKING_PATH_HISTORY, [])


class Fixed:
    """Always ranks the same items; fails where there are none to rank."""

    def __init__(self, letters: str | None) -> None:
        self.letters = letters
        self.count = 0

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        self.count += len(questions)
        assert self.letters is not None
        return [ranking(self.letters)] * len(questions)


class Scene:
    """Version 1 answers, and version 2 is its shadow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.models = Models()
        self.observed: list[tuple[str, float]] = []
        self.scorer = Fixed("abcd")
        self.batcher = Batcher(1_024, WORKER, RowQueue(60.0), clock=clock)
        self.shadow = Shadow(self.models, self.batcher, lambda model, share: self.observed.append((model, share)))
        self.served = self.serve("m/1", Fixed(""), [COUNTRY])
        self.shadowing = self.serve("m/2", self.scorer, [])
        self.models.route("m", Route(stable=1, shadow=2))

    def serve(self, name: str, scorer: Fixed, features: list[Feature]) -> ServingModel:
        known = self.models.announce(Path(name))
        manifest = Manifest(model=known.model, version=known.version, query_features=features)
        self.models.serve(known, ServableVersion(manifest, scorer))  # type: ignore[arg-type]
        assert known.serving is not None
        return known.serving

    def compare(self, answer: RowAnswer, request: pb.RecommendItemsRequest = REQUEST) -> None:
        self.shadow.compare(request, self.served, answer)

    async def shares(self) -> list[float]:
        """What was observed of ``m``, once nothing waits."""
        running = asyncio.create_task(self.batcher.run())
        # What comes last is computed last.
        await self.batcher.answer(Fixed(""), [Question(Query(), Rank())], Call("/m"), interactive=False)
        running.cancel()
        assert {model for model, _ in self.observed} <= {"m"}
        return [share for _, share in self.observed]


SHARES = [("abcd", 1.0), ("dcba", 1.0), ("cdef", 0.5), ("ab", 0.5), ("abcdefgh", 0.5), ("efgh", 0.0), ("", 0.0)]


@pytest.mark.parametrize(("letters", "share"), SHARES)
async def test_what_is_counted_is_the_share_of_the_longer_ranking_that_is_in_both(letters: str, share: float) -> None:
    scene = Scene()
    scene.scorer.letters = letters
    scene.compare(ranking("abcd"))
    assert await scene.shares() == [share]


some_letters = st.lists(st.sampled_from("abcdefgh"), unique=True).map("".join)


@given(some_letters, some_letters)
def test_all_is_shared_only_by_rankings_of_the_same_items_and_nothing_only_by_those_of_others(
    first: str, second: str
) -> None:
    async def share(served: str, shadowing: str) -> float:
        scene = Scene()
        scene.scorer.letters = shadowing
        scene.compare(ranking(served))
        (found,) = await scene.shares()
        return found

    found = asyncio.run(share(first, second))
    assert found == asyncio.run(share(second, first))
    assert 0 <= found <= 1
    assert (found == 1) == (set(first) == set(second))
    assert (found == 0) == (not set(first) & set(second) and bool(first or second))


async def test_nothing_is_compared_without_a_shadow_or_with_its_own_answer_or_with_none() -> None:
    scene = Scene()
    scene.compare(ServiceError(Reason.INTERNAL))
    scene.compare(NothingKnownError())
    scene.shadow.compare(REQUEST, scene.shadowing, ranking("abcd"))
    scene.models.route("m", Route(stable=1))
    scene.compare(ranking("abcd"))
    scene.models.route("m", Route(stable=1, shadow=3))
    scene.compare(ranking("abcd"))
    assert await scene.shares() == []
    assert scene.scorer.count == 0


async def test_a_shadow_that_fails_or_knows_nothing_shares_nothing() -> None:
    scene = Scene()
    scene.scorer.letters = None
    scene.compare(ranking("abcd"))
    assert await scene.shares() == [0.0]


async def test_a_query_with_a_feature_that_the_shadow_does_not_have_shares_nothing() -> None:
    scene = Scene()
    features = {"country": pb.FeatureValue(category="de")}
    scene.compare(ranking("abcd"), pb.RecommendItemsRequest(query=pb.Query(user=pb.User(features=features))))
    assert await scene.shares() == [0.0]
    assert scene.scorer.count == 0


async def test_while_many_wait_further_ones_are_not_compared() -> None:
    scene = Scene()
    for _ in range(2):
        scene.observed.clear()
        for _ in range(MAX_WAITING + 10):
            scene.compare(ranking("abcd"))
        assert await scene.shares() == [1.0] * MAX_WAITING


async def test_what_waited_too_long_is_not_computed_and_makes_room() -> None:
    late = [3_600.0]
    scene = Scene(clock=lambda: time.monotonic() + late[0])
    for _ in range(MAX_WAITING):
        scene.compare(ranking("abcd"))
    assert await scene.shares() == []
    late[0] = 0.0
    scene.compare(ranking("abcd"))
    assert await scene.shares() == [1.0]
    assert scene.scorer.count == 1


async def test_a_server_compares_its_answers_with_those_of_the_shadow(
    serve_in_process: Any, tmp_path: Path, free_port: int
) -> None:
    versions = ChangingVersions(tmp_path)
    versions.scorers = {"m/1": Fixed("abcd"), "m/2": Fixed("cdef")}
    versions.publish(*versions.scorers)
    versions.plans["m"] = ServingPlan(stable=1, shadow=2)

    def page() -> str:
        with urlopen(f"http://127.0.0.1:{free_port}/metrics") as response:
            return str(response.read().decode())

    async with (
        serve_in_process(versions, metrics_listen=f"127.0.0.1:{free_port}") as served,
        grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel,
    ):
        while served.server.models.shadow_of("m") is None:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
        response = await RecommendationServiceStub(channel).RecommendItems(REQUEST)
        assert (list(response.ranking.item_ids), response.served_by.version) == (["a", "b", "c", "d"], 1)
        while 'bascule_shadow_overlap_count{model="m"} 1.0' not in (text := await asyncio.to_thread(page)):
            pass
    assert 'bascule_shadow_overlap_sum{model="m"} 0.5' in text
