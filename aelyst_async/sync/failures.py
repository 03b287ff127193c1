"""The failures files: the failed rows as JSON lines and as a table, and a source that reads them again.

One JSON line for each row, written as it happens: ``row`` (1 is the first data row), ``line`` in the file, ``key``,
``errors: [{column, rule, message}]``, ``status`` (of the vendor's answer, or null), ``attempts``, ``data`` (the row as
it was read). The file is of one run: it is begun anew with the first failure, and what an earlier run left is removed
when a run has none.

Where the source is a table, a CSV file beside it has the same rows in the source's own columns and a last column
``error``. It is made for spreadsheets: UTF-8 with a byte order mark, and an apostrophe before a cell that a spreadsheet
would take for a formula (CWE-1236).

`FailedRows` reads either file again: only ``data`` counts, and the apostrophe is taken away.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import attrs

from aelyst_async.sync.errors import SyncError
from aelyst_async.tables.errors import SourceError
from aelyst_async.tables.model import BadRow, Problem, RawRow
from aelyst_async.tables.source import ContactSource
from aelyst_async.tables.sources import read_contacts

__all__ = ["FailedRows", "Failure", "FailuresFile", "beside", "failures_file", "table_of"]

_ERROR = "error"
"""The last column of the table."""

_NAME = re.compile(r"(?P<stem>.+)\.failures(?:-(?P<number>\d+))?")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_UNREADABLE = (OSError, ValueError, RecursionError)


def beside(path: Path, ending: str) -> Path:
    """Return the place next to `path` that is named after it: ``people.csv.gz`` → ``people.ENDING``.

    What fails again of ``people.failures.csv`` goes to ``people.failures-2.jsonl``, so that no corrected row is lost.
    """
    stem = path.name.removesuffix(".gz")
    stem = stem.removesuffix(Path(stem).suffix)
    again = _NAME.fullmatch(stem)
    if again is not None and ending.startswith("failures."):
        number = int(again["number"] or 1) + 1
        return path.with_name(f"{again['stem']}.failures-{number}{ending.removeprefix('failures')}")
    return path.with_name(f"{stem}.{ending}")


def table_of(path: Path) -> Path:
    """Return the CSV file beside the JSON lines at `path`."""
    return path.with_suffix(".csv") if path.suffix == ".jsonl" else path.with_name(f"{path.name}.csv")


@attrs.frozen(kw_only=True)
class Failure:
    """A failed row with all its problems: one line of the failures file."""

    row: int
    line: int | None
    key: str | None
    problems: Sequence[Problem]
    status: int | None = None
    attempts: int = 0
    data: Any


class FailuresFile:
    """Writes failures to `path`; None writes nowhere. `source`: what the rows are from."""

    def __init__(self, path: Path | None, source: ContactSource | None = None) -> None:
        self.path = path
        self._source = source
        self._file: IO[str] | None = None

    def add(self, failure: Failure) -> None:
        """Write one failure. Raises `SyncError` if the file cannot be written."""
        if self.path is None:
            return
        record = {
            "row": failure.row,
            "line": failure.line,
            "key": failure.key,
            "errors": [{"column": one.column, "rule": one.rule, "message": one.message} for one in failure.problems],
            "status": failure.status,
            "attempts": failure.attempts,
            "data": failure.data,
        }
        try:
            if self._file is None:
                self._file = _private(self.path, "utf-8")
                table_of(self.path).unlink(missing_ok=True)  # an earlier run's
            self._file.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")
        except OSError as error:
            raise self._unwritable(error) from None

    def flush(self) -> None:
        """Hand what was written to the system. Raises `SyncError`."""
        if self._file is not None:
            try:
                self._file.flush()
            except OSError as error:
                raise self._unwritable(error) from None

    def close(self, *, complete: bool) -> Path | None:
        """Close the file; return its path, or None where no row failed. `complete`: the whole source was decided."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                raise self._unwritable(error) from None
            return self.path
        if complete and self.path is not None:
            for path in (self.path, table_of(self.path)):
                if path.is_file():
                    path.unlink()
        return None

    def write_table(self) -> None:
        """Write the table beside the closed file, where the source is one. Blocks. Raises `SyncError`."""
        try:
            if self._file is not None:
                self._write_table()
        except OSError as error:
            raise self._unwritable(error) from None

    def _write_table(self) -> None:
        columns = None if self._source is None else self._source.columns
        if columns is None or self.path is None:
            return
        found = self._source.found if self._source is not None else None
        delimiter = (found and found.delimiter) or ","
        with (
            self.path.open(encoding="utf-8") as lines,
            contextlib.closing(_private(table_of(self.path), "utf-8-sig")) as file,
        ):
            writer = csv.writer(file, delimiter=delimiter, lineterminator="\r\n")
            writer.writerow([*map(_guarded, columns), _ERROR])
            for line in lines:
                record = json.loads(line)
                data = record["data"]
                if not isinstance(data, dict):
                    data = {columns[0]: data}
                errors = "; ".join(
                    f"{one['column']}: {one['message']}" if one["column"] else one["message"]
                    for one in record["errors"]
                )
                # Cells beyond the columns stand behind the error, where they still make the row too long.
                cells = [*(data.get(name) for name in columns), errors, *(data.get("") or ())]
                writer.writerow([_guarded(_text(cell)) for cell in cells])

    def _unwritable(self, error: OSError) -> SyncError:
        return SyncError(
            f"cannot write the failures file {self.path}: {(error.strerror or '').lower()}; "
            "name another with --failures"
        )


