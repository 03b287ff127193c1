"""What a journal tells to others: the state of its runs, and the rows that were given up. Reads only."""

from __future__ import annotations

import json
import logging
import os
import time
from typing import Any

from aelyst_async.sync.database import connect_read_only, explained, given_up_rows
from aelyst_async.sync.errors import JournalError

__all__ = ["given_up", "status"]


def given_up(path: str | os.PathLike[str]) -> tuple[str, str, list[dict[str, Any]]]:
    """Return the provider, the key, and the mapped rows that were given up. Raises `JournalError`."""
    connection = connect_read_only(path)
    try:
        with explained(path):
            meta = dict(connection.execute("SELECT name, value FROM meta"))
            rows, damaged = given_up_rows(connection)
    finally:
        connection.close()
    if "provider" not in meta:
        raise JournalError(f"{path}: no run has been made with this journal")
    if damaged:
        logging.getLogger(__name__).warning(
            "%s: %d given-up rows do not fit their checksum and are left out; sync their source again", path, damaged
        )
    return str(meta["provider"]), str(meta["key"]), [_record(row.payload) for row in rows]


def _record(values: list[list[Any]]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for target, value in values:
        name, dot, custom = target.partition(".")
        if dot:
            record.setdefault(name, {})[custom] = value
        else:
            record[name] = value
    return record


def status(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the journal's last run and its contacts by state. Raises `JournalError`."""
    connection = connect_read_only(path)
    try:
        with explained(path):
            meta = dict(connection.execute("SELECT name, value FROM meta"))
            states = dict(connection.execute("SELECT state, count(*) FROM contact GROUP BY state ORDER BY state"))
            dead = connection.execute("SELECT count(*) FROM dead").fetchone()[0]
            reasons = connection.execute(
                "SELECT message, count(*) FROM dead GROUP BY message ORDER BY count(*) DESC, message LIMIT 10"
            ).fetchall()
            run = connection.execute(
                "SELECT id, started, ended, seen, pid, host, source, exit, report FROM run ORDER BY id DESC LIMIT 1"
            ).fetchone()
    finally:
        connection.close()
    last: dict[str, Any] | None = None
    if run is not None:
        names = ("id", "started", "ended", "seen", "pid", "host", "source", "exit")
        last = dict(zip(names, run[:8], strict=True))
        last["report"] = None if run[8] is None else json.loads(run[8])
        # A run signs every other second.
        alive = time.time() - run[3] < 15
        last["state"] = "ended" if run[2] is not None else "running" if alive else "interrupted"
    return {
        "version": 1,
        "journal": str(path),
        "provider": meta.get("provider"),
        "key": meta.get("key"),
        "contacts": states,
        "given_up": dead,
        "reasons": [{"reason": reason, "rows": count} for reason, count in reasons],
        "run": last,
    }
