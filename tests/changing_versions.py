"""Versions that a test publishes, damages and removes, and a watcher that looks at them."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bascule.v1.artifact_pb2 import Manifest
from bascule.v1.model_admin_service_pb2 import ServingPlan
from bascule.v1.model_service_pb2 import ModelState
from bascule.v1.recommendation_service_pb2 import ModelSelector
from bascule_server.artifact.reading import ArtifactError
from bascule_server.batching.batch_forming import Scorer
from bascule_server.models import KnownVersion, Models, ServingModel
from bascule_server.scoring.query import Answer, Question
from bascule_server.servable import ServableVersion
from bascule_server.versions.models_folder import Loaded, Published
from bascule_server.versions.plan import PlanError
from bascule_server.versions.watcher import Catalogues, Watcher


class Silent:
    """Is never asked."""

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        raise AssertionError(questions)


class Copy:
    """Says when it is used no more."""

    def __init__(self, name: str, released: list[str]) -> None:
        self._name = name
        self._released = released

    def release(self) -> None:
        self._released.append(self._name)


class ChangingVersions:
    """Each has a folder with one file; see ``watcher.Source``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[str, dict[int, Path]] = {}
        self.plans: dict[str, ServingPlan | PlanError] = {}
        self.damaged: set[str] = set()
        self.scorers: dict[str, Scorer] = {}
        """Of those versions that are asked."""
        self.is_away = False
        self.look_count = 0
        self.loads: list[str] = []
        """What was loaded, or tried."""
        self.begun = threading.Event()
        """Loading was."""
        self.may_load = threading.Event()
        self.may_load.set()
        self.released: list[str] = []
        self.swept_by: list[str] = []
        """The names of the threads."""

    def publish(self, *names: str) -> None:
        for name in names:
            folder = self._root / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "manifest.json").touch()
            self._folders.setdefault(folder.parent.name, {})[int(folder.name)] = folder

    def remove(self, *names: str) -> None:
        for name in names:
            model, version = name.split("/")
            self._folders[model].pop(int(version))
            if not self._folders[model]:
                del self._folders[model]

    def change(self, name: str) -> None:
        """Writes into a file of a version."""
        with (self._root / name / "manifest.json").open("a") as file:
            file.write("x")

    def look(self) -> Mapping[str, Published]:
        self.look_count += 1
        if self.is_away:
            raise OSError(5, "the disk is away")
        return {
            model: Published(dict(folders), self.plans.get(model, ServingPlan()))
            for model, folders in self._folders.items()
        }

    def load(self, folder: Path) -> Loaded:
        name = f"{folder.parent.name}/{folder.name}"
        self.loads.append(name)
        self.begun.set()
        self.may_load.wait(timeout=30)
        if name in self.damaged:
            raise ArtifactError(f"{name} is damaged")
        manifest = Manifest(model=folder.parent.name, version=int(folder.name))
        scorer = self.scorers.get(name) or Silent()
        servable = ServableVersion(manifest, scorer)  # type: ignore[arg-type]
        return Loaded(servable, Copy(name, self.released))  # type: ignore[arg-type]

    def sweep(self) -> None:
        self.swept_by.append(threading.current_thread().name)


class Scene:
    """A watcher, and all that it sees and fills."""

    def __init__(self, root: Path, catalogues: Catalogues | None = None) -> None:
        self.shelf = ChangingVersions(root)
        self.models = Models()
        self.loader = ThreadPoolExecutor(1, "loader")
        self.now = 0.0
        self.told: list[str] = []
        self.watcher = Watcher(
            self.shelf,
            self.models,
            self.loader,
            observe=lambda known: self.told.append(f"{known.model}/{known.version} {state_name(known)}"),
            clock=lambda: self.now,
            catalogues=catalogues,
        )

    async def look(self) -> None:
        await self.watcher.look()

    def serving(self, version: int = 0, user_id: str = "") -> ServingModel:
        return self.models.serving(ModelSelector(model="m", version=version), user_id)

    @property
    def answering(self) -> int:
        """The version of ``m`` that answers whoever names none."""
        return self.serving().name_and_version.version

    @property
    def states(self) -> dict[str, str]:
        return {f"{known.model}/{known.version}": state_name(known) for known in self.models.known()}

    async def disposed(self) -> None:
        """Returns when the loader has done what it had to."""
        await asyncio.get_running_loop().run_in_executor(self.loader, int)


def state_name(known: KnownVersion) -> str:
    return ModelState.Name(known.state).removeprefix("MODEL_STATE_")
