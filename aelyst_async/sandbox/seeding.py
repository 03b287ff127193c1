"""Adds contacts from a file to a sandbox.

Columns have the vendor's names or this library's snake_case names. An empty cell is an absent field. ``tags`` takes a
JSON array or one tag. ``custom_fields.NAME`` columns become custom fields.
"""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from aelyst_async.sandbox.vendors import find_vendor
from aelyst_async.tables.model import BadRow
from aelyst_async.tables.records import plain

if TYPE_CHECKING:
    from aelyst_async.sandbox.account import Account
    from aelyst_async.tables.source import ContactSource

__all__ = ["add_csv", "add_rows", "add_source"]

Field: TypeAlias = "tuple[str, Callable[[Any], Any] | None]"
"""The vendor's name of a column, and a function from a cell to a value (None: the cell is the value)."""


def add_csv(account: Account, vendor: str, path: str | Path) -> int:
    """Add the contacts of a UTF-8 file and return their number. Raises `ValueError` naming the row, `OSError`."""
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            return add_rows(account, vendor, file)
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8") from None


def add_rows(account: Account, vendor: str, lines: Iterable[str]) -> int:
    """Add the contacts of CSV lines, the header first, all or none, and return their number. Raises `ValueError`."""
    names = find_vendor(vendor).field_names
    parsed: list[dict[str, Any]] = []
    try:
        for row in csv.DictReader(lines):
            if None in row:
                raise ValueError(f"row {len(parsed) + 1} has more cells than the header")
            parsed.append(_fields(row, names))
    except csv.Error as error:
        raise ValueError(f"row {len(parsed) + 1}: {error}") from None
    account.add_contacts(vendor, parsed)
    return len(parsed)


def add_source(
    account: Account, vendor: str, source: ContactSource, fields: Callable[[Sequence[str]], Mapping[str, Field]]
) -> int:
    """Add the contacts of a source, all or none, and return their number.

    `fields` returns the vendor's name and the conversion of each column. A column without an entry keeps its name.
    Raises `ValueError` naming the row, `SourceError`.
    """
    parsed: list[dict[str, Any]] = []
    known: Mapping[str, Field] | None = None
    for number, (_, cells) in enumerate(source.open(), 1):
        if isinstance(cells, BadRow):
            raise ValueError(f"row {number}: {cells.message}")  # noqa: TRY004
        row = dict(cells) if isinstance(cells, Mapping) else dict(zip(source.columns or (), cells, strict=True))
        if known is None or source.columns is None:
            known = fields(tuple(row))
        read: dict[str, Any] = {}
        for column, cell in row.items():
            name, convert = known.get(column, (column, None))
            if cell is None or cell == "":
                continue
            try:
                read[name] = plain(cell if convert is None else convert(cell))
            except ValueError as error:
                raise ValueError(f"row {number}: {column}: {error}") from None
        parsed.append(_fields(read, find_vendor(vendor).field_names))
    account.add_contacts(vendor, parsed)
    return len(parsed)


def _fields(row: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    custom: list[dict[str, Any]] = []
    for column, cell in row.items():
        if cell is None or cell == "":
            continue
        name = column.strip()
        if name.startswith("custom_fields."):
            custom.append({"name": name.partition(".")[2], "value": cell})
        elif name == "tags" and isinstance(cell, str):
            fields[name] = _tags(cell)
        else:
            fields[names.get(name, name)] = cell
    if custom:
        fields["custom_fields"] = custom
    return fields


def _tags(cell: str) -> list[Any]:
    if cell.lstrip().startswith("["):
        with contextlib.suppress(ValueError):
            tags: list[Any] = json.loads(cell)
            return tags
    return [cell]
