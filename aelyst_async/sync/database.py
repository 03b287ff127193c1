"""The journal's file: what marks it as a journal, its seals, and its errors in one line."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from aelyst_async.sync.errors import JournalError

__all__ = [
    "APPLICATION",
    "VERSION",
    "GivenUp",
    "OtherKindError",
    "check_kind",
    "check_meta",
    "connect",
    "connect_immutable",
    "connect_read_only",
    "damaged",
    "explained",
    "given_up_rows",
    "read_meta",
    "seal",
    "sealed_meta",
]

VERSION = 2
APPLICATION = 0x61656C53
"""``aelS``: what marks an SQLite file as a journal of a sync."""

_SIGNS_OF_DAMAGE = ("malformed", "no such table", "no such column", "has no column")
"""In the words of SQLite's errors."""

_SEALED_META = ("salt", "provider", "account", "key", "target", "base_url", "instance")


class OtherKindError(JournalError):
    """The file is a database, but no journal that this version can read."""


class GivenUp(NamedTuple):
    """A row that was given up: where it stands in its source, and its mapped payload."""

    row: int | None
    line: int | None
    key: str
    payload: list[list[Any]]


def connect_read_only(path: str | os.PathLike[str]) -> sqlite3.Connection:
    """Return a connection that only reads, also while a sync is writing. Raises `JournalError`."""
    file = Path(path)
    if not file.is_file():
        raise JournalError(f"{file}: no such journal")
    with explained(file):
        connection = _connected(f"{file.absolute().as_uri()}?mode=ro", uri=True)
        try:
            check_kind(connection, file)
            check_meta(connection, file)
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


def given_up_rows(connection: sqlite3.Connection) -> tuple[list[GivenUp], int]:
    """Return the rows that were given up, in the order of their source, and the number of those whose seal does not
    fit: what they hold must not be sent.
    """
    salt = bytes.fromhex(read_meta(connection)["salt"])
    rows: list[GivenUp] = []
    damaged = 0
    for key, row, line, payload, sealed in connection.execute(
        "SELECT key, row, line, payload, seal FROM dead ORDER BY row, key"
    ):
        if sealed == seal(salt, key, row, line, payload):
            rows.append(GivenUp(row, line, key, json.loads(payload)))
        else:
            damaged += 1
    return rows, damaged


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
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
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


def read_meta(connection: sqlite3.Connection) -> dict[str, Any]:
    """Return the table ``meta``."""
    return dict(connection.execute("SELECT name, value FROM meta"))


def check_meta(connection: sqlite3.Connection, file: Path) -> bytes:
    """Return the salt if what the journal says of itself is whole. Raises `JournalError`."""
    meta = read_meta(connection)
    try:
        salt = bytes.fromhex(meta["salt"])
        if dict(sealed_meta(meta, salt))["seal"] == meta["seal"]:
            return salt
    except (KeyError, TypeError, ValueError):
        pass
    raise JournalError(damaged(file, "its table meta does not fit its checksum"))


def sealed_meta(meta: Mapping[str, Any], salt: bytes) -> list[tuple[str, Any]]:
    """Return the rows of `meta` that decide something, with their seal."""
    rows = [(name, meta[name]) for name in _SEALED_META if name in meta]
    return [*rows, ("seal", seal(salt, *rows))]


def seal(salt: bytes, *values: object) -> bytes:
    """Return a checksum of `values`, which differs from journal to journal."""
    return hashlib.blake2b(repr(values).encode(), key=salt, digest_size=8).digest()


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
    if "full" in words or "disk I/O" in words:
        words = f"cannot be written ({words}): free some space and run the same command again"
    if "locked" in words:
        words = f"another program has it open ({words}): close that and run the same command again"
    if "not a database" in words:
        raise JournalError(f"{file.name} is damaged or no journal ({words}); name another one with --journal")
    if any(sign in words for sign in _SIGNS_OF_DAMAGE):
        raise JournalError(damaged(file, words))
    raise JournalError(f"{file.name}: {words}")


def damaged(file: Path, problem: str) -> str:
    """Return the message for a journal that cannot be used. `problem` may quote what is damaged."""
    last = "".join(sign if sign.isprintable() else "?" for sign in problem.strip().rpartition("\n")[2])
    return (
        f"{file.name} is damaged or no journal ({last}): move it away and run again; "
        "without it every row is looked up or sent anew"
    )
