"""The contacts in SQLite, in memory or in a file.

A contact is one row: its JSON document in the vendor's format, and the e-mail address and phone number by which
vendors find contacts. Only the id is unique, because real accounts contain duplicates. "The first contact" is the
oldest one. Each change adds a line to the history: the event, the time, the request, and the changed fields.

A file is in WAL mode and each request is one transaction, so a killed sandbox restarts with each write complete or
absent.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs

from aelyst_async.sandbox.schema import LATER, SCHEMA, STATE, VERSION

__all__ = ["Mark", "Record", "Store", "StoreError", "dump_json", "phone_key"]

Mark: TypeAlias = Literal["", "duplicate", "original"]
_NOT_PHONE = re.compile(r"[^0-9+]")
_RECORD = "seq, id, created_at, updated_at, visible_at, document"


class StoreError(Exception):
    """The file is not a sandbox's database, is from a newer version, or cannot be opened."""


def dump_json(value: Any) -> str:
    """Return compact JSON in ASCII, so that no string of a client fails to encode, not even a lone surrogate."""
    return _ENCODER.encode(value)


# `json.dumps` with arguments creates an encoder on each call.
_ENCODER = json.JSONEncoder(separators=(",", ":"))


def phone_key(text: str) -> str:
    """Return the digits and the leading plus of a phone number, for comparison."""
    return _NOT_PHONE.sub("", text)


def _storable(text: object) -> str | None:
    # SQLite stores UTF-8, which cannot encode a lone surrogate of a JSON escape.
    if not isinstance(text, str) or not text:
        return None
    return text.encode("utf-8", "backslashreplace").decode()


def _phone_or_none(phone: object) -> str | None:
    return phone_key(phone) or None if isinstance(phone, str) else None


@attrs.frozen(kw_only=True)
class Record:
    """One contact. ``document`` is the vendor's JSON object; times are Unix seconds."""

    seq: int
    id: str
    created_at: float
    updated_at: float
    visible_at: float
    document: dict[str, Any]


