"""Who is alive: one lock file for each process that runs jobs of a journal.

A lease with a time-out would need clocks, and waiting it out after every restart. A process id may be reused, and
means nothing across containers. A lock on an open file is dropped by the operating system at the moment the process
is gone, whatever killed it. So each process holds a lock on a file of its own beside the journal, and whoever gets
the lock of another knows that the other is dead. The names are never used twice.

Between making a file and locking it, it would look like a dead one's. So both happen, and others' locks are tried,
only within a write transaction of the journal, which one process has at a time.

The journal and its lock files belong on a local disk: network file systems get both SQLite and locks wrong.
"""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import sys
from pathlib import Path

__all__ = ["Owner"]

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Owner:
    """This process, as an owner of jobs. Taken when made, until `release` or death."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self.id = secrets.token_hex(8)
        self._path = self._of(self.id)
        self._descriptor: int | None = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        _lock(self._descriptor)

    def _of(self, owner: str) -> Path:
        return self._journal.with_name(f"{self._journal.name}.owner-{owner}")

    def is_dead(self, owner: str) -> bool:
        """Whether `owner` runs no longer; if so, its lock file is removed."""
        path = self._of(owner)
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            _lock(descriptor)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return True

    def remove_stale(self) -> None:
        """Remove the lock files of the dead; they may have left no jobs to find them by."""
        for path in self._journal.parent.glob(f"{glob.escape(self._journal.name)}.owner-*"):
            owner = path.name.rpartition("-")[2]
            if owner != self.id:
                self.is_dead(owner)

    def release(self) -> None:
        """Be dead. Idempotent."""
        if self._descriptor is not None:
            # A name that is gone is a dead owner's, and one that is there and not locked is one too.
            os.close(self._descriptor)
            self._descriptor = None
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
