"""Solves for towers that need no training by gradient: the settings are chosen on validation."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from bascule_training.baselines import ease, ials, item_knn, pure_svd
from bascule_training.baselines.ease import Ease
from bascule_training.baselines.ials import Ials
from bascule_training.baselines.item_knn import ItemKnn
from bascule_training.baselines.popularity import HALF_LIVES, Popularity
from bascule_training.baselines.pure_svd import PureSvd
from bascule_training.closed_form.ials_towers import IalsTowers
from bascule_training.closed_form.linear_towers import LinearTowers, factored
from bascule_training.closed_form.popularity_towers import PopularityTowers
from bascule_training.closed_form.spectral import DIMENSIONS, UserCodes, fit_spectral
from bascule_training.config import ClosedForm
from bascule_training.data.histories import Histories
from bascule_training.data.tables import DataError
from bascule_training.fitting.fit import Validation
from bascule_training.towers.two_towers import TwoTowers

FROZEN_DIMENSION = 256
"""The largest dimension of a tower that stands beside trained ones."""


class _Form(NamedTuple):
    settings: Sequence[Any]
    solve: Callable[[Histories, Any], TwoTowers]


class ClosedForms:
    """What can be solved for one catalogue and its users."""

    def __init__(self, item_count: int, users: UserCodes) -> None:
        self._item_count = item_count
        self._users = users

    def solve(
        self, kind: ClosedForm, dimension: int, train: Histories, validation: Validation, known: Histories
    ) -> tuple[TwoTowers, TwoTowers]:
        """The towers of the best setting, solved for ``train`` and for ``known``.

        Args:
            kind: which.
            dimension: of the vectors, at most.
            train: what is solved for while settings are tried.
            validation: where they are compared, by NDCG@10.
            known: all that may be known at last.

        Raises:
            DataError: the catalogue is too large for it.
        """
        form = self._form(kind, dimension, has_times=train.times is not None)
        tried = [(setting, form.solve(train, setting)) for setting in form.settings]
        # One needs no comparison.
        setting, towers = tried[0] if len(tried) == 1 else max(tried, key=lambda pair: validation.quality(pair[1]))
        return towers, form.solve(known, setting)

    def _form(self, kind: ClosedForm, dimension: int, *, has_times: bool) -> _Form:
        count = self._item_count
        if kind in ("ease", "itemknn") and count > ease.MAX_ITEMS:
            raise DataError(
                f"got {count:,} items; expected at most {ease.MAX_ITEMS:,} for {kind!r}: choose another tower"
            )
        match kind:
            case "spectral":
                sizes = sorted({min(size, dimension, count) for size in DIMENSIONS})
                return _Form(sizes, lambda log, size: fit_spectral(log, count, size, self._users))
            case "ease":
                return _Form(
                    ease.PENALTIES,
                    lambda log, penalty: LinearTowers(*factored(Ease.fit(log, count, penalty).weights, dimension)),
                )
            case "itemknn":
                return _Form(
                    item_knn.NEIGHBOUR_COUNTS,
                    lambda log, neighbours: LinearTowers(*factored(_weights(log, count, neighbours), dimension)),
                )
            case "svd":
                ranks = sorted({min(rank, dimension, count) for rank in pure_svd.RANKS})
                return _Form(ranks, lambda log, rank: _svd_towers(PureSvd.fit(log, count, rank)))
            case "ials":
                settings = [each._replace(factor_count=min(each.factor_count, dimension)) for each in ials.SETTINGS]
                return _Form(settings, lambda log, setting: IalsTowers(Ials.fit(log, count, setting)))
            case "popularity":
                half_lives = (None, *HALF_LIVES) if has_times else (None,)
                return _Form(half_lives, lambda log, days: PopularityTowers(Popularity.fit(log, count, days).counts))


def _weights(log: Histories, item_count: int, neighbours: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    weights: np.ndarray[tuple[int, int], np.dtype[np.float32]] = ItemKnn.fit(
        log, item_count, neighbours
    ).similarity.T.toarray()
    return weights


def _svd_towers(model: PureSvd) -> TwoTowers:
    return LinearTowers(model.directions, model.directions)
