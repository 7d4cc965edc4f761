import gc
import weakref
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from bascule_training.data.histories import Histories
from bascule_training.fitting.bags import bag_count, bag_examples
from bascule_training.fitting.competitors import CompetitorSampler
from bascule_training.fitting.feed import Feed
from bascule_training.fitting.model import StepTensors
from bascule_training.fitting.packing import batch_count, packed_examples

USERS, EACH, ITEM_COUNT = 30, 7, 20
HISTORIES = Histories(
    np.concatenate([np.random.default_rng(user).permutation(ITEM_COUNT)[:EACH] for user in range(USERS)]).astype(
        np.int32
    ),
    np.arange(USERS + 1, dtype=np.int64) * EACH,
)
WEIGHTS = np.ones(USERS * EACH, np.float32)


def packed(*, sampled: bool = True, seed: int = 1) -> Feed:
    make = partial(packed_examples, HISTORIES, WEIGHTS, 5, 4)
    sampler = (
        CompetitorSampler(HISTORIES, ITEM_COUNT, in_batch=True, uniform_count=6, masks="known") if sampled else None
    )
    return Feed(make, batch_count(HISTORIES, 5, 4), sampler, seed)


def bagged(*, sampled: bool = True, seed: int = 1) -> Feed:
    make = partial(bag_examples, HISTORIES, WEIGHTS, 5, 4, "any")
    sampler = (
        CompetitorSampler(HISTORIES, ITEM_COUNT, in_batch=True, uniform_count=6, masks="known") if sampled else None
    )
    return Feed(make, bag_count(HISTORIES, 4, "any"), sampler, seed)


def arrays(batch: StepTensors) -> list[NDArray[np.generic]]:
    return [tensor.numpy() for tensor in batch]


def are_equal(ones: list[StepTensors], others: list[StepTensors]) -> bool:
    return all(
        np.array_equal(one, other)
        for batch, counterpart in zip(ones, others, strict=True)
        for one, other in zip(arrays(batch), arrays(counterpart), strict=True)
    )


@pytest.mark.parametrize("make", [packed, bagged])
@pytest.mark.parametrize("sampled", [True, False])
def test_equal_seeds_give_equal_batches_and_another_epoch_or_seed_others(
    make: Callable[..., Feed], sampled: bool
) -> None:
    batches = list(make(sampled=sampled).epoch(3))
    assert are_equal(batches, list(make(sampled=sampled).epoch(3)))
    assert not are_equal(batches, list(make(sampled=sampled).epoch(4)))
    assert not are_equal(batches, list(make(sampled=sampled, seed=2).epoch(3)))


@pytest.mark.parametrize("make", [packed, bagged])
def test_an_epoch_has_as_many_batches_as_announced_all_of_one_shape(make: Callable[..., Feed]) -> None:
    feed = make()
    batches = list(feed.epoch(0))
    assert len(batches) == feed.batch_count
    assert len({tuple((tensor.shape, tensor.dtype) for tensor in arrays(batch)) for batch in batches}) == 1


def test_every_interaction_of_an_epoch_is_a_target_once() -> None:
    found = [
        (int(user), int(target))
        for batch in packed().epoch(0)
        for user, target, weight in zip(
            batch.users.numpy().flat, batch.targets.numpy().flat, batch.weights.numpy().flat, strict=True
        )
        if weight
    ]
    assert sorted(found) == sorted((user, int(row)) for user in range(USERS) for row in HISTORIES[user])


def test_with_the_whole_catalogue_nothing_is_drawn() -> None:
    for batch in packed(sampled=False).epoch(0):
        assert all(len(tensor) == 0 for tensor in (batch.rows, batch.log_q, batch.target_log_q, batch.is_known))


def test_competitors_come_beside_every_query() -> None:
    for batch in packed().epoch(0):
        assert batch.is_known.shape == (20, len(batch.rows))
        assert batch.log_q.shape == batch.rows.shape
        assert batch.target_log_q.shape == batch.targets.shape


def test_nothing_keeps_the_log_when_an_epoch_is_over() -> None:
    feed = packed()
    make = weakref.ref(feed.make)
    assert len(list(feed.epoch(0))) == feed.batch_count
    del feed
    gc.collect()
    assert make() is None
