"""What is known about each contact, on disk.

======================== ==============================================================================
`state`                  the states of a contact's row, in one implementation for both databases
`database`               what a journal needs of its database, and the seals of its rows
`sqlite`, `postgres`     the two databases: a file, a schema of a PostgreSQL server
`claims`, `stored`       rows that several processes share, and the rows of a submitted source (PostgreSQL)
`committer`              group commit, so that the event loop never waits for the disk
`history`                what ``sync status`` and ``sync retry`` read
`process`                names of processes and boots, and a monotonic clock
======================== ==============================================================================
"""

from aelyst_async.sync.journal.state import Attempt, Dead, Decided, Entry, Forgotten, Journal, Settled

__all__ = ["Attempt", "Dead", "Decided", "Entry", "Forgotten", "Journal", "Settled"]
