"""The output of ``--dry-run``: what a sync would send; and the list of problems with a header."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from aelyst_async.cli.output import printable, say, to_json

if TYPE_CHECKING:
    from aelyst_async.tables import Column, Found, Header, HeaderProblem, Mapper, NoteCount, Preview, ProblemCount, Row

__all__ = ["change_lines", "guess_lines", "header_answer", "preview_json", "print_preview", "problem_lines"]

_SHOWN = 10
"""Largest number of problems and of changes that are shown."""

_TABLE_FROM = 100
"""Smallest width of a terminal for a table of the file's columns."""

_HOW = {
    "exact": "", "layout": "layout", "near": "near name", "mapped": "mapped", "ignored": "left out",
    "index": "ignored: row numbers", "unknown": "no field",
}  # fmt: skip


def print_preview(preview: Preview, mapper: Mapper) -> None:
    """Print the format of the file, its columns, and the first rows as they would be sent."""
    for line in guess_lines(preview.found, None):
        say(line)
    if preview.header.layout:
        say(f"recognised as {printable(preview.header.layout)}")
    if preview.header.columns:
        print()
        _print_columns([_cells(column) for column in preview.header.columns])
    for row in preview.rows:
        where = f"row {row.row}" + (f" (line {row.line})" if row.line is not None else "")
        if row.problems:
            print(f"\n{where} would be refused:")
            for one in row.problems:
                say(f"  {printable(_words(one.column, one.message))}")
            continue
        body = _body(row, mapper)
        width = max((len(name) for name in body), default=0)
        print(f"\n{where} would be sent as:")
        for name, value in body.items():
            say(f"  {printable(name):<{width}}  {_value(value)}")
    print()


def _cells(column: Column) -> tuple[str, ...]:
    how = ", ".join(part for part in (_HOW[column.match], *column.transforms) if part)
    cells = (column.name, column.field or "–", column.kind or "", column.sample or "", how)
    return tuple(printable(cell) for cell in cells)


def _print_columns(rows: Sequence[tuple[str, ...]]) -> None:
    names = ("column", "field", "type", "sample", "how")
    if sys.stdout.isatty():
        try:
            from rich.console import Console
            from rich.table import Table
            from rich.text import Text
        except ImportError:
            pass
        else:
            console = Console(highlight=False)
            if console.width < _TABLE_FROM:
                for name, field, kind, sample, how in rows:
                    details = ", ".join(part for part in (kind, how) if part)
                    say(f"{name} → {field}" + (f" ({details})" if details else ""))
                    if sample:
                        console.print(Text(f"    {sample}"), no_wrap=True, overflow="ellipsis")
                return
            table = Table(box=None, pad_edge=False, header_style="bold")
            for name in names:
                fold = name == "column"
                table.add_column(name, overflow="fold" if fold else "ellipsis", no_wrap=not fold)
            for row in rows:
                table.add_row(*map(Text, row))  # the file's text must not be read as markup
            console.print(table)
            return
    widths = [max(len(row[index]) for row in [names, *rows]) for index in range(len(names))]
    for row in (names, *rows):
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _body(row: Row, mapper: Mapper) -> dict[str, Any]:
    """Return the row in the vendor's JSON, or with our field names if a create would lack a field."""
    from aelyst_async.errors import UnsupportedFieldError

    try:
        return mapper.schema.encode(mapper.fields(row.values.items()), "create")
    except UnsupportedFieldError:
        return dict(row.values)


def _value(value: Any) -> str:
    return printable(value) if isinstance(value, str) else to_json(value)


def guess_lines(found: Found | None, header: Header | None) -> Iterator[str]:
    """Yield what was detected: the format of the file, and the fields of its columns."""
    if found is not None:
        yield f"read as {printable(str(found))}"
    near = [] if header is None else [one for one in header.columns if one.match == "near"]
    if header is not None and header.layout:
        yield f"recognised as {printable(header.layout)}"
    if near:
        pairs = ", ".join(f"{one.name!r} is {one.field}" for one in near)
        yield f"matched by similar names: {printable(pairs)} (--map sets another field)"
    ignored = [] if header is None else [one.name for one in header.columns if one.match in {"ignored", "index"}]
    if ignored:
        more = "" if len(ignored) <= _SHOWN else f" and {len(ignored) - _SHOWN} more"
        yield f"left out: {printable(', '.join(map(repr, ignored[:_SHOWN])))}{more}"


def problem_lines(problems: Sequence[ProblemCount], width: int) -> Iterator[str]:
    """Yield the most frequent problems, each with its first row."""
    from aelyst_async.tables.values import REASONS

    for one in problems[:_SHOWN]:
        reason = REASONS.get(one.rule, one.message)
        yield f"{one.count:>{width},} × {printable(_words(one.column, reason))}"
        where = f"row {one.row}" + (f", line {one.line}" if one.line is not None else "")
        details = one.message if one.message != reason else ""
        if one.value is not None and one.value not in one.message:
            details = f"{one.value}; {details}" if details else one.value
        first = "first in " if one.count > 1 else "in "
        yield f"{'':>{width}}   {first}{where}" + (f": {printable(details)}" if details else "")


def change_lines(changes: Sequence[NoteCount], width: int) -> Iterator[str]:
    """Yield the kinds of changes to values, each with its first example."""
    for one in changes[:_SHOWN]:
        example = printable(f"{one.before} → {one.after}")
        yield f"{one.count:>{width},} × {printable(_words(one.column, one.change))} (row {one.row}: {example})"
    if len(changes) > _SHOWN:
        yield f"{'':>{width}}   and {len(changes) - _SHOWN} more kinds of changes"


def _words(column: str | None, message: str) -> str:
    return f"{column}: {message}" if column else message


def header_answer(problems: Sequence[HeaderProblem], source: str, words: Sequence[str]) -> str:
    """Return the problems with a header, each with the options that solve it, and a command that solves all."""
    lines = [f"{printable(source)}: {len(problems)} problems with its columns; nothing was sent"]
    for one in problems:
        lines.append(f"  - {printable(one.message)}")
        if one.flags:
            lines.append(f"      {printable(('   or   ' if one.choice else ' ').join(one.flags))}")
    flags = [flag for one in problems for flag in one.flags if not one.choice]
    if flags and not any(one.choice or not one.flags for one in problems):
        lines.append(f"all together: {printable(shlex.join(['aelyst', *words]))} {printable(' '.join(flags))}")
    return "\n".join(lines)


def preview_json(preview: Preview, mapper: Mapper) -> dict[str, Any]:
    """Return the preview as JSON-ready values, each valid row also as it would be sent."""
    made: dict[str, Any] = attrs.asdict(preview)
    for shown, row in zip(made["rows"], preview.rows, strict=True):
        shown["sent"] = None if row.problems else _body(row, mapper)
    return made
