"""Stores the values of contacts in a temporary file, and determines the columns they need.

A column has the name that a sync reads: a field's name, or ``custom_fields.NAME:TYPE``. The values determine the type:
``number``, ``checkbox``, or text, which has no suffix. A custom field without any value gets the type of its
definition.
"""

from __future__ import annotations

import json
import pickle
import tempfile
from collections.abc import Iterable, Iterator
from datetime import date, time
from decimal import Decimal
from typing import IO, Any

import attrs

from aelyst_async.schema import ContactSchema
from aelyst_async.tables.fields import CUSTOM
from aelyst_async.tables.values import CUSTOM_TYPES

__all__ = ["Column", "Spool", "Values"]

EXACT = 10**15
"""Whole numbers from this one on are not exact in every format."""


@attrs.frozen
class Values:
    """The values of one contact in the exported fields. Fields without a value are left out; ``""`` is a value."""

    contact_id: str
    plain: dict[str, Any]
    custom: dict[str, Any]

    def cell(self, column: Column) -> Any:
        """Return the value for a column, or None."""
        return self.custom.get(column.custom) if column.custom is not None else self.plain.get(column.name)


@attrs.frozen
class Column:
    """A column. ``name`` is its name in the file, ``custom`` the name of its custom field.

    ``kinds`` are the kinds of its values: ``text``, ``whole``, ``large`` (a whole number above 10**15), ``fraction``,
    ``bool``.
    """

    name: str
    custom: str | None = None
    kinds: frozenset[str] = frozenset({"text"})

    @property
    def mixed(self) -> bool:
        """Whether the values are of several types that no single column type covers."""
        return len({"number" if kind in _NUMBERS else kind for kind in self.kinds}) > 1

    def retyped(self, kind: str) -> Column:
        """Return the column of a custom field with another type in its name."""
        return attrs.evolve(self, name=f"{CUSTOM}.{self.custom}:{kind}")


_NUMBERS = frozenset({"whole", "large", "fraction"})


class Spool:
    """The contacts of a listing, in an unnamed temporary file. Leaving its ``with`` block deletes the file."""

    def __init__(self, schema: ContactSchema) -> None:
        self._names = [rule.name for rule in schema.rules if rule.kind != "custom_fields"]
        self._has_custom = any(rule.kind == "custom_fields" for rule in schema.rules)
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="aelyst-")  # noqa: SIM115 - closed by __exit__
        self._kinds: dict[str, set[str]] = {}
        self._defined: dict[str, str] = {}
        self.count: int = 0
        self.empty: int = 0
        """Number of contacts that are left out because they have no value in any exported field."""

    def __enter__(self) -> Spool:  # noqa: PYI034 - no Self before 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def define(self, definitions: Iterable[Any]) -> None:
        """Add the account's custom fields in order: objects with ``name`` and ``data_type``."""
        for one in definitions:
            name = _storable(one.name)
            if name.strip():
                self._kinds.setdefault(name, set())
                self._defined[name] = str(getattr(one, "data_type", "text"))

    def add(self, contact: Any) -> None:
        """Append a contact."""
        plain = {name: _plain(value) for name in self._names if (value := getattr(contact, name, None)) is not None}
        custom: dict[str, Any] = {}
        for item in getattr(contact, CUSTOM, ()) if self._has_custom else ():
            name = _storable(item.name)
            if not name.strip():  # a sync cannot name it
                continue
            kinds = self._kinds.setdefault(name, set())
            if item.value is not None:
                custom[name] = value = _plain(item.value)
                kinds.add(_kind(value))
        if not plain and not custom:
            self.empty += 1
            return
        self.count += 1
        pickle.dump((str(contact.id), plain, custom), self._file, pickle.HIGHEST_PROTOCOL)

    def columns(self) -> list[Column]:
        """Return the columns of a table: all fields that a sync can write, and every custom field."""
        made = [Column(name) for name in self._names]
        for name, kinds in self._kinds.items():
            column = Column(f"{CUSTOM}.{name}", name, frozenset(kinds))
            kind = self._type(name, kinds)
            # A sync would not read a blank at the end, or a colon, as part of the name.
            plain = (kind == "text" or kinds == {"text"}) and name == name.strip() and ":" not in name
            made.append(column if plain else column.retyped(kind))
        return made

    def _type(self, name: str, kinds: set[str]) -> str:
        if kinds <= {"text"}:
            defined = self._defined.get(name, "text")
            return defined if defined in CUSTOM_TYPES else "text"
        if kinds == {"bool"}:
            return "checkbox"
        return "number" if kinds <= _NUMBERS else "text"

    def __iter__(self) -> Iterator[Values]:
        self._file.seek(0)
        for _ in range(self.count):
            yield Values(*pickle.load(self._file))  # noqa: S301 - our own temporary file


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "whole" if abs(value) < EXACT else "large"
    return "fraction" if isinstance(value, float) else "text"


def _plain(value: Any) -> Any:
    """Return a value as a `str`, a number or a `bool`."""
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, time):
        return value.strftime("%H:%M")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return _storable(json.dumps(value, ensure_ascii=False))


def _storable(text: str) -> str:
    """Return `text` with lone surrogates, which UTF-8 cannot encode, as escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
