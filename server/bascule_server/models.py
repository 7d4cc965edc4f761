"""The versions of models that a server knows, what has become of each, and which of them a caller means.

A version is LOADING from when its folder was found, and then one of two things:

    SERVING   checked, loaded and proven
    FAILED    damaged, or computes other answers than training did; its error says which
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from bascule.v1.artifact_pb2 import Manifest
from bascule.v1.model_service_pb2 import ModelState
from bascule.v1.recommendation_service_pb2 import ModelSelector, ModelVersion, VersionLabel
from bascule_server.batching.batch_forming import Scorer
from bascule_server.errors import Reason, ServiceError, invalid_field
from bascule_server.messages.schema import Schema, schema_of
from bascule_server.servable import ServableVersion
from bascule_server.versions.choice import is_of_canary


@dataclass(frozen=True, slots=True, weakref_slot=True)
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
    error: ServiceError | None = None
    """Why it failed, where it did."""
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


class Revised(Protocol):
    """What answers for a version whose catalogue changes."""

    @property
    def scorer(self) -> Scorer:
        """With the catalogue as it is now."""

    @property
    def revision(self) -> int:
        """How many changes it knows of."""


Names: TypeAlias = frozenset[str] | None
"""Of models; None: of all."""


@dataclass(frozen=True, slots=True)
class Route:
    """Whom the versions of a model answer."""

    stable: int = 0
    """Answers whoever names no version; 0: the newest that serves."""
    canary: int = 0
    """0: none."""
    weight: float = 0.0
    """The share of the users whom the canary answers."""
    shadow: int = 0
    """Answers are compared with its own; 0: with none."""


class Models:
    """All versions that the server knows. Belongs to the event loop."""

    def __init__(self) -> None:
        self._versions: list[KnownVersion] = []
        self._routes: dict[str, Route] = {}
        self._found: dict[tuple[str, int, VersionLabel.ValueType, Names], ServingModel] = {}
        """What selectors were found to mean, since anything changed."""
        self._canaries: dict[str, tuple[ServingModel, float]] = {}
        """Those that answer a part of the users, by the model's name."""

        self._shadows: dict[str, ServingModel] = {}

    def known(self, allowed: Names = None) -> Sequence[KnownVersion]:
        """Every version, by name and then version; of the models that are allowed, where not all are."""
        return [known for known in self._versions if allowed is None or known.model in allowed]

    def announce(self, folder: Path) -> KnownVersion:
        """Makes a version known that is about to be loaded: its folder is ``<model>/<version>``."""
        known = KnownVersion(folder)
        self._versions = sorted([*self._versions, known], key=lambda known: (known.model, known.version))
        self._changed()
        return known

    def serve(self, known: KnownVersion, servable: ServableVersion, revised: Revised | None = None) -> None:
        """Has a version answer, ``revised`` in the place of what was loaded, where there is one."""
        known.manifest = servable.manifest
        known.serving = ServingModel(known.name_and_version, schema_of(servable.manifest), servable.scorer)
        known.state = ModelState.MODEL_STATE_SERVING
        if revised is not None:
            self.replace_serving(known, revised)
        self._changed()

    def replace_serving(self, known: KnownVersion, revised: Revised) -> None:
        """Has a version that serves answer by another scorer from now on."""
        if known.serving is not None:
            name_and_version = ModelVersion(
                model=known.model, version=known.version, catalogue_revision=revised.revision
            )
            known.serving = ServingModel(name_and_version, known.serving.schema, revised.scorer)
            self._changed()

    def fail(self, known: KnownVersion, error: ServiceError) -> None:
        """Says that a version cannot be loaded, and why."""
        known.error = error
        known.state = ModelState.MODEL_STATE_FAILED
        self._changed()

    def forget(self, known: KnownVersion) -> None:
        """Knows a version no more. What it is answering goes on."""
        self._versions = [other for other in self._versions if other is not known]
        self._changed()

    def route(self, model: str, route: Route) -> None:
        """Says whom the versions of a model answer from now on."""
        self._routes[model] = route
        self._changed()

    def route_of(self, model: str) -> Route:
        """Whom they answer."""
        return self._routes.get(model, Route())

    def named(self, selector: ModelSelector, allowed: Names = None) -> KnownVersion:
        """The version that is meant, in whatever state: the one that answers, or the newest, where none is named.

        Args:
            selector: names it.
            allowed: names of the models that may be meant; None: all. Nothing tells of others whether there are any.

        Raises:
            ServiceError: MODEL_NOT_FOUND; MODEL_NOT_ALLOWED; or INVALID_FIELD, where no model is named and several may
                be meant.
        """
        meant = self._meant(selector, allowed)
        return self._answering(meant, selector.label) or meant[-1]

    def serving(self, selector: ModelSelector, user_id: str = "", allowed: Names = None) -> ServingModel:
        """The version that is meant and serves; see ``ServingPlan`` for which, where none is named.

        Args:
            selector: names it.
            user_id: whom it answers alone, where it is one user.
            allowed: as for ``named``.

        Raises:
            ServiceError: as ``named``; or NOT_READY, where what is meant is being loaded.
        """
        key = (selector.model, selector.version, selector.label, allowed)
        found = self._found.get(key)
        if found is None:
            self._found[key] = found = self._looked_up(selector, allowed)
        if self._canaries and user_id and not (selector.version or selector.label):
            canary, weight = self._canaries.get(found.name_and_version.model, (None, 0.0))
            if canary is not None and is_of_canary(user_id, canary.name_and_version.version, weight):
                return canary
        return found

    def shadow_of(self, model: str) -> ServingModel | None:
        """The version whose answers are only compared, where there is one that serves."""
        return self._shadows.get(model) if self._shadows else None

    def _looked_up(self, selector: ModelSelector, allowed: Names) -> ServingModel:
        meant = self._meant(selector, allowed)
        answering = self._answering(meant, selector.label)
        if answering is not None and answering.serving is not None:
            return answering.serving
        is_loading = any(known.state == ModelState.MODEL_STATE_LOADING for known in meant)
        raise ServiceError(Reason.NOT_READY if is_loading else Reason.MODEL_NOT_FOUND)

    def _answering(self, meant: Sequence[KnownVersion], label: VersionLabel.ValueType) -> KnownVersion | None:
        """Of the versions of one model that may be meant, the newest last, the one that answers."""
        serving = [known for known in meant if known.serving is not None]
        if len(meant) == 1 and not label:
            return serving[0] if serving else None
        route = self.route_of(meant[0].model)
        wanted = route.canary if label == VersionLabel.VERSION_LABEL_CANARY else route.stable
        for known in serving:
            if known.version == wanted:
                return known
        return serving[-1] if serving and label != VersionLabel.VERSION_LABEL_CANARY else None

    def _meant(self, selector: ModelSelector, allowed: Names) -> list[KnownVersion]:
        """The versions that may be meant, the newest last."""
        if allowed is not None and selector.model and selector.model not in allowed:
            raise ServiceError(Reason.MODEL_NOT_ALLOWED)
        if not self._versions:
            # It has not been looked yet.
            raise ServiceError(Reason.NOT_READY)
        names = sorted({known.model for known in self.known(allowed)})
        if not selector.model and len(names) > 1:
            raise invalid_field("model.model", f"got none; expected one of {', '.join(names)}")
        meant = [
            known
            for known in self.known(allowed)
            if selector.model in ("", known.model) and selector.version in (0, known.version)
        ]
        if not meant:
            raise ServiceError(Reason.MODEL_NOT_FOUND)
        return meant

    def _serving_version(self, model: str, version: int) -> ServingModel | None:
        found = (known.serving for known in self._versions if known.model == model and known.version == version)
        return next(found, None)

    def _changed(self) -> None:
        self._found.clear()
        self._canaries = {
            model: (canary, route.weight)
            for model, route in self._routes.items()
            if route.weight and (canary := self._serving_version(model, route.canary)) is not None
        }
        self._shadows = {
            model: shadow
            for model, route in self._routes.items()
            if route.shadow and (shadow := self._serving_version(model, route.shadow)) is not None
        }
