"""What stops a sync. A row that fails is not an error of the run: it stands in the failures file.

::

    SyncError (a ContactsError)   also raised itself: the failures file cannot be written, the progress callback raised
    ├── SourceError        the file or stream cannot be read as a table of contacts
    ├── MappingError       a column, a mapping or a setting does not fit the target
    ├── JournalError       the journal cannot be used
    │   └── JournalLockedError   another sync is using it
    └── SyncStoppedError   the run ended early, because the target does not answer

Every message is one line that says what is wrong, where, and what to do.
"""

from __future__ import annotations

from aelyst_async.tables.errors import MappingError, SourceError, SyncError

__all__ = ["JournalError", "JournalLockedError", "MappingError", "SourceError", "SyncError", "SyncStoppedError"]


class JournalError(SyncError):
    """The journal is damaged, of another version, of another account, or cannot be written."""


class JournalLockedError(JournalError):
    """Another sync holds the journal; the message names its process, where that is known."""


class SyncStoppedError(SyncError):
    """The run ended before the source did. What was in flight is finished and saved; the same command goes on."""
