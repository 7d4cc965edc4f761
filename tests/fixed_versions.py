"""Versions that are published from the start, for servers whose versions do not come and go."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bascule.v1.model_admin_service_pb2 import ServingPlan
from bascule_server.versions.models_folder import Loaded, Published


class FixedVersions:
    """Each is in a folder ``<model>/<version>``, which need not be there; see ``watcher.Source``."""

    def __init__(self, folders: Iterable[Path], load: Callable[[Path], Any]) -> None:
        self._folders = list(folders)
        self._load = load

    def look(self) -> dict[str, Published]:
        published: dict[str, dict[int, Path]] = {}
        for folder in self._folders:
            published.setdefault(folder.parent.name, {})[int(folder.name)] = folder
        return {model: Published(folders, ServingPlan()) for model, folders in published.items()}

    def load(self, folder: Path) -> Loaded:
        return Loaded(self._load(folder), None)

    def sweep(self) -> None:
        pass
