"""The SQLite file of a jobs journal: its tables, its owners, and each state change of a job as SQL.

The process that runs a job is its *owner*. An owner has a row in ``owner`` and holds a lock on one byte of the file
itself (`aelyst_async.locks`); the row's ``slot`` is the number of the byte. The operating system releases the lock
when the process ends, so a row without a lock belongs to a dead owner. Owners are added and checked only in a write
transaction, which one process has at a time. A slot is free again after the jobs of its owner were adopted.

When an owner has died, one of its running jobs may have killed it. `adopt` records:

* ``deaths``: the number of unexplained deaths of the process while the job ran. A job with deaths is a *suspect*;
  `trials` runs suspects one at a time. A job that ends, with success or not, is no longer a suspect.
* ``trial``: the points of blame for the job if its process dies now: `ALONE` while no other job may start, `IN_TURN`
  while only other suspects wait, else 0.
* ``blame``: the sum of the points. If a process dies while a job is alone, only that job is blamed. A job whose
  process dies repeatedly while the job is alone is given up after ``max_starts`` starts.

All methods block. Call all methods but the constructor and `close` within a transaction.
"""

# ruff: noqa: S608 - statements are built from constants
from __future__ import annotations

import errno
import itertools
import json
import os
import socket
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from aelyst_async.fastapi.store import (
    ALONE,
    Added,
    Adopted,
    FailedJob,
    Head,
    InvalidJobError,
    JobStatus,
    JournalError,
    Outcome,
    Started,
    Submission,
    merge_arguments,
    moment,
)
from aelyst_async.locks import LockFile
from aelyst_async.sqlite import JOBS_FILE, SYNC_FILE, trouble_of

__all__ = ["Database", "concerns_all", "encode", "explain"]

_VERSION = 1

_SCHEMA = """
CREATE TABLE owner (
    slot INTEGER PRIMARY KEY,
    pid INTEGER NOT NULL,
    host TEXT NOT NULL,
    closed INTEGER NOT NULL DEFAULT 0       -- it was closed
);
CREATE TABLE job (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order within a key
    id TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    arguments TEXT NOT NULL,                -- JSON
    state TEXT NOT NULL,
    owner INTEGER NOT NULL,                 -- a slot
    submissions INTEGER NOT NULL DEFAULT 1,
    starts INTEGER NOT NULL DEFAULT 0,
    retries INTEGER NOT NULL DEFAULT 0,     -- temporary failures since the latest submission
    waited REAL NOT NULL DEFAULT 0,         -- seconds of those attempts and the pauses after them
    deaths INTEGER NOT NULL DEFAULT 0,
    trial INTEGER NOT NULL DEFAULT 0,
    blame INTEGER NOT NULL DEFAULT 0,
    submitted_at REAL NOT NULL,
    finished_at REAL,
    error TEXT,
    message TEXT,
    error_status INTEGER
);
CREATE INDEX job_key ON job (key, seq) WHERE state IN ('waiting', 'running');
CREATE INDEX job_owner ON job (owner, key, seq) WHERE state IN ('waiting', 'running');
CREATE INDEX job_finished ON job (finished_at) WHERE state IN ('done', 'failed');
"""

_OPEN = "state IN ('waiting', 'running')"

_BUSY_SECONDS = 10.0
"""Seconds for which SQLite waits for another program's transaction."""


