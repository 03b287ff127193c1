"""What is known about each contact, on disk: the journal. One file, or one schema of PostgreSQL, per target.

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

Writes are collected and committed in groups by `Committer`, on a thread of its own: a row waits for one durable commit
shared with whatever else is waiting, and the event loop for none.

A file is held by one process. A schema of PostgreSQL may be used by several at once, so each row is claimed before it
is read for sending (`aelyst_async.sync.journal.claims`).
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from aelyst_async.sync.errors import JournalError
from aelyst_async.sync.journal import claims
from aelyst_async.sync.journal.database import (
    Database,
    Statements,
    is_url,
    meta_salt,
    read_meta,
    seal,
    sealed_meta,
    write_meta,
)
from aelyst_async.sync.journal.process import BOOT, uptime
from aelyst_async.sync.journal.sqlite import SqliteFile

__all__ = ["Attempt", "Dead", "Decided", "Entry", "Forgotten", "Journal", "Settled", "Write"]

_PART = 500
"""Keys in one query."""

_PAGE = 5_000
"""Rows in one query that is read to its end."""

_IDS = (
    "SELECT key, contact_id FROM contact WHERE key > ? AND contact_id IS NOT NULL "
    "AND (operation IS NULL OR operation <> 'delete') ORDER BY key LIMIT ?"
)
_RUN = (
    "INSERT INTO run (started, seen, pid, host, boot, source, fingerprint, arguments) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_CONTACT = (
    "INSERT INTO contact (key, state, operation, hash, contact_id, run, row, status, attempts, at, uptime, seal) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET state = excluded.state, "
    "operation = excluded.operation, hash = excluded.hash, contact_id = excluded.contact_id, run = excluded.run, "
    "row = excluded.row, status = excluded.status, attempts = excluded.attempts, at = excluded.at, "
    "uptime = excluded.uptime, seal = excluded.seal"
)
_ATTEMPT = "INSERT INTO attempt (run, key, number, operation, status, outcome, at) VALUES (?, ?, ?, ?, ?, ?, ?)"
_DEAD = (
    "INSERT INTO dead (key, run, row, line, rule, message, status, attempts, payload, at, seal) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET run = excluded.run, "
    "row = excluded.row, line = excluded.line, rule = excluded.rule, message = excluded.message, "
    "status = excluded.status, attempts = excluded.attempts, payload = excluded.payload, at = excluded.at, "
    "seal = excluded.seal"
)
# What went in leaves no payload behind.
_DECIDED = (
    "UPDATE pending SET outcome = ?, payload = NULL, progress = NULL, "
    "data = CASE WHEN CAST(? AS TEXT) = 'failed' THEN data END WHERE run = ? AND row = ?"
)


class Entry(NamedTuple):
    """What the journal knows of one contact.

    ``uptime``: when it was written, by `process.uptime`; None if that was in another boot of
    the system, so that its age is not known. ``run``: which run wrote it.
    """

    state: str
    operation: str | None = None
    hash: bytes | None = None
    contact_id: str | None = None
    uptime: float | None = None
    run: int | None = None


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


class Decided(NamedTuple):
    """The outcome of a stored row (`aelyst_async.sync.journal.stored`), to be written."""

    row: int
    outcome: str


Write: TypeAlias = "Settled | Attempt | Dead | Forgotten | Decided"


class Journal:
    """An open journal. All methods block; call them from one thread at a time, `look_up` and `claim` beside `apply`.

    ``unreadable``: how many rows `look_up` has met whose seal does not fit.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.path: Path | str = database.path
        self.salt: bytes = meta_salt(database.read(read_meta), database.name)
        """The key of the seals and of the hash of the account's name, so that both are valid in this journal only."""
        self.run: int = 0
        self.unreadable: int = 0
        boots = database.read(lambda statements: statements.fetch("SELECT id FROM run WHERE boot = ?", (BOOT,)))
        self._this_boot = {number for (number,) in boots}

    @classmethod
    def open(cls, place: str | os.PathLike[str]) -> Journal:
        """Open or make the journal: a file at a path, which is locked, or a schema of PostgreSQL by its URL.

        Raises `JournalLockedError`, or `JournalError` if it is damaged, of another version, or no journal at all.
        """
        if is_url(place):
            from aelyst_async.sync.journal.postgres import Postgres

            database: Database = Postgres(str(place))
        else:
            database = SqliteFile(place)
        try:
            return cls(database)
        except BaseException:
            database.close()
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

        `target`: ``target`` and ``base_url`` as in `history.Origin`, and a sandbox's ``instance``.
        """
        facts = dict(target or {})

        def work(statements: Statements) -> None:
            meta = read_meta(statements)
            # A journal without any result (a wrong token, a wrong address) is not bound to an account.
            blank = not statements.fetch("SELECT 1 FROM contact WHERE state <> 'PARKED' LIMIT 1")
            instance = meta.get("instance")
            if instance is not None and not blank and instance != facts.get("instance"):
                raise JournalError(
                    f"{self.database.name} belongs to another account: the sandbox at {meta.get('base_url')} was "
                    "started or reset since, and the contacts of the journal are gone; delete the journal, or name "
                    "another one with --journal"
                )
            if "provider" not in meta or blank or rebind:
                meta.update(provider=provider, account=account, key=key, **facts)
                write_meta(statements, sealed_meta(meta, self.salt))
            else:
                self._check_owner(meta, provider, account)
                if meta["key"] != key:
                    raise JournalError(
                        f"{self.database.name} matches contacts by {meta['key']}, not by {key}; "
                        "name another one with --journal"
                    )

        self.database.write(work)

    def check_bound(self, provider: str, account: str | None) -> str:
        """Return the key that the journal matches contacts by, if it belongs to this account. Raises `JournalError`."""
        meta = self.database.read(read_meta)
        if "provider" not in meta:
            raise JournalError(f"{self.database.name}: no run has been made with this journal")
        self._check_owner(meta, provider, account)
        return str(meta["key"])

    def _check_owner(self, meta: Mapping[str, Any], provider: str, account: str | None) -> None:
        name = self.database.name
        if meta["provider"] != provider:
            raise JournalError(
                f"{name} belongs to {meta['provider']}, not to {provider}; name another one with --journal"
            )
        if meta["account"] not in {account, None}:
            raise JournalError(
                f"{name} belongs to another account of {provider} (or another address); name another one with "
                "--journal, or, if only the token was replaced, add --rebind"
            )

    def begin(self, *, source: str, fingerprint: str | None, arguments: Mapping[str, Any]) -> bool:
        """Begin a run. Return whether the last one was interrupted."""
        now = time.time()
        values = (
            now, now, os.getpid(), socket.gethostname(), BOOT, _storable(source), fingerprint,
            json.dumps(dict(arguments)),
        )  # fmt: skip

        def work(statements: Statements) -> tuple[list[Any], int]:
            return statements.fetch("SELECT ended FROM run ORDER BY id DESC LIMIT 1"), statements.insert(_RUN, values)

        last, self.run = self.database.write(work)
        self._this_boot.add(self.run)
        return bool(last) and last[0][0] is None

    def end(self, exit_code: int, report: Mapping[str, Any]) -> None:
        """End the run with its report."""
        now = time.time()
        values = (now, now, exit_code, json.dumps(dict(report)), self.run)
        self.database.write(
            lambda statements: statements.execute(
                "UPDATE run SET ended = ?, seen = ?, exit = ?, report = ? WHERE id = ?", values
            )
        )

    def look_up(self, keys: Sequence[str]) -> dict[str, Entry]:
        """Return what is known of `keys`."""
        return self.database.read(lambda statements: self._look_up(statements, keys))

    def claim(self, keys: Sequence[str]) -> dict[str, Entry | None]:
        """Claim `keys` for this process, and return those that it now holds with what is known of them.

        The others are held by another process. Only for a ``shared`` database.
        """

        def work(statements: Statements) -> dict[str, Entry | None]:
            held = claims.take(statements, self.database.owner, keys)
            return {**dict.fromkeys(held), **self._look_up(statements, held)}

        return self.database.write(work)

    def _look_up(self, statements: Statements, keys: Sequence[str]) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        salt, shift, boots = self.salt, self.database.shift, None if self.database.shared else self._this_boot
        for start in range(0, len(keys), _PART):
            part = keys[start : start + _PART]
            marks = ",".join("?" * len(part))
            for key, state, operation, digest, contact_id, run, written, sealed in statements.fetch(
                "SELECT key, state, operation, hash, contact_id, run, uptime, seal FROM contact "
                f"WHERE key IN ({marks})",
                part,
            ):
                if sealed == seal(salt, key, state, operation, digest, contact_id, run, written):
                    known = written + shift if boots is None or run in boots else None
                    found[key] = Entry(state, operation, digest, contact_id, known, run)
                else:
                    self.unreadable += 1
                    found[key] = Entry("UNREADABLE")
        return found

    def contact_ids(self) -> Iterator[tuple[str, str]]:
        """Yield the key and the vendor's id of each contact whose id is known."""
        last = ""
        while True:
            values = (last, _PAGE)
            page = self.database.read(lambda statements: statements.fetch(_IDS, values))  # noqa: B023 - called at once
            yield from ((key, contact_id) for key, contact_id in page)
            if len(page) < _PAGE:
                return
            last = page[-1][0]

    def holds_selection(self, source: str) -> bool:
        """Whether the last export of `source` held a selection of the account's contacts."""
        sql = "SELECT arguments FROM run WHERE source = ? ORDER BY id DESC"
        runs = self.database.read(lambda statements: statements.fetch(sql, (source,)))
        exports = [given["selection"] for (text,) in runs if "selection" in (given := json.loads(text))]
        return bool(exports and exports[0])

    def open_deletes(self) -> list[str]:
        """Return the ids of the contacts whose delete was begun by an earlier run, and not confirmed."""
        sql = "SELECT contact_id FROM contact WHERE operation = 'delete'"
        rows = self.database.read(lambda statements: statements.fetch(sql))
        return [contact_id for (contact_id,) in rows if contact_id]

    def apply(self, writes: Iterable[Write], progress: Mapping[str, Any] | None = None) -> None:
        """Commit `writes` as one transaction. Raises `JournalError`; then none of them is written."""
        now, up = time.time(), uptime() - self.database.shift
        run, salt, shared = self.run, self.salt, self.database.shared
        contacts: list[tuple[Any, ...]] = []
        attempts: list[tuple[Any, ...]] = []
        revived: list[tuple[str]] = []
        forgotten: list[tuple[str]] = []
        dead: list[tuple[Any, ...]] = []
        decided: list[tuple[Any, ...]] = []
        released: list[str] = []
        for write in writes:
            if isinstance(write, Settled):
                key, state, operation, digest, contact_id = write[:5]
                sealed = seal(salt, key, state, operation, digest, contact_id, run, up)
                contacts.append(
                    (key, state, operation, digest, contact_id, run, write.row, write.status, write.attempts, now, up,
                     sealed)
                )  # fmt: skip
                if state == "DONE":
                    released.append(key)
                    if write.was_dead:
                        revived.append((key,))
            elif isinstance(write, Attempt):
                outcome = _storable(write.outcome)
                attempts.append((run, write.key, write.number, write.operation, write.status, outcome, now))
            elif isinstance(write, Forgotten):
                forgotten += [(key,) for key in write.keys]
            elif isinstance(write, Dead):
                payload = json.dumps(write.payload, ensure_ascii=True)
                dead.append(
                    (write.key, run, write.row, write.line, write.rule, _storable(write.message), write.status,
                     write.attempts, payload, now, seal(salt, write.key, write.row, write.line, payload))
                )  # fmt: skip
                released.append(write.key)
            else:
                decided.append((write.outcome, write.outcome, run, write.row))

        def work(statements: Statements) -> None:
            many = statements.many
            many(_CONTACT, contacts)
            if forgotten:
                many("DELETE FROM contact WHERE key = ?", forgotten)
            if attempts:
                many(_ATTEMPT, attempts)
            if revived or forgotten:
                many("DELETE FROM dead WHERE key = ?", revived + forgotten)
            if dead:
                many(_DEAD, dead)
            if decided:
                many(_DECIDED, decided)
            if shared and released:
                claims.release(statements, self.database.owner, released)
            if progress is not None:
                sql = "UPDATE run SET seen = ?, report = ? WHERE id = ?"
                statements.execute(sql, (now, json.dumps(dict(progress)), run))

        self.database.write(work)

    def close(self) -> None:
        """Close the database; what this process holds is free for others. Idempotent."""
        self.database.close()


def _storable(text: str) -> str:
    """Return `text` without what no database takes (lone surrogates, NUL), as escapes."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