def _private(path: Path, encoding: str) -> IO[str]:
    """Open for writing, readable for the owner only like the journal: rows hold personal data."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    return open(descriptor, "w", encoding=encoding, errors="backslashreplace", newline="")  # noqa: PTH123


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    return cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)


def _guarded(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text


def _unguarded(cell: Any) -> Any:
    return cell[1:] if isinstance(cell, str) and cell.startswith("'") and _FORMULA.match(cell) else cell


def failures_file(path: Path) -> str | None:
    """Return ``csv`` or ``jsonl`` if `path` is a failures file: by its content, a table also by its name or by the
    JSON lines beside it.
    """
    name = path.name.lower()
    try:
        with path.open("rb") as file:
            head = file.readline(1 << 20)
    except OSError:
        return None
    if head.startswith(b"{"):
        with contextlib.suppress(*_UNREADABLE):
            record = json.loads(head)
            return "jsonl" if {"row", "line", "errors", "attempts", "data"} <= set(record) else None
        return None
    text = head.decode("utf-8-sig", "replace").strip().removesuffix('"')
    if not (name.endswith(".csv") and text.endswith(_ERROR)):
        return None
    lines = path.with_suffix(".jsonl")
    return "csv" if _NAME.fullmatch(name[:-4]) or (lines.is_file() and failures_file(lines) == "jsonl") else None


class FailedRows(ContactSource):
    """The rows of a failures file (`kind` as `failures_file` tells it), as their source had them."""

    def __init__(self, path: Path, kind: str, **options: Any) -> None:
        options["format"] = kind
        self._inner = read_contacts(path, **options)
        self._numbers: list[int] = []
        self._kind = kind
        self.name: str = self._inner.name
        self.path: Path | None = self._inner.path

    def fingerprint(self) -> str | None:
        """Return a string that changes when the file does. Raises `SourceError`."""
        return self._inner.fingerprint()

    def close(self) -> None:
        """Remove the copy of a stream. Idempotent."""
        self._inner.close()

    def row_number(self, position: int) -> int:
        """Return the number that the row had in its source."""
        return self._numbers[position - 1] if position <= len(self._numbers) else position

    def open(self) -> Iterator[RawRow]:
        """Yield the rows from the start. Raises `SourceError`."""
        yield from self._table() if self._kind == "csv" else self._lines()

    def _table(self) -> Iterator[RawRow]:
        for line, cells in self._inner.open():
            self._name_columns()
            if not isinstance(cells, list | tuple) or self.columns is None:
                yield line, cells
            else:
                yield line, [_unguarded(cell) for cell in cells[: len(self.columns)]]
        self._name_columns()

    def _name_columns(self) -> None:
        self.found = self._inner.found
        columns = self._inner.columns
        if columns is not None and self.columns is None:
            if columns[-1] != _ERROR:
                raise SourceError(f"{self.name} has no last column {_ERROR!r}, which a file of failed rows has")
            self.columns: tuple[str, ...] = tuple(_unguarded(name) for name in columns[:-1])

    def _lines(self) -> Iterator[RawRow]:
        if not self._numbers:
            self._scan()
        for line, record in self._inner.open():
            if not isinstance(record, Mapping):
                yield line, record
                continue
            number, data = _known(record, "line", line), record.get("data")
            if not isinstance(data, dict):
                yield number, BadRow("data", "the row could not be read; correct it in the source", data)
            elif self.columns is None:
                yield number, data
            else:
                yield number, self._cells(data)

    def _cells(self, data: dict[str, Any]) -> list[Any] | BadRow:
        assert self.columns is not None
        cells = ["" if data.get(name) is None else data[name] for name in self.columns]
        if data.get(""):
            words = f"{len(cells) + len(data[''])} cells, more than the {len(cells)} columns"
            return BadRow("cells", words, [*cells, *data[""]])
        return cells

    def _scan(self) -> None:
        """Remember the row numbers, and whether the rows are a table's.

        A table's have the same columns, or fewer; and there is a table beside them, or all that they hold is text.
        """
        table = self.path is not None and table_of(self.path).is_file()
        longest: tuple[str, ...] = ()
        shapes: set[tuple[str, ...]] = set()
        text = True
        for position, (_, record) in enumerate(self._inner.open(), 1):
            known = record if isinstance(record, Mapping) else {}
            self._numbers.append(_known(known, "row", position) or position)
            data = known.get("data")
            if isinstance(data, dict) and len(shapes) < 100:
                text = text and all(isinstance(value, str) for name, value in data.items() if name)
                shape = tuple(name for name in data if name)
                shapes.add(shape)
                longest = max(longest, shape, key=len)
        self.found = self._inner.found
        if longest and (table or text) and all(longest[: len(shape)] == shape for shape in shapes):
            self.columns = longest


def _known(record: Mapping[str, Any], name: str, other: int | None) -> int | None:
    value = record.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else other