class Database:
    """An open journal. `open_count`: number of unfinished jobs of this owner, changes of this transaction included.

    `keep`: seconds for which finished jobs are kept. `max_starts`: see the module.
    """

    def __init__(self, path: Path, *, keep: float, max_starts: int) -> None:
        self.open_count: int = 0
        self._keep = keep
        self._blame_limit = ALONE * max(1, max_starts - 1)  # no job is blamed for the first death
        path.parent.mkdir(parents=True, exist_ok=True)
        # Opened before and closed after SQLite's connection. Creates the file with mode 0600; SQLite uses the same mode
        # for its -wal and -shm files.
        self._locks = LockFile(path)
        try:
            self.connection: sqlite3.Connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            try:
                self._me = self._set_up()
            except BaseException:
                self.connection.close()
                raise
        except BaseException:
            self._locks.close()
            raise

    def _set_up(self) -> int:
        execute = self.connection.execute
        if self._locks.path.stat().st_nlink > 1:  # SQLite finds the -wal file by name
            raise JournalError("it has more than one name (a hard link): remove the others, or use a symlink")
        self._is_new()  # before anything is written to another program's file
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")  # an accepted job must survive a power cut
        execute("PRAGMA secure_delete = FAST")
        execute("BEGIN IMMEDIATE")
        if not self._is_new():
            problem = str(execute("PRAGMA quick_check(1)").fetchone()[0])
            if problem != "ok":
                raise sqlite3.DatabaseError(f"malformed: {problem.splitlines()[-1]}")
        else:
            for statement in _SCHEMA.split(";"):
                execute(statement)
            execute(f"PRAGMA application_id = {JOBS_FILE}")
            execute(f"PRAGMA user_version = {_VERSION}")
        taken = {slot for (slot,) in execute("SELECT slot FROM owner")}
        slot = next(slot for slot in itertools.count() if slot not in taken and self._locks.try_lock(slot))
        execute("INSERT INTO owner (slot, pid, host) VALUES (?, ?, ?)", (slot, os.getpid(), socket.gethostname()))
        execute("COMMIT")
        return slot

    def _is_new(self) -> bool:
        application = self.connection.execute("PRAGMA application_id").fetchone()[0]
        version = self.connection.execute("PRAGMA user_version").fetchone()[0]
        if application == JOBS_FILE and version == _VERSION:
            return False
        if application == JOBS_FILE:
            raise JournalError(
                f"it has format {version}, and this version of aelyst-async reads format {_VERSION}; "
                "run the version that wrote it, or give Jobs another file"
            )
        if application == SYNC_FILE:
            raise JournalError("it is the journal of `aelyst sync`; give Jobs a file of its own, such as jobs.db")
        if application or version or self.connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise JournalError("it is the database of another program; give Jobs a file of its own")
        return True

    def close(self) -> None:
        """Leave unfinished jobs to other processes, close the file, release the lock. Raises nothing."""
        try:
            with self.connection:
                self.connection.execute("BEGIN IMMEDIATE")
                # A job that ignored its cancellation is no suspect when the process ends.
                self._run(f"UPDATE job SET state = 'waiting', trial = 0 WHERE owner = ? AND {_OPEN}", self._me)
                self._run("UPDATE owner SET closed = 1 WHERE slot = ?", self._me)
                if not self.count():
                    self._run("DELETE FROM owner WHERE slot = ?", self._me)
        except sqlite3.Error:
            pass  # the next owner finds a dead owner
        finally:
            try:
                self.connection.close()
            finally:
                self._locks.close()

    def _run(self, statement: str, *values: object) -> sqlite3.Cursor:
        return self.connection.execute(statement, values)

    def count(self) -> int:
        """Count the unfinished jobs of this owner."""
        return self._count_of(self._me)

    def _count_of(self, owner: int) -> int:
        found: int = self._run(f"SELECT count(*) FROM job WHERE owner = ? AND {_OPEN}", owner).fetchone()[0]
        return found

    def add(self, job: Submission, arguments: str, capacity: int) -> Added | None:
        """See `MemoryStore.add`; `arguments` is the result of `encode`."""
        last = self._run(
            f"SELECT id, owner, state, name, arguments FROM job WHERE key = ? AND {_OPEN} ORDER BY seq DESC LIMIT 1",
            job.key,
        ).fetchone()
        owner = self._me
        if last is not None:
            last_id, owner, state, name, older = last
            old = _decode(older)
            if job.merge is not None and state == "waiting" and name == job.name and old is not None:
                merged = encode(merge_arguments(job.merge, old, json.loads(arguments)))
                self._run(
                    "UPDATE job SET arguments = ?, submissions = submissions + 1, retries = 0, waited = 0 WHERE id = ?",
                    merged, last_id,
                )  # fmt: skip
                return Added(last_id, merged=True, mine=owner == self._me, head=False)
        mine = owner == self._me
        if (self.open_count if mine else self._count_of(owner)) >= capacity:
            return None
        self._run(
            "INSERT INTO job (id, key, name, arguments, state, owner, submitted_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            job.id, job.key, job.name, arguments, "waiting", owner, time.time(),
        )  # fmt: skip
        self.open_count += mine
        return Added(job.id, merged=False, mine=mine, head=last is None)

    def start(self, job_id: str, trial: int = 0) -> Started | None:
        """Mark a waiting job as running and return it; None if there is no such waiting job.

        `trial`: the points of blame if the process dies now.
        """
        row = self._run(
            "SELECT key, name, arguments, starts, retries, waited FROM job "
            "WHERE id = ? AND owner = ? AND state = 'waiting'",
            job_id, self._me,
        ).fetchone()  # fmt: skip
        if row is None:
            return None
        self._run("UPDATE job SET state = 'running', starts = starts + 1, trial = ? WHERE id = ?", trial, job_id)
        key, name, arguments, starts, retries, waited = row
        found = _decode(arguments)
        problem = "its arguments are damaged in the journal" if found is None else None
        return Started(key, name, found or {}, starts + 1, retries=retries, waited=waited, problem=problem)

    def watch(self, job_id: str, trial: int) -> None:
        """Change the points of blame of a running job if the process dies."""
        self._run("UPDATE job SET trial = ? WHERE id = ?", trial, job_id)

    def finish(self, job_id: str, outcome: Outcome) -> str | None:
        """Mark a job as finished and return the id of the next one of its key, or None."""
        row = self._run("SELECT key FROM job WHERE id = ? AND state = 'running'", job_id).fetchone()
        if row is None:
            return None
        forget = ", key = '', arguments = '{}'" if outcome.state == "done" else ""
        self._run(
            f"UPDATE job SET state = ?, error = ?, message = ?, error_status = ?, finished_at = ?{forget} WHERE id = ?",
            outcome.state, outcome.error, outcome.message, outcome.error_status, time.time(), job_id,
        )  # fmt: skip
        following = self._run(
            f"SELECT id FROM job WHERE key = ? AND owner = ? AND {_OPEN} ORDER BY seq LIMIT 1", row[0], self._me
        ).fetchone()
        return None if following is None else str(following[0])

    def put_back(self, job_id: str, *, uncounted: bool, waited: float = 0.0) -> None:
        """Mark a running job as waiting.

        `uncounted`: it was cut off, and this start does not count. Else it failed temporarily: a retry is counted,
        `waited` seconds are added, and the job is no longer a suspect.
        """
        change = (
            "starts = starts - 1" if uncounted else "retries = retries + 1, waited = waited + ?, deaths = 0, blame = 0"
        )
        values = () if uncounted else (waited,)
        self._run(
            f"UPDATE job SET state = 'waiting', trial = 0, {change} WHERE id = ? AND state = 'running' AND owner = ?",
            *values, job_id, self._me,
        )  # fmt: skip

    def adopt(self) -> Adopted:
        """Take over the jobs of dead processes."""
        adopted = Adopted()
        for slot, pid, host, closed in self._run("SELECT * FROM owner WHERE slot != ?", self._me).fetchall():
            if self._locks.is_locked(slot):
                continue
            given_up = self._accuse(slot)
            adopted.given_up.extend(given_up)
            # All unfinished jobs of a key have one owner, so this process has no jobs of these keys.
            heads = self._run(
                f"SELECT min(seq), id, deaths, blame FROM job WHERE owner = ? AND {_OPEN} GROUP BY key", slot
            ).fetchall()
            adopted.heads.extend(Head(*row) for row in heads)
            if heads or given_up:
                adopted.owners.append(f"process {pid} on {host}, which {'ended' if closed else 'died'}")
            self._run(
                f"UPDATE job SET owner = ?, state = 'waiting', trial = 0 WHERE owner = ? AND {_OPEN}", self._me, slot
            )
            self._run("DELETE FROM owner WHERE slot = ?", slot)
        adopted.heads.sort()
        return adopted

    def _accuse(self, owner: int) -> list[tuple[str, str, str]]:
        """Record the death of `owner`. Returns id, name and problem of each job that is given up."""
        ran = "owner = ? AND state = 'running'"
        if self._run(f"SELECT 1 FROM job WHERE {ran} AND trial = ?", owner, ALONE).fetchone() is None:
            self._run(f"UPDATE job SET deaths = deaths + 1 WHERE {ran}", owner)
        self._run(f"UPDATE job SET blame = blame + trial WHERE {ran}", owner)
        given_up: list[tuple[str, str, str]] = []
        for job_id, name, starts in self._run(
            f"SELECT id, name, starts FROM job WHERE {ran} AND blame >= ?", owner, self._blame_limit
        ).fetchall():
            problem = f"its process died each time it ran alone ({starts} starts)"
            self.finish(job_id, Outcome("failed", "ProcessDied", None, problem))
            given_up.append((job_id, name, problem))
        return given_up

    def status(self, job_id: str) -> JobStatus | None:
        """Return the status of a job, or None if it is unknown."""
        row = self._run(
            "SELECT id, name, state, submissions, starts, submitted_at, finished_at, error, message, error_status "
            "FROM job WHERE id = ?",
            job_id,
        ).fetchone()
        return None if row is None else JobStatus(**_named(JobStatus, row))

    def failed(self, job_id: str) -> Started | None:
        """Return a failed job with its arguments, or None."""
        row = self._run(
            "SELECT key, name, arguments, starts FROM job WHERE id = ? AND state = 'failed'", job_id
        ).fetchone()
        if row is None:
            return None
        key, name, arguments, starts = row
        found = _decode(arguments)
        return None if found is None else Started(key, name, found, starts)

    def failures(self, limit: int) -> list[FailedJob]:
        """Return the last `limit` failed jobs, newest first."""
        rows = self._run(
            "SELECT id, name, state, submissions, starts, submitted_at, finished_at, error, message, error_status, key "
            "FROM job WHERE state = 'failed' ORDER BY finished_at DESC, seq DESC LIMIT ?",
            limit,
        )
        return [FailedJob(**_named(FailedJob, row)) for row in rows]

    def prune(self) -> None:
        """Delete the jobs that finished more than `keep` seconds ago."""
        before = time.time() - self._keep
        self._run("DELETE FROM job WHERE state IN ('done', 'failed') AND finished_at < ?", before)


