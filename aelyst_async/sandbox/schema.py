"""The tables of the sandbox's database, and which of them hold an account's state."""

from __future__ import annotations

__all__ = ["LATER", "SCHEMA", "STATE", "VERSION"]

VERSION = 1
SCHEMA = """
CREATE TABLE contacts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL, vendor TEXT NOT NULL, id TEXT NOT NULL,
    email TEXT COLLATE NOCASE, phone TEXT,
    created_at REAL NOT NULL, updated_at REAL NOT NULL, visible_at REAL NOT NULL,
    duplicate INTEGER NOT NULL DEFAULT 0,
    document TEXT NOT NULL,
    UNIQUE (account, vendor, id)
);
CREATE INDEX contacts_by_age ON contacts (account, vendor);
CREATE INDEX contacts_duplicate ON contacts (account, vendor) WHERE duplicate;
CREATE INDEX contacts_by_email ON contacts (account, vendor, email, seq) WHERE email IS NOT NULL;
CREATE INDEX contacts_by_phone ON contacts (account, vendor, phone, seq) WHERE phone IS NOT NULL;
CREATE TABLE history (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL, vendor TEXT NOT NULL, id TEXT NOT NULL,
    at REAL NOT NULL, request INTEGER, event TEXT NOT NULL, changes TEXT NOT NULL
);
CREATE INDEX history_by_contact ON history (account, vendor, id, seq);
CREATE TABLE members (
    account TEXT NOT NULL, vendor TEXT NOT NULL, list_id TEXT NOT NULL, id TEXT NOT NULL,
    PRIMARY KEY (account, vendor, list_id, id)
) WITHOUT ROWID;
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL, vendor TEXT NOT NULL, id TEXT NOT NULL, document TEXT NOT NULL
);
CREATE INDEX messages_by_contact ON messages (account, vendor, id, seq);
CREATE TABLE numbers (
    account TEXT NOT NULL, vendor TEXT NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (account, vendor)
);
CREATE TABLE snapshots (
    account TEXT NOT NULL, name TEXT NOT NULL, at REAL NOT NULL, document TEXT NOT NULL, PRIMARY KEY (account, name)
);
"""
# Also added to a database of version 1 without these tables.
LATER = """
CREATE TABLE IF NOT EXISTS instances (account TEXT PRIMARY KEY, id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS extras (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL, vendor TEXT NOT NULL, kind TEXT NOT NULL, document TEXT NOT NULL
);
"""
# The tables that hold an account's state, with the columns that a snapshot keeps.
STATE = {
    "contacts": "seq, vendor, id, email, phone, created_at, updated_at, visible_at, duplicate, document",
    "history": "seq, vendor, id, at, request, event, changes",
    "members": "vendor, list_id, id",
    "messages": "seq, vendor, id, document",
    "numbers": "vendor, last",
    "extras": "seq, vendor, kind, document",
}
