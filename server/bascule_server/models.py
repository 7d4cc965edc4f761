"""The versions of models that a server knows, what has become of each, and which of them a caller means.

A version is LOADING from when its folder was found, and then one of two things:

    SERVING   checked, loaded and proven
    FAILED    damaged, or computes other answers than training did
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from bascule.v1.artifact_pb2 import Manifest
from bascule.v1.model_service_pb2 import ModelState
from bascule.v1.recommendation_service_pb2 import ModelSelector, ModelVersion
from bascule_server.artifact import MANIFEST, ArtifactError
from bascule_server.errors import Reason, ServiceError, invalid_field
from bascule_server.row_queue import Scorer
from bascule_server.schema import Schema, schema_of
from bascule_server.servable import ServableVersion, load_servable

_VERSION = re.compile(r"[1-9][0-9]{0,17}")


def newest_versions(root: Path) -> list[Path]:
    """The folder of each model's newest version below ``root``, by the model's name.

    What is no ``<model>/<version>/manifest.json``, with a positive integer for a version and no leading dot, is passed
    over: it belongs to somebody else, or is still being written.

    Raises:
        ArtifactError: there is no version of any model.
    """
    newest: dict[str, Path] = {}
    for folder in (manifest.parent for manifest in root.glob(f"*/*/{MANIFEST}")):
        model = folder.parent.name
        if model.startswith(".") or not _VERSION.fullmatch(folder.name):
            continue
        if model not in newest or int(folder.name) > int(newest[model].name):
            newest[model] = folder
    if not newest:
        raise ArtifactError(f"{root}: no model found; expected <model>/<version>/{MANIFEST}, as `bascule train` writes")
    return [newest[model] for model in sorted(newest)]


@dataclass(frozen=True, slots=True)
class ServingModel:
    """What answering takes of one version of a model."""

    name_and_version: ModelVersion
    schema: Schema
    scorer: Scorer


@dataclass(eq=False, slots=True)
class KnownVersion:
    """One version of a model, from when its folder was found."""

    folder: Path
    state: ModelState.ValueType = ModelState.MODEL_STATE_LOADING
    manifest: Manifest | None = None
    serving: ServingModel | None = None
    name_and_version: ModelVersion = field(init=False)

    def __post_init__(self) -> None:
        self.name_and_version = ModelVersion(model=self.folder.parent.name, version=int(self.folder.name))

    @property
    def model(self) -> str:
        """The model's name."""
        return self.name_and_version.model

    @property
    def version(self) -> int:
        """The version, a positive integer."""
        return self.name_and_version.version

    def loaded(self, servable: ServableVersion) -> None:
        """Has it serve."""
        self.manifest = servable.manifest
        self.serving = ServingModel(self.name_and_version, schema_of(servable.manifest), servable.scorer)
        self.state = ModelState.MODEL_STATE_SERVING


class Revised(Protocol):
    """What answers for a version whose catalogue changes."""

    @property
    def scorer(self) -> Scorer:
        """With the catalogue as it is now."""

    @property
    def revision(self) -> int:
        """How many changes it knows of."""


Follow: TypeAlias = Callable[[KnownVersion, ServableVersion], Revised]


class Models:
    """All versions that the server knows."""

    def __init__(self, folders: Iterable[Path], load: Callable[[Path], ServableVersion] = load_servable) -> None:
        """``folders`` are named ``<model>/<version>``."""
        versions = [KnownVersion(folder) for folder in folders]
        self._versions = sorted(versions, key=lambda known: (known.model, known.version))
        self._load = load
        self._found: dict[tuple[str, int], ServingModel] = {}
        """What selectors were found to mean, since the last version came to serve."""

    def known(self) -> Sequence[KnownVersion]:
        """Every version, by name and then version."""
        return self._versions

    async def load(self, worker: Executor, follow: Follow | None = None) -> None:
        """Loads one version after the other in ``worker``.

        Args:
            worker: a thread.
            follow: called there with each version before it serves; what it returns serves.

        Raises:
            ArtifactError: of the first version that cannot be loaded.
        """
        loop = asyncio.get_running_loop()
        for known in self._versions:
            try:
                servable = await loop.run_in_executor(worker, self._load, known.folder)
                followed = None if follow is None else await loop.run_in_executor(worker, follow, known, servable)
            except ArtifactError:
                known.state = ModelState.MODEL_STATE_FAILED
                raise
            known.loaded(servable)
            self._found.clear()
            if followed is not None:
                self.replace_serving(known, followed)

    def replace_serving(self, known: KnownVersion, revised: Revised) -> None:
        """Has a version that serves answer by another scorer from now on."""
        if known.serving is not None:
            name_and_version = ModelVersion(
                model=known.model, version=known.version, catalogue_revision=revised.revision
            )
            known.serving = ServingModel(name_and_version, known.serving.schema, revised.scorer)
            self._found.clear()

    def named(self, selector: ModelSelector) -> KnownVersion:
        """The version that is meant, in whatever state: the newest one where none is named.

        Raises:
            ServiceError: MODEL_NOT_FOUND; or INVALID_FIELD, where no model is named and several are known.
        """
        return self._meant(selector)[-1]

    def serving(self, selector: ModelSelector) -> ServingModel:
        """The version that is meant and serves: the newest one that does where none is named.

        Raises:
            ServiceError: as ``named``; or NOT_READY, where what is meant is being loaded.
        """
        if found := self._found.get((selector.model, selector.version)):
            return found
        meant = self._meant(selector)
        for known in reversed(meant):
            if known.serving is not None:
                self._found[selector.model, selector.version] = known.serving
                return known.serving
        is_loading = any(known.state == ModelState.MODEL_STATE_LOADING for known in meant)
        raise ServiceError(Reason.NOT_READY if is_loading else Reason.MODEL_NOT_FOUND)

    def _meant(self, selector: ModelSelector) -> list[KnownVersion]:
        """The versions that may be meant, the newest last."""
        names = sorted({known.model for known in self._versions})
        if not selector.model and len(names) > 1:
            raise invalid_field("model.model", f"got none; expected one of {', '.join(names)}")
        meant = [
            known
            for known in self._versions
            if selector.model in ("", known.model) and selector.version in (0, known.version)
        ]
        if not meant:
            raise ServiceError(Reason.MODEL_NOT_FOUND)
        return meant
