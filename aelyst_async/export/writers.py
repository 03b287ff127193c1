"""Writers of the four formats: CSV, JSON lines, Parquet, Excel. Each one returns a row as a sync will read it.

A sync must read the account's values from the file, so nothing is added to a value. CSV cannot mark a cell as text: a
spreadsheet reads a cell that begins with ``=``, ``+``, ``-`` or ``@`` as a formula (CWE-1236), and the usual apostrophe
in front of it would become data. Such cells are counted (`Writer.formulas`); a workbook stores them as text. The CSV
begins with a byte order mark, because without it spreadsheets do not read it as UTF-8.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from aelyst_async.export.columns import EXACT, Column, Values
from aelyst_async.sync.errors import SyncError
from aelyst_async.tables.fields import CUSTOM, UNTYPED

__all__ = ["FORMATS", "ExportError", "Writer", "check_libraries", "make_writer"]


class ExportError(SyncError):
    """The file cannot be written, or cannot be written in this format."""


FORMATS = {
    ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet", ".xlsx": "xlsx",
}  # fmt: skip

_FORMULA = re.compile(r"[=+\-@\t\r](?![\d.,() -]*$)")
"""Matches a cell that a spreadsheet would calculate; phone numbers and other numbers do not match."""

_BATCH = 2_000
_MAX_ROWS = 1_048_576
_MAX_CELL = 32_767


class Writer:
    """Writes rows. ``columns`` are the table's names, or None for records. ``formulas`` counts the cells described
    above.
    """

    formulas = 0
    columns: tuple[str, ...] | None = None

    def write(self, values: Values) -> Any:
        """Write one contact; return its row as a sync reads it: cells, or a record."""
        raise NotImplementedError

    def close(self) -> None:
        """Write the remaining data. The file stays open."""


class _Csv(Writer):
    def __init__(self, file: IO[bytes], columns: Sequence[Column]) -> None:
        self._columns = columns
        self.columns = tuple(column.name for column in columns)
        self._text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        self._writer = csv.writer(self._text, lineterminator="\r\n")
        self._writer.writerow(self.columns)

    def write(self, values: Values) -> list[str]:
        cells = [_text(values.cell(column)) for column in self._columns]
        self._writer.writerow(cells)
        self.formulas += sum(1 for cell in cells if _FORMULA.match(cell))
        return cells

    def close(self) -> None:
        self._text.flush()
        self._text.detach()


class _JsonLines(Writer):
    def __init__(self, file: IO[bytes], columns: Sequence[Column]) -> None:  # noqa: ARG002 - as all writers
        self._file = file

    def write(self, values: Values) -> dict[str, Any]:
        record: dict[str, Any] = dict(values.plain)
        if values.custom:
            record[CUSTOM] = values.custom
        self._file.write(json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n")
        return record


class _Parquet(Writer):
    def __init__(self, file: IO[bytes], columns: Sequence[Column]) -> None:
        parquet: Any = importlib.import_module("pyarrow.parquet")
        pyarrow: Any = importlib.import_module("pyarrow")
        self._arrow = pyarrow
        self._columns = columns
        self.columns = tuple(column.name for column in columns)
        types = {
            frozenset({"bool"}): pyarrow.bool_(),
            frozenset({"whole"}): pyarrow.int64(),
            frozenset({"fraction"}): pyarrow.float64(),
        }
        # A column with whole numbers and fractions is written as text, so a sync reads exactly the same numbers.
        self._types = [types.get(column.kinds, pyarrow.string()) for column in columns]
        self._schema = pyarrow.schema(list(zip(self.columns, self._types, strict=True)))
        self._writer: Any = parquet.ParquetWriter(file, self._schema)
        self._rows: list[list[Any]] = []

    def write(self, values: Values) -> list[Any]:
        row: list[Any] = []
        for column, kind in zip(self._columns, self._types, strict=True):
            value = values.cell(column)
            row.append(_text(value) if value is not None and kind == self._arrow.string() else value)
        self._rows.append(row)
        if len(self._rows) >= _BATCH:
            self._flush()
        return ["" if value is None else value for value in row]

    def _flush(self) -> None:
        cells = zip(*self._rows, strict=True)
        arrays = [self._arrow.array(cell, kind) for cell, kind in zip(cells, self._types, strict=True)]
        self._writer.write_batch(self._arrow.record_batch(arrays, schema=self._schema))
        self._rows = []

    def close(self) -> None:
        if self._rows:
            self._flush()
        self._writer.close()


class _Excel(Writer):
    def __init__(self, file: IO[bytes], columns: Sequence[Column]) -> None:
        xlsxwriter: Any = importlib.import_module("xlsxwriter")
        # Cells keep their types, so a column with several types has no type suffix.
        self._columns = [column.retyped(UNTYPED) if column.mixed else column for column in columns]
        self.columns = tuple(column.name for column in self._columns)
        self._directory = tempfile.TemporaryDirectory(prefix="aelyst-")
        options = {
            "constant_memory": True, "tmpdir": self._directory.name, "strings_to_formulas": False,
            "strings_to_urls": False, "strings_to_numbers": False,
        }  # fmt: skip
        self._book: Any = xlsxwriter.Workbook(file, options)
        self._sheet: Any = self._book.add_worksheet("contacts")
        self._row = 0
        for position, name in enumerate(self.columns):
            self._put(position, name, name)
        self._sheet.freeze_panes(1, 0)

    def write(self, values: Values) -> list[Any]:
        self._row += 1
        if self._row >= _MAX_ROWS:
            raise ExportError(f"a sheet has at most {_MAX_ROWS:,} rows; export to .csv, .jsonl or .parquet")
        return [self._put(position, column.name, values.cell(column)) for position, column in enumerate(self._columns)]

    def _put(self, position: int, name: str, value: Any) -> Any:
        if value is None:
            return ""
        if isinstance(value, bool):
            self._sheet.write_boolean(self._row, position, value)
            return value
        if _exact_in_excel(value):
            self._sheet.write_number(self._row, position, value)
            return int(value) if value == int(value) else value
        text = _text(value)
        if len(text.encode("utf-16-le")) > 2 * _MAX_CELL:
            raise ExportError(
                f"column {name}: a value is longer than {_MAX_CELL:,} characters, the limit of a workbook; "
                "export to .csv, .jsonl or .parquet"
            )
        self._sheet.write_string(self._row, position, text)
        return text

    def close(self) -> None:
        self._book.close()
        self._directory.cleanup()


_WRITERS: dict[str, Callable[[IO[bytes], Sequence[Column]], Writer]] = {
    "csv": _Csv, "jsonl": _JsonLines, "parquet": _Parquet, "xlsx": _Excel,
}  # fmt: skip

_LIBRARIES = {"parquet": ("pyarrow", "parquet"), "xlsx": ("xlsxwriter", "excel")}


def check_libraries(path: Path) -> str:
    """Return the format of a file by its suffix. Raises `ExportError` if it is unknown or its library is missing."""
    from importlib.util import find_spec

    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ExportError(f"{path.name}: the name must end in one of {', '.join(FORMATS)}")
    library, extra = _LIBRARIES.get(kind, ("", ""))
    if library and find_spec(library) is None:
        raise ExportError(f"{path.name}: writing {kind} needs {library}: pip install 'aelyst-async[{extra}]'")
    return kind


def make_writer(kind: str, file: IO[bytes], columns: Sequence[Column]) -> Writer:
    """Return a writer of a format, for the columns of `Spool.columns`."""
    return _WRITERS[kind](file, columns)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def _exact_in_excel(value: Any) -> bool:
    """Whether the writer, which writes 16 significant digits, keeps the number."""
    if isinstance(value, int):
        return abs(value) < EXACT
    return isinstance(value, float) and float(f"{value:.16G}") == value and abs(value) < EXACT
