"""Calls of both clients, against a real server."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from bascule import (
    AsyncClient,
    Client,
    DeadlineExceededError,
    InternalError,
    ModelState,
    NotFoundError,
    Query,
    Ranking,
    UnavailableError,
    ValueKind,
)
from bascule.testing import LocalServer


def ids(results: Any) -> list[list[str] | str]:
    return [result.item_ids if isinstance(result, Ranking) else type(result).__name__ for result in results]


def test_a_user_gets_a_ranking(client: Any) -> None:
    ranking = client.recommend("42", count=2)
    assert ranking.item_ids == ["of-42", "bread"]
    assert ranking.scores.tolist() == [3, 2]
    assert (ranking.model, ranking.version) == ("groceries", 7)


def test_excluded_items_and_candidates_reach_the_server(client: Any) -> None:
    assert client.recommend("42", excluded=["bread"]).item_ids == ["of-42", "milk"]
    assert client.recommend("42", candidates=["bread"]).item_ids == ["bread"]


def test_a_batch_is_answered_in_order_and_one_bad_row_harms_no_other(client: Any) -> None:
    results = client.recommend_many(["1", "broken", Query("2")], count=1)
    assert ids(results) == [["of-1"], "InternalError", ["of-2"]]


def test_a_stream_is_answered_in_order_and_one_bad_row_harms_no_other(client: Any) -> None:
    results = client.stream(["1", "broken", Query("2"), "3"], count=1, queries_per_message=2)
    assert ids(results) == [["of-1"], "InternalError", ["of-2"], ["of-3"]]


def test_unary_and_batch_and_stream_agree(client: Any) -> None:
    users = [str(number) for number in range(100)]
    alone = [client.recommend(user).item_ids for user in users]
    assert ids(client.recommend_many(users)) == alone
    assert ids(client.stream(users, queries_per_message=7, window=2)) == alone


def test_scores_stand_in_the_order_asked_and_are_nan_where_there_is_no_such_item(client: Any) -> None:
    scores = client.score(["milk", "caviar", "bread"], user_id="42")
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, [1, np.nan, 2])


def test_vectors_are_float32(client: Any) -> None:
    (vector,) = client.embed([Query(history=["a", "b"])])
    assert vector.dtype == np.float32
    assert vector.tolist() == [2, 0.5]


def test_nothing_asked_is_nothing_answered(client: Any) -> None:
    assert client.recommend_many([]) == []
    assert client.embed([]) == []
    assert list(client.stream([])) == []


def test_models_tell_what_they_read(client: Any) -> None:
    (model,) = client.models()
    assert (model.name, model.version, model.state) == ("groceries", 7, ModelState.SERVING)
    assert model.features == {
        "age": ValueKind.NUMBER,
        "country": ValueKind.CATEGORY,
        "tags": ValueKind.CATEGORIES,
    }


def test_a_call_that_fails_raises_its_kind_with_the_reason(client: Any) -> None:
    with pytest.raises(NotFoundError, match="No such model") as caught:
        client.recommend("42", model="films")
    assert (caught.value.reason, caught.value.code) == ("MODEL_NOT_FOUND", grpc.StatusCode.NOT_FOUND)
    with pytest.raises(InternalError, match="ValueError: no taste"):
        client.recommend("broken")


def test_the_clients_model_is_asked_unless_the_call_names_another(connect: Any, server: LocalServer) -> None:
    with connect(server.address, model="films") as client:
        for fails in (
            client.recommend,
            lambda user: client.score(["a"], user_id=user),
            lambda user: client.embed([user]),
        ):
            with pytest.raises(NotFoundError):
                fails("42")
        assert client.recommend("42", model="groceries").version == 7
        assert len(client.score(["a"], user_id="42", model="groceries")) == 1


def test_a_time_out_is_kept(connect: Any) -> None:
    stop = threading.Event()

    def wait(query: Query) -> list[tuple[str, float]]:
        stop.wait(30)
        return []

    with LocalServer(wait) as server, connect(server.address, timeout=0.05) as client:
        try:
            with pytest.raises(DeadlineExceededError):
                client.recommend("42")
            with pytest.raises(DeadlineExceededError, match=r"did not answer within 0\.05 s"):
                list(client.stream(["42"]))
        finally:
            stop.set()


def test_where_nobody_listens_the_server_is_unavailable(connect: Any, unused_address: str) -> None:
    with connect(unused_address, timeout=20.0) as client:
        with pytest.raises(UnavailableError):
            client.recommend("42")
        assert not client.is_serving()


@pytest.fixture
def unused_address(tmp_path: Path) -> str:
    return f"unix:{tmp_path}/nobody"


def test_waiting_ends_when_the_server_is_ready(client: Any) -> None:
    client.wait_ready(20)
    assert client.is_serving()


def test_a_server_that_is_not_ready_in_time_is_named(client: Any, server: LocalServer) -> None:
    server.is_serving = False
    assert not client.is_serving()
    with pytest.raises(DeadlineExceededError, match=rf"{server.address} was not ready within 0\.2 s"):
        client.wait_ready(0.2)


def test_wrong_arguments_are_refused_before_anything_is_sent(client: Any) -> None:
    with pytest.raises(ValueError, match="use stream instead"):
        client.recommend_many(["42"] * 1025)
    with pytest.raises(ValueError, match="window is at least 1"):
        client.stream(["42"], window=0)
    with pytest.raises(TypeError, match="no such option: kount"):
        client.recommend("42", kount=3)


def test_threads_share_a_client(server: LocalServer) -> None:
    users = [str(number) for number in range(64)]
    with Client(server.address) as client, ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda user: client.recommend(user, count=1).item_ids[0], users)) == [
            f"of-{user}" for user in users
        ]


async def test_tasks_share_a_client(server: LocalServer) -> None:
    users = [str(number) for number in range(64)]
    async with AsyncClient(server.address) as client:
        rankings = await asyncio.gather(*(client.recommend(user, count=1) for user in users))
    assert [ranking.item_ids[0] for ranking in rankings] == [f"of-{user}" for user in users]


async def test_a_cancelled_task_is_cancelled() -> None:
    begun, stop = threading.Event(), threading.Event()

    def wait(query: Query) -> list[tuple[str, float]]:
        begun.set()
        stop.wait(30)
        return []

    with LocalServer(wait) as server:
        async with AsyncClient(server.address) as client:
            task = asyncio.create_task(client.recommend("42"))
            await asyncio.to_thread(begun.wait, 20)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            stop.set()


def test_every_method_is_in_both_clients() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(Client) == public(AsyncClient)


@pytest.mark.parametrize("timeout", [0, -0.5, float("nan")])
def test_a_call_without_time_is_not_made(client: Any, connect: Any, server: LocalServer, timeout: float) -> None:
    with pytest.raises(ValueError, match=f"timeout is more than 0 seconds; got {timeout:g}"):
        client.recommend("42", timeout=timeout)
    with pytest.raises(ValueError, match=f"timeout is more than 0 seconds; got {timeout:g}"):
        connect(server.address, timeout=timeout)
