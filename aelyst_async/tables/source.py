"""`ContactSource`: the interface of a sync's sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from aelyst_async.tables.errors import SourceError
from aelyst_async.tables.model import BadRow, Found, RawRow

__all__ = ["ContactSource"]


class ContactSource:
    """A source of rows that can be read repeatedly.

    ``columns`` and ``found`` are set once reading has begun; ``columns`` is None for a source of records.
    """

    name: str = "rows"
    columns: tuple[str, ...] | None = None
    path: Path | None = None
    found: Found | None = None
    stopped: Callable[[], bool] = staticmethod(lambda: False)
    """Set by a sync: returns whether the sync should end, for a source that waits for data."""

    def open(self) -> Iterator[RawRow]:
        """Yield the rows from the start. Raises `SourceError`."""
        raise NotImplementedError

    def fingerprint(self) -> str | None:
        """Return a string that changes when the source changes, or None if it cannot change."""
        return None

    def cut_short(self) -> str | None:
        """Return the sign that the end of the source is missing, or None. Call it after reading."""
        return None

    def close(self) -> None:
        """Remove temporary copies. Idempotent."""

    def row_number(self, position: int) -> int:
        """Return the number to report for the row at `position` (from 1). It differs if the rows are from a failures
        file.
        """
        return position

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for _, cells in self.open():
            if isinstance(cells, BadRow):
                raise SourceError(f"{self.name}: {cells.message}")
            yield dict(cells) if isinstance(cells, Mapping) else dict(zip(self.columns or (), cells, strict=True))
