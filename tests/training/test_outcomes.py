"""Logged outcomes: which of them a ranking tower may learn from, what it sees of them, and that it learns."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bascule_server.scoring.query import Question, Rank, Ranking
from bascule_server.scoring.ranker_inputs import NUMBERS, RankerInputs, RankerItems
from bascule_server.servable import load_servable
from bascule_training.config import ClosedFormTower, RankerConfig, TrainingConfig, load_config
from bascule_training.data.splits import GlobalTime, LeaveOneOut, Splits, split
from bascule_training.data.tables import DataError, read_outcomes
from bascule_training.prepared import Prepared, prepare
from bascule_training.ranking.candidates import RankingCase
from bascule_training.ranking.fit import fitted_towers
from bascule_training.ranking.outcomes import MAX_LISTS, shown_lists
from bascule_training.ranking.shown import shown_cases
from bascule_training.ranking.tower import mean_tower
from bascule_training.train import train
from bascule_training.trainer import Trainer

HEADER = "user_id,item_id,time,label"
LOG = [("a", "x", 10), ("a", "y", 20), ("a", "z", 30), ("b", "x", 14), ("b", "y", 24), ("b", "z", 34)]


def outcomes(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "outcomes.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def interactions(rows: list[tuple[str, str, int]]) -> pl.DataFrame:
    return pl.DataFrame(rows, ["user_id", "item_id", "time"], orient="row")


def times_learned(path: Path, splits: Splits) -> list[tuple[str, int]]:
    return shown_lists(path, splits, RankerConfig()).select("user_id", "time").unique(maintain_order=True).rows()


class TestReading:
    def test_a_list_is_what_a_user_was_shown_at_once(self, tmp_path: Path) -> None:
        read = read_outcomes(outcomes(tmp_path, "a,x,5,0", "b,x,5,1", "a,y,5,1", "a,x,6,0.5"))
        assert read["label"].to_list() == [0, 1, 1, 0.5]
        one, other, same, later = read["list"].to_list()
        assert same == one
        assert len({one, other, later}) == 3

    def test_a_list_with_an_id_may_take_its_time(self, tmp_path: Path) -> None:
        read = read_outcomes(outcomes(tmp_path, "a,x,5,0,7", "a,y,6,1,7", "a,z,5,1,8", header=f"{HEADER},list_id"))
        assert read["list"].to_list() == [1, 1, 2]
        assert read["time"].to_list() == [5, 5, 5]

    @pytest.mark.parametrize(
        ("rows", "header", "message"),
        [
            (["a,x,5,-1"], HEADER, r"column 'label': row 1: got '-1'; expected 0 for what the user did not turn to"),
            (["a,x,5,1", "a,y,5,"], HEADER, r"column 'label': row 2: got an empty cell; expected a finite number"),
            (["a,x,noon,1"], HEADER, r"column 'time': row 1: got 'noon'; expected whole unix seconds"),
            (["a,x,5,0"], HEADER, r"column 'label' has nothing above 0, so there is nothing to learn"),
            (["a,x,5"], "user_id,item_id,time", r"column 'label' is missing; there are user_id"),
            (["a,x,5,1,7", "b,y,5,1,7"], f"{HEADER},list_id", r"column 'list_id': row 1: 7 has several users"),
        ],
    )
    def test_what_is_wrong_is_named(self, tmp_path: Path, rows: list[str], header: str, message: str) -> None:
        path = outcomes(tmp_path, *rows, header=header)
        with pytest.raises(DataError, match=message) as refused:
            read_outcomes(path)
        assert str(refused.value).startswith(str(path))


class TestWhatMayBeLearned:
    def test_parted_by_a_moment_what_is_of_the_time_between_training_and_test(self, tmp_path: Path) -> None:
        splits = split(interactions(LOG), GlobalTime(validation_from=20, test_from=30))
        path = outcomes(tmp_path, *(f"{user},x,{time},1" for time in (14, 15, 29, 30, 99) for user in "ab"))
        assert times_learned(path, splits) == [("a", 15), ("b", 15), ("a", 29), ("b", 29)]

    def test_else_what_is_of_the_users_own_time_between_them(self, tmp_path: Path) -> None:
        later = [("b", "x", 35), ("b", "y", 45), ("b", "z", 55)]
        splits = split(interactions([*LOG[:3], *later]), LeaveOneOut())
        path = outcomes(tmp_path, *(f"{user},x,{time},1" for time in (10, 11, 30, 35, 36, 54, 55) for user in "abc"))
        # Training ends at 10 for a and at 35 for b; the test begins at 30 and at 55. Of c there is nothing in either.
        learned = times_learned(path, splits)
        assert [time for user, time in learned if user == "a"] == [11]
        assert [time for user, time in learned if user == "b"] == [36, 54]
        assert [time for user, time in learned if user == "c"] == [10, 11, 30, 35, 36, 54, 55]

    def test_an_item_is_in_a_list_once_with_its_largest_label(self, tmp_path: Path) -> None:
        splits = split(interactions(LOG), GlobalTime(validation_from=20, test_from=30))
        path = outcomes(tmp_path, "a,x,25,0", "a,y,25,0", "a,x,25,2", "a,z,24,0")
        lists = shown_lists(path, splits, RankerConfig())
        assert lists.select("item_id", "label").rows() == [("z", 0), ("x", 2), ("y", 0)]

    def test_of_many_lists_the_newest(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert MAX_LISTS >= 10_000
        monkeypatch.setattr("bascule_training.ranking.outcomes.MAX_LISTS", 2)
        splits = split(interactions(LOG), GlobalTime(validation_from=20, test_from=30))
        path = outcomes(tmp_path, "a,x,26,1", "b,x,25,1", "b,x,27,1")
        assert times_learned(path, splits) == [("a", 26), ("b", 27)]

    def test_outcomes_of_another_time_or_beside_interactions_without_one_are_an_error(self, tmp_path: Path) -> None:
        splits = split(interactions(LOG), LeaveOneOut())
        path = outcomes(tmp_path, "a,x,99,1", "a,y,99,0", "b,x,30,0")
        with pytest.raises(
            DataError, match="of 2 lists none in which a user turned to an item is later than the train"
        ):
            shown_lists(path, splits, RankerConfig())
        timeless = splits.train.with_columns(time=pl.lit(None, pl.Int64))
        with pytest.raises(DataError, match="outcomes are of a time, and the interactions have none"):
            shown_lists(path, Splits(timeless, splits.validation, splits.test), RankerConfig())


SHOWN = 6
CONTEXT = 'ranker.context=[{ name = "device", kind = "categorical" }]'


@pytest.fixture(scope="module")
def logged(tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingConfig:
    """Lists of any items, of which the tv's users turned to the first of an odd number, and the phone's of an even one.

    Items are ``number`` by it, for the tower to read. The interactions know nothing of a device.
    """
    folder = tmp_path_factory.mktemp("logged")
    items = pl.read_parquet(tiny_config.parent / "items.parquet")
    parity = (
        pl.when(pl.col("item_id").str.slice(1).cast(pl.Int64) % 2 == 0).then(pl.lit("even")).otherwise(pl.lit("odd"))
    )
    items.with_columns(parity=parity).write_parquet(folder / "items.parquet")
    log = pl.read_parquet(tiny_config.parent / "interactions.parquet")
    begin, end = (int(log["time"].sort()[int(share * len(log))]) for share in (0.8, 0.9))
    random, rows = np.random.default_rng(4), []
    for number in range(900):
        user, time, device = f"u{random.integers(150)}", int(random.integers(begin, end)), ("tv", "phone")[number % 2]
        shown = random.choice(items["item_id"].to_list(), SHOWN, replace=False)
        is_right = [(int(item_id[1:]) % 2 == 0) == (device == "phone") for item_id in shown]
        chosen = is_right.index(True) if any(is_right) else SHOWN
        rows += [(user, item_id, time, float(place == chosen), device, number) for place, item_id in enumerate(shown)]
    columns = ["user_id", "item_id", "time", "label", "device", "list_id"]
    pl.DataFrame(rows, columns, orient="row").write_parquet(folder / "outcomes.parquet")
    config = load_config(
        tiny_config,
        [
            f"data.items={folder}/items.parquet",
            f"data.outcomes={folder}/outcomes.parquet",
            "data.split.kind=global_time",
            'ranker.features=[{ name = "parity", kind = "categorical" }]',
            CONTEXT,
        ],
    )
    return config.model_copy(update={"tower": ClosedFormTower(kind="ease")})


@pytest.fixture(scope="module")
def prepared(logged: TrainingConfig) -> Prepared:
    return prepare(logged)


def test_a_case_is_what_was_shown_as_it_stands_among_what_is_retrieved(
    logged: TrainingConfig, prepared: Prepared
) -> None:
    assert prepared.shown is not None
    model = Trainer(logged.model_copy(update={"ranker": None}), prepared, Path("none"), resume=False, observe=ignore)
    towers = model.fit().model
    count = len(prepared.dataset.items)
    items = RankerItems(np.arange(count, dtype=np.float32)[:, None], {})
    cases = shown_cases(towers, prepared, prepared.shown, RankerInputs(items, 20), 20)
    assert 700 < len(cases) <= 900
    for case in cases:
        assert len(case.inputs[NUMBERS]) == len(case.gains) <= SHOWN
        assert (case.gains.sum(), case.relevant_count) == (1, 1)
    # The best of 120 by retrieval, which alone stands at 0, is seldom among six of them.
    assert np.mean([(case.inputs[NUMBERS][:, 0] < 0).mean() for case in cases]) > 0.9


def test_a_case_knows_the_history_before_it_alone(prepared: Prepared) -> None:
    dataset = prepared.dataset
    histories = dataset.histories(dataset.before_test())
    assert histories.times is not None
    second = int(histories.times[1])
    earlier = np.count_nonzero(histories.times[: histories.lengths[0]] < second)
    assert histories.before(0, second).tolist() == histories[0][:earlier].tolist()
    assert not len(histories.before(0, 0))


def test_the_tower_learns_from_outcomes_what_the_interactions_do_not_say(
    logged: TrainingConfig, tmp_path: Path
) -> None:
    trained = train(logged, tmp_path, resume=False, observe=ignore, with_baselines=False)
    servable = load_servable(trained.folder)
    (device,) = servable.manifest.ranker.context
    assert (device.name, device.categorical.size) == ("device", 2)
    queries = trained.evaluations[0].cases.queries[:40]
    even = {}
    for name in ("phone", "tv"):
        asked = [Question(query._replace(features={"device": name}), Rank(3)) for query in queries]
        answers = [
            answer for answer in servable.scorer.answer(asked) if isinstance(answer, Ranking) and answer.is_ranked
        ]
        even[name] = np.mean([int(item_id[1:]) % 2 == 0 for answer in answers for item_id in answer.item_ids])
    assert even["phone"] > 0.8
    assert even["tv"] < 0.2


def test_a_list_counts_as_much_as_its_labels_together() -> None:
    # Of two candidates the first was turned to as often as the second, by labels of 1 and of 9.
    numbers = np.array([[0, 1], [-0.1, -1]], np.float32)
    cases = [
        RankingCase({NUMBERS: numbers}, np.array(gains, np.float32), 1, user)
        for user in range(60)
        for gains in ([1, 0], [0, 9])
    ]
    tower = mean_tower(fitted_towers(cases, 2, seed=1))
    assert tower.vectors({NUMBERS: numbers})[:, 0].argmax() == 1
    evenly = [case._replace(gains=np.minimum(case.gains, 1)) for case in cases]
    assert mean_tower(fitted_towers(evenly, 2, seed=1)).vectors({NUMBERS: numbers})[:, 0].argmax() == 0


def test_outcomes_of_other_ids_are_an_error(logged: TrainingConfig, tmp_path: Path) -> None:
    assert logged.data.outcomes is not None
    other = pl.read_parquet(logged.data.outcomes).with_columns(item_id="x" + pl.col("item_id"))
    other.write_parquet(tmp_path / "outcomes.parquet")
    data = logged.data.model_copy(update={"outcomes": tmp_path / "outcomes.parquet"})
    with pytest.raises(DataError, match="lists of the outcomes has items of the catalogue"):
        train(logged.model_copy(update={"data": data}), tmp_path, resume=False, observe=ignore)


def test_a_context_that_the_outcomes_lack_is_an_error(logged: TrainingConfig) -> None:
    ranker = RankerConfig.model_validate({"context": [{"name": "hour", "kind": "bucketed"}]})
    with pytest.raises(DataError, match=r"outcomes\.parquet: column 'hour' is missing"):
        prepare(logged.model_copy(update={"ranker": ranker}))


def ignore(_: object) -> None:
    pass
