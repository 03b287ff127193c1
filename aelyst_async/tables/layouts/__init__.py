"""The exports of other tools, as data. Each tool has a JSON file ``{"name", "marks", "columns"}``.

``columns`` maps a column to a target (see `aelyst_async.tables.targets`), the preferred column of a field first: if a
file has several columns for one field, the first of them is used. ``marks`` are column names that no other tool uses;
`_ENOUGH` of them identify a file. ``near.json`` has other names of fields, for files of unknown tools.

To add a tool, add a file. Names are compared case-insensitively.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources

import attrs

__all__ = ["Layout", "bare", "folded", "layouts", "near_names", "recognise"]

_ENOUGH = 2


@attrs.frozen
class Layout:
    """The export of a tool. The keys of ``columns`` and the ``marks`` are folded names."""

    name: str
    marks: frozenset[str]
    columns: Mapping[str, str]


def folded(name: str) -> str:
    """Return a column's name for comparison: in lower case, with single blanks."""
    return " ".join(name.split()).lower()


def bare(name: str) -> str:
    """Return a column's name for a near match: only letters and digits, in lower case."""
    return re.sub(r"[\W_]+", "", name.lower())


@functools.cache
def layouts() -> tuple[Layout, ...]:
    """Return the layouts, in the order of their file names."""
    files = sorted(
        (
            file
            for file in resources.files(__name__).iterdir()
            if file.name.endswith(".json") and file.name != "near.json"
        ),
        key=lambda file: file.name,
    )
    found = (json.loads(file.read_text("utf-8")) for file in files)
    return tuple(
        Layout(
            one["name"],
            frozenset(map(folded, one["marks"])),
            {folded(column): target for column, target in one["columns"].items()},
        )
        for one in found
    )


@functools.cache
def near_names() -> Mapping[str, str]:
    """Return bare column name → field, or ``split_name`` for a full name."""
    fields = json.loads((resources.files(__name__) / "near.json").read_text("utf-8"))
    return {bare(name): field for field, names in fields.items() for name in names}


def recognise(columns: Sequence[str]) -> Layout | None:
    """Return the layout with the most marks among the columns, at least two; else None."""
    names = set(map(folded, columns))
    best = max(layouts(), key=lambda layout: len(layout.marks & names))
    return best if len(best.marks & names) >= _ENOUGH else None
