"""What each published version must answer, computed without a server, and publishers that make versions of it."""

import json
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from bascule.v1 import recommendation_service_pb2 as pb
from bascule_server.scoring.query import Query, Question, Rank, Ranking
from bascule_server.servable import load_servable

ITEM_COUNT = 10
USERS = tuple(f"u{number}" for number in range(1, 101))


class Oracle:
    """The answers of several artifacts; version ``v`` is the artifact ``v`` modulo their number."""

    def __init__(self, artifacts: Sequence[Path]) -> None:
        self.artifacts = artifacts
        self._rankings = [_rankings(folder) for folder in artifacts]
        assert len({tuple(rankings.values()) for rankings in self._rankings}) == len(artifacts)

    def artifact_of(self, version: int) -> Path:
        return self.artifacts[version % len(self.artifacts)]

    def agrees(self, user_id: str, ranking: pb.Ranking, version: int) -> bool:
        """Whether a ranking is that of the version for the user: the ids, their order, and the scores to the bit."""
        return (tuple(ranking.item_ids), tuple(ranking.scores)) == self._rankings[version % len(self.artifacts)][
            user_id
        ]


def _rankings(folder: Path) -> dict[str, tuple[tuple[str, ...], tuple[float, ...]]]:
    scorer = load_servable(folder).scorer
    found = {}
    for user_id in USERS:
        (ranking,) = scorer.answer([Question(Query(user_id=user_id), Rank(item_count=ITEM_COUNT))])
        assert isinstance(ranking, Ranking)
        found[user_id] = (tuple(ranking.item_ids), tuple(ranking.scores.tolist()))
    return found


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
