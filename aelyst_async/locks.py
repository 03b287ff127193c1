"""Locks on the database file itself, held by a process until it ends. Both journals (sync and jobs) use them.

A lock file *beside* a database protects a name: a symlink, a hard link or a deleted lock file gives a second process
the same database under another lock. So the lock is on the database file: one byte for each *slot*, far beyond the
data, where it affects neither SQLite nor the content. The operating system releases the lock when the process ends for
any reason.

Rules:

* `LockFile(path)` opens the file, and creates it if needed. Within one process, all `LockFile` objects of one file
  (same device and inode) share a descriptor. POSIX drops *all* of a process' record locks on a file, SQLite's included,
  when any descriptor of it is closed; so the descriptor is closed only after the last of them.
* `try_lock(slot)` returns whether this object holds the slot now. False means that another holder has it; a file system
  without locks raises `OSError`.
* A forked child closes its copies, so that a lock ends with the process that took it.

Linux uses open file description locks (fcntl(2), ``F_OFD_SETLK``), other POSIX systems record locks, Windows
``msvcrt.locking``. Keep the file on a local disk: neither SQLite nor locks are reliable on network file systems.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from pathlib import Path

import attrs

__all__ = ["LockFile"]

_HELD = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK})
"""Error numbers that mean "another process holds the lock" (fcntl(2); EDEADLK on Windows)."""

if sys.platform == "win32":
    import msvcrt

    _BASE = 0x7000_0000  # locking() takes 31 bits; SQLite uses 512 bytes from 0x4000_0000

    def _lock(descriptor: int, slot: int, *, unlock: bool = False) -> None:
        os.lseek(descriptor, _BASE + slot, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK if unlock else msvcrt.LK_NBLCK, 1)
else:
    import fcntl
    import struct

    _BASE = 1 << 62

    def _lock(descriptor: int, slot: int, *, unlock: bool = False) -> None:
        if hasattr(fcntl, "F_OFD_SETLK"):
            kind = fcntl.F_UNLCK if unlock else fcntl.F_WRLCK
            record = struct.pack("hhqqi4x", kind, os.SEEK_SET, _BASE + slot, 1, 0)
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, record)
        else:
            fcntl.lockf(descriptor, fcntl.LOCK_UN if unlock else fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _BASE + slot)


@attrs.define(eq=False)
class _Shared:
    """An open file of this process: its descriptors, its `LockFile` objects, and the slots they hold."""

    descriptors: list[int]
    users: int = 0
    held: set[int] = attrs.Factory(set)


_files: dict[tuple[int, int], _Shared] = {}
_mutex = threading.Lock()


class LockFile:
    """An open file whose slots can be locked. Close SQLite's connections to the file before `close`.

    Creates the file with mode 0600. Raises `OSError` if it cannot be opened or created.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Path = Path(path)
        self._mine: set[int] = set()
        self._closed = False
        with _mutex:
            self._id, self._shared = self._open()
            self._shared.users += 1

    def _open(self) -> tuple[tuple[int, int], _Shared]:
        with contextlib.suppress(FileNotFoundError):
            found = self.path.stat()
            identity = (found.st_dev, found.st_ino)
            if identity in _files:
                return identity, _files[identity]
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        found = os.fstat(descriptor)
        identity = (found.st_dev, found.st_ino)
        shared = _files.setdefault(identity, _Shared([]))
        shared.descriptors.append(descriptor)  # a second one if the file was renamed meanwhile; it must stay open too
        return identity, shared

    def try_lock(self, slot: int = 0) -> bool:
        """Lock `slot` (from 0) unless another process or another `LockFile` holds it. Raises `OSError`."""
        with _mutex:
            if slot in self._shared.held:
                return slot in self._mine
            try:
                _lock(self._shared.descriptors[0], slot)
            except OSError as error:
                if error.errno in _HELD:
                    return False
                raise
            self._shared.held.add(slot)
            self._mine.add(slot)
            return True

    def unlock(self, slot: int = 0) -> None:
        """Release `slot` if this object holds it."""
        with _mutex:
            self._unlock(slot)

    def _unlock(self, slot: int) -> None:
        if slot in self._mine:
            _lock(self._shared.descriptors[0], slot, unlock=True)
            self._mine.remove(slot)
            self._shared.held.remove(slot)

    def is_locked(self, slot: int = 0) -> bool:
        """Return whether any holder has `slot`. Raises `OSError`."""
        with _mutex:
            if slot in self._shared.held:
                return True
        if not self.try_lock(slot):
            return True
        self.unlock(slot)
        return False

    def is_current(self) -> bool:
        """Return whether `path` still names this file, so it was neither removed nor replaced."""
        try:
            found = self.path.stat()
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._id

    def close(self) -> None:
        """Release all slots of this object. Idempotent."""
        with _mutex:
            if self._closed or _files.get(self._id) is not self._shared:
                return  # the second is true in a forked child
            self._closed = True
            for slot in tuple(self._mine):
                self._unlock(slot)
            self._shared.users -= 1
            if not self._shared.users:
                del _files[self._id]
                for descriptor in self._shared.descriptors:
                    os.close(descriptor)


def _forget() -> None:
    """Close the parent's files in a forked child."""
    global _mutex  # noqa: PLW0603 - the parent's may be locked for ever here
    _mutex = threading.Lock()
    for shared in _files.values():
        for descriptor in shared.descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)
    _files.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
