"""Fits every baseline at its best: settings are chosen on validation."""

from collections.abc import Callable, Iterable, Iterator
from itertools import product
from typing import TypeVar

from bascule_training.baselines import bpr, ease, ials, item_knn, pure_svd
from bascule_training.baselines.bpr import Bpr
from bascule_training.baselines.ease import Ease
from bascule_training.baselines.ials import Ials
from bascule_training.baselines.item_knn import ItemKnn
from bascule_training.baselines.popularity import HALF_LIVES, Popularity
from bascule_training.baselines.pure_svd import PureSvd
from bascule_training.data.histories import Histories
from bascule_training.evaluation.evaluated import Baseline, Cases, quality_of

MAX_FACTOR_INTERACTIONS = 2_000_000
"""The largest log for iALS and BPR, which are fitted several times."""

Setting = TypeVar("Setting")


def tuned(fit: Callable[[Setting], Baseline], settings: Iterable[Setting], validation: Cases) -> Setting:
    """The setting whose baseline has the highest NDCG@10 on the validation cases; of equals the first."""
    return max(settings, key=lambda setting: quality_of(fit(setting), validation))


def tuned_baselines(train: Histories, validation: Cases, known: Histories) -> Iterator[Baseline]:
    """All baselines that the data allows, fitted at their best, one after the other.

    Args:
        train: what is fitted on while settings are tried.
        validation: where the settings are compared.
        known: what is fitted on at last: all that may be known before the test, mostly ``train`` and the relevant
            items of ``validation``.
    """
    count = len(validation.item_ids)

    def best(fit: Callable[[Histories, int, Setting], Baseline], settings: Iterable[Setting]) -> Baseline:
        return fit(known, count, tuned(lambda tried: fit(train, count, tried), settings, validation))

    yield Popularity.fit(known, count)
    if known.times is not None:
        yield best(Popularity.fit, HALF_LIVES)
    yield best(ItemKnn.fit, item_knn.NEIGHBOUR_COUNTS)
    yield best(
        lambda log, items, tried: ItemKnn.fit(log, items, *tried),
        tuple(product(item_knn.NEIGHBOUR_COUNTS, item_knn.RECENCIES)),
    )
    yield best(PureSvd.fit, [rank for rank in pure_svd.RANKS if rank < min(len(train), count)] or [1])
    if count <= ease.MAX_ITEMS:
        yield best(Ease.fit, ease.PENALTIES)
    if len(known.item_rows) <= MAX_FACTOR_INTERACTIONS:
        yield best(Ials.fit, ials.SETTINGS)
        yield best(Bpr.fit, bpr.SETTINGS)
