"""Reading contacts out of JSON: strict about the id, tolerant about everything else.

One odd field is no reason to lose a contact, and with it perhaps a whole run. A field that is not of the type that its
page describes is read as absent: `None`, or empty for an array. It stays in ``raw``, and a debug record names it, never
its value. What has one sensible meaning is read all the same: a time in seconds, in milliseconds or as ISO 8601.

Every reader here takes linear time and keeps nothing for each odd element.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from aelyst_async.transport.events import logger

__all__ = ["Reader", "as_id", "as_moment", "kind_of"]

_MILLISECONDS = 1e11
"""Unix times from here on are milliseconds; as seconds this is the year 5138."""


_from_timestamp = datetime.fromtimestamp


def as_id(value: object) -> str | None:
    """Return an id that came as a whole number or as a `str`, or None for what is no id.

    A `str` with a lone surrogate is none: it could be neither stored nor sent.
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
    if len(text) > 8 and text.isascii() and text.isdigit():  # shorter ones are a year or a day
        moment = as_moment(int(text[:16]))
        if moment is None:
            raise ValueError("outside the calendar")
        return moment
    # Until Python 3.11, fromisoformat takes neither "Z" nor other than 3 or 6 digits of a second's fraction.
    if text[-1:] in {"Z", "z"}:
        text = text[:-1] + "+00:00"
    head, point, tail = text.partition(".")
    if point:
        digits = len(tail) - len(tail.lstrip("0123456789"))
        text = f"{head}.{tail[:digits][:6]:0<6}{tail[digits:]}"
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)


def kind_of(value: object) -> str:
    """Return what JSON calls the type of `value`, for an error message."""
    return "null" if value is None else _KINDS.get(type(value), type(value).__name__)


_KINDS: dict[type, str] = {
    str: "text", bool: "true or false", int: "a whole number", float: "a number", dict: "an object", list: "an array",
}  # fmt: skip


_is_string = str.__instancecheck__
"""``isinstance(value, str)`` as one function in C, for `filter`."""


class Reader:
    """Reads the fields of one JSON object, and notes the names of odd ones in ``odd``."""

    __slots__ = ("_get", "odd")

    def __init__(self, source: Mapping[str, Any]) -> None:
        self._get = source.get
        self.odd: list[str] = []

    def typed(self, fields: Iterable[tuple[str, str, type]]) -> dict[str, Any]:
        """Return ``{ours: value}`` for each ``(ours, theirs, type)`` that is there and exactly of its type."""
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
        """Return an array as it is, empty where there is none."""
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
        """Return a time as `as_moment` reads it; a number below `least` is none."""
        value = self._get(key)
        if value is None:
            return None
        if value.__class__ is int and 0 <= value < _MILLISECONDS and value >= least:  # nearly always
            return _from_timestamp(value, timezone.utc)
        moment = None if isinstance(value, (int, float)) and value < least else as_moment(value)
        if moment is None:
            self.odd.append(key)
        return moment

    def log(self, provider: str) -> None:
        """Name the odd fields in a debug record."""
        if self.odd:
            names = ", ".join(sorted(set(self.odd)))
            logger.debug("%s: fields of a contact that are not as documented, read as absent: %s", provider, names)
