"""`ContactSource`: what a sync reads its rows from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from aelyst_async.tables.errors import SourceError
from aelyst_async.tables.model import BadRow, Found, RawRow

__all__ = ["ContactSource"]


class ContactSource:
    """A source that can be read again and again. `open` yields the rows.

    ``columns`` and ``found`` are known once the reading has begun; ``columns`` is None for a source of records.
    """

    name: str = "rows"
    columns: tuple[str, ...] | None = None
    path: Path | None = None
    found: Found | None = None
    stopped: Callable[[], bool] = staticmethod(lambda: False)
    """Set by a sync: whether it has been asked to end, for a source that waits for its data."""

    def open(self) -> Iterator[RawRow]:
        """Yield the rows from the start. Raises `SourceError`."""
        raise NotImplementedError

    def fingerprint(self) -> str | None:
        """Return a string that changes when the source changes, or None where that cannot happen."""
        return None

    def cut_short(self) -> str | None:
        """Return in what the source shows that its end is missing, once it was read; None where nothing shows it."""
        return None

    def close(self) -> None:
        """Remove what was copied. Idempotent."""

    def row_number(self, position: int) -> int:
        """Return the number to report for the row at `position` (from 1): another one where rows come from a report."""
        return position

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for _, cells in self.open():
            if isinstance(cells, BadRow):
                raise SourceError(f"{self.name}: {cells.message}")
            yield dict(cells) if isinstance(cells, Mapping) else dict(zip(self.columns or (), cells, strict=True))
