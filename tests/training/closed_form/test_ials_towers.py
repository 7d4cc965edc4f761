from pathlib import Path

import numpy as np
import pytest

from bascule_server.scoring.encoder import HISTORY, encode_histories
from bascule_server.scoring.tower import LiteRtTower
from bascule_training.baselines.ials import SETTINGS, Ials, IalsSetting
from bascule_training.closed_form.ials_towers import IalsTowers
from bascule_training.data.features import history_feature
from bascule_training.data.histories import Histories
from bascule_training.publishing.export import convert_to_litert, export_saved_model

LENGTH, ITEMS = 12, 40
LOG = [
    np.sort(np.random.default_rng(user).choice(ITEMS, 2 + user % 9, replace=False, p=np.arange(1, 41) / 820))
    for user in range(120)
]
HISTORIES = [[], [39], [0], [5, 4, 3], list(range(28, 40)), []]


def histories(*users: list[int]) -> Histories:
    rows = np.array([row for user in users for row in user], np.int32)
    return Histories(rows, np.cumsum([0, *map(len, users)]).astype(np.int64))


TRAIN = histories(*(user.tolist() for user in LOG))


@pytest.mark.parametrize("setting", [IalsSetting(8, 1.0, 4.0), IalsSetting(16, 1.0, 10.0), *SETTINGS[:1]], ids=str)
def test_the_exported_tower_solves_what_the_baseline_solves(setting: IalsSetting, tmp_path: Path) -> None:
    model = Ials.fit(TRAIN, ITEMS, setting)
    export_saved_model(tmp_path / "tower", IalsTowers(model).query_tower(), [history_feature(LENGTH, distinct=True)])
    convert_to_litert(tmp_path / "tower", tmp_path / "tower.tflite")
    codes = encode_histories([np.array(history, np.int64) for history in HISTORIES], LENGTH, distinct=True)
    served = LiteRtTower(tmp_path / "tower.tflite").vectors({HISTORY: codes})
    expected = model.users(histories(*HISTORIES))
    assert np.abs(expected[1]).max() > 0.01
    assert served[[0, -1]].tolist() == np.zeros((2, setting.factor_count)).tolist()
    np.testing.assert_allclose(served, expected, atol=1e-4)


def test_scores_are_those_of_the_baseline() -> None:
    model = Ials.fit(TRAIN, ITEMS, IalsSetting(8, 3.0, 2.0))
    towers = IalsTowers(model)
    codes = encode_histories(list(LOG), LENGTH, distinct=True)
    scores = towers.query_tower().vectors({HISTORY: codes}) @ towers.item_vectors().T
    np.testing.assert_allclose(scores, model.scores(TRAIN), atol=1e-4)
    assert towers.item_tower() is None
