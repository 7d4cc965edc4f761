"""What a filter allows is the same in every form."""

import faiss
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bascule_server.retrieval.allowed import FEW, Allowed


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_all_forms_say_the_same(mask: list[bool]) -> None:
    allowed = Allowed(np.array(mask))
    rows = [row for row, is_allowed in enumerate(mask) if is_allowed]
    assert (allowed.count, allowed.rows.tolist()) == (len(rows), rows)
    assert allowed.has(np.arange(len(mask))).tolist() == mask
    assert (allowed.summands == 0).tolist() == mask
    assert np.isneginf(allowed.summands[~allowed.mask]).all()
    selector = faiss.IDSelectorBitmap(allowed.bitmap)
    assert [selector.is_member(row) for row in range(len(mask))] == mask


def test_what_is_taken_out_is_missing_from_the_new_one_alone() -> None:
    allowed = Allowed(np.array([True, True, False, True]))
    assert allowed.without(np.array([1, 2])).rows.tolist() == [0, 3]
    assert allowed.rows.tolist() == [0, 1, 3]


def test_few_are_at_most_one_in_so_many() -> None:
    mask = np.zeros(2 * FEW, np.bool_)
    mask[:2] = True
    assert Allowed(mask).is_few
    mask[2] = True
    assert not Allowed(mask).is_few


@given(st.integers(1, 500), st.integers(0, 500))
def test_all_forms_together_take_no_more_memory_than_is_said(item_count: int, allowed_count: int) -> None:
    allowed = Allowed(np.arange(item_count) < allowed_count)
    kept = [allowed.mask, allowed.bitmap, allowed.rows if allowed.is_few else allowed.summands]
    # The bitmap may end within a byte.
    assert sum(each.nbytes for each in kept) <= allowed.most_bytes + 1
