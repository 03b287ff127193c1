"""The journal in a file: SQLite in WAL mode, held by one process.

The file is locked (`aelyst_async.locks`) as long as it is open, so its rows need no claims. The holder signs in the
file itself, so that a second process can name it.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import sqlite3
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from aelyst_async.locks import LockFile
from aelyst_async.sqlite import SYNC_FILE, trouble_of
from aelyst_async.sync.errors import JournalError, JournalLockedError
from aelyst_async.sync.journal.database import (
    SCHEMA,
    VERSION,
    OtherKindError,
    damaged,
    meta_salt,
    read_meta,
    sealed_meta,
    write_meta,
)

__all__ = ["SqliteFile", "connect", "reading"]

T = TypeVar("T")

_TYPES = {"any": "", "id": "INTEGER PRIMARY KEY", "real": "REAL", "bytes": "BLOB", "table": " WITHOUT ROWID"}


class _Statements:
    """`Statements` on one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute
        self.many: Callable[[str, Sequence[Sequence[Any]]], Any] = connection.executemany

    def fetch(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._execute(sql, values).fetchall()

    def execute(self, sql: str, values: Sequence[Any] = ()) -> int:
        return self._execute(sql, values).rowcount

    def insert(self, sql: str, values: Sequence[Any]) -> int:
        return int(self._execute(sql, values).lastrowid or 0)


class SqliteFile:
    """A journal's file, open and locked. Opening it makes it (mode 0600) where it does not exist.

    Raises `JournalLockedError`, or `JournalError` if it is damaged, of another version, or no journal at all.
    """

    shared = False
    owner = 0
    shift: float = 0.0

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Path = Path(path).absolute()
        self.name: str = self.path.name
        with explained(self.path):
            try:
                self._lock = LockFile(self.path)
            except ValueError as error:  # a NUL in the path
                raise JournalError(f"cannot open {str(self.path)!r}: {error}") from None
        try:
            _take(self._lock, self.path)
            with explained(self.path):
                self.connection: sqlite3.Connection = connect(self.path)
                try:
                    _prepare(self.connection, self.path)
                    self._wal = _identity(_wal(self.path))
                except BaseException:
                    self.connection.close()
                    raise
        except BaseException:
            self._lock.close()
            raise
        self._statements = _Statements(self.connection)
        self._reader: sqlite3.Connection | None = None

    def read(self, work: Callable[[_Statements], T]) -> T:
        """Return what `work` returns, on a connection of its own."""
        with explained(self.path):
            if self._reader is None:
                self._reader = connect(self.path)
            return work(_Statements(self._reader))

    def write(self, work: Callable[[_Statements], T]) -> T:
        """Do `work` as one transaction."""
        with explained(self.path):
            self._check_place()
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                done = work(self._statements)
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise
            return done

    def close(self) -> None:
        """Close the file and release the lock. Idempotent."""
        try:
            if self._reader is not None:
                self._reader.close()
            self.connection.close()
        finally:
            self._lock.close()

    def _check_place(self) -> None:
        """Raise `JournalError` if the file was removed or replaced: what is written then is lost when we end."""
        if self._lock.is_current() and _identity(_wal(self.path)) == self._wal:
            return
        raise JournalError(
            f"{self.name} or its -wal file was removed or replaced while the run was going on, so what went in "
            "since then is not remembered; put it back, or run again with a new journal"
        )


@contextmanager
def reading(path: str | os.PathLike[str], *, closed: bool = False) -> Iterator[_Statements]:
    """Read a journal without holding it, also while a sync writes it. Raises `JournalError`.

    `closed`: no process writes it, so only the file itself is read, and no file is made beside it.
    """
    with explained(path):
        connection = connect_immutable(Path(path)) if closed else connect_read_only(path)
    try:
        with explained(path):
            statements = _Statements(connection)
            meta_salt(read_meta(statements), Path(path).name)
            yield statements
    finally:
        connection.close()


def connect_read_only(path: str | os.PathLike[str]) -> sqlite3.Connection:
    """Return a connection that only reads, also while a sync is writing. Raises `JournalError`."""
    file = Path(path)
    if not file.is_file():
        raise JournalError(f"{file}: no such journal")
    with explained(file):
        connection = _connected(f"{file.absolute().as_uri()}?mode=ro", uri=True)
        try:
            check_kind(connection, file)
            meta_salt(read_meta(_Statements(connection)), file.name)
        except BaseException:
            connection.close()
            raise
        return connection


def connect_immutable(file: Path) -> sqlite3.Connection:
    """Return a connection that reads what the file itself holds, and neither looks for nor locks anything beside it."""
    connection = _connected(f"{file.absolute().as_uri()}?immutable=1", uri=True)
    try:
        check_kind(connection, file)
    except BaseException:
        connection.close()
        raise
    return connection


def connect(file: Path) -> sqlite3.Connection:
    """Return a connection that may be used from any thread, from one at a time."""
    return _connected(str(file))


def _connected(name: str, *, uri: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(name, uri=uri, isolation_level=None, check_same_thread=False, timeout=10.0)
    # Text with a damaged byte is no reason to fail: its row's seal will not fit.
    connection.text_factory = lambda value: value.decode("utf-8", "surrogateescape")
    return connection


def check_kind(connection: sqlite3.Connection, file: Path) -> None:
    """Raise `OtherKindError` unless the database is a journal of this version."""
    other = "name another one with --journal"
    if connection.execute("PRAGMA application_id").fetchone()[0] != SYNC_FILE:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            raise JournalError(f"{file.name} is empty: no run has been made with this journal")
        if tables >= {"meta", "run", "contact", "attempt", "dead"}:
            raise OtherKindError(
                f"{file.name} was written by an older version of aelyst-async, which this one cannot read; {other} "
                "(each row is then looked up or sent anew)"
            )
        what = "the journal of background jobs" if "job" in tables else "an SQLite file"
        raise OtherKindError(f"{file.name} is {what} but no journal of a sync; {other}")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != VERSION:
        what = "upgrade aelyst-async, or " if version > VERSION else ""
        raise OtherKindError(f"{file.name} has version {version}, this program writes version {VERSION}: {what}{other}")


@contextmanager
def explained(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn SQLite's and the system's errors into one `JournalError` line."""
    file = Path(path)
    try:
        yield
        return
    except sqlite3.Error as error:
        words = str(error)
    except UnicodeDecodeError:  # sqlite3's own, from a message that quotes a damaged schema
        words = "malformed database schema"
    except OSError as error:
        what = "; free some space" if error.errno == errno.ENOSPC else ""
        raise JournalError(f"cannot open {file}: {(error.strerror or type(error).__name__).lower()}{what}") from None
    trouble = trouble_of(words)
    if trouble == "damaged":
        raise JournalError(damaged(file.name, words))
    if trouble == "not a database":
        raise JournalError(f"{file.name} is damaged or no journal ({words}); name another one with --journal")
    if trouble == "unwritable":
        words = f"cannot be written ({words}): free some space and run the same command again"
    elif trouble == "locked":
        words = f"another program has it open ({words}): close that and run the same command again"
    raise JournalError(f"{file.name}: {words}")


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
    return dict(json.loads(read_meta(_Statements(connection))["holder"]))


def _sign(connection: sqlite3.Connection, file: Path) -> None:
    """Sign as the holder, in the file itself, so that it can be read by any name."""
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    who = {"pid": os.getpid(), "host": socket.gethostname(), "since": now, "path": str(file.resolve())}
    write_meta(_Statements(connection), [("holder", json.dumps(who))])
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


def _prepare(connection: sqlite3.Connection, file: Path) -> None:
    """Make the tables or check them, and sign as the holder."""
    # A process that died while making the file leaves one without tables.
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        salt = secrets.token_bytes(16)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(
            f"BEGIN; PRAGMA application_id = {SYNC_FILE}; PRAGMA user_version = {VERSION}; {SCHEMA.format(**_TYPES)}"
        )
        write_meta(_Statements(connection), sealed_meta({"salt": salt.hex()}, salt))
        connection.execute("COMMIT")
    else:
        check_kind(connection, file)
        problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise JournalError(damaged(file.name, problem))
        meta_salt(read_meta(_Statements(connection)), file.name)
        _check_name(connection, file)
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    # Keys come in no order, so a commit touches as many pages as rows: fewer, larger checkpoints write each page once.
    connection.execute("PRAGMA wal_autocheckpoint = 4000")
    connection.execute("PRAGMA cache_size = -8000")
    _sign(connection, file)


def _wal(file: Path) -> Path:
    return file.with_name(f"{file.name}-wal")


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
