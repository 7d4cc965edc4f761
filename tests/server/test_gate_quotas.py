"""Each caller has so many rows, however it asks for them."""

import time
from typing import Any

import pytest
from known_callers import (
    Known,
    client,
)

from bascule import LimitExceededError, Query, Ranking


async def test_calls_beyond_the_quota_are_refused_with_when_to_try_again(run_server: Any, known: Known) -> None:
    known.let("shop", rows_per_second=0.001, burst_rows=7.0)
    known.let("other", rows_per_second=0.001)
    async with run_server(**known.fields) as running, client(running, "shop") as shop:
        await shop.recommend("u")
        await shop.score(["i"], user_id="u")
        await shop.recommend_many(["u", "u"])
        await shop.embed(["u"])
        await shop.models()
        with pytest.raises(LimitExceededError, match="QUOTA_EXCEEDED") as caught:
            await shop.recommend_many(["u", "u"])
        assert caught.value.retry_after == pytest.approx(1_000, rel=0.01), "one row is left, and one is to come"
        await shop.recommend("u")
        for refused in (shop.recommend("u"), shop.score(["i"], user_id="u"), shop.embed(["u"]), shop.models()):
            with pytest.raises(LimitExceededError):
                await refused
        async with client(running, "other") as other:
            assert (await other.recommend("u")).item_ids == ["seen"], "each caller has a quota of its own"


async def test_a_stream_waits_for_its_quota(run_server: Any, known: Known) -> None:
    known.let("shop", rows_per_second=20.0, burst_rows=1.0)
    async with run_server(**known.fields) as running, client(running, "shop") as shop:
        start = time.monotonic()
        queries = [Query("u")] * 9
        answered = [ranking async for ranking in shop.stream(queries, queries_per_message=3, timeout=60)]
        assert all(isinstance(ranking, Ranking) for ranking in answered)
        assert time.monotonic() - start >= 6 / 20, "after the first message at once, three rows and three rows"
