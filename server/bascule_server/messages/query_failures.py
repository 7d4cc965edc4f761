"""What callers are told of a valid query that the scorer cannot answer."""

from bascule_server.errors import Reason, ServiceError
from bascule_server.scoring.query import ItemNotFoundError, NothingKnownError, QueryError

QUERY_ERROR_REASONS: dict[type[QueryError], Reason] = {
    ItemNotFoundError: Reason.ITEM_NOT_FOUND,
    NothingKnownError: Reason.NOTHING_KNOWN,
}


def query_failure(error: QueryError) -> ServiceError:
    """The error in the place of a row's answer."""
    return ServiceError(QUERY_ERROR_REASONS[type(error)])
