"""The living catalogues of a server: one for each model, followed from when the model is loaded."""

import asyncio
from collections.abc import Callable
from functools import partial

from bascule_server.artifact.reading import ArtifactError
from bascule_server.errors import Reason
from bascule_server.living.follower import Follower
from bascule_server.living.log import NAME, CatalogueLog
from bascule_server.living.log_format import LogFormatError
from bascule_server.living.version import LivingVersion, State
from bascule_server.models import KnownVersion, Models
from bascule_server.servable import ServableVersion


class LivingCatalogues:
    """Has what serves follow the logs beside the models."""

    def __init__(self, models: Models, watch: Callable[[str, Callable[[], State]], None]) -> None:
        """Must be made in the event loop that serves. ``watch`` is told how to ask for the state of each model."""
        self._models = models
        self._watch = watch
        self._loop = asyncio.get_running_loop()
        self._by_version: dict[KnownVersion, Follower] = {}
        self.followers: dict[str, Follower] = {}
        """By the name of the model: of the version that was loaded last."""

    def follow(self, known: KnownVersion, servable: ServableVersion) -> State:
        """The state of a version's catalogue after all changes up to now; further ones are followed after ``start``.

        Raises:
            ArtifactError: the log, or a vocabulary of item features, cannot be read.
        """
        log = CatalogueLog(known.folder.parent / NAME)
        version = LivingVersion(servable, servable.folder)
        follower = Follower(log, version, partial(self._changed, known))
        try:
            follower.catch_up()
            follower.merge_now()
        except OSError as error:
            raise ArtifactError(f"{log.path}: cannot be read: {error.strerror}", Reason.LOAD_FAILED) from error
        except LogFormatError as error:
            raise ArtifactError(str(error), Reason.LOG_DAMAGED) from error
        self._by_version[known] = self.followers[known.model] = follower
        self._watch(known.model, lambda: version.state)
        return version.state

    def start(self, known: KnownVersion) -> None:
        """Follows the changes of a version that serves from now on."""
        self._by_version[known].start()

    def unfollow(self, known: KnownVersion) -> None:
        """Follows the changes of a version no more, which is to be let go."""
        self._by_version.pop(known).end()
        for other, follower in self._by_version.items():
            if other.model == known.model:
                self.followers[known.model] = follower

    def end(self) -> None:
        """Follows no more."""
        for follower in self._by_version.values():
            follower.end()

    def _changed(self, known: KnownVersion, state: State) -> None:
        self._loop.call_soon_threadsafe(self._models.replace_serving, known, state)
