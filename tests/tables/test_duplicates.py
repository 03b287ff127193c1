"""Which row stands for a key, whatever the order, with a bitmap that forgets nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aelyst_async.tables.duplicates import Duplicates, DuplicatesIndex

KEYS = st.lists(st.sampled_from([f"email:{letter}@b.co" for letter in "abcdefgh"]), max_size=30)


def stand(keys: list[str], policy: Duplicates) -> list[int]:
    """Return the rows (from 1) that stand for their keys."""
    index = DuplicatesIndex(policy)
    for row, key in enumerate(keys, 1):
        if index.suspect(key):
            index.add(key, row)
    index.seal()
    return [row for row, key in enumerate(keys, 1) if index.rival(key, row) is None]


@given(KEYS)
def test_last(keys: list[str]) -> None:
    assert stand(keys, "last") == sorted({key: row for row, key in enumerate(keys, 1)}.values())


@given(KEYS)
def test_first(keys: list[str]) -> None:
    first: dict[str, int] = {}
    for row, key in enumerate(keys, 1):
        first.setdefault(key, row)
    assert stand(keys, "first") == sorted(first.values())


@given(KEYS)
def test_error(keys: list[str]) -> None:
    assert stand(keys, "error") == [row for row, key in enumerate(keys, 1) if keys.count(key) == 1]


@pytest.mark.parametrize("policy", ["last", "first", "error"])
def test_a_key_remembered_by_accident_changes_nothing(policy: Duplicates) -> None:
    index = DuplicatesIndex(policy)
    index.suspect("one")
    index.add("one", 1)  # as if other keys had set its bits
    index.seal()
    assert index.rival("one", 1) is None


def test_few_keys_are_remembered() -> None:
    index = DuplicatesIndex("last")
    for row in range(50_000):
        key = f"email:person{row}@example.com"
        if index.suspect(key):
            index.add(key, row)
    assert len(index) < 50
