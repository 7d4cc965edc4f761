"""The server for users' own tests."""

import numpy as np
import pytest
from grpc import StatusCode

from bascule import Client, Failure, InternalError, NotFoundError, Query, Ranking, RankingPath, UnavailableError
from bascule.testing import LocalServer


def test_the_function_sees_the_query_as_it_was_asked() -> None:
    seen: list[Query] = []

    def note(query: Query) -> list[tuple[str, float]]:
        seen.append(query)
        return []

    asked = Query("42", ("a", "b"), {"age": 30.0, "tags": ["x"]}, None, None, ("c",), ("d",))
    with LocalServer(note) as server, server.client() as client:
        assert client.recommend_many([asked])[0].item_ids == []  # type: ignore[union-attr]
    assert seen == [asked]


def test_a_function_may_answer_with_a_whole_ranking() -> None:
    made = Ranking(["a", "b"], np.array([2, 1], np.float32), RankingPath.COLD, ("x",), [{"title": "A"}, {}])
    with LocalServer(lambda _: made) as server, server.client() as client:
        ranking = client.recommend("42", count=1)
    assert (ranking.item_ids, ranking.path, ranking.unknown_item_ids) == (["a"], RankingPath.COLD, ("x",))
    assert ranking.attributes == [{"title": "A"}]


def test_an_error_of_ours_reaches_the_caller_as_it_is() -> None:
    failure = Failure(StatusCode.NOT_FOUND, "no such item", "ITEM_NOT_FOUND")

    def refuse(query: Query) -> list[tuple[str, float]]:
        raise NotFoundError(failure)

    with LocalServer(refuse) as server, server.client() as client:
        (row,) = client.recommend_many(["42"])
        with pytest.raises(NotFoundError) as caught:
            client.recommend("42")
    assert isinstance(row, NotFoundError)
    assert row.failure == caught.value.failure == failure


def test_without_a_function_for_vectors_each_row_says_so() -> None:
    with LocalServer(lambda _: []) as server, server.client() as client:
        (row,) = client.embed(["42"])
    assert isinstance(row, InternalError)
    assert "no function was given to make vectors" in row.message


def test_a_server_that_was_stopped_does_not_answer() -> None:
    with LocalServer(lambda _: []) as server:
        address = server.address
        with Client(address) as client:
            client.recommend("42")
            server.stop()
            with pytest.raises(UnavailableError):
                client.recommend("42")


def test_two_servers_do_not_share_a_port() -> None:
    with LocalServer(lambda _: []) as server:
        port = int(server.address.rpartition(":")[2])
        with pytest.raises(RuntimeError, match="bind"):
            LocalServer(lambda _: [], port=port).start()


def test_it_has_a_stable_version_and_no_canary() -> None:
    with LocalServer(lambda _: [("bread", 1.0)]) as server, server.client() as client:
        assert client.recommend("ann", label="stable").item_ids == ["bread"]
        with pytest.raises(NotFoundError, match="MODEL_NOT_FOUND"):
            client.recommend("ann", label="canary")
