"""Reading contacts out of JSON: strict about the id, tolerant about everything else.

One invalid field must not lose a contact, or end a run. A field whose type differs from the vendor's documentation is
read as absent: `None`, or empty for an array. It stays in ``raw``, and a debug record contains its name but not its
value. Times are accepted in seconds, in milliseconds and as ISO 8601.

Every reader here takes linear time and stores nothing for each invalid element.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from aelyst_async.transport.events import logger

__all__ = ["Reader", "as_id", "as_moment", "kind_of"]

_MILLISECONDS = 1e11
"""A Unix time from this number on is in milliseconds; in seconds it would be the year 5138."""


_from_timestamp = datetime.fromtimestamp


def as_id(value: object) -> str | None:
    """Return the id in `value`, a whole number or a `str`; None for anything else.

    A `str` with a lone surrogate is not an id, because it can be neither stored nor sent.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value or None


def as_moment(value: object) -> datetime | None:
    """Return an aware datetime for Unix seconds or milliseconds or ISO 8601 (UTC where it has no zone), else None."""
    try:
        if isinstance(value, str):
            return _iso(value.strip())
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000 if abs(value) >= _MILLISECONDS else value, timezone.utc)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def _iso(text: str) -> datetime:
    if len(text) > 8 and text.isascii() and text.isdigit():  # fewer digits are a year or a day
        moment = as_moment(int(text[:16]))
        if moment is None:
            raise ValueError("outside the calendar")
        return moment
    # Before Python 3.11, fromisoformat does not accept "Z", and accepts only 3 or 6 digits of a fraction.
    if text[-1:] in {"Z", "z"}:
        text = text[:-1] + "+00:00"
    head, point, tail = text.partition(".")
    if point:
        digits = len(tail) - len(tail.lstrip("0123456789"))
        text = f"{head}.{tail[:digits][:6]:0<6}{tail[digits:]}"
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)


def kind_of(value: object) -> str:
    """Return the JSON name of the type of `value`, for an error message."""
    return "null" if value is None else _KINDS.get(type(value), type(value).__name__)


_KINDS: dict[type, str] = {
    str: "text", bool: "true or false", int: "a whole number", float: "a number", dict: "an object", list: "an array",
}  # fmt: skip


_is_string = str.__instancecheck__
"""``isinstance(value, str)`` as one function in C, for `filter`."""


class Reader:
    """Reads the fields of one JSON object, and collects the names of invalid ones in ``odd``."""

    __slots__ = ("_get", "odd")

    def __init__(self, source: Mapping[str, Any]) -> None:
        self._get = source.get
        self.odd: list[str] = []

    def typed(self, fields: Iterable[tuple[str, str, type]]) -> dict[str, Any]:
        """Return ``{ours: value}`` for each ``(ours, theirs, type)`` whose field has exactly this type."""
        get = self._get
        found: dict[str, Any] = {}
        for ours, theirs, kind in fields:
            value = get(theirs)
            if value.__class__ is kind:
                found[ours] = value
            elif value is not None:
                self.odd.append(theirs)
        return found

    def strings(self, key: str) -> tuple[str, ...]:
        """Return the strings of an array."""
        items: Any = self._get(key)
        if not isinstance(items, list):
            if items is not None:
                self.odd.append(key)
            return ()
        found: tuple[str, ...] = tuple(filter(_is_string, items))
        if len(found) != len(items):
            self.odd.append(key)
        return found

    def items(self, key: str) -> list[Any]:
        """Return an array unchanged; an empty one if the field is absent."""
        value = self._get(key)
        if isinstance(value, list):
            return value
        if value is not None:
            self.odd.append(key)
        return []

    def number(self, key: str) -> float | None:
        """Return a number, else None."""
        value = self._get(key)
        if value is None or value.__class__ in (int, float):
            return value
        self.odd.append(key)
        return None

    def moment(self, key: str, *, least: float = -math.inf) -> datetime | None:
        """Return a time, read by `as_moment`; None for a number below `least`."""
        value = self._get(key)
        if value is None:
            return None
        if value.__class__ is int and 0 <= value < _MILLISECONDS and value >= least:  # the usual case
            return _from_timestamp(value, timezone.utc)
        moment = None if isinstance(value, (int, float)) and value < least else as_moment(value)
        if moment is None:
            self.odd.append(key)
        return moment

    def log(self, provider: str) -> None:
        """Log the names of the invalid fields in a debug record."""
        if self.odd:
            names = ", ".join(sorted(set(self.odd)))
            logger.debug("%s: fields of a contact that are not as documented, read as absent: %s", provider, names)