def _named(kind: type[attrs.AttrsInstance], row: tuple[Any, ...]) -> dict[str, Any]:
    cells = dict(zip((field.name for field in attrs.fields(kind)), row, strict=True))
    for name in ("submitted_at", "finished_at"):
        cells[name] = None if cells[name] is None else moment(cells[name])
    return cells


def encode(arguments: Mapping[str, Any]) -> str:
    """Return the arguments as JSON. Raises `InvalidJobError`."""
    try:
        return json.dumps(arguments, allow_nan=False, separators=(",", ":"))
    except BaseException as error:  # a mapping of the caller may raise anything
        raise InvalidJobError(
            f"the arguments of the job cannot be stored: a journal takes only JSON ({type(error).__name__})"
        ) from error


def _decode(arguments: str) -> dict[str, Any] | None:
    """Return the arguments; None if they are damaged."""
    try:
        found = json.loads(arguments)
    except (ValueError, TypeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def concerns_all(error: BaseException) -> bool:
    """Return whether the error is of the disk or the file, not of one request."""
    return isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError


def explain(error: BaseException) -> str:
    """Return one line that says what is wrong with the journal ("it") and what to do."""
    words = " ".join(str(error).split())
    if isinstance(error, JournalError):
        return words
    if isinstance(error, OSError) and error.errno in {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}:
        return "its file system has no file locks; put the journal on a local disk"
    if isinstance(error, OSError):
        return (error.strerror or type(error).__name__).lower()
    if not isinstance(error, sqlite3.Error):
        return f"{type(error).__name__}: {words}"
    trouble = trouble_of(words)
    if trouble == "unwritable":
        return f"it cannot be written ({words}): free some space, and accepted jobs continue"
    if trouble == "locked":
        return f"another program locks it ({words}): close that program, and accepted jobs continue"
    if trouble == "not a database":
        return "it is not an SQLite file; give Jobs a file of its own"
    if trouble == "damaged":
        return (
            f"it is damaged ({words}): stop all its processes, copy it with its -wal file, and save the accepted jobs "
            "in the copy with SQLite's .recover"
        )
    return words
