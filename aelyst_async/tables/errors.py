"""Errors that end the reading of a table. A fault of one row is a `Problem` of that row and not an error.

`SyncError` is defined here because `sync` imports this package.
"""

from __future__ import annotations

from aelyst_async.errors import ContactsError
from aelyst_async.tables.model import HeaderProblem

__all__ = ["MappingError", "SourceError", "SyncError"]


class SyncError(ContactsError):
    """Base class of the errors that end a sync."""


class SourceError(SyncError, ValueError):
    """The source cannot be read: missing, damaged, in an unknown encoding, not a table, or changed while it was
    read.
    """


class MappingError(SyncError, ValueError):
    """A header or a setting is invalid. ``problems`` has one entry for each problem of a header."""

    def __init__(self, message: str, problems: tuple[HeaderProblem, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems
