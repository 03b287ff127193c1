"""Columnar sources: Parquet files and whatever speaks Arrow's C stream (pandas, polars, pyarrow, DuckDB).

Read batch by batch, so a file larger than memory works. A null is an empty cell: as in CSV, ``--empty`` says
whether it is skipped or clears. Needs the extra ``parquet``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aelyst_async.sync.errors import SourceError
from aelyst_async.sync.sources import ContactSource, RawRow

__all__ = ["ArrowSource", "ParquetSource"]

_BATCH = 2_000


def _pyarrow() -> Any:
    try:
        importlib.import_module("pyarrow.parquet")
        return importlib.import_module("pyarrow")
    except ImportError:
        raise SourceError("Parquet and data frames need pyarrow: pip install 'aelyst-async[parquet]'") from None


class _Batches(ContactSource):
    def _cells(self, batches: Any) -> Iterator[RawRow]:
        for batch in batches:
            columns = [["" if value is None else value for value in column.to_pylist()] for column in batch.columns]
            for cells in zip(*columns, strict=True):
                yield None, cells

    def _name_columns(self, names: list[Any]) -> None:
        self.columns = tuple(str(name) for name in names)
        for name in self.columns:
            if self.columns.count(name) > 1:
                raise SourceError(f"{self.name}: there are two columns {name!r}; rename or remove one")


class ParquetSource(_Batches):
    """A Parquet file."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.path = path

    def fingerprint(self) -> str | None:
        """Return a text that changes when the file does."""
        try:
            stat = self._file().stat()
        except OSError as error:
            raise SourceError(f"{self.path}: {(error.strerror or '').lower()}") from None
        return f"{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ino}"

    def _file(self) -> Path:
        assert self.path is not None
        return self.path

    def open(self) -> Iterator[RawRow]:
        """Yield the rows from the start. Raises `SourceError`."""
        arrow = _pyarrow()
        try:
            with arrow.parquet.ParquetFile(self._file()) as file:
                self._name_columns(file.schema_arrow.names)
                yield from self._cells(file.iter_batches(batch_size=_BATCH))
        except FileNotFoundError:
            raise SourceError(f"{self.path}: no such file") from None
        except (arrow.ArrowException, OSError) as error:
            raise SourceError(f"{self.name}: not readable as Parquet: {str(error).splitlines()[0]}") from None


class ArrowSource(_Batches):
    """A table with Arrow's C stream interface, or with a ``to_arrow`` method."""

    def __init__(self, table: Any) -> None:
        self.name = type(table).__name__
        self._table = table

    def open(self) -> Iterator[RawRow]:
        """Yield the rows from the start. Raises `SourceError`."""
        arrow = _pyarrow()
        table = self._table if hasattr(self._table, "__arrow_c_stream__") else self._table.to_arrow()
        reader = arrow.RecordBatchReader.from_stream(table)
        self._name_columns(list(reader.schema.names))
        for batch in reader:
            for start in range(0, batch.num_rows, _BATCH):
                yield from self._cells([batch.slice(start, _BATCH)])
