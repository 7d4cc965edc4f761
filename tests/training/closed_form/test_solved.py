from typing import get_args

import numpy as np
import polars as pl
import pytest

from bascule_server.scoring.encoder import HISTORY, QueryEncoder, encode_histories
from bascule_training.baselines import ease, ials, item_knn
from bascule_training.baselines.ease import Ease
from bascule_training.baselines.ials import Ials, IalsSetting
from bascule_training.baselines.item_knn import ItemKnn
from bascule_training.closed_form.ials_towers import IalsTowers
from bascule_training.closed_form.solved import ClosedForms
from bascule_training.closed_form.spectral import UserCodes
from bascule_training.config import ClosedForm
from bascule_training.data.features import history_feature
from bascule_training.data.histories import Histories, of_users
from bascule_training.data.tables import DataError
from bascule_training.evaluation.cases import cases_of
from bascule_training.fitting.fit import Validation

LENGTH, ITEMS = 5, 12
ITEM_IDS = [chr(ord("a") + row) for row in range(ITEMS)]
FORMS = ClosedForms(ITEMS, UserCodes([], {}))


@pytest.fixture(autouse=True)
def few_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ials, "SETTINGS", (IalsSetting(64, 0.1, 4.0), IalsSetting(64, 1e6, 1.0)))


@pytest.fixture(scope="module")
def log() -> tuple[Histories, Validation, Histories]:
    """Users keep to one half of the items. Train, validation, and both."""
    random = np.random.default_rng(3)
    kept = [random.choice(ITEMS // 2, 5, replace=False) + (user % 2) * (ITEMS // 2) for user in range(60)]
    table = pl.DataFrame(
        {
            "user_id": np.repeat([str(user) for user in range(60)], 5),
            "item_id": [ITEM_IDS[row] for rows in kept for row in rows],
        }
    )
    is_last = np.tile(np.arange(5) == 4, 60)
    rows = {item_id: row for row, item_id in enumerate(ITEM_IDS)}
    train, known = (of_users(part, [str(user) for user in range(60)], rows) for part in (table.filter(~is_last), table))
    cases = cases_of(table.filter(~is_last), table.filter(is_last), ITEM_IDS)
    return train, Validation(cases, QueryEncoder([history_feature(LENGTH, distinct=True)], {})), known


@pytest.mark.parametrize("kind", sorted({*get_args(ClosedForm)} - {"popularity"}))
def test_every_form_that_reads_a_history_finds_out_what_goes_together(
    kind: ClosedForm, log: tuple[Histories, Validation, Histories]
) -> None:
    train, validation, known = log
    for towers in FORMS.solve(kind, 4, train, validation, known):
        assert towers.item_vectors().shape == (ITEMS, towers.item_vectors().shape[1])
        assert towers.item_vectors().shape[1] <= 4
        codes = encode_histories([np.array([0, 1]), np.array([6, 7])], LENGTH)
        one, other = towers.query_tower().vectors({HISTORY: codes}) @ towers.item_vectors().T
        assert one[2:6].mean() > one[6:].mean()
        assert other[8:].mean() > other[:6].mean()
        # Two items are left to a user's half, and chance finds one of eight: .2 on the mean.
        assert validation.quality(towers) > 0.5


@pytest.mark.parametrize("settings", [(0.1, 1e6), (1e6, 0.1)])
def test_the_setting_is_the_best_on_validation(
    settings: tuple[float, float], log: tuple[Histories, Validation, Histories], monkeypatch: pytest.MonkeyPatch
) -> None:
    train, validation, known = log
    monkeypatch.setattr(ials, "SETTINGS", [IalsSetting(64, penalty, 4.0) for penalty in settings])
    each = [IalsTowers(Ials.fit(train, ITEMS, IalsSetting(4, penalty, 4.0))) for penalty in settings]
    qualities = [validation.quality(towers) for towers in each]
    assert abs(qualities[0] - qualities[1]) > 0.1
    best = int(np.argmax(qualities))
    first, again = FORMS.solve("ials", 4, train, validation, known)
    np.testing.assert_array_equal(first.item_vectors(), each[best].item_vectors())
    expected = Ials.fit(known, ITEMS, IalsSetting(4, settings[best], 4.0)).items
    np.testing.assert_array_equal(again.item_vectors(), expected)


@pytest.mark.parametrize("kind", ["ease", "itemknn"])
def test_at_full_dimension_the_scores_are_the_baselines_own(
    kind: ClosedForm, log: tuple[Histories, Validation, Histories], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ease, "PENALTIES", (3.0,))
    monkeypatch.setattr(item_knn, "NEIGHBOUR_COUNTS", (2,))
    _, towers = FORMS.solve(kind, ITEMS, *log)
    known = log[-1]
    baseline = Ease.fit(known, ITEMS, 3.0) if kind == "ease" else ItemKnn.fit(known, ITEMS, 2)
    vectors = towers.query_tower().vectors(
        {HISTORY: encode_histories([history.astype(np.int64) for history in known], LENGTH)}
    )
    np.testing.assert_allclose(vectors @ towers.item_vectors().T, baseline.scores(known), atol=1e-5)


@pytest.mark.parametrize("kind", ["ease", "itemknn"])
def test_a_catalogue_that_is_too_large_is_refused(
    kind: ClosedForm, log: tuple[Histories, Validation, Histories]
) -> None:
    forms = ClosedForms(20_001, UserCodes([], {}))
    with pytest.raises(DataError, match=f"got 20,001 items; expected at most 20,000 for '{kind}'"):
        forms.solve(kind, 4, *log)


def test_popularity_is_of_the_half_life_that_validation_prefers() -> None:
    day = 86_400
    # Of old, 30 times a; in the last days 4 times b, and then everybody turns to b.
    old = [("a", 0)] * 30
    new = [("b", 200 * day)] * 4 + [("c", 200 * day)] * 3
    users = [f"u{number}" for number in range(len(old) + len(new))]
    items, times = zip(*old, *new, strict=True)
    train = pl.DataFrame({"user_id": users, "item_id": items, "time": times})
    after = pl.DataFrame({"user_id": ["u35", "u36"], "item_id": ["b", "b"], "time": [201 * day] * 2})
    encoder = QueryEncoder([history_feature(LENGTH, distinct=True)], {})
    validation = Validation(cases_of(train, after, ITEM_IDS), encoder)
    log = of_users(train, users, {item_id: row for row, item_id in enumerate(ITEM_IDS)})
    towers, _ = FORMS.solve("popularity", 4, log, validation, log)
    inputs = {HISTORY: encode_histories([np.array([], np.int64)], LENGTH)}
    (scores,) = towers.query_tower().vectors(inputs) @ towers.item_vectors().T
    assert np.argsort(-scores)[:3].tolist() == [1, 2, 0]
    without_times, _ = FORMS.solve("popularity", 4, Histories(log.item_rows, log.offsets), validation, log)
    (scores,) = without_times.query_tower().vectors(inputs) @ without_times.item_vectors().T
    assert np.argsort(-scores)[:3].tolist() == [0, 1, 2]
