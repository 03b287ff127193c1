"""What a journal needs of its database, its seals, and its errors in one line.

`Database` is the seam between the journal's state machine (`journal`, one implementation in portable SQL) and the two
databases that it runs on: a file (`sqlite`) or a schema of a PostgreSQL server (`postgres`). The SQL has ``?`` for each
value, and ``INSERT … ON CONFLICT`` for "insert or update", which both understand.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from aelyst_async.sync.errors import JournalError

__all__ = [
    "SCHEMA",
    "SHARED_SCHEMA",
    "VERSION",
    "Database",
    "GivenUp",
    "OtherKindError",
    "Statements",
    "damaged",
    "given_up_rows",
    "is_url",
    "meta_salt",
    "read_meta",
    "redacted",
    "seal",
    "sealed_meta",
    "shown",
    "without_password",
    "write_meta",
]

T = TypeVar("T")

VERSION = 2

_PASSWORD = re.compile(r"(?<=://)([^/@:\s]*):[^/\s]*@")

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value {any}){table};
CREATE TABLE run (
    id {id}, started {real} NOT NULL, ended {real}, seen {real} NOT NULL, pid INTEGER, host TEXT, boot TEXT,
    source TEXT, fingerprint TEXT, arguments TEXT, exit INTEGER, report TEXT
);
CREATE TABLE contact (
    key TEXT PRIMARY KEY, state TEXT NOT NULL, operation TEXT, hash {bytes}, contact_id TEXT, run INTEGER NOT NULL,
    row INTEGER, status INTEGER, attempts INTEGER NOT NULL, at {real} NOT NULL, uptime {real} NOT NULL,
    seal {bytes} NOT NULL
){table};
CREATE TABLE attempt (
    id {id}, run INTEGER NOT NULL, key TEXT NOT NULL, number INTEGER NOT NULL, operation TEXT NOT NULL,
    status INTEGER, outcome TEXT NOT NULL, at {real} NOT NULL
);
CREATE TABLE dead (
    key TEXT PRIMARY KEY, run INTEGER NOT NULL, row INTEGER, line INTEGER, rule TEXT NOT NULL, message TEXT NOT NULL,
    status INTEGER, attempts INTEGER NOT NULL, payload TEXT NOT NULL, at {real} NOT NULL, seal {bytes} NOT NULL
){table};
"""
"""The tables of a journal. A database fills in the names of its types."""

SHARED_SCHEMA = """
CREATE TABLE owner (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name TEXT NOT NULL, until DOUBLE PRECISION NOT NULL
);
CREATE TABLE claim (key TEXT PRIMARY KEY, owner BIGINT NOT NULL REFERENCES owner ON DELETE CASCADE);
CREATE INDEX claim_owner ON claim (owner);
CREATE TABLE submission (
    run INTEGER PRIMARY KEY, provider TEXT NOT NULL, settings TEXT NOT NULL, width INTEGER NOT NULL,
    reading BOOLEAN NOT NULL, base TEXT, stopped TEXT
);
CREATE TABLE shard (
    run INTEGER NOT NULL, number INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    due DOUBLE PRECISION NOT NULL, queued BOOLEAN NOT NULL, owner BIGINT, done BOOLEAN NOT NULL, trouble TEXT,
    requests TEXT NOT NULL, PRIMARY KEY (run, number)
);
CREATE TABLE pending (
    run INTEGER NOT NULL, row INTEGER NOT NULL, line INTEGER, key TEXT NOT NULL, hash BYTEA NOT NULL, payload TEXT,
    data TEXT, outcome TEXT, due DOUBLE PRECISION, progress TEXT, PRIMARY KEY (run, row)
);
CREATE INDEX pending_left ON pending (run, row) WHERE outcome IS NULL;
"""
"""The further tables of a database that several processes use: of `claims` and of `stored`."""

_SEALED_META = ("salt", "provider", "account", "key", "target", "base_url", "instance")


class OtherKindError(JournalError):
    """The database is none of a journal that this version can read."""


class GivenUp(NamedTuple):
    """A row that was given up: where it stands in its source, and its mapped payload."""

    row: int | None
    line: int | None
    key: str
    payload: list[list[Any]]


