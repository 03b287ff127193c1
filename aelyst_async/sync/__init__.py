"""A table of contacts → an API: at-least-once sends, at most one create per key, nothing lost.

===================================  ==============================================================================
`reading`                            which rows of a table (`aelyst_async.tables`) are worth a request
`journal`, `database`, `committer`   what is known of each contact, on disk
`delivery`, `scout`                  one row's way to the vendor
`engine`, `sizing`, `quota`          all rows' way: how many at once, what waits, how it ends
`mirror`                             deletes what the table no longer has
`report`, `failures`                 what has become of them
`contact_sync`                       the front door
===================================  ==============================================================================
"""

from aelyst_async.sync.contact_sync import ContactSync
from aelyst_async.sync.delivery import Pauses
from aelyst_async.sync.errors import (
    JournalError,
    JournalLockedError,
    MappingError,
    SourceError,
    SyncError,
    SyncStoppedError,
)
from aelyst_async.sync.mirror import MirrorPlan
from aelyst_async.sync.report import Progress, SyncReport
from aelyst_async.tables.sources import ContactSource, read_contacts

__all__ = [
    "ContactSource",
    "ContactSync",
    "JournalError",
    "JournalLockedError",
    "MappingError",
    "MirrorPlan",
    "Pauses",
    "Progress",
    "SourceError",
    "SyncError",
    "SyncReport",
    "SyncStoppedError",
    "read_contacts",
]
