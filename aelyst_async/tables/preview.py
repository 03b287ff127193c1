"""Previews the rows that a sync would read, without an API: for ``--dry-run``, ``--suggest-mapping`` and programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any

import attrs

from aelyst_async.tables.layouts import bare, near_names
from aelyst_async.tables.mapping import Mapper
from aelyst_async.tables.model import BadRow, Column, Header, Note, NoteCount, Preview, Problem, ProblemCount, Row
from aelyst_async.tables.plan import Mapped
from aelyst_async.tables.source import ContactSource
from aelyst_async.tables.targets import SPLIT_NAME

__all__ = ["Tallies", "inspect", "suggest_mapping"]

_HEAD = 200
"""Number of rows that are searched for samples."""

_KINDS = 1_000
"""Largest number of kinds of problems, and of changes, that are counted separately."""


class Tallies:
    """Counts the problems and the changes of rows by kind, with the first of each as an example."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[Any, ...]] = Counter()
        self._problems: dict[tuple[Any, ...], ProblemCount] = {}
        self._notes: dict[tuple[Any, ...], NoteCount] = {}

    def add_problems(self, row: int, line: int | None, problems: Sequence[Problem]) -> None:
        """Count the problems of a row."""
        for one in problems:
            key = (one.column, one.rule, one.remedy)
            if key not in self._problems:
                if len(self._problems) >= _KINDS:
                    continue
                self._problems[key] = ProblemCount(
                    column=one.column, rule=one.rule, count=1, row=row, line=line, value=one.value,
                    message=one.message, remedy=one.remedy,
                )  # fmt: skip
            self._counts[key] += 1

    def add_notes(self, row: int, notes: Sequence[Note]) -> None:
        """Count the changes in a row."""
        for one in notes:
            key = (one.column, one.change)
            if key not in self._notes:
                if len(self._notes) >= _KINDS:
                    continue
                self._notes[key] = NoteCount(
                    column=one.column, change=one.change, count=1, row=row, before=one.before, after=one.after
                )
            self._counts[key] += 1

    @property
    def problems(self) -> tuple[ProblemCount, ...]:
        """The problems, the most frequent first."""
        counted = [attrs.evolve(one, count=self._counts[key]) for key, one in self._problems.items()]
        return tuple(sorted(counted, key=lambda one: (-one.count, one.row)))

    @property
    def notes(self) -> tuple[NoteCount, ...]:
        """The changes, the most frequent first."""
        counted = [attrs.evolve(one, count=self._counts[key]) for key, one in self._notes.items()]
        return tuple(sorted(counted, key=lambda one: (-one.count, one.row)))


def inspect(source: ContactSource, mapper: Mapper, *, rows: int = 3) -> Preview:
    """Read `source` to its end and return what a sync would send. Raises `SourceError`; never `MappingError`.

    `rows`: the number of first rows in the preview. Does not find keys that occur twice; a sync does.
    """
    found = source.open()
    head = list(islice(found, _HEAD))
    header = _header(source, mapper, [cells for _, cells in head])
    if header.problems:
        return Preview(found=source.found, header=header)
    shown: list[Row] = []
    tallies = Tallies()
    total = valid = 0
    for total, (line, cells) in enumerate(chain(head, found), 1):
        one = _read(total, line, cells, source.columns, mapper)
        valid += not one.problems
        tallies.add_problems(total, line, one.problems)
        tallies.add_notes(total, one.notes)
        if total <= rows:
            shown.append(one)
    return Preview(
        found=source.found, header=header, rows=tuple(shown), total=total, valid=valid, problems=tallies.problems,
        notes=tallies.notes,
    )  # fmt: skip


def _header(source: ContactSource, mapper: Mapper, head: list[Any]) -> Header:
    if source.columns is not None:
        if mapper.transform is not None:
            return Header(columns=tuple(Column(name=name, match="mapped") for name in source.columns))
        return mapper.header(source.columns, _sample(head, len(source.columns)))
    first = head[0] if head else None
    if isinstance(first, Mapping) and mapper.transform is None:
        return mapper.record_header(first)
    return Header(columns=())


def _sample(rows: Iterable[Any], width: int) -> list[Any]:
    """Return the first value of each column, or ``""``."""
    sample: list[Any] = [""] * width
    for cells in rows:
        if isinstance(cells, (list, tuple)):
            for position, cell in enumerate(cells[:width]):
                if sample[position] == "" and not (isinstance(cell, str) and not cell.strip()):
                    sample[position] = cell
    return sample


def _read(row: int, line: int | None, cells: Any, columns: tuple[str, ...] | None, mapper: Mapper) -> Row:
    if isinstance(cells, BadRow):
        return Row(row=row, line=line, values={}, problems=(Problem(None, cells.rule, cells.message),))
    mapped = mapper.read(columns, cells)
    if isinstance(mapped, Mapped):
        return Row(row=row, line=line, values=dict(mapped.values), notes=mapped.notes)
    return Row(row=row, line=line, values={}, problems=tuple(mapped))


def suggest_mapping(source: ContactSource, mapper: Mapper) -> str:
    """Return a mapping file (TOML) with every column, a proposal for it, and the first value found in it.

    Columns without a field are mapped to ``""``, so that the table can be synced with this file alone. Raises
    `SourceError`.
    """
    rows = source.open()
    head = [cells for _, cells in islice(rows, _HEAD)]
    close = getattr(rows, "close", None)
    if close is not None:
        close()
    columns = source.columns or ()
    sample = _sample(head, len(columns))
    header = mapper.header(columns, sample)
    lines = [f'# Columns of {source.name} and the fields of {mapper.schema.provider}; "" leaves a column out.']
    if header.layout:
        lines.append(f"# Recognised as {header.layout}.")
    lines.append(f"# Fields: {', '.join(mapper.fields_by_name.names())}")
    lines += ["", f"key = {_toml(mapper.key)}", "", "[columns]"]
    taken = {name for column in header.columns if column.field for name in column.field.split(",")}
    for position, column in enumerate(header.columns):
        target, why = _proposal(column, taken, mapper)
        comment = f"{why}; empty" if sample[position] == "" else f"{why}; e.g. {_toml(str(sample[position])[:40])}"
        lines.append(f"{_toml(column.name)} = {_toml(target)}  # {comment}")
    return "\n".join(lines) + "\n"


def _proposal(column: Column, taken: set[str], mapper: Mapper) -> tuple[str, str]:
    if column.field is not None:
        target = SPLIT_NAME if SPLIT_NAME in column.transforms else column.field
        typed = column.kind if column.field.startswith("custom_fields.") and column.kind != "text" else None
        dated = any(word.startswith("date(") for word in column.transforms)
        words = [word for word in column.transforms if word != SPLIT_NAME]
        target += "".join(f":{word}" for word in ([typed] if typed and not dated else []) + words)
        return target, {"layout": f"by the layout {column.layout}", "exact": "its own name"}.get(
            column.match, column.match
        )
    near = near_names().get(bare(column.name))
    names = {"first_name", "last_name"} if near == SPLIT_NAME else {near}
    if near is not None and not names & taken and column.match == "unknown":
        taken |= {name for name in names if name is not None}
        return near, "near name, please check"
    if mapper.fields_by_name.has_custom and column.match == "unknown":
        return "", f"left out; or {_toml(f'custom_fields.{column.name}')}"
    return "", "left out"


def _toml(text: str) -> str:
    # A JSON string is a valid basic string of TOML, except for DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
