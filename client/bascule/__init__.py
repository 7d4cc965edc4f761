"""Asks a Bascule server for recommendations.

``Client`` for threads and ``AsyncClient`` for asyncio have the same methods:

    from bascule import Client

    with Client("127.0.0.1:50051") as client:
        print(client.recommend("42", count=10).item_ids)
"""

from bascule.answers import EmbeddingResult, RankingResult
from bascule.async_client import AsyncClient
from bascule.catalogue import CatalogueClient, CatalogueState, Retired
from bascule.client import Client
from bascule.errors import (
    BasculeError,
    CallCancelledError,
    DeadlineExceededError,
    Failure,
    InternalError,
    InvalidRequestError,
    LimitExceededError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionError,
    UnavailableError,
    UnimplementedError,
    Violation,
)
from bascule.models import Model, ModelState, ValueKind
from bascule.query import AnyOf, Cap, FeatureValue, Filter, InRange, NoneOf, Query, RankingOptions, VersionLabel
from bascule.ranking import ItemAttributes, Ranking, RankingPath, Shortfall
from bascule.requests import QueryLike

__all__ = [
    "AnyOf",
    "AsyncClient",
    "BasculeError",
    "CallCancelledError",
    "Cap",
    "CatalogueClient",
    "CatalogueState",
    "Client",
    "DeadlineExceededError",
    "EmbeddingResult",
    "Failure",
    "FeatureValue",
    "Filter",
    "InRange",
    "InternalError",
    "InvalidRequestError",
    "ItemAttributes",
    "LimitExceededError",
    "Model",
    "ModelState",
    "NoneOf",
    "NotFoundError",
    "PermissionDeniedError",
    "PreconditionError",
    "Query",
    "QueryLike",
    "Ranking",
    "RankingOptions",
    "RankingPath",
    "RankingResult",
    "Retired",
    "Shortfall",
    "UnavailableError",
    "UnimplementedError",
    "ValueKind",
    "VersionLabel",
    "Violation",
]
