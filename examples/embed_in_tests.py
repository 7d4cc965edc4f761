"""How to test your own code against a server that answers from a function.

    pytest examples/embed_in_tests.py

``bascule.testing`` needs nothing but the base package. Its server speaks gRPC on a free loopback port.
"""

from bascule import BasculeError, Client, Query
from bascule.testing import LocalServer

BESTSELLERS = ["bread", "milk"]


def shelf(client: Client, user_id: str) -> list[str]:
    """The code under test: what a shop shows, with or without a recommender."""
    try:
        return client.recommend(user_id, count=2).item_ids
    except BasculeError:
        return BESTSELLERS


def test_the_shelf_shows_what_is_recommended() -> None:
    def recommend(query: Query) -> list[tuple[str, float]]:
        return [("tea", 3.0), ("rice", 2.0), ("salt", 1.0)] if query.user_id == "ann" else []

    with LocalServer(recommend) as server, server.client() as client:
        assert shelf(client, "ann") == ["tea", "rice"]


def test_the_shelf_shows_bestsellers_where_the_recommender_fails() -> None:
    def recommend(_query: Query) -> list[tuple[str, float]]:
        raise RuntimeError("as a server might")

    with LocalServer(recommend) as server, server.client() as client:
        assert shelf(client, "ann") == BESTSELLERS
