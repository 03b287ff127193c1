"""`DuplicatesIndex`: which row of each key is kept, for each policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aelyst_async.tables.duplicates import Duplicates, DuplicatesIndex

KEYS = st.lists(st.sampled_from([f"email:{letter}@b.co" for letter in "abcdefgh"]), max_size=30)


def kept_rows(keys: list[str], policy: Duplicates) -> list[int]:
    """Return the numbers (from 1) of the rows that are kept."""
    index = DuplicatesIndex(policy)
    for row, key in enumerate(keys, 1):
        if index.suspect(key):
            index.add(key, row)
    index.seal()
    return [row for row, key in enumerate(keys, 1) if index.rival(key, row) is None]


@given(KEYS)
def test_duplicates_last_keeps_the_last_row_of_each_key(keys: list[str]) -> None:
    assert kept_rows(keys, "last") == sorted({key: row for row, key in enumerate(keys, 1)}.values())


@given(KEYS)
def test_duplicates_first_keeps_the_first_row_of_each_key(keys: list[str]) -> None:
    first: dict[str, int] = {}
    for row, key in enumerate(keys, 1):
        first.setdefault(key, row)
    assert kept_rows(keys, "first") == sorted(first.values())


@given(KEYS)
def test_duplicates_error_keeps_only_unique_keys(keys: list[str]) -> None:
    assert kept_rows(keys, "error") == [row for row, key in enumerate(keys, 1) if keys.count(key) == 1]


@pytest.mark.parametrize("policy", ["last", "first", "error"])
def test_false_positive_of_the_bitmap_changes_nothing(policy: Duplicates) -> None:
    index = DuplicatesIndex(policy)
    index.suspect("one")
    index.add("one", 1)  # as if other keys had set its bits
    index.seal()
    assert index.rival("one", 1) is None


def test_index_stores_few_unique_keys() -> None:
    index = DuplicatesIndex("last")
    for row in range(50_000):
        key = f"email:person{row}@example.com"
        if index.suspect(key):
            index.add(key, row)
    assert len(index) < 50
