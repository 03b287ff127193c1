"""The failures file: one JSON line for each row that did not go in, written as it happens.

``row`` (1 is the first data row), ``line`` in the file, ``key``, ``errors: [{column, rule, message}]``, ``status`` (of
the vendor's answer, or null), ``attempts``, ``data`` (the row as it was read). The file is of one run: it is begun anew
with the first failure, and what an earlier run left is removed when a run has none.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, Any

from aelyst_async.sync.errors import SyncError
from aelyst_async.tables.model import Problem

__all__ = ["FailuresFile", "beside"]


def beside(path: Path, ending: str) -> Path:
    """Return the place next to `path` that is named after it: ``people.csv.gz`` → ``people.ENDING``."""
    stem = path.name.removesuffix(".gz")
    return path.with_name(f"{stem.removesuffix(Path(stem).suffix)}.{ending}")


class FailuresFile:
    """Writes failures to `path`; None writes nowhere."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def add(
        self,
        *,
        row: int | None,
        line: int | None,
        key: str | None,
        problems: list[Problem],
        status: int | None,
        attempts: int,
        data: Any,
    ) -> None:
        """Write one failure. Raises `SyncError` where the file cannot be written."""
        if self.path is None:
            return
        record = {
            "row": row,
            "line": line,
            "key": key,
            "errors": [{"column": one.column, "rule": one.rule, "message": one.message} for one in problems],
            "status": status,
            "attempts": attempts,
            "data": data,
        }
        try:
            if self._file is None:
                # Rows hold personal data: readable for the owner only, like the journal.
                descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                self._file = open(descriptor, "w", encoding="utf-8", errors="backslashreplace")  # noqa: PTH123, SIM115
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
        if complete and self.path is not None and self.path.is_file():
            self.path.unlink()
        return None

    def _unwritable(self, error: OSError) -> SyncError:
        return SyncError(
            f"cannot write the failures file {self.path}: {(error.strerror or '').lower()}; "
            "name another with --failures"
        )
