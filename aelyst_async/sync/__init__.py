"""A table of contacts → an API: at-least-once sends, at most one create per key, nothing lost.

======================== ==============================================================================
`contact_sync`           the entry point, `ContactSync`; its `settings`
`reading`                which rows of a table (`aelyst_async.tables`) are worth a request
`journal`                what is known of each contact, in a file or in PostgreSQL
`delivery`               one row's way to the vendor, and dry runs
`engine`, `pace`         all rows: how many at once, which wait, how the run ends
`mirror`                 deletes what the table no longer has
`report`, `failures`     the results
`distributed`            the same by several processes and hosts
======================== ==============================================================================
"""

from aelyst_async.sync.contact_sync import ContactSync
from aelyst_async.sync.errors import (
    JournalError,
    JournalLockedError,
    MappingError,
    SourceError,
    SyncError,
    SyncStoppedError,
)
from aelyst_async.sync.report import Progress, SyncReport
from aelyst_async.sync.settings import MirrorPlan, RetrySettings, SyncSettings
from aelyst_async.tables.sources import ContactSource, read_contacts

__all__ = [
    "ContactSource",
    "ContactSync",
    "JournalError",
    "JournalLockedError",
    "MappingError",
    "MirrorPlan",
    "Progress",
    "RetrySettings",
    "SourceError",
    "SyncError",
    "SyncReport",
    "SyncSettings",
    "SyncStoppedError",
    "read_contacts",
]
