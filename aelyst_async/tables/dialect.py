"""Detects the delimiter and the first line of delimited text, from the beginning of the file.

Each candidate delimiter splits the first lines into cells. The right one gives the same number of cells, more than one,
in nearly every row. Lines above the header (a title, a date of export) are skipped only on request: the error names the
number for ``--skip-lines``. A first line ``sep=;``, which Excel writes and reads, sets the delimiter and is not a row.
"""

from __future__ import annotations

import csv
import re
import shlex
from collections import Counter
from collections.abc import Sequence

import attrs

from aelyst_async.tables.errors import SourceError
from aelyst_async.tables.layouts import bare, near_names

__all__ = ["DELIMITERS", "Dialect", "check_header", "clean_header", "detect", "lines_above_header"]

DELIMITERS = (",", ";", "\t", "|")
_UNUSUAL = ":^~\x01\x1f"
"""Further delimiters, which the error for a table of one column proposes."""

MAX_COLUMNS = 2_000
"""Largest number of columns. Excel permits 16,384; the widest exports of CRM tools have a few hundred."""

_SEP = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE)
_DATA = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+|\+?\d[\d ()\-.]{6,}")
_ADDED = re.compile(r" \(\d+\)")


@attrs.frozen
class Dialect:
    """The delimiter, its origin, and whether the first line is ``sep=``."""

    delimiter: str
    told_by: str
    sep_line: bool = False
    spaced: bool = False
    """Whether every delimiter of the header is followed by a blank, so that the blank is part of the delimiter."""


def detect(head: Sequence[str], told: str | None, *, prefer: str | None = None) -> Dialect:
    """Return the dialect of the first lines of a file. `prefer`: the delimiter that the file's name suggests."""
    found = _detect(head, told, prefer)
    lines = [line for line in head[found.sep_line :] if line.strip()]
    count = lines[0].count(found.delimiter) if lines and found.delimiter != " " else 0
    return attrs.evolve(found, spaced=count > 0 and lines[0].count(found.delimiter + " ") == count)


def _detect(head: Sequence[str], told: str | None, prefer: str | None) -> Dialect:
    match = _SEP.fullmatch(head[0]) if head else None
    if told is not None:
        return Dialect(told, "flag", match is not None)
    if match is not None:
        return Dialect(match[1], "sep=", sep_line=True)
    ranked = [(_consistency(head, delimiter), delimiter == prefer, delimiter) for delimiter in DELIMITERS]
    best, _, delimiter = max(ranked, key=lambda item: item[:2])
    if best == (False, 0.0, 0):
        return Dialect(prefer or ",", "name" if prefer else "content")
    return Dialect(delimiter, "content")


def _consistency(head: Sequence[str], delimiter: str) -> tuple[bool, float, int]:
    """Return whether most rows have one width above 1, the share of these rows, and the width."""
    widths = [len(row) for row in csv.reader(head, delimiter=delimiter) if any(row)]
    if not widths:
        return False, 0.0, 0
    width, count = Counter(widths).most_common(1)[0]
    widest = max(widths[:3])
    if width == 1 and widest > 1 and len(widths) <= 3:  # a header and one or two short rows
        width, count = widest, widths.count(widest)
    if width == 1:
        return False, 0.0, 0
    share = count / len(widths)
    return share >= 0.5, round(share, 1), width


def lines_above_header(rows: Sequence[Sequence[str]]) -> int:
    """Return the number of rows above the header.

    These are titles: rows with one or two filled cells, above a row with most of the table's columns. And a row of
    groups, as over merged cells: it has gaps, and the row below it names more fields.
    """
    filled = [sum(1 for cell in row if cell.strip()) for row in rows]
    wide = sorted(count for count in filled if count > 1)
    if not wide or 2 * len(wide) < sum(map(bool, filled)):
        return 0
    typical = wide[len(wide) // 2]
    near = near_names()
    named = [len({near[bare(cell)] for cell in row if bare(cell) in near}) for row in rows[:21]]
    for index, count in enumerate(filled[:20]):
        if count >= max(2, 0.6 * typical) or named[index]:
            groups = count < len(rows[index]) and index + 1 < len(rows) and named[index + 1] > max(1, named[index])
            return index + 1 if groups else index
    return 0


def clean_header(cells: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the columns: trimmed, without empty ones at the end, and unique.

    A column without a name becomes ``column N``; the second column with a name becomes ``NAME (2)``.
    """
    names = [cell.strip().strip("\ufeff\u200b").strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    seen: Counter[str] = Counter()
    unique: list[str] = []
    for position, name in enumerate(names, 1):
        said = name or f"column {position}"
        seen[said] += 1
        unique.append(said if seen[said] == 1 else f"{said} ({seen[said]})")
    return tuple(unique)


def base_name(column: str, columns: Sequence[str]) -> str:
    """Return the name of a column in the file, without the number that `clean_header` added."""
    match = _ADDED.search(column, len(column) - 5) if column.endswith(")") else None
    return column[: match.start()] if match and column[: match.start()] in columns else column


def check_header(columns: Sequence[str], name: str, *, told: bool = True) -> None:
    """Raise `SourceError` for a first line that is not a header. `told`: the user gave the delimiter."""
    if not columns:
        raise SourceError(f"{name} is empty: the first line must name the columns")
    if len(columns) > MAX_COLUMNS:
        raise SourceError(f"{name}: {len(columns):,} columns; at most {MAX_COLUMNS:,} are read")
    if len(columns) == 1 and not told:
        other = next(
            (one for one in _UNUSUAL if any(bare(part) in near_names() for part in columns[0].split(one)[1:])), None
        )
        if other is not None:
            raise SourceError(f"{name}: the columns look separated by {other!r}; add --delimiter {shlex.quote(other)}")
    data = next((column for column in columns if _DATA.fullmatch(column)), None)
    if data is not None and not any(bare(column) in near_names() for column in columns):
        raise SourceError(
            f"{name}: the first line looks like a row, not like a header ({data!r}); "
            "put a line with the names of the columns above it, such as email,first_name,phone"
        )
