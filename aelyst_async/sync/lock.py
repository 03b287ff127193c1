"""One process at a time: an operating-system lock on a file beside the journal.

The system drops the lock when the process ends, however it ends, so a crash leaves nothing to clean up. The file
holds who has it, for the one who is turned away. It is removed by its holder, under the lock; whoever opened it just
before notices that the name no longer leads to what was locked, and tries again.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from aelyst_async.sync.errors import JournalError, JournalLockedError

__all__ = ["FileLock"]


class FileLock:
    """Held from `acquire` to `release`. Raises `JournalLockedError` at once if another process holds it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock. Raises `JournalLockedError`, `JournalError`."""
        for _ in range(100):
            try:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
            except OSError as error:
                raise JournalError(f"cannot write {self._path}: {(error.strerror or '').lower()}") from None
            if not _try_lock(descriptor):
                holder = self._holder()
                os.close(descriptor)
                raise JournalLockedError(
                    f"{self._path.name.removesuffix('-lock')} is in use by {holder}; wait for it, "
                    "or stop it (Ctrl-C saves its work)"
                )
            try:
                same = os.path.samestat(os.fstat(descriptor), self._path.stat())
            except FileNotFoundError:
                same = False
            if same:
                break
            os.close(descriptor)
        else:
            raise JournalError(f"{self._path}: the lock file keeps changing")
        self._descriptor = descriptor
        who = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(who).encode())

    def release(self) -> None:
        """Give the lock back. Idempotent."""
        if self._descriptor is None:
            return
        if sys.platform != "win32":  # there, an open file cannot be removed
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None

    def _holder(self) -> str:
        try:
            who: Any = json.loads(self._path.read_text("utf-8"))
            return f"process {who['pid']} on {who['host']} since {who['since']}"
        except (OSError, ValueError, TypeError, KeyError):
            return "another process"


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            # Past the end, so that the text in the file can still be read.
            os.lseek(descriptor, 1 << 20, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
