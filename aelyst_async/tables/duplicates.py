"""Which rows of a source share a key, in memory that does not grow with the source.

The first reading marks two bits of a fixed bitmap for each key. A key whose bits are both set already *may* have
occurred before, and only such keys are remembered by name, with the row they were last seen in. A key that does occur
twice is always among them (its second occurrence finds the bits of its first); one that is there by accident has one
row only and changes nothing. With 16 MiB and a million rows, about two hundred keys are there by accident.

The second reading asks for each row whether another one stands for the same key. The bitmap is freed before it.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["Duplicates", "DuplicatesIndex"]

Duplicates: TypeAlias = Literal["last", "first", "error"]

_BITS = 27
_MASK = (1 << _BITS) - 1


class DuplicatesIndex:
    """First reading: `add` each key. Then `seal`. Second reading: `rival` for each row, in the same order."""

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
        # Python's own hash of a text: 64 bits of SipHash, the same for one process.
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
        """End the first reading."""
        self._bitmap = None

    def rival(self, key: str, row: int) -> int | None:
        """Return the row that stands for `key` instead of `row`, or None if `row` does.

        ``last``: the last one stands. ``first``: the first one. ``error``: none does, each names another one.
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
