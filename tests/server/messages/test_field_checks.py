import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.v1.recommendation_service_pb2 import Categories
from bascule_server.errors import ServiceError
from bascule_server.messages.field_checks import (
    check_count,
    checked_categories,
    checked_id,
    checked_item_ids,
    declared_kind,
    finite,
    quoted,
)


@pytest.mark.parametrize("value", ["", "a" * 256, "é" * 128, "😀" * 64])
def test_an_id_of_up_to_256_bytes_passes(value: str) -> None:
    assert checked_id(value, "", "p") == value


@pytest.mark.parametrize("value", ["a" * 257, "é" * 129, "😀" * 65])
def test_a_longer_id_is_refused_and_not_repeated(value: str) -> None:
    with pytest.raises(ServiceError) as caught:
        checked_id(value, "", "p")
    assert caught.value.violation == f"got {len(value.encode())} bytes; expected at most 256"


@given(st.lists(st.text(alphabet="aé😀", max_size=260), max_size=5))
def test_ids_pass_together_exactly_when_each_passes(values: list[str]) -> None:
    too_long = [index for index, value in enumerate(values) if len(value.encode()) > 256]
    if not too_long:
        assert list(checked_item_ids(values, "", "p")) == values
        return
    with pytest.raises(ServiceError) as caught:
        checked_item_ids(values, "", "p")
    assert caught.value.path == f"p[{too_long[0]}]"


def test_more_ids_than_ten_thousand_are_refused() -> None:
    assert len(checked_item_ids(["a"] * 10_000, "", "p")) == 10_000
    with pytest.raises(ServiceError, match="p: got 10,001; expected at most 10,000"):
        checked_item_ids(["a"] * 10_001, "", "p")


def test_more_categories_than_256_are_refused() -> None:
    assert len(checked_categories(Categories(values=["a"] * 256), "p")) == 256
    with pytest.raises(ServiceError, match="values: got 257"):
        checked_categories(Categories(values=["a"] * 257), "p")


def test_the_limit_itself_is_allowed() -> None:
    check_count([1, 2], 2, "p")
    with pytest.raises(ServiceError, match="p: got 3; expected at most 2"):
        check_count([1, 2, 3], 2, "p")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ServiceError, match=f"p: got {value}; expected a finite number"):
        finite(value, "p")


def test_an_undeclared_name_is_refused_with_the_declared_ones() -> None:
    assert declared_kind("feature", "age", {"age": 1}, "p") == 1
    with pytest.raises(ServiceError, match='p: got "size"; expected a declared feature: age, town'):
        declared_kind("feature", "size", {"town": 2, "age": 1}, "p")


@given(st.text())
def test_what_the_caller_sent_is_quoted_on_one_short_line(text: str) -> None:
    quotation = quoted(text)
    assert quotation.isprintable()
    assert len(quotation) <= 64 * len(r"\U0001f600") + len('"..."')


def test_quotes_in_a_quotation_are_escaped() -> None:
    assert quoted('a"b') == '"a\\"b"'
