"""The folder of the models: which versions are published in it, and what the plans say."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bascule.v1.model_admin_service_pb2 import ServingPlan
from bascule_server.artifact.file_names import MANIFEST
from bascule_server.artifact.reading import ArtifactError
from bascule_server.artifact.signature import check_signature
from bascule_server.servable import ServableVersion, load_servable
from bascule_server.versions.copies import PrivateCopies, PrivateCopy
from bascule_server.versions.plan import PlanError, read_plan

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_VERSION = re.compile(r"[1-9][0-9]{0,17}")


class Published(NamedTuple):
    """What lies on the disk of one model."""

    folders: Mapping[int, Path]
    """Of each version."""
    plan: ServingPlan | PlanError


class Loaded(NamedTuple):
    """A version that was loaded."""

    servable: ServableVersion
    copy: PrivateCopy | None
    """That it was loaded from."""

    def release(self) -> None:
        """Says that its files are used no more."""
        if self.copy is not None:
            self.copy.release()


class ModelsFolder:
    """``<root>/<model>/<version>/manifest.json``, as `bascule train` writes them."""

    def __init__(self, root: Path, copies: PrivateCopies, publishers: "Sequence[Ed25519PublicKey]" = ()) -> None:
        """Takes where the versions are.

        Args:
            root: of the models.
            copies: what is loaded.
            publishers: one of them must have signed a version; none where they need not be signed.
        """
        self._root = root
        self._copies = copies
        self._publishers = publishers

    def look(self) -> dict[str, Published]:
        """What is published, by the name of the model.

        Raises:
            OSError: the folder cannot be read.
        """
        return {
            model: Published(folders, _plan(self._root / model))
            for model, folders in published_versions(self._root).items()
        }

    def load(self, folder: Path) -> Loaded:
        """Loads a version from a copy of its own, checked and proven.

        Raises:
            ArtifactError: it cannot be.
        """
        copy = self._copies.take(folder, partial(self._check_signature, folder))
        try:
            return Loaded(load_servable(copy.folder), copy)
        except BaseException:
            copy.release()
            raise

    def _check_signature(self, folder: Path, manifest: bytes) -> None:
        if self._publishers:
            check_signature(folder, manifest, self._publishers)

    def sweep(self) -> None:
        """Removes the copies that nobody uses."""
        self._copies.sweep()


def published_versions(root: Path) -> dict[str, dict[int, Path]]:
    """The folders of the versions of each model below ``root``, by the model's name and then the version.

    What is no ``<model>/<version>/manifest.json``, with a positive integer for a version and no leading dot, is passed
    over: it belongs to somebody else, or is still being written.
    """
    published: dict[str, dict[int, Path]] = {}
    for folder in sorted(manifest.parent for manifest in root.glob(f"*/*/{MANIFEST}")):
        model = folder.parent.name
        if not model.startswith(".") and _VERSION.fullmatch(folder.name):
            published.setdefault(model, {})[int(folder.name)] = folder
    return published


def check_published(root: Path) -> None:
    """Checks that there is a version of some model.

    Raises:
        ArtifactError: there is none.
    """
    if not published_versions(root):
        raise ArtifactError(f"{root}: no model found; expected <model>/<version>/{MANIFEST}, as `bascule train` writes")


def _plan(folder: Path) -> ServingPlan | PlanError:
    try:
        return read_plan(folder)
    except PlanError as error:
        return error
