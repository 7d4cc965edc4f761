"""Has what serves follow what is published: loads new versions beside the one that serves, and lets old ones go.

A new version is copied, checked, loaded and proven in a thread of its own. Then one assignment has it answer; calls and
streams' messages that began with another version end with that one, which is let go after the last of them. A version
that cannot be loaded is FAILED, and what served goes on. The last version that serves is never let go.
"""

import asyncio
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

import structlog

from bascule.v1.model_admin_service_pb2 import ServingPlan
from bascule.v1.model_service_pb2 import ModelState
from bascule_server.artifact.reading import NO_ROOM, ArtifactError
from bascule_server.errors import Reason, ServiceError
from bascule_server.faults import fault
from bascule_server.footprint import give_back_memory
from bascule_server.models import KnownVersion, Models, Revised, Route
from bascule_server.servable import ServableVersion
from bascule_server.versions.choice import stable_version, wanted_versions
from bascule_server.versions.models_folder import Loaded, Published
from bascule_server.versions.plan import PlanError

LOOK_SECONDS = 1.0
"""How often it is looked what is published."""

RETRY_SECONDS = 60.0
"""After which a version that could not be loaded is tried again, though its files have not changed: it may have been
for want of memory or of room on the disk."""

MAX_FILES_LOOKED_AT = 2_000

Observe: TypeAlias = Callable[[KnownVersion], None]
Result = TypeVar("Result")

_log = structlog.get_logger()


class Source(Protocol):
    """Where versions come from; see ``ModelsFolder``."""

    def look(self) -> Mapping[str, Published]:
        """What is published, by the name of the model."""

    def load(self, folder: Path) -> Loaded:
        """Loads a version."""

    def sweep(self) -> None:
        """Removes what loading left behind."""


class Catalogues(Protocol):
    """What follows the changes of catalogues; see ``LivingCatalogues``."""

    def follow(self, known: KnownVersion, servable: ServableVersion) -> Revised:
        """What serves in the place of a version that was loaded. Called in the thread that loads."""

    def start(self, known: KnownVersion) -> None:
        """Follows further changes, now that the version serves."""

    def unfollow(self, known: KnownVersion) -> None:
        """Ends that."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why and when a version could not be loaded."""

    why: str
    files: frozenset[tuple[str, int, int]]
    """The name, size and time of change of each file then."""
    at: float