class Store:
    """The database. For use in one thread. The constructor does no I/O."""

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = path
        self._db: sqlite3.Connection | None = None
        self.revision: int = 0
        """Increases with each change of a contact, so that the inspector page knows when to reload."""

    def open(self) -> None:
        """Open or create the database. Raises `StoreError`."""
        try:
            db = sqlite3.connect(str(self.path or ":memory:"), isolation_level=None, timeout=5, cached_statements=256)
        except sqlite3.Error as error:
            raise StoreError(f"cannot open {self.path} as the sandbox's database: {error}") from None
        try:
            problem = self._prepare(db)
        except sqlite3.Error as error:
            problem = f"cannot use {self.path} as the sandbox's database: {error}"
        if problem:
            db.close()
            raise StoreError(problem)
        self._db = db

    def _prepare(self, db: sqlite3.Connection) -> str:
        """Create the tables, or return why this database cannot be used."""
        version: int = db.execute("PRAGMA user_version").fetchone()[0]
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version > VERSION:
            return f"{self.path} was written by a newer version of the sandbox"
        if version == 0 and tables:
            return f"{self.path} is a database of another program; choose another file"
        if self.path is not None:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
        if version == 0:
            db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        db.executescript(LATER)
        return ""

    def close(self) -> None:
        """Close the database. Idempotent."""
        if self._db is not None:
            self._db.close()
            self._db = None

    @property
    def db(self) -> sqlite3.Connection:
        """The open connection."""
        if self._db is None:
            raise RuntimeError("the sandbox is not running")
        return self._db

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block in a transaction, or as a part of the current one."""
        if self.db.in_transaction:
            yield
            return
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            # On a full disk SQLite rolls back by itself.
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    # --- one contact -------------------------------------------------------------------------------------------

    def by_id(self, account: str, vendor: str, contact_id: str) -> Record | None:
        """Return the contact with this id."""
        return self._one("id = ?", (account, vendor, _storable(contact_id)))

    def by_email(self, account: str, vendor: str, email: str, *, exact: bool = False) -> Iterator[Record]:
        """Yield the contacts with this e-mail address, oldest first; `exact` compares case-sensitively."""
        value = _storable(email)
        if exact:
            return self._each("email = ? AND email = ? COLLATE BINARY", (account, vendor, value, value))
        return self._each("email = ?", (account, vendor, value))

    def by_phone(self, account: str, vendor: str, phone: str) -> Iterator[Record]:
        """Yield the contacts with this phone number, oldest first."""
        return self._each("phone = ?", (account, vendor, phone_key(phone)))

    def insert(
        self,
        account: str,
        vendor: str,
        contact_id: str,
        document: dict[str, Any],
        *,
        email: object,
        phone: object,
        now: float,
        visible_at: float,
        request: int | None,
    ) -> Record:
        """Add a contact. Raises `sqlite3.IntegrityError` if the id is taken."""
        email_key, number = _storable(email), _phone_or_none(phone)
        row = (account, vendor, contact_id, email_key, number, now, now, visible_at, dump_json(document))
        with self.transaction():
            cursor = self.db.execute(
                "INSERT INTO contacts"
                " (account, vendor, id, email, phone, created_at, updated_at, visible_at, document, duplicate)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?,"
                " EXISTS (SELECT 1 FROM contacts WHERE account = ? AND vendor = ? AND email = ?)"
                " OR EXISTS (SELECT 1 FROM contacts WHERE account = ? AND vendor = ? AND phone = ?))",
                (*row, account, vendor, email_key, account, vendor, number),
            )
            self._record_event(account, vendor, contact_id, now, request, "created", {})
        self.revision += 1
        seq = cursor.lastrowid
        assert seq is not None
        return Record(seq=seq, id=contact_id, created_at=now, updated_at=now, visible_at=visible_at, document=document)

    def update(
        self,
        account: str,
        vendor: str,
        record: Record,
        document: dict[str, Any],
        *,
        email: object,
        phone: object,
        now: float,
        request: int | None,
        event: str = "updated",
    ) -> None:
        """Replace the contact's document. The history records the changed fields as [before, after]."""
        before = record.document
        changes = {
            key: [before.get(key), document.get(key)]
            for key in {**before, **document}
            if before.get(key) != document.get(key) or (key in before) != (key in document)
        }
        email_key, number = _storable(email), _phone_or_none(phone)
        with self.transaction():
            old = self.db.execute("SELECT email, phone FROM contacts WHERE seq = ?", (record.seq,)).fetchone()
            self.db.execute(
                "UPDATE contacts SET email = ?, phone = ?, updated_at = ?, document = ? WHERE seq = ?",
                (email_key, number, now, dump_json(document), record.seq),
            )
            if old != (email_key, number):
                for key, value in (("email", old[0]), ("phone", old[1]), ("email", email_key), ("phone", number)):
                    if value is not None:
                        self._mark_duplicates(f"{key} = ?", (account, vendor, value))
                self._mark_duplicates("seq = ?", (account, vendor, record.seq))
            self._record_event(account, vendor, record.id, now, request, event, changes)
        self.revision += 1

    def delete(self, account: str, vendor: str, record: Record, *, now: float, request: int | None) -> None:
        """Delete the contact, its memberships and its messages. Its history stays."""
        with self.transaction():
            email, phone = self.db.execute("SELECT email, phone FROM contacts WHERE seq = ?", (record.seq,)).fetchone()
            for table in ("contacts", "members", "messages"):
                self.db.execute(
                    f"DELETE FROM {table} WHERE account = ? AND vendor = ? AND id = ?",  # noqa: S608
                    (account, vendor, record.id),
                )
            for key, value in (("email", email), ("phone", phone)):
                if value is not None:
                    self._mark_duplicates(f"{key} = ?", (account, vendor, value))
            self._record_event(account, vendor, record.id, now, request, "deleted", {})
        self.revision += 1

    def _mark_duplicates(self, clause: str, values: tuple[Any, ...]) -> None:
        self.db.execute(
            f"UPDATE contacts AS c SET duplicate = {_IS_DUPLICATE} WHERE account = ? AND vendor = ? AND {clause}",  # noqa: S608
            values,
        )

    def next_number(self, account: str, vendor: str) -> int:
        """Return the number of the account's next contact: 1, 2, 3… Numbers are never reused."""
        row = self.db.execute(
            "INSERT INTO numbers VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET last = last + 1 RETURNING last",
            (account, vendor),
        ).fetchone()
        return int(row[0])

    def note(self, account: str, vendor: str, contact_id: str, *, now: float, request: int | None, event: str) -> None:
        """Add a line to a contact's history without changing it."""
        self._record_event(account, vendor, contact_id, now, request, event, {})
        self.revision += 1

    def _record_event(
        self,
        account: str,
        vendor: str,
        contact_id: str,
        now: float,
        request: int | None,
        event: str,
        changes: dict[str, Any],
    ) -> None:
        self.db.execute(
            "INSERT INTO history (account, vendor, id, at, request, event, changes) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (account, vendor, contact_id, now, request, event, dump_json(changes)),
        )

    def _each(self, clause: str, values: tuple[Any, ...]) -> Iterator[Record]:
        rows = self.db.execute(
            f"SELECT {_RECORD} FROM contacts WHERE account = ? AND vendor = ? AND {clause} ORDER BY seq",  # noqa: S608
            values,
        )
        for row in rows:
            yield _record(row)

    def _one(self, clause: str, values: tuple[Any, ...]) -> Record | None:
        row = self.db.execute(
            f"SELECT {_RECORD} FROM contacts WHERE account = ? AND vendor = ? AND {clause}",  # noqa: S608
            values,
        ).fetchone()
        return _record(row) if row else None

    # --- lists and messages ------------------------------------------------------------------------------------

    def add_member(self, account: str, vendor: str, list_id: str, contact_id: str) -> bool:
        """Add a contact to a list. Returns `False` if it was on the list."""
        values = (account, vendor, _storable(list_id) or "", contact_id)
        return self.db.execute("INSERT OR IGNORE INTO members VALUES (?, ?, ?, ?)", values).rowcount > 0

    def remove_member(self, account: str, vendor: str, list_id: str, contact_id: str) -> bool:
        """Remove a contact from a list. Returns `False` if it was not on the list."""
        values = (account, vendor, _storable(list_id) or "", contact_id)
        query = "DELETE FROM members WHERE account = ? AND vendor = ? AND list_id = ? AND id = ?"
        return self.db.execute(query, values).rowcount > 0

    def lists_of(self, account: str, vendor: str, contact_id: str) -> list[str]:
        """Return the ids of the lists that a contact is on."""
        query = "SELECT list_id FROM members WHERE account = ? AND vendor = ? AND id = ? ORDER BY list_id"
        return [row[0] for row in self.db.execute(query, (account, vendor, contact_id))]

    def members(self, account: str, vendor: str, list_id: str) -> list[str]:
        """Return the ids of the contacts on a list."""
        query = "SELECT id FROM members WHERE account = ? AND vendor = ? AND list_id = ? ORDER BY id"
        return [row[0] for row in self.db.execute(query, (account, vendor, _storable(list_id) or ""))]

    def add_message(self, account: str, vendor: str, contact_id: str, message: dict[str, Any]) -> None:
        """Append to a contact's conversation."""
        self.db.execute(
            "INSERT INTO messages (account, vendor, id, document) VALUES (?, ?, ?, ?)",
            (account, vendor, contact_id, dump_json(message)),
        )

    def messages(self, account: str, vendor: str, contact_id: str) -> list[Any]:
        """Return a contact's messages, oldest first."""
        query = "SELECT document FROM messages WHERE account = ? AND vendor = ? AND id = ? ORDER BY seq"
        return [json.loads(row[0]) for row in self.db.execute(query, (account, vendor, contact_id))]

    def add_extra(self, account: str, vendor: str, kind: str, document: dict[str, Any]) -> int:
        """Store other data of the account, such as the definition of a field; return its number."""
        cursor = self.db.execute(
            "INSERT INTO extras (account, vendor, kind, document) VALUES (?, ?, ?, ?)",
            (account, vendor, kind, dump_json(document)),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def extras(self, account: str, vendor: str, kind: str) -> list[tuple[int, dict[str, Any]]]:
        """Return the data from `add_extra` with their numbers, oldest first."""
        query = "SELECT seq, document FROM extras WHERE account = ? AND vendor = ? AND kind = ? ORDER BY seq"
        return [(seq, json.loads(document)) for seq, document in self.db.execute(query, (account, vendor, kind))]

    # --- queries for the page and for tests -------------------------------------------------------------------

    def count(self, account: str, vendor: str) -> int:
        """Return how many contacts there are."""
        query = "SELECT count(*) FROM contacts WHERE account = ? AND vendor = ?"
        return int(self.db.execute(query, (account, vendor)).fetchone()[0])

    def duplicates(self, account: str, vendor: str) -> int:
        """Return how many contacts share their e-mail address or phone number with an older one."""
        query = "SELECT count(*) FROM contacts WHERE account = ? AND vendor = ? AND duplicate"
        return int(self.db.execute(query, (account, vendor)).fetchone()[0])

    def page(
        self, account: str, vendor: str, *, search: str = "", only_duplicates: bool = False, limit: int, offset: int
    ) -> tuple[int, list[tuple[Record, Mark]]]:
        """Return the number of matches and one page of them, newest first, each with a mark.

        The mark is "duplicate" for a contact that shares its e-mail address or phone number with an older one,
        "original" if only newer ones share them, else "".
        """
        where = "account = :account AND vendor = :vendor"
        if only_duplicates:
            where += f" AND seq IN ({_TWINS})"
        if search:
            where += " AND (document LIKE :pattern ESCAPE '\\' OR id LIKE :pattern ESCAPE '\\')"
        pattern = "%" + re.sub(r"([\\%_])", r"\\\1", dump_json(search)[1:-1]) + "%"
        values = {"account": account, "vendor": vendor, "pattern": pattern}
        total = int(self.db.execute(f"SELECT count(*) FROM contacts AS c WHERE {where}", values).fetchone()[0])  # noqa: S608
        rows = self.db.execute(
            f"SELECT {_RECORD}, {_MARK} FROM contacts AS c WHERE {where}"  # noqa: S608
            f" ORDER BY seq DESC LIMIT {int(limit)} OFFSET {int(offset)}",
            values,
        )
        return total, [(_record(row), row[6]) for row in rows]

    def every(self, account: str, vendor: str, *, after: int = 0) -> Iterator[Record]:
        """Yield all contacts, oldest first; `after`: only those whose ``seq`` is above it."""
        return self._each("seq > ?", (account, vendor, after))

    def history(self, account: str, vendor: str, contact_id: str) -> list[dict[str, Any]]:
        """Return the history of a contact, oldest first."""
        rows = self.db.execute(
            "SELECT at, request, event, changes FROM history WHERE account = ? AND vendor = ? AND id = ? ORDER BY seq",
            (account, vendor, contact_id),
        )
        return [
            {"at": at, "request": request, "event": event, "changes": json.loads(changes)}
            for at, request, event, changes in rows
        ]

    # --- the whole account -------------------------------------------------------------------------------------

    def clear(self, account: str, *, snapshots: bool = False) -> None:
        """Delete the contents of an account, with `snapshots` also its snapshots."""
        with self.transaction():
            self._delete_state(account)
            if snapshots:
                self.db.execute("DELETE FROM snapshots WHERE account = ?", (account,))
        self.revision += 1

    def instance(self, account: str) -> str:
        """Return 16 hex digits that identify the account's contents.

        A reset and a restored snapshot change them. In a file they survive the process.
        """
        row = self.db.execute("SELECT id FROM instances WHERE account = ?", (account,)).fetchone()
        if row is None:
            row = (secrets.token_hex(8),)
            self.db.execute("INSERT INTO instances VALUES (?, ?)", (account, *row))
        return str(row[0])

    def _delete_state(self, account: str) -> None:
        self.db.execute("DELETE FROM instances WHERE account = ?", (account,))
        for name in STATE:
            self.db.execute(f"DELETE FROM {name} WHERE account = ?", (account,))  # noqa: S608

    def snapshot(self, account: str, name: str, now: float) -> None:
        """Save the account's state under a name, in place of an older snapshot of that name."""
        state = {
            table: self.db.execute(f"SELECT {columns} FROM {table} WHERE account = ?", (account,)).fetchall()  # noqa: S608
            for table, columns in STATE.items()
        }
        self.db.execute("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?)", (account, name, now, dump_json(state)))

    def restore(self, account: str, name: str) -> None:
        """Replace the account's state by a snapshot. Raises `KeyError` if there is none of that name."""
        row = self.db.execute(
            "SELECT document FROM snapshots WHERE account = ? AND name = ?", (account, name)
        ).fetchone()
        if row is None:
            raise KeyError(name)
        with self.transaction():
            self._delete_state(account)
            for table, rows in json.loads(row[0]).items():
                marks = ", ".join("?" * (STATE[table].count(",") + 2))
                self.db.executemany(
                    f"INSERT INTO {table} (account, {STATE[table]}) VALUES ({marks})",  # noqa: S608
                    ([account, *values] for values in rows),
                )
        self.revision += 1

    def snapshots(self, account: str) -> list[str]:
        """Return the names of the account's snapshots."""
        rows = self.db.execute("SELECT name FROM snapshots WHERE account = ? ORDER BY at, name", (account,))
        return [row[0] for row in rows]


def _same(key: str, order: str) -> str:
    return (
        f"EXISTS (SELECT 1 FROM contacts AS o WHERE o.account = c.account AND o.vendor = c.vendor"  # noqa: S608
        f" AND o.{key} = c.{key} AND o.seq {order} c.seq)"
    )


_IS_DUPLICATE = f"({_same('email', '<')} OR {_same('phone', '<')})"
# The duplicates and their originals. The query starts from the duplicates, which are few.
_TWINS = " UNION ".join(
    [
        "SELECT seq FROM contacts WHERE account = :account AND vendor = :vendor AND duplicate",
        *(
            "SELECT o.seq FROM contacts AS d INDEXED BY contacts_duplicate"  # noqa: S608
            " JOIN contacts AS o ON o.account = d.account AND o.vendor = d.vendor"
            f" AND o.{key} = d.{key} WHERE d.account = :account AND d.vendor = :vendor AND d.duplicate"
            for key in ("email", "phone")
        ),
    ]
)
_MARK = (
    f"CASE WHEN duplicate THEN 'duplicate' WHEN {_same('email', '>')} OR {_same('phone', '>')} THEN 'original'"
    " ELSE '' END"
)


def _record(row: tuple[Any, ...]) -> Record:
    return Record(
        seq=row[0],
        id=row[1],
        created_at=row[2],
        updated_at=row[3],
        visible_at=row[4],
        document=json.loads(row[5]),
    )
