"""Finds the rows of a source that share a key, with nearly constant memory.

The first pass marks two bits of a fixed bitmap for each key. If both bits are already set, the key *may* have occurred
before. Only such keys are stored, with their last row. A key that occurs twice is always stored, because its second
occurrence finds the bits of the first. A false positive has only one row and has no effect. With 16 MiB and a million
rows there are about two hundred false positives.

The second pass finds, for each row, the row that is used for its key. The bitmap is freed before it.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["Duplicates", "DuplicatesIndex"]

Duplicates: TypeAlias = Literal["last", "first", "error"]

_BITS = 27
_MASK = (1 << _BITS) - 1


class DuplicatesIndex:
    """First pass: `add` each key. Then `seal`. Second pass: `rival` for each row, in the same order."""

    def __init__(self, policy: Duplicates) -> None:
        self._policy = policy
        self._bitmap: bytearray | None = bytearray(1 << (_BITS - 3))
        self._last: dict[str, int] = {}
        self._first: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._last)

    def suspect(self, key: str) -> bool:
        """Mark `key`; return whether it may have been marked before."""
        bitmap = self._bitmap
        assert bitmap is not None, "the index is sealed"
        # Python's hash of a `str`: 64 bits of SipHash, constant within a process.
        code = hash(key)
        one, two = code & _MASK, (code >> 32) & _MASK
        bit_one, bit_two = 1 << (one & 7), 1 << (two & 7)
        one >>= 3
        two >>= 3
        if bitmap[one] & bit_one and bitmap[two] & bit_two:
            return True
        bitmap[one] |= bit_one
        bitmap[two] |= bit_two
        return False

    def add(self, key: str, row: int) -> None:
        """Remember `row` as the last one of a suspect key."""
        self._last[key] = row

    def seal(self) -> None:
        """End the first pass."""
        self._bitmap = None

    def rival(self, key: str, row: int) -> int | None:
        """Return the row that is used for `key` instead of `row`, or None if `row` is used.

        ``last``: the last row is used. ``first``: the first row. ``error``: none is used; each gets another row.
        """
        last = self._last.get(key)
        if last is None:
            return None
        if self._policy == "last":
            return last if last > row else None
        first = self._first.setdefault(key, row)
        if self._policy == "first":
            return first if first != row else None
        return last if last != row else (first if first != row else None)
