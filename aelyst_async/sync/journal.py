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

Writes are collected and committed in groups by `Committer`, on a thread of its own with ``synchronous=FULL``: a row
waits for one commit shared with whatever else is waiting, and the event loop for none.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from aelyst_async.sync.errors import JournalError
from aelyst_async.sync.lock import FileLock

__all__ = ["Attempt", "Dead", "Entry", "Journal", "Settled", "connect_read_only", "explained"]

VERSION = 1
_APPLICATION = 0x61656C79
"""``aely``: what marks an SQLite file as a journal."""

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE run (
    id INTEGER PRIMARY KEY, started REAL NOT NULL, ended REAL, seen REAL NOT NULL, pid INTEGER, host TEXT,
    source TEXT, fingerprint TEXT, arguments TEXT, exit INTEGER, report TEXT
);
CREATE TABLE contact (
    key TEXT PRIMARY KEY, state TEXT NOT NULL, operation TEXT, hash BLOB, contact_id TEXT, run INTEGER NOT NULL,
    row INTEGER, status INTEGER, attempts INTEGER NOT NULL, at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE attempt (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL, key TEXT NOT NULL, number INTEGER NOT NULL, operation TEXT NOT NULL,
    status INTEGER, outcome TEXT NOT NULL, at REAL NOT NULL
);
CREATE TABLE dead (
    key TEXT PRIMARY KEY, run INTEGER NOT NULL, row INTEGER, line INTEGER, rule TEXT NOT NULL, message TEXT NOT NULL,
    status INTEGER, attempts INTEGER NOT NULL, payload TEXT NOT NULL, at REAL NOT NULL
) WITHOUT ROWID;
"""


class Entry(NamedTuple):
    """What the journal knows of one contact."""

    state: str
    operation: str | None
    hash: bytes | None
    contact_id: str | None
    run: int
    attempts: int
    at: float


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


class Journal:
    """An open journal: one process holds it. All methods block; call them from one thread at a time."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: FileLock) -> None:
        self.path = path
        self.run = 0
        self._connection = connection
        self._lock = lock
        self._reader: sqlite3.Connection | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Journal:
        """Open or make the journal at `path` (mode 0600) and take its lock.

        Raises `JournalLockedError`, or `JournalError` if it is damaged, newer, or no journal at all.
        """
        file = Path(path).absolute()
        lock = FileLock(file.with_name(file.name + "-lock"))
        lock.acquire()
        try:
            with explained(file):
                os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
                connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=10.0)
                try:
                    _prepare(connection, file)
                except BaseException:
                    connection.close()
                    raise
        except BaseException:
            lock.release()
            raise
        return cls(file, connection, lock)

    @property
    def salt(self) -> bytes:
        """The key with which the account's name is hashed, so that it is worth nothing outside this file."""
        try:
            return bytes.fromhex(str(self._meta("salt")))
        except ValueError:
            problem = "its salt is missing"
        raise JournalError(_damaged(self.path, problem))

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

        `target`: ``target``, ``base_url`` and ``instance`` of `aelyst_async.sync.history.Origin` and of a sandbox.
        """
        target = dict(target or {})
        with explained(self.path):
            bound = self._meta("provider")
            # A journal in which nothing has happened yet (a wrong token, a wrong address) binds nobody.
            blank = self._connection.execute("SELECT 1 FROM contact WHERE state <> 'PARKED' LIMIT 1").fetchone() is None
            old = self._meta("instance")
            if bound is not None and not blank and old is not None and old != target.get("instance"):
                raise JournalError(
                    f"{self.path.name} belongs to another account: the sandbox at {self._meta('base_url')} was started "
                    "or reset since, and the contacts of the journal are gone; delete the journal, or name another "
                    "one with --journal"
                )
            if bound is None or blank or rebind:
                self._connection.executemany(
                    "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                    [("provider", provider), ("account", account), ("key", key), *target.items()],
                )
                return
            name = self.path.name
            if bound != provider:
                raise JournalError(f"{name} belongs to {bound}, not to {provider}; name another one with --journal")
            if self._meta("account") not in {account, None}:
                raise JournalError(
                    f"{name} belongs to another account of {provider} (or another address); name another one with "
                    "--journal, or, if only the token was replaced, add --rebind"
                )
            if self._meta("key") != key:
                raise JournalError(
                    f"{name} matches contacts by {self._meta('key')}, not by {key}; name another one with --journal"
                )

    def begin(self, *, source: str, fingerprint: str | None, arguments: Mapping[str, Any]) -> bool:
        """Begin a run. Return whether the last one did not end by itself."""
        with explained(self.path):
            last = self._connection.execute("SELECT ended FROM run ORDER BY id DESC LIMIT 1").fetchone()
            now = time.time()
            cursor = self._connection.execute(
                "INSERT INTO run (started, seen, pid, host, source, fingerprint, arguments) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (now, now, os.getpid(), socket.gethostname(), source, fingerprint, json.dumps(dict(arguments))),
            )
            self.run = int(cursor.lastrowid or 0)
            return last is not None and last[0] is None

    def end(self, exit_code: int, report: Mapping[str, Any]) -> None:
        """End the run with its report."""
        with explained(self.path):
            now = time.time()
            self._connection.execute(
                "UPDATE run SET ended = ?, seen = ?, exit = ?, report = ? WHERE id = ?",
                (now, now, exit_code, json.dumps(dict(report)), self.run),
            )

    def look_up(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Return what is known of `keys`. Has a connection of its own, so it may run beside `apply`."""
        with explained(self.path):
            if self._reader is None:
                self._reader = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10.0)
            found: dict[str, Entry] = {}
            for start in range(0, len(keys), 500):
                part = keys[start : start + 500]
                marks = ",".join("?" * len(part))
                for key, *cells in self._reader.execute(
                    "SELECT key, state, operation, hash, contact_id, run, attempts, at FROM contact "  # noqa: S608
                    f"WHERE key IN ({marks})",
                    part,
                ):
                    found[key] = entry = Entry._make(cells)
                    if not isinstance(entry.at, float) or not isinstance(entry.contact_id, (str, type(None))):
                        raise JournalError(_damaged(self.path, "what a row holds is of the wrong type"))
            return found

    def apply(self, writes: Iterable[Settled | Attempt | Dead], progress: Mapping[str, Any] | None = None) -> None:
        """Commit `writes` as one transaction. Raises `JournalError`; then none of them is written."""
        now = time.time()
        run = self.run
        contacts: list[tuple[Any, ...]] = []
        attempts: list[tuple[Any, ...]] = []
        revived: list[tuple[str]] = []
        dead: list[tuple[Any, ...]] = []
        for write in writes:
            if isinstance(write, Settled):
                contacts.append(
                    (write.key, write.state, write.operation, write.hash, write.contact_id, run, write.row,
                     write.status, write.attempts, now)
                )  # fmt: skip
                if write.was_dead and write.state == "DONE":
                    revived.append((write.key,))
            elif isinstance(write, Attempt):
                attempts.append((run, write.key, write.number, write.operation, write.status, write.outcome, now))
            else:
                payload = json.dumps(write.payload, ensure_ascii=True)
                dead.append(
                    (write.key, run, write.row, write.line, write.rule, write.message, write.status, write.attempts,
                     payload, now)
                )  # fmt: skip
        with explained(self.path):
            execute = self._connection.execute
            many = self._connection.executemany
            execute("BEGIN IMMEDIATE")
            try:
                many("INSERT OR REPLACE INTO contact VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", contacts)
                if attempts:
                    many(
                        "INSERT INTO attempt (run, key, number, operation, status, outcome, at) "
                        "VALUES (?, ?, ?, ?, ?, ?, ?)",
                        attempts,
                    )
                if revived:
                    many("DELETE FROM dead WHERE key = ?", revived)
                if dead:
                    many("INSERT OR REPLACE INTO dead VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", dead)
                if progress is not None:
                    execute("UPDATE run SET seen = ?, report = ? WHERE id = ?", (now, json.dumps(dict(progress)), run))
                execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file and give the lock back. Idempotent."""
        try:
            if self._reader is not None:
                self._reader.close()
            self._connection.close()
        finally:
            self._lock.release()

    def _meta(self, name: str) -> Any:
        with explained(self.path):
            found = self._connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if found is None else found[0]


def connect_read_only(path: str | os.PathLike[str]) -> sqlite3.Connection:
    """Return a connection that only reads, also while a sync is writing. Raises `JournalError`."""
    file = Path(path)
    if not file.is_file():
        raise JournalError(f"{file}: no such journal")
    with explained(file):
        connection = sqlite3.connect(
            f"{file.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=10.0
        )
        try:
            _check_kind(connection, file)
        except BaseException:
            connection.close()
            raise
        return connection


def _prepare(connection: sqlite3.Connection, file: Path) -> None:
    # A process that died while making the file leaves one without tables.
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(  # constants and our own hex digits
            f"BEGIN; PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {VERSION}; {_SCHEMA} "  # noqa: S608
            f"INSERT INTO meta VALUES ('salt', '{secrets.token_hex(16)}'); COMMIT;"
        )
    else:
        _check_kind(connection, file)
        problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise JournalError(_damaged(file, problem))
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    # Keys come in no order, so a commit touches as many pages as rows: fewer, larger checkpoints write each page once.
    connection.execute("PRAGMA wal_autocheckpoint = 4000")
    connection.execute("PRAGMA cache_size = -8000")


def _check_kind(connection: sqlite3.Connection, file: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
        raise JournalError(f"{file.name} is an SQLite file but no journal of a sync; name another one with --journal")
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'contact'").fetchone() is None:
        raise JournalError(f"{file.name} is a database of something else; name another one with --journal")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != VERSION:
        raise JournalError(
            f"{file.name} has version {version}, this program writes version {VERSION}: upgrade aelyst-async, "
            "or name another journal"
        )


@contextmanager
def explained(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn SQLite's and the system's errors into one `JournalError` line."""
    file = Path(path)
    try:
        yield
        return
    except sqlite3.Error as error:
        words = str(error)
    except OSError as error:
        raise JournalError(f"cannot open {file}: {(error.strerror or type(error).__name__).lower()}") from None
    if "full" in words or "disk I/O" in words:
        words = f"cannot be written ({words}): free some space and run the same command again"
    if "locked" in words:
        words = f"another program has it open ({words}): close that and run the same command again"
    if any(sign in words for sign in ("malformed", "not a database", "no such table", "no such column")):
        raise JournalError(_damaged(file, words))
    raise JournalError(f"{file.name}: {words}")


def _damaged(file: Path, problem: str) -> str:
    return (
        f"{file.name} is damaged or no journal ({problem.splitlines()[0]}): move it away and run again; "
        "without it every row is looked up or sent anew"
    )
