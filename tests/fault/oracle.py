"""What each published version must answer, computed without a server, and publishers that make versions of it."""

import json
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from bascule_server.scoring.query import ItemScores, Query, Question, Rank, Ranking, Score
from bascule_server.servable import load_servable

ITEM_COUNT = 10
USERS = tuple(f"u{number}" for number in range(1, 101))
SCORED_ITEMS = ("i1", "i2")


class Oracle:
    """The answers of several artifacts; version ``v`` is the artifact ``v`` modulo their number."""

    def __init__(self, artifacts: Sequence[Path]) -> None:
        self.artifacts = artifacts
        answers = [_answers(folder) for folder in artifacts]
        self._rankings = [rankings for rankings, _ in answers]
        self._scores = [scores for _, scores in answers]
        assert len({tuple(rankings.values()) for rankings in self._rankings}) == len(artifacts)

    def artifact_of(self, version: int) -> Path:
        return self.artifacts[version % len(self.artifacts)]

    def agrees(self, user_id: str, item_ids: tuple[str, ...], scores: tuple[float, ...], version: int) -> bool:
        """Whether a ranking is that of the version for the user: the ids, their order, and the scores to the bit."""
        return self._rankings[version % len(self.artifacts)][user_id] == (item_ids, scores)

    def knows_scores(self, user_id: str, scores: Sequence[float]) -> bool:
        """Whether some version gives the user's ``SCORED_ITEMS`` these scores, to the bit."""
        return any(scores_of[user_id] == tuple(scores) for scores_of in self._scores)


_Rankings: TypeAlias = dict[str, tuple[tuple[str, ...], tuple[float, ...]]]
_Scores: TypeAlias = dict[str, tuple[float, ...]]


def _answers(folder: Path) -> tuple[_Rankings, _Scores]:
    scorer = load_servable(folder).scorer
    rankings, scores = {}, {}
    for user_id in USERS:
        query = Query(user_id=user_id)
        ranking, scored = scorer.answer(
            [Question(query, Rank(item_count=ITEM_COUNT)), Question(query, Score(SCORED_ITEMS))]
        )
        assert isinstance(ranking, Ranking)
        assert isinstance(scored, ItemScores)
        rankings[user_id] = (tuple(ranking.item_ids), tuple(ranking.scores.tolist()))
        scores[user_id] = tuple(scored.scores.tolist())
    return rankings, scores


def stage(artifact: Path, models: Path, version: int) -> Path:
    """Makes a version of the artifact, in a folder that no server looks at; ``publish`` puts it into its place."""
    staged = models / ".staged" / f"{random.randrange(1 << 32)}" / artifact.parent.name / str(version)
    shutil.copytree(artifact, staged)
    manifest = json.loads((staged / "manifest.json").read_text())
    (staged / "manifest.json").write_text(json.dumps({**manifest, "version": str(version)}))
    return staged


def publish(staged: Path, models: Path) -> Path:
    """Renames a staged version into its place."""
    place = models / staged.parent.name / staged.name
    place.parent.mkdir(exist_ok=True)
    return staged.rename(place)


def damage(folder: Path, chance: random.Random) -> str:
    """Flips a bit of a random byte of a random file of an artifact, but not of its manifest's free text; names it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    path = chance.choice([path for path in files if path.stat().st_size])
    at = chance.randrange(path.stat().st_size)
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ (1 << chance.randrange(8))]))
        os.fsync(file.fileno())
    return f"{path.relative_to(folder)} at {at}"
