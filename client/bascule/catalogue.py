"""Changes a catalogue while it is served: for operators, at an address of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

import grpc

from bascule.answers import read_moment
from bascule.bearer_token import Token
from bascule.channel import checked_timeout, open_channels
from bascule.errors import rpc_errors
from bascule.query import FeatureValue
from bascule.requests import feature_message, text_message
from bascule.v1 import catalogue_service_pb2 as pb
from bascule.v1.catalogue_service_pb2_grpc import CatalogueServiceStub

DEFAULT_CATALOGUE_TARGET = "127.0.0.1:50053"

ItemValues = Mapping[str, FeatureValue]
"""Values of the item features that the model reads and of the attributes that items have, by name."""


@dataclass(frozen=True, slots=True)
class Retired:
    """What became of items that were to go."""

    revision: int
    """The revision of the catalogue that has them no more."""
    unknown_item_ids: tuple[str, ...] = ()
    """Ids that the catalogue did not have: the first 100 distinct ones."""


@dataclass(frozen=True, slots=True)
class CatalogueState:
    """How a catalogue stands, at the worker that answered."""

    model: str
    version: int
    revision: int
    """How many changes the worker's answers know of."""
    log_revision: int
    """How many there are; more than ``revision`` while the worker is behind."""
    item_count: int
    """Items that can be found."""
    upserted_count: int
    """Of these, items that came or changed since the version was made."""
    retired_count: int
    """Items of the version that are found no more."""
    unplaced_count: int
    """Items that came, which this version cannot place, since it has no item tower."""
    left_out_value_count: int
    """Values of items that came, which this version does not declare: the items are served without them."""
    last_change: datetime | None
    """When the last change was asked for that the worker knows of, in UTC."""
    log_is_damaged: bool
    """Whether the log is damaged before its end, or is no log; then no change behind that is known."""


class CatalogueClient:
    """Changes the catalogue of a Bascule server that was told where to listen for it (``catalogue_listen``).

    A change is on the disk when a method returns, and every worker serves it within a second. It is part of each answer
    whose ``Ranking.catalogue_revision`` is at least the revision that was returned.

    Args:
        target: Address and port.
        model: The model whose catalogue changes. Empty: the only one that the server has.
        timeout: How many seconds a call may take, above 0.
        credentials: For an encrypted connection.
        token: What tells the server who calls; see ``Client``.

    Every method raises ``BasculeError`` for what the server, or the way to it, does wrong, and ``ValueError`` or
    ``TypeError`` for arguments that cannot be sent.
    """

    def __init__(
        self,
        target: str = DEFAULT_CATALOGUE_TARGET,
        *,
        model: str = "",
        timeout: float = 10.0,
        credentials: grpc.ChannelCredentials | None = None,
        token: Token | None = None,
    ) -> None:
        self._model = model
        self._timeout = checked_timeout(timeout)
        (self._channel,) = open_channels(target, credentials, 1, token)
        self._catalogue = CatalogueServiceStub(self._channel)

    def upsert(self, items: Mapping[str, ItemValues]) -> int:
        """Puts items into the catalogue, or in the place of those with the same ids; returns the revision.

        All of them or none. An item that training saw keeps its vector, and its attributes change; any other is placed
        by its features.

        Args:
            items: 1 to 1,000, the values of each by its id. What is not given is absent, and nothing is kept of an
                earlier item.
        """
        request = pb.UpsertItemsRequest(
            model=self._model, items=[_item_message(item_id, values) for item_id, values in items.items()]
        )
        with rpc_errors():
            return int(self._catalogue.UpsertItems(request, timeout=self._timeout).revision)

    def retire(self, item_ids: Iterable[str]) -> Retired:
        """Takes 1 to 1,000 items out of the catalogue. In a user's history they still tell of the user's taste."""
        ids = [text_message(item_id, "item_ids") for item_id in item_ids]
        request = pb.RetireItemsRequest(model=self._model, item_ids=ids)
        with rpc_errors():
            response = self._catalogue.RetireItems(request, timeout=self._timeout)
        return Retired(response.revision, tuple(response.unknown_item_ids))

    def state(self) -> CatalogueState:
        """How the catalogue stands."""
        with rpc_errors():
            response = self._catalogue.GetCatalogue(pb.GetCatalogueRequest(model=self._model), timeout=self._timeout)
        return CatalogueState(
            model=response.served_by.model,
            version=response.served_by.version,
            revision=response.served_by.catalogue_revision,
            log_revision=response.log_revision,
            item_count=response.item_count,
            upserted_count=response.upserted_count,
            retired_count=response.retired_count,
            unplaced_count=response.unplaced_count,
            left_out_value_count=response.left_out_value_count,
            last_change=read_moment(response.last_change_time) if response.HasField("last_change_time") else None,
            log_is_damaged=response.log_is_damaged,
        )

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _item_message(item_id: str, values: ItemValues) -> pb.CatalogueItem:
    named = {text_message(name, "values"): feature_message(value) for name, value in values.items()}
    return pb.CatalogueItem(item_id=text_message(item_id, "items"), values=named)
