"""``bascule.v1.CatalogueService``: checks a change, writes it to the log, and tells how the catalogue stands."""

# ruff: noqa: N802 - the methods are named by the protocol

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

import structlog

from bascule.v1 import catalogue_service_pb2 as pb
from bascule.v1.catalogue_service_pb2_grpc import CatalogueServiceServicer
from bascule.v1.recommendation_service_pb2 import ModelSelector
from bascule_server.calls import CURRENT_CALL
from bascule_server.errors import Reason, ServiceError, invalid_field
from bascule_server.faults import fault
from bascule_server.living.compaction import Compaction
from bascule_server.living.follower import Follower
from bascule_server.living.items import checked_ids, checked_item_id, decode_values
from bascule_server.living.log import CatalogueLog, LogFailedError, LogFullError
from bascule_server.living.log_format import MAX_PAYLOAD_BYTES, LogDamagedError
from bascule_server.models import Models
from bascule_server.scoring.item_ids import UNKNOWN
from bascule_server.scoring.scorer import MAX_UNKNOWN_IDS

_log = structlog.get_logger()

MAX_ITEMS = 1_000
"""Of one call."""

MAX_UPSERTED = 100_000
"""Items that came since the version was made: they are in the memory of each worker."""


class CatalogueService(CatalogueServiceServicer):
    """Changes the catalogues that ``followers`` follow."""

    def __init__(self, models: Models, followers: Mapping[str, Follower]) -> None:
        """``followers`` are by the name of their model; those of models that are loaded are in it by then."""
        self._models = models
        self._followers = followers
        self._logs: dict[str, CatalogueLog] = {}
        """For writing, which followers do not, by the name of the model."""
        self._compactions: dict[str, Compaction] = {}
        self._compacting: dict[str, asyncio.Task[None]] = {}
        self._writing = asyncio.Lock()

    async def UpsertItems(self, request: pb.UpsertItemsRequest, _context: object) -> pb.UpsertItemsResponse:
        """Items come, or change."""
        _check_count(request.items, "items")
        follower = self._follower(request.model, len(request.items))
        for index, item in enumerate(request.items):
            checked_item_id(item.item_id, f"items[{index}]", "item_id")
            decode_values(item, f"items[{index}]", follower.version.schema)
        item_ids = [item.item_id for item in request.items]
        if not follower.version.places_new_items and not follower.version.is_trained(item_ids).all():
            raise ServiceError(Reason.NO_ITEM_TOWER)
        if follower.version.state.upserted_count + len(item_ids) > MAX_UPSERTED:
            raise ServiceError(Reason.CATALOGUE_FULL)
        change = pb.CatalogueChange(upserted=request.items)
        return pb.UpsertItemsResponse(revision=await self._append(follower, change, "items"))

    async def RetireItems(self, request: pb.RetireItemsRequest, _context: object) -> pb.RetireItemsResponse:
        """Items go."""
        _check_count(request.item_ids, "item_ids")
        follower = self._follower(request.model, len(request.item_ids))
        item_ids = checked_ids(request.item_ids, "item_ids")
        rows = follower.version.state.scorer.catalogue.item_ids.rows(item_ids).tolist()
        unknown = dict.fromkeys(item_id for item_id, row in zip(item_ids, rows, strict=True) if row == UNKNOWN)
        revision = await self._append(follower, pb.CatalogueChange(retired_item_ids=item_ids), "item_ids")
        return pb.RetireItemsResponse(revision=revision, unknown_item_ids=list(unknown)[:MAX_UNKNOWN_IDS])

    async def GetCatalogue(self, request: pb.GetCatalogueRequest, _context: object) -> pb.GetCatalogueResponse:
        """How a catalogue stands."""
        follower = self._follower(request.model, 1)
        log = self._logs[follower.model]
        async with self._writing:
            await asyncio.to_thread(_read_all, log)
        state = follower.version.state
        return pb.GetCatalogueResponse(
            served_by=self._models.serving(ModelSelector(model=follower.model)).name_and_version,
            item_count=state.item_count,
            upserted_count=state.upserted_count,
            retired_count=state.retired_count,
            unplaced_count=state.unplaced_count,
            log_revision=max(log.revision, state.revision),
            last_change_time=state.last_change,
            log_is_damaged=log.is_damaged,
            left_out_value_count=state.left_out_count,
        )

    def _follower(self, model: str, row_count: int) -> Follower:
        """The follower of a model, where the caller may ask it for so many rows now, of which each item is one."""
        access = CURRENT_CALL.get().access
        serving = self._models.serving(ModelSelector(model=model), allowed=access.models)
        access.take(row_count)
        name = serving.name_and_version.model
        follower = self._followers[name]
        if name not in self._logs:
            self._logs[name] = CatalogueLog(follower.log_path)
            self._compactions[name] = Compaction(follower.log_path)
        return follower

    async def _append(self, follower: Follower, change: pb.CatalogueChange, path: str) -> int:
        """The revision of a change, which the field of this path asks for, once it is on the disk."""
        change.time.GetCurrentTime()
        payload = change.SerializeToString()
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise invalid_field(path, f"got {len(payload):,} bytes; expected at most {MAX_PAYLOAD_BYTES:,}")
        log = self._logs[follower.model]
        try:
            async with self._writing:
                revision = await asyncio.to_thread(log.append, payload)
        except LogFailedError as error:
            _log.error("catalogue log not written", log=str(error))
            raise ServiceError(Reason.LOG_FAILED) from None
        except LogFullError:
            raise ServiceError(Reason.LOG_FULL) from None
        except LogDamagedError:
            raise ServiceError(Reason.LOG_DAMAGED) from None
        follower.look()
        self._compact(follower.model)
        return revision

    def _compact(self, model: str) -> None:
        """Has the log compacted in a thread, where it is due and is not being done."""
        compaction = self._compactions[model]
        if model not in self._compacting and compaction.is_due(self._logs[model]):
            task = asyncio.create_task(asyncio.to_thread(compaction.run))
            self._compacting[model] = task
            task.add_done_callback(partial(self._compacted, model))

    def _compacted(self, model: str, task: asyncio.Task[None]) -> None:
        del self._compacting[model]
        if not task.cancelled() and (exception := task.exception()) is not None:
            fault(exception)


def _check_count(values: Sequence[object], path: str) -> None:
    if not 1 <= len(values) <= MAX_ITEMS:
        raise invalid_field(path, f"got {len(values):,}; expected 1 to {MAX_ITEMS:,}")


def _read_all(log: CatalogueLog) -> None:
    try:
        while log.read():
            pass
    except LogDamagedError:
        # Which the log says itself.
        return
