"""Columnar sources: Parquet files and anything with Arrow's C stream (pandas, polars, pyarrow, DuckDB).

They are read in batches, so a file may be larger than memory. A null is an empty cell: as in CSV, ``--empty`` says
whether it is skipped or clears the field. A value that Python cannot represent (nanoseconds, a date after the year
9999, text that is not UTF-8) fails its row. Needs the extra ``parquet``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aelyst_async.tables.dialect import check_header, clean_header
from aelyst_async.tables.errors import SourceError
from aelyst_async.tables.model import BadRow, Found, RawRow
from aelyst_async.tables.opening import Opening
from aelyst_async.tables.source import ContactSource

__all__ = ["ArrowSource", "ParquetSource"]

_BATCH = 2_000


class _Unreadable:
    """A value that Python cannot represent; ``words`` are the reason."""

    def __init__(self, words: str) -> None:
        self.words = words


def _pyarrow() -> Any:
    try:
        importlib.import_module("pyarrow.parquet")
        return importlib.import_module("pyarrow")
    except ImportError:
        raise SourceError("Parquet and data frames need pyarrow: pip install 'aelyst-async[parquet]'") from None


class _Batches(ContactSource):
    def _cells(self, batches: Any) -> Iterator[RawRow]:
        for batch in batches:
            columns = [_values(column) for column in batch.columns]
            for cells in zip(*columns, strict=True):
                bad = next((cell for cell in cells if cell.__class__ is _Unreadable), None)
                if bad is None:
                    yield None, cells
                else:
                    name = (self.columns or ())[cells.index(bad)]
                    shown = [cell.words if isinstance(cell, _Unreadable) else cell for cell in cells]
                    yield None, BadRow("value", f"{name}: {bad.words}", shown)

    def _name_columns(self, names: list[Any]) -> None:
        self.columns: tuple[str, ...] | None = clean_header([str(name) for name in names])
        check_header(self.columns, self.name)


def _values(column: Any) -> list[Any]:
    """Return a column as Python objects, nulls as empty cells."""
    try:
        return ["" if value is None else value for value in column.to_pylist()]
    except Exception:  # noqa: BLE001 - Arrow's and Python's errors of conversion have no common base
        return [_value(item) for item in column]


def _value(item: Any) -> Any:
    try:
        value = item.as_py()
    except UnicodeDecodeError:
        return _Unreadable("the text is not UTF-8")
    except Exception as error:  # noqa: BLE001
        words = str(error).partition("\n")[0][:100] or type(error).__name__
        return _Unreadable(f"a {item.type} that has no exact Python value ({words})")
    return "" if value is None else value


class ParquetSource(_Batches):
    """A Parquet file."""

    def __init__(self, opening: Opening) -> None:
        self.name: str = opening.name
        self.path: Path | None = opening.path
        self._opening = opening

    def fingerprint(self) -> str | None:
        """Return a string that changes when the file changes. Raises `SourceError`."""
        return self._opening.fingerprint()

    def close(self) -> None:
        """Remove the copy of a stream. Idempotent."""
        self._opening.close()

    def open(self) -> Iterator[RawRow]:
        """Yield the rows from the start. Raises `SourceError`."""
        arrow = _pyarrow()
        self._opening.stopped = self.stopped
        with self._opening.packed() as binary:
            try:
                with arrow.parquet.ParquetFile(binary) as file:
                    self._name_columns(file.schema_arrow.names)
                    self.found: Found | None = Found(name=self.name, format="parquet")
                    yield from self._cells(file.iter_batches(batch_size=_BATCH))
            except (arrow.ArrowException, OSError) as error:
                raise SourceError(f"{self.name}: not readable as Parquet: {str(error).splitlines()[0]}") from None


class ArrowSource(_Batches):
    """A table with Arrow's C stream interface, or with a ``to_arrow`` method."""

    def __init__(self, table: Any) -> None:
        self.name: str = type(table).__name__
        self.found: Found | None = Found(name=self.name, format="data frame")
        self._table = table

    def open(self) -> Iterator[RawRow]:
        """Yield the rows from the start. Raises `SourceError`."""
        arrow = _pyarrow()
        table = self._table if hasattr(self._table, "__arrow_c_stream__") else self._table.to_arrow()
        try:
            reader = arrow.RecordBatchReader.from_stream(table)
            self._name_columns(list(reader.schema.names))
            for batch in reader:
                for start in range(0, batch.num_rows, _BATCH):
                    yield from self._cells([batch.slice(start, _BATCH)])
        except arrow.ArrowException as error:
            raise SourceError(f"{self.name}: not readable as a table: {str(error).splitlines()[0]}") from None
