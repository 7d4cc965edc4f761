"""Every valid query that cannot be answered has a reason of its own."""

from bascule_server.errors import Reason
from bascule_server.messages.query_failures import QUERY_ERROR_REASONS, query_failure
from bascule_server.scoring.query import ItemNotFoundError, QueryError


def all_query_errors(base: type[QueryError] = QueryError) -> set[type[QueryError]]:
    return {error for child in base.__subclasses__() for error in {child, *all_query_errors(child)}}


def test_every_query_error_has_a_reason() -> None:
    assert set(QUERY_ERROR_REASONS) == all_query_errors()


def test_a_query_error_becomes_a_failure_with_its_reason() -> None:
    assert query_failure(ItemNotFoundError()).reason is Reason.ITEM_NOT_FOUND
