"""A real server in your own tests, that answers from a function.

    from bascule.testing import LocalServer

    def popular(query):
        return [("bread", 3.0), ("milk", 2.0), ("eggs", 1.0)]

    with LocalServer(popular) as server, server.client() as client:
        assert client.recommend("anybody", count=2).item_ids == ["bread", "milk"]

It speaks gRPC on a free port of the loopback interface and needs nothing but the base package.
"""

from bascule.testing.answering import Embed, Recommend
from bascule.testing.local_server import LocalServer

__all__ = ["Embed", "LocalServer", "Recommend"]