class Statements(Protocol):
    """SQL statements inside one transaction."""

    def fetch(self, sql: str, values: Sequence[Any] = (), /) -> list[Any]:
        """Return the rows of a query, as sequences."""
        ...

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> int:
        """Return how many rows the statement changed."""
        ...

    def many(self, sql: str, rows: Sequence[Sequence[Any]], /) -> None:
        """Execute the statement once for each of `rows`."""
        ...

    def insert(self, sql: str, values: Sequence[Any], /) -> int:
        """Insert one row into a table with an ``id`` that counts, and return it."""
        ...


class Database(Protocol):
    """An open database of one journal. All methods block and raise `JournalError`."""

    @property
    def path(self) -> Path | str:
        """What reports call it; without a password."""
        ...

    name: str
    """Its short name."""

    owner: int
    """This process' number among those that claim rows; 0 where `shared` is false."""

    shared: bool
    """Whether several processes may have it open: then rows are claimed (`aelyst_async.sync.journal.claims`)."""

    shift: float
    """Seconds to add to a time of the journal to get one of the `uptime` of this process."""

    def read(self, work: Callable[[Statements], T], /) -> T:
        """Return what `work` returns. May run beside `write`."""
        ...

    def write(self, work: Callable[[Statements], T], /) -> T:
        """Do `work` as one durable transaction, or not at all. It may be called more than once."""
        ...

    def close(self) -> None:
        """Close it, and give up what protects it from other processes. Idempotent."""
        ...


def is_url(place: str | os.PathLike[str]) -> bool:
    """Whether a journal is named by the URL of a server rather than by a path."""
    return isinstance(place, str) and "://" in place


def without_password(text: str) -> str:
    """Return a string in which the password of each URL is hidden."""
    return _PASSWORD.sub(r"\1:***@", text)


def redacted(url: str) -> str:
    """Return the URL of a server without its password and its parameters, but with its schema."""
    where, _, query = without_password(url).partition("?")
    schema = next((part for part in query.split("&") if part.startswith("schema=")), "")
    return f"{where}{'?' if schema else ''}{schema}"


def shown(place: str | os.PathLike[str]) -> str:
    """Return what names a journal, as it may be shown."""
    return redacted(str(place)) if is_url(place) else str(place)


def read_meta(statements: Statements) -> dict[str, Any]:
    """Return the table ``meta``."""
    return dict(statements.fetch("SELECT name, value FROM meta"))


def write_meta(statements: Statements, rows: Iterable[tuple[str, Any]]) -> None:
    """Write rows of the table ``meta``."""
    sql = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    statements.many(sql, list(rows))


def meta_salt(meta: Mapping[str, Any], name: str) -> bytes:
    """Return the salt if what the journal says of itself is whole. Raises `JournalError`."""
    try:
        salt = bytes.fromhex(meta["salt"])
        if dict(sealed_meta(meta, salt))["seal"] == meta["seal"]:
            return salt
    except (KeyError, TypeError, ValueError):
        pass
    raise JournalError(damaged(name, "its table meta does not fit its checksum"))


def sealed_meta(meta: Mapping[str, Any], salt: bytes) -> list[tuple[str, Any]]:
    """Return the rows of `meta` that decide something, with their seal."""
    rows = [(name, meta[name]) for name in _SEALED_META if name in meta]
    return [*rows, ("seal", seal(salt, *rows).hex())]


def given_up_rows(statements: Statements) -> tuple[list[GivenUp], int]:
    """Return the rows that were given up, in the order of their source, and the number of those whose seal does not
    fit: what they hold must not be sent.
    """
    salt = bytes.fromhex(read_meta(statements)["salt"])
    rows: list[GivenUp] = []
    damaged = 0
    for key, row, line, payload, sealed in statements.fetch(
        "SELECT key, row, line, payload, seal FROM dead ORDER BY row, key"
    ):
        if sealed == seal(salt, key, row, line, payload):
            rows.append(GivenUp(row, line, key, json.loads(payload)))
        else:
            damaged += 1
    return rows, damaged


def seal(salt: bytes, *values: object) -> bytes:
    """Return a checksum of `values`, which differs from journal to journal."""
    return hashlib.blake2b(repr(values).encode(), key=salt, digest_size=8).digest()


def damaged(name: str, problem: str) -> str:
    """Return the message for a journal that cannot be used. `problem` may quote what is damaged."""
    last = "".join(sign if sign.isprintable() else "?" for sign in problem.strip().rpartition("\n")[2])
    return (
        f"{name} is damaged or no journal ({last}): move it away and run again; "
        "without it every row is looked up or sent anew"
    )
