"""The values that this package returns: attrs classes without behaviour, safe to print as text or JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import attrs

__all__ = [
    "BadRow",
    "Column",
    "Found",
    "Header",
    "HeaderProblem",
    "Interrupted",
    "Match",
    "Note",
    "NoteCount",
    "Preview",
    "Problem",
    "ProblemCount",
    "RawRow",
    "Row",
]

Match: TypeAlias = Literal["exact", "layout", "near", "mapped", "ignored", "index", "unknown"]


class Interrupted(Exception):  # noqa: N818 - not an error
    """The sync was asked to end while a source waited for its data."""


@attrs.frozen
class BadRow:
    """A row that cannot be read. ``rule`` is one word, ``message`` a sentence for people."""

    rule: str
    message: str
    data: Any = None


RawRow: TypeAlias = "tuple[int | None, Sequence[Any] | Mapping[str, Any] | BadRow]"
"""Line number in the file (None without lines) and the cells: a list in the order of the columns for a table, a mapping
for a source of records, or a `BadRow` if the row cannot be read.
"""


@attrs.frozen(kw_only=True)
class Found:
    """The detected properties of a file. An attribute is None if it has no meaning for the format.

    - ``encoding_from``: how the encoding was determined: ``"BOM"``, ``"UTF-8"``, ``"guess"`` or ``"flag"``.
    - ``delimiter_from``: the same for the delimiter: ``"sep="``, ``"name"``, ``"content"`` or ``"flag"``.
    - ``spaced``: whether blanks after a delimiter belong to it.
    - ``skipped_lines``: the number of skipped lines above the header.
    """

    name: str
    format: str
    compression: str | None = None
    member: str | None = None
    encoding: str | None = None
    encoding_from: str | None = None
    delimiter: str | None = None
    delimiter_from: str | None = None
    spaced: bool = False
    sheet: str | None = None
    sheets: tuple[str, ...] = ()
    skipped_lines: int = 0

    def __str__(self) -> str:
        parts = [self.format.upper()]
        if self.compression:
            parts.append(self.compression + (f" ({self.member})" if self.member else ""))
        if self.encoding:
            said = {"guess": " (guessed; --encoding sets it)", "BOM": " (by its byte order mark)", "flag": " (as told)"}
            parts.append(self.encoding + said.get(self.encoding_from or "", ""))
        if self.delimiter:
            name = {"\t": "tab"}.get(self.delimiter, repr(self.delimiter))
            parts.append(f"delimiter {name}" + (" and blanks" if self.spaced else ""))
        if self.sheet is not None:
            parts.append(f"sheet {self.sheet!r}" + (f" of {len(self.sheets)}" if len(self.sheets) > 1 else ""))
        if self.skipped_lines:
            parts.append(f"{self.skipped_lines} line{'s' * (self.skipped_lines > 1)} above the header skipped")
        return ", ".join(parts)


@attrs.frozen(kw_only=True)
class Column:
    """One column of a table and the field that it is mapped to.

    - ``field``: the target (``email``, ``custom_fields.Seats``; several are joined with ``,``), or None if the column
      is not sent.
    - ``match``: how the field was found: ``exact``, ``layout``, ``near``, ``mapped``, ``ignored`` (left out by a
      mapping or --ignore-unknown), ``index`` (the row numbers that pandas adds) or ``unknown``.
    - ``transforms``: applied in this order. ``kind``: the expected type. ``sample``: the first value in the column.
    """

    name: str
    field: str | None = None
    match: Match = "unknown"
    layout: str | None = None
    transforms: tuple[str, ...] = ()
    kind: str | None = None
    sample: str | None = None


@attrs.frozen(kw_only=True)
class HeaderProblem:
    """A problem of a header, and the command-line flags that solve it, ready to paste.

    If ``choice`` is true, the ``flags`` are alternatives; otherwise all of them are needed.
    """

    columns: tuple[str, ...]
    message: str
    flags: tuple[str, ...] = ()
    choice: bool = False


@attrs.frozen(kw_only=True)
class Header:
    """All columns and all problems of a table. ``layout`` is the name of the recognised tool."""

    columns: tuple[Column, ...]
    problems: tuple[HeaderProblem, ...] = ()
    layout: str | None = None


@attrs.frozen
class Problem:
    """A problem of a row. ``column`` is None if it concerns the whole row; ``rule`` is one word.

    ``message`` is a complete sentence for people. ``value`` is the wrong value as a `str`. ``remedy`` is the part of
    the message that says what to do. Both may be None.
    """

    column: str | None
    rule: str
    message: str
    value: str | None = attrs.field(default=None, eq=False)
    remedy: str | None = attrs.field(default=None, eq=False)


@attrs.frozen
class Note:
    """A change to a value: its column, the kind of change, and the value before and after."""

    column: str
    change: str
    before: str
    after: str


@attrs.frozen(kw_only=True)
class ProblemCount:
    """One kind of problem: the number of rows that have it, and the first of them as an example."""

    column: str | None
    rule: str
    count: int
    row: int
    line: int | None
    value: str | None
    message: str
    remedy: str | None


@attrs.frozen(kw_only=True)
class NoteCount:
    """One kind of change: the number of changed values, and the first of them as an example."""

    column: str
    change: str
    count: int
    row: int
    before: str
    after: str


@attrs.frozen(kw_only=True)
class Row:
    """One row: the values by field as they would be sent, or the problems. ``row`` 1 is the first data row."""

    row: int
    line: int | None
    values: Mapping[str, Any]
    problems: tuple[Problem, ...] = ()
    notes: tuple[Note, ...] = ()


@attrs.frozen(kw_only=True)
class Preview:
    """What a sync would read: the file, its columns, the first rows, and counts over all rows.

    ``total`` is the number of rows in the source, ``valid`` the number of rows without a problem. If
    ``header.problems`` is not empty, the rows were not mapped: ``rows`` and the counts are empty.
    """

    found: Found | None
    header: Header
    rows: tuple[Row, ...] = ()
    total: int = 0
    valid: int = 0
    problems: tuple[ProblemCount, ...] = ()
    notes: tuple[NoteCount, ...] = ()