class Watcher:
    """Of all models of one server. Belongs to the event loop."""

    def __init__(
        self,
        source: Source,
        models: Models,
        loader: Executor,
        catalogues: Catalogues | None = None,
        observe: Observe = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes what it fills.

        Args:
            source: where versions come from.
            models: where they are made known.
            loader: has one thread, in which files are read.
            catalogues: follow the changes of each version's catalogue.
            observe: told of each version whose state has changed.
            clock: in seconds.
        """
        self._source = source
        self._models = models
        self._loader = loader
        self._catalogues = catalogues
        self._observe = observe
        self._clock = clock
        self._loading: list[KnownVersion] = []
        self._loaded: dict[KnownVersion, Loaded] = {}
        self._failures: dict[KnownVersion, _Failure] = {}
        self._plans: dict[str, ServingPlan] = {}
        """The last ones that could be read."""
        self._looks_soon = asyncio.Event()
        self._told: dict[str, str] = {}
        """What was logged last of each model, or of all, so that it is not logged again each second."""

    async def load_all(self) -> None:
        """Loads what is published.

        Raises:
            ArtifactError: there is nothing; or of one of the models, no version can be loaded.
            OSError: the folder cannot be read.
        """
        await self.look()
        serving = {known.model for known in self._loaded}
        for known, failure in self._failures.items():
            if known.model not in serving:
                raise ArtifactError(failure.why)
        if not serving:
            raise ArtifactError("no model found")

    async def run(self) -> None:
        """Looks again and again, until it is cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._looks_soon.wait(), LOOK_SECONDS)
            self._looks_soon.clear()
            try:
                await self.look()
                self._told.pop("", None)
            except OSError as error:
                self._tell_once("", f"cannot look for versions: {error.strerror}")
            except Exception as exception:  # noqa: BLE001 - what serves goes on
                fault(exception)

    async def look(self) -> None:
        """Looks once at what is published, and does all that follows from it.

        Raises:
            OSError: the folder cannot be read.
        """
        published = await self.published()
        for model in sorted(published):
            self._begin(model, published[model])
        for model in sorted(published):
            await self._keep(model, published[model].folders)

    def look_soon(self) -> None:
        """Has ``run`` look at once."""
        self._looks_soon.set()

    async def published(self) -> Mapping[str, Published]:
        """What is published now, by the name of the model.

        Raises:
            OSError: the folder cannot be read.
        """
        return await asyncio.to_thread(self._source.look)

    def failed_versions(self, model: str) -> set[int]:
        """The versions of a model that could not be loaded."""
        return {known.version for known in self._failures if known.model == model}

    def _begin(self, model: str, published: Published) -> None:
        """Takes over the plan of a model, where it can be read, and has callers know what is about to be loaded."""
        if isinstance(published.plan, PlanError):
            self._tell_once(model, str(published.plan))
        else:
            self._told.pop(model, None)
            self._plans[model] = published.plan
        self._forget_failures(model, published.folders)
        for version in self._missing(model, published.folders):
            self._loading.append(self._models.announce(published.folders[version]))
            self._observe(self._loading[-1])

    async def _keep(self, model: str, folders: Mapping[int, Path]) -> None:
        """Loads what is missing of a model, says which version answers, and lets go what is not wanted."""
        while missing := self._missing(model, folders):
            known = next((known for known in self._loading if known.folder == folders[missing[0]]), None)
            if known is None:
                # In the place of one that failed.
                known = self._models.announce(folders[missing[0]])
                self._loading.append(known)
                self._observe(known)
            await self._load(known)
            # It answers as soon as it can, and before others are loaded.
            self._route(model, folders)
        route, wanted = self._route(model, folders), self._wanted(model, folders)
        for known in [known for known in self._loaded if known.model == model]:
            if known.version not in (*wanted, route.stable):
                self._let_go(known)

    def _wanted(self, model: str, folders: Mapping[int, Path]) -> list[int]:
        return wanted_versions(folders, self.failed_versions(model), self._plan_of(model))

    def _missing(self, model: str, folders: Mapping[int, Path]) -> list[int]:
        """The versions that are wanted and not loaded."""
        loaded = {known.version for known in self._loaded if known.model == model}
        return [version for version in self._wanted(model, folders) if version not in loaded]

    def _plan_of(self, model: str) -> ServingPlan:
        return self._plans.get(model, ServingPlan())

    def _forget_failures(self, model: str, folders: Mapping[int, Path]) -> None:
        """Those of versions that are gone, and of those that may be loaded now."""
        for known, failure in list(self._failures.items()):
            if known.model != model:
                continue
            is_gone = known.version not in folders
            if is_gone or self._clock() - failure.at >= RETRY_SECONDS or _files(known.folder) != failure.files:
                del self._failures[known]
                known.state = ModelState.MODEL_STATE_UNSPECIFIED
                self._models.forget(known)
                self._observe(known)

    async def _load(self, known: KnownVersion) -> None:
        """Loads a version; where that cannot be, it has failed."""
        start, files = self._clock(), _files(known.folder)
        loaded: Loaded | None = None
        try:
            loaded = await self._in_loader(self._source.load, known.folder)
            catalogues = self._catalogues
            revised = None if catalogues is None else await self._in_loader(catalogues.follow, known, loaded.servable)
        except Exception as exception:  # noqa: BLE001 - whatever it is, it concerns this version alone
            if loaded is not None:
                loaded.release()
            error = _error_of(exception)
            why = str(exception if isinstance(exception, ArtifactError) else error)
            self._failures[known] = _Failure(why, files, self._clock())
            self._models.fail(known, error)
            _log.error(
                "version failed",
                model=known.model,
                version=known.version,
                reason=error.reason.name,
                why=why,
                **error.metadata,
            )
        else:
            self._loaded[known] = loaded
            self._models.serve(known, loaded.servable, revised)
            if self._catalogues is not None:
                self._catalogues.start(known)
            seconds = round(self._clock() - start, 3)
            _log.info("version loaded", model=known.model, version=known.version, load_seconds=seconds)
        self._loading.remove(known)
        self._observe(known)

    def _route(self, model: str, folders: Mapping[int, Path]) -> Route:
        """Says which versions answer whom."""
        plan = self._plan_of(model)
        serving = {known.version for known in self._loaded if known.model == model}
        before = self._models.route_of(model)
        # What is gone from the disk answers only where nothing else does.
        stable = stable_version(serving.intersection(folders) or serving, plan, before.stable)
        route = Route(stable, plan.canary.version, plan.canary.weight, plan.shadow)
        if route != before:
            self._models.route(model, route)
            if serving:
                _log.info("version answers", model=model, stable=stable, canary=route.canary, weight=route.weight)
        return route

    def _let_go(self, known: KnownVersion) -> None:
        """Has a version answer no more, and gives its memory back after its last call."""
        loaded, serving = self._loaded.pop(known), known.serving
        known.state = ModelState.MODEL_STATE_UNSPECIFIED
        known.serving = None
        self._models.forget(known)
        self._observe(known)
        if self._catalogues is not None:
            self._catalogues.unfollow(known)
        _log.info("version let go", model=known.model, version=known.version)
        if serving is not None:
            # Large objects end in the thread that made them, since that takes long.
            weakref.finalize(serving, self._dispose_soon, [loaded]).atexit = False

    def _dispose_soon(self, held: list[Loaded]) -> None:
        # A call may outlive a server that was closed: then its process is about to end.
        with suppress(RuntimeError):
            self._loader.submit(self._dispose, held)

    def _dispose(self, held: list[Loaded]) -> None:
        held.pop().release()
        self._source.sweep()
        give_back_memory()

    async def _in_loader(self, function: Callable[..., Result], *given: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._loader, function, *given)

    def _tell_once(self, model: str, complaint: str) -> None:
        if self._told.get(model) != complaint:
            self._told[model] = complaint
            _log.error("versions not followed", model=model, why=complaint)


def _error_of(exception: Exception) -> ServiceError:
    """What callers are told of a version that could not be loaded."""
    if isinstance(exception, ArtifactError):
        return ServiceError(exception.reason)
    is_for_want_of_room = isinstance(exception, MemoryError) or getattr(exception, "errno", None) in NO_ROOM
    return ServiceError(
        Reason.NO_ROOM if is_for_want_of_room else Reason.LOAD_FAILED, metadata=fault(exception).metadata
    )


def _files(folder: Path) -> frozenset[tuple[str, int, int]]:
    """The files of a version, as they are now."""
    found = set()
    for path in folder.rglob("*"):
        try:
            status = path.stat()
        except OSError:
            continue
        found.add((path.as_posix(), status.st_size, status.st_mtime_ns))
        if len(found) == MAX_FILES_LOOKED_AT:
            break
    return frozenset(found)
