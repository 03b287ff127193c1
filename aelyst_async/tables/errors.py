"""What stops the reading of a table. What is wrong with one row is a `Problem` of that row, never an error.

`SyncError`, the root of what stops a sync, stands here because this package is the lower one.
"""

from __future__ import annotations

from aelyst_async.errors import ContactsError
from aelyst_async.tables.model import HeaderProblem

__all__ = ["MappingError", "SourceError", "SyncError"]


class SyncError(ContactsError):
    """The root of what stops a sync."""


class SourceError(SyncError, ValueError):
    """The source cannot be read: missing, damaged, in an unknown encoding, not a table, changed while it was read."""


class MappingError(SyncError, ValueError):
    """A header or a setting that cannot work. ``problems`` holds one entry for each problem of a header."""

    def __init__(self, message: str, problems: tuple[HeaderProblem, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems
