"""What is known about each contact, on disk: the journal. SQLite in WAL mode, one file per target.

A contact's row goes through these states::

                      ┌──────────────── no answer, reset, time-out, 5xx ───────────────┐
                      │                                                                ▼
    absent ──▶ INTENT (durable before the request leaves) ──2xx──▶ DONE (hash)     AMBIGUOUS
                 │    ▲                                                                │
                 │    └── PARKED ◀── 429, 449, 503                     wait `settle`, look it up, decide
                 └── refused ──▶ DEAD

``DONE`` alone has a hash: it says "the vendor confirmed exactly this payload", so a row with the same hash costs no
request. Any other state means that the row is sent again. An ``INTENT`` found when the journal is opened belongs to a
process that died: one for a create counts as ``AMBIGUOUS`` (the contact may exist), one for an update is simply sent
again (it is idempotent).

Each row has a *seal*: a checksum, keyed by the journal's salt, over everything in it that decides something. One bit
that the disk got wrong could otherwise send one person's data to another. A row whose seal does not fit is reported
as ``UNREADABLE``: the contact is looked up as if nothing were known of it.

Writes are collected and committed in groups by `Committer`, on a thread of its own with ``synchronous=FULL``: a row
waits for one commit shared with whatever else is waiting, and the event loop for none.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sqlite3
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from aelyst_async.locks import LockFile
from aelyst_async.sync.clock import BOOT, uptime
from aelyst_async.sync.database import (
    APPLICATION,
    VERSION,
    OtherKindError,
    check_kind,
    check_meta,
    connect,
    connect_immutable,
    connect_read_only,
    damaged,
    explained,
    read_meta,
    seal,
    sealed_meta,
)
from aelyst_async.sync.errors import JournalError, JournalLockedError

__all__ = ["Attempt", "Dead", "Entry", "Forgotten", "Journal", "Settled"]

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE run (
    id INTEGER PRIMARY KEY, started REAL NOT NULL, ended REAL, seen REAL NOT NULL, pid INTEGER, host TEXT, boot TEXT,
    source TEXT, fingerprint TEXT, arguments TEXT, exit INTEGER, report TEXT
);
CREATE TABLE contact (
    key TEXT PRIMARY KEY, state TEXT NOT NULL, operation TEXT, hash BLOB, contact_id TEXT, run INTEGER NOT NULL,
    row INTEGER, status INTEGER, attempts INTEGER NOT NULL, at REAL NOT NULL, uptime REAL NOT NULL, seal BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE attempt (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, key TEXT NOT NULL, number INTEGER NOT NULL, operation TEXT NOT NULL,
    status INTEGER, outcome TEXT NOT NULL, at REAL NOT NULL
);
CREATE TABLE dead (
    key TEXT PRIMARY KEY, run INTEGER NOT NULL, row INTEGER, line INTEGER, rule TEXT NOT NULL, message TEXT NOT NULL,
    status INTEGER, attempts INTEGER NOT NULL, payload TEXT NOT NULL, at REAL NOT NULL, seal BLOB NOT NULL
) WITHOUT ROWID;
"""


class Entry(NamedTuple):
    """What the journal knows of one contact.

    ``uptime``: when it was written, by the clock of `aelyst_async.sync.clock`; None if that was in another boot of
    the system, so that its age is not known.
    """

    state: str
    operation: str | None = None
    hash: bytes | None = None
    contact_id: str | None = None
    uptime: float | None = None


class Settled(NamedTuple):
    """A contact's new state, to be written."""

    key: str
    state: str
    operation: str | None
    hash: bytes | None
    contact_id: str | None
    row: int | None
    status: int | None
    attempts: int
    was_dead: bool = False


class Attempt(NamedTuple):
    """One try that did not simply succeed, to be written."""

    key: str
    number: int
    operation: str
    status: int | None
    outcome: str


class Dead(NamedTuple):
    """A row that is given up for this run, with its mapped payload, to be written."""

    key: str
    row: int | None
    line: int | None
    rule: str
    message: str
    status: int | None
    attempts: int
    payload: Sequence[tuple[str, Any]]


class Forgotten(NamedTuple):
    """Contacts whose entries are to be removed, as if nothing were known of them."""

    keys: tuple[str, ...]


class Journal:
    """An open journal: one process holds it. All methods block; call them from one thread at a time.

    ``unreadable``: how many rows `look_up` has met whose seal does not fit.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: LockFile, salt: bytes) -> None:
        self.path = path
        self.salt = salt
        """The key of the seals, and of the account's name, which so is worth nothing outside this file."""
        self.run = 0
        self.unreadable = 0
        self._connection = connection
        self._lock = lock
        self._reader: sqlite3.Connection | None = None
        self._this_boot = {number for (number,) in connection.execute("SELECT id FROM run WHERE boot = ?", (BOOT,))}
        self._wal = _identity(_wal(path))

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Journal:
        """Open or make the journal at `path` (mode 0600) and lock it.

        Raises `JournalLockedError`, or `JournalError` if it is damaged, of another version, or no journal at all.
        """
        file = Path(path).absolute()
        with explained(file):
            try:
                lock = LockFile(file)
            except ValueError as error:  # a NUL in the path
                raise JournalError(f"cannot open {str(file)!r}: {error}") from None
        try:
            _take(lock, file)
            with explained(file):
                connection = connect(file)
                try:
                    salt = _prepare(connection, file)
                    return cls(file, connection, lock, salt)
                except BaseException:
                    connection.close()
                    raise
        except BaseException:
            lock.close()
            raise

    def bind(
        self,
        provider: str,
        account: str | None,
        *,
        key: str,
        rebind: bool = False,
        target: Mapping[str, str | None] | None = None,
    ) -> None:
        """Bind a new journal to its target, or check that an old one belongs to it. Raises `JournalError`.

        `target`: ``target`` and ``base_url`` as in `aelyst_async.sync.history.Origin`, and a sandbox's ``instance``.
        """
        target = dict(target or {})
        with explained(self.path):
            meta = read_meta(self._connection)
            # A journal in which nothing has happened yet (a wrong token, a wrong address) binds nobody.
            blank = self._connection.execute("SELECT 1 FROM contact WHERE state <> 'PARKED' LIMIT 1").fetchone() is None
            instance = meta.get("instance")
            if instance is not None and not blank and instance != target.get("instance"):
                raise JournalError(
                    f"{self.path.name} belongs to another account: the sandbox at {meta.get('base_url')} was "
                    "started or reset since, and the contacts of the journal are gone; delete the journal, or name "
                    "another one with --journal"
                )
            if "provider" not in meta or blank or rebind:
                meta.update(provider=provider, account=account, key=key, **target)
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", sealed_meta(meta, self.salt))
                self._connection.execute("COMMIT")
                return
            name = self.path.name
            bound = meta["provider"]
            if bound != provider:
                raise JournalError(f"{name} belongs to {bound}, not to {provider}; name another one with --journal")
            if meta["account"] not in {account, None}:
                raise JournalError(
                    f"{name} belongs to another account of {provider} (or another address); name another one with "
                    "--journal, or, if only the token was replaced, add --rebind"
                )
            if meta["key"] != key:
                raise JournalError(
                    f"{name} matches contacts by {meta['key']}, not by {key}; name another one with --journal"
                )

    def begin(self, *, source: str, fingerprint: str | None, arguments: Mapping[str, Any]) -> bool:
        """Begin a run. Return whether the last one did not end by itself."""
        with explained(self.path):
            last = self._connection.execute("SELECT ended FROM run ORDER BY id DESC LIMIT 1").fetchone()
            now = time.time()
            cursor = self._connection.execute(
                "INSERT INTO run (started, seen, pid, host, boot, source, fingerprint, arguments) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (now, now, os.getpid(), socket.gethostname(), BOOT, _storable(source), fingerprint,
                 json.dumps(dict(arguments))),
            )  # fmt: skip
            self.run = int(cursor.lastrowid or 0)
            self._this_boot.add(self.run)
            return last is not None and last[0] is None

    def end(self, exit_code: int, report: Mapping[str, Any]) -> None:
        """End the run with its report."""
        with explained(self.path):
            self._check_place()
            now = time.time()
            self._connection.execute(
                "UPDATE run SET ended = ?, seen = ?, exit = ?, report = ? WHERE id = ?",
                (now, now, exit_code, json.dumps(dict(report)), self.run),
            )

    def look_up(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Return what is known of `keys`. Has a connection of its own, so it may run beside `apply`."""
        with explained(self.path):
            if self._reader is None:
                self._reader = connect(self.path)
            found: dict[str, Entry] = {}
            for start in range(0, len(keys), 500):
                part = keys[start : start + 500]
                marks = ",".join("?" * len(part))
                for key, state, operation, digest, contact_id, run, written, sealed in self._reader.execute(
                    "SELECT key, state, operation, hash, contact_id, run, uptime, seal FROM contact "  # noqa: S608
                    f"WHERE key IN ({marks})",
                    part,
                ):
                    if sealed == seal(self.salt, key, state, operation, digest, contact_id, run, written):
                        known = written if run in self._this_boot else None
                        found[key] = Entry(state, operation, digest, contact_id, known)
                    else:
                        self.unreadable += 1
                        found[key] = Entry("UNREADABLE")
            return found

    def contact_ids(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the vendor's id of each contact whose id is known."""
        with explained(self.path):
            yield from self._connection.execute(
                "SELECT key, contact_id FROM contact WHERE contact_id IS NOT NULL AND operation IS NOT 'delete'"
            )

    def holds_selection(self, source: str) -> bool:
        """Whether the last export of `source` held a selection of the account's contacts."""
        with explained(self.path):
            runs = self._connection.execute("SELECT arguments FROM run WHERE source = ? ORDER BY id DESC", (source,))
            exports = [given["selection"] for (text,) in runs if "selection" in (given := json.loads(text))]
            return bool(exports and exports[0])

    def open_deletes(self) -> list[str]:
        """Return the ids of the contacts whose delete was begun by an earlier run, and not confirmed."""
        with explained(self.path):
            rows = self._connection.execute("SELECT contact_id FROM contact WHERE operation = 'delete'").fetchall()
        return [contact_id for (contact_id,) in rows if contact_id]

    def apply(
        self, writes: Iterable[Settled | Attempt | Dead | Forgotten], progress: Mapping[str, Any] | None = None
    ) -> None:
        """Commit `writes` as one transaction. Raises `JournalError`; then none of them is written."""
        now, up = time.time(), uptime()
        run, salt = self.run, self.salt
        contacts: list[tuple[Any, ...]] = []
        attempts: list[tuple[Any, ...]] = []
        revived: list[tuple[str]] = []
        forgotten: list[tuple[str]] = []
        dead: list[tuple[Any, ...]] = []
        for write in writes:
            if isinstance(write, Settled):
                key, state, operation, digest, contact_id = write[:5]
                sealed = seal(salt, key, state, operation, digest, contact_id, run, up)
                contacts.append(
                    (key, state, operation, digest, contact_id, run, write.row, write.status, write.attempts, now, up,
                     sealed)
                )  # fmt: skip
                if write.was_dead and write.state == "DONE":
                    revived.append((write.key,))
            elif isinstance(write, Attempt):
                outcome = _storable(write.outcome)
                attempts.append((run, write.key, write.number, write.operation, write.status, outcome, now))
            elif isinstance(write, Forgotten):
                forgotten += [(key,) for key in write.keys]
            else:
                payload = json.dumps(write.payload, ensure_ascii=True)
                dead.append(
                    (write.key, run, write.row, write.line, write.rule, _storable(write.message), write.status,
                     write.attempts, payload, now, seal(salt, write.key, write.row, write.line, payload))
                )  # fmt: skip
        with explained(self.path):
            self._check_place()
            execute = self._connection.execute
            many = self._connection.executemany
            execute("BEGIN IMMEDIATE")
            try:
                many("INSERT OR REPLACE INTO contact VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", contacts)
                if forgotten:
                    many("DELETE FROM contact WHERE key = ?", forgotten)
                if attempts:
                    many(
                        "INSERT INTO attempt (run, key, number, operation, status, outcome, at) "
                        "VALUES (?, ?, ?, ?, ?, ?, ?)",
                        attempts,
                    )
                if revived or forgotten:
                    many("DELETE FROM dead WHERE key = ?", revived + forgotten)
                if dead:
                    many("INSERT OR REPLACE INTO dead VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", dead)
                if progress is not None:
                    execute("UPDATE run SET seen = ?, report = ? WHERE id = ?", (now, json.dumps(dict(progress)), run))
                execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file and release the lock. Idempotent."""
        try:
            if self._reader is not None:
                self._reader.close()
            self._connection.close()
        finally:
            self._lock.close()

    def _check_place(self) -> None:
        """Raise `JournalError` if the file was removed or replaced: what is written then is lost when we end."""
        if self._lock.is_current() and _identity(_wal(self.path)) == self._wal:
            return
        raise JournalError(
            f"{self.path.name} or its -wal file was removed or replaced while the run was going on, so what went in "
            "since then is not remembered; put it back, or run again with a new journal"
        )


def _take(lock: LockFile, file: Path) -> None:
    """Lock the journal. Raises `JournalLockedError`, `JournalError`."""
    with explained(file):
        if not stat.S_ISREG(file.stat().st_mode):
            raise JournalError(f"{file} is no regular file; name another one with --journal")
    try:
        free = lock.try_lock()
    except OSError as error:
        words = (error.strerror or type(error).__name__).lower()
        raise JournalError(f"{file} cannot be locked ({words}): keep the journal on a local disk") from None
    if not free:
        raise JournalLockedError(
            f"{file.name} is in use by {_holder(file)}; wait for it, or stop it (Ctrl-C saves its work)"
        )


def _holder(file: Path) -> str:
    """Name the process that holds the journal. Raises `JournalError` if the file is something else's."""
    # By a hard link, SQLite does not find the newest rows (they are in a file beside the other name), nor may it look.
    for read in (connect_read_only, connect_immutable):
        try:
            with closing(read(file)) as connection:
                who = _signature(connection)
            # The holder signs just after it has taken the lock: what stands there until then is of an earlier one.
            if who["host"] == socket.gethostname() and not _is_alive(int(who["pid"])):
                break
            return f"process {who['pid']} on {who['host']} since {who['since']}"
        except OtherKindError:
            raise
        except (JournalError, sqlite3.Error, ValueError, TypeError, KeyError):
            continue
    return "another process"


def _signature(connection: sqlite3.Connection) -> dict[str, Any]:
    """Return who has the journal, or had it last: ``pid``, ``host``, ``since``, ``path``."""
    return dict(json.loads(read_meta(connection)["holder"]))


def _sign(connection: sqlite3.Connection, file: Path) -> None:
    """Sign as the holder, in the file itself, so that it can be read by any name."""
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    who = {"pid": os.getpid(), "host": socket.gethostname(), "since": now, "path": str(file.resolve())}
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('holder', ?)", (json.dumps(who),))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _check_name(connection: sqlite3.Connection, file: Path) -> None:
    """Raise `JournalError` where the newest rows are beside another name of the file: its last holder was killed."""
    try:
        last = Path(str(_signature(connection)["path"]))
        left = last != file.resolve() and _wal(last).stat().st_size > 0 and (not last.exists() or last.samefile(file))
    except (OSError, ValueError, TypeError, KeyError):
        return
    if left:
        raise JournalError(
            f"{file.name} was last used as {last}, and its newest rows are still in {_wal(last).name} there; "
            "use that name, or move both files together"
        )


def _is_alive(pid: int) -> bool:
    if sys.platform == "win32":  # os.kill would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _prepare(connection: sqlite3.Connection, file: Path) -> bytes:
    """Make the tables or check them, and sign as the holder. Return the salt."""
    # A process that died while making the file leaves one without tables.
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        salt = secrets.token_bytes(16)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(
            f"BEGIN; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; {_SCHEMA}"
        )
        connection.executemany("INSERT INTO meta VALUES (?, ?)", sealed_meta({"salt": salt.hex()}, salt))
        connection.execute("COMMIT")
    else:
        check_kind(connection, file)
        problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise JournalError(damaged(file, problem))
        salt = check_meta(connection, file)
        _check_name(connection, file)
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    # Keys come in no order, so a commit touches as many pages as rows: fewer, larger checkpoints write each page once.
    connection.execute("PRAGMA wal_autocheckpoint = 4000")
    connection.execute("PRAGMA cache_size = -8000")
    _sign(connection, file)
    return salt


def _storable(text: str) -> str:
    """Return `text` without what UTF-8 cannot carry (lone surrogates), as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _wal(file: Path) -> Path:
    return file.with_name(f"{file.name}-wal")


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
