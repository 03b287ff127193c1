"""Jobs in SQLite: what was accepted survives ``kill -9``.

A submission is answered once it is committed and synced to disk. A job is marked as running before it runs and as
over after; a process that dies between the two leaves it behind, and it runs again. So a job runs *at least once*,
and its function must be idempotent: an upsert is.

The loop never waits for the disk. One thread owns the connection; it takes all requests that have come in, carries
them out in one transaction and answers them together (group commit), so a burst of a thousand submissions costs a
few syncs, not a thousand.

Several processes on one host may use one journal, as the workers of ``uvicorn --workers 2`` do. All rules of `store`
hold across them, because each is one transaction: a submission goes to the owner who has unfinished jobs of its key,
may be merged into a job there that waits, and is found by that owner when it finishes the job before. What a dead
process has left is adopted by the next that looks (`owner` tells who is dead).

The file holds people's data: it is readable by its user only, a job that succeeded loses its key and arguments at
once, and finished jobs are deleted after a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs

from aelyst_async.fastapi.log import logger
from aelyst_async.fastapi.owner import Owner
from aelyst_async.fastapi.store import Added, JobStatus, JournalError, Merge, Outcome, Started, Submission, moment

__all__ = ["Journal"]

T = TypeVar("T")

_APPLICATION_ID = 0x61656C79  # "aely"
_VERSION = 1

_SCHEMA = """
CREATE TABLE job (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order within a key
    id TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    arguments TEXT NOT NULL,                -- JSON
    state TEXT NOT NULL,
    owner TEXT NOT NULL,
    submissions INTEGER NOT NULL DEFAULT 1,
    starts INTEGER NOT NULL DEFAULT 0,
    submitted_at REAL NOT NULL,
    finished_at REAL,
    error TEXT,
    error_status INTEGER
);
CREATE INDEX job_key ON job (key, seq) WHERE state IN ('waiting', 'running');
CREATE INDEX job_owner ON job (owner, key, seq) WHERE state IN ('waiting', 'running');
CREATE INDEX job_finished ON job (finished_at) WHERE state IN ('done', 'failed');
"""

_OPEN = "state IN ('waiting', 'running')"

_BATCH = 500
"""Requests that one transaction carries out at the most."""

_PORTION = 25
"""Answers that the loop gets in one turn, so that a burst does not hold it up."""

_PRUNE_EVERY = 60.0
"""Seconds between deletions of old finished jobs."""


@attrs.frozen
class _Request:
    work: Callable[[sqlite3.Connection], Any]
    answer: asyncio.Future[Any]


class Journal:
    """A `Store` in the SQLite file `path`, made if it is not there.

    `keep`: seconds for which finished jobs are remembered. `max_starts`: a job that was running when its process died
    is not tried again once it has been begun this often; it may be what kills.
    """

    durable = True

    def __init__(self, path: str | os.PathLike[str], *, keep: float, max_starts: int) -> None:
        self._path = Path(path)
        self._keep = keep
        self._max_starts = max_starts
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._answers: deque[_Answer] = deque()
        self._thread: threading.Thread | None = None
        self._owner: Owner | None = None
        self._pruned = 0.0
        self.open_count = 0
        self._count = 0  # the same, within a transaction

    async def open(self) -> None:
        """Open or make the file and start the thread. Raises `JournalError`."""
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(target=self._run, args=(loop, opened), name="aelyst-journal", daemon=True)
        self._thread.start()
        await opened

    async def close(self) -> None:
        """Finish what is asked for, stop the thread, give up ownership: what is unfinished is free for others."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._requests.put(None)
            await asyncio.get_running_loop().run_in_executor(None, thread.join)

    async def add(self, job: Submission, *, capacity: int) -> Added | None:
        """See `Store`."""
        arguments = encode(job.arguments)
        return await self._ask(lambda db: self._add(db, job, arguments, capacity))

    async def start(self, job_id: str) -> Started | None:
        """See `Store`."""
        return await self._ask(lambda db: self._start(db, job_id))

    async def finish(self, job_id: str, outcome: Outcome) -> str | None:
        """See `Store`."""
        return await self._ask(lambda db: self._finish(db, job_id, outcome))

    async def put_back(self, job_id: str, *, uncounted: bool) -> None:
        """See `Store`."""
        await self._ask(
            lambda db: db.execute(
                "UPDATE job SET state = 'waiting', starts = starts - ? WHERE id = ? AND state = 'running'",
                (int(uncounted), job_id),
            )
        )

    async def adopt(self) -> list[str]:
        """See `Store`."""
        return await self._ask(self._adopt)

    async def status(self, job_id: str) -> JobStatus | None:
        """See `Store`."""
        return await self._ask(lambda db: _status(db, job_id))

    async def failed(self, job_id: str) -> Started | None:
        """See `Store`."""
        return await self._ask(lambda db: _failed(db, job_id))

    async def _ask(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._thread is None:
            raise JournalError("the journal is not open")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._requests.put(_Request(work, answer))
        return await answer

    # What follows runs in the thread.

    def _run(self, loop: asyncio.AbstractEventLoop, opened: asyncio.Future[None]) -> None:
        try:
            db = self._connect()
        except Exception as error:  # noqa: BLE001 - whatever it is, who waits for the opening must hear of it
            reason = str(error)
            self._post(loop, [(opened, None, JournalError(f"cannot open the journal {self._path.name}: {reason}"))])
            return
        self._post(loop, [(opened, None, None)])
        try:
            while (batch := self._next_batch()) is not None:
                self._post(loop, self._carry_out(db, batch))
        finally:
            with contextlib.suppress(sqlite3.Error):
                db.close()
            assert self._owner is not None
            self._owner.release()

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # SQLite would make it readable for all; its -wal and -shm take over the mode of the file.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        db = sqlite3.connect(self._path, timeout=30.0, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")  # a 202 must survive a power cut too
            db.execute("PRAGMA secure_delete = FAST")
            db.execute("BEGIN IMMEDIATE")
            self._check_schema(db)
            # Within the transaction, as every look at another's lock: between making and locking the file no one looks.
            self._owner = Owner(self._path)
            self._owner.remove_stale()
            db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        return db

    def _check_schema(self, db: sqlite3.Connection) -> None:
        found = db.execute("PRAGMA application_id").fetchone()[0], db.execute("PRAGMA user_version").fetchone()[0]
        if found == (_APPLICATION_ID, _VERSION):
            return
        if found != (0, 0) or db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise JournalError("it is a database of something else, or of another version of this library")
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {_VERSION}")

    def _next_batch(self) -> list[_Request] | None:
        """Return what has been asked for, at least one; None at the end."""
        first = self._requests.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < _BATCH:
            try:
                request = self._requests.get_nowait()
            except queue.Empty:
                break
            if request is None:
                self._requests.put(None)  # for the next turn
                break
            batch.append(request)
        return batch

    def _carry_out(self, db: sqlite3.Connection, batch: list[_Request]) -> list[_Answer]:
        answers: list[_Answer] = []
        try:
            db.execute("BEGIN IMMEDIATE")
            for request in batch:
                # A savepoint each, so that one that fails half-way takes nothing else with it.
                db.execute("SAVEPOINT request")
                try:
                    answers.append((request.answer, request.work(db), None))
                except sqlite3.OperationalError:
                    raise  # the disk's or the file's fault, so everybody's
                except Exception as error:  # noqa: BLE001 - the asker's own
                    db.execute("ROLLBACK TO request")
                    refused = (
                        JournalError(f"the journal refuses: {error}") if isinstance(error, sqlite3.Error) else error
                    )
                    answers.append((request.answer, None, refused))
                db.execute("RELEASE request")
            self._prune(db)
            self._count = _open_count(db, self._me)
            db.execute("COMMIT")
            self.open_count = self._count
        except sqlite3.Error as error:
            reason = str(error)
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            self._count = self.open_count
            return [(request.answer, None, JournalError(f"the journal failed: {reason}")) for request in batch]
        return answers

    def _post(self, loop: asyncio.AbstractEventLoop, answers: list[_Answer]) -> None:
        self._answers.extend(answers)
        try:
            loop.call_soon_threadsafe(self._deliver, loop)
        except RuntimeError:
            logger.debug("the loop closed before the journal answered")

    def _deliver(self, loop: asyncio.AbstractEventLoop) -> None:
        """Answer, in the loop, in the order of the work, a portion a turn: what an answer wakes runs in between."""
        for _ in range(min(_PORTION, len(self._answers))):
            future, value, error = self._answers.popleft()
            if future.done():  # whoever asked has been cancelled
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
        if self._answers:
            loop.call_soon(self._deliver, loop)

    @property
    def _me(self) -> str:
        assert self._owner is not None
        return self._owner.id

    def _add(self, db: sqlite3.Connection, job: Submission, arguments: str, capacity: int) -> Added | None:
        last = db.execute(
            f"SELECT id, owner, state, name, arguments FROM job WHERE key = ? AND {_OPEN} "  # noqa: S608
            "ORDER BY seq DESC LIMIT 1",
            (job.key,),
        ).fetchone()
        owner = self._me
        if last is not None:
            last_id, owner, state, name, older = last
            if job.merge is not None and state == "waiting" and name == job.name:
                merged = encode(merge_arguments(job.merge, json.loads(older), json.loads(arguments)))
                db.execute(
                    "UPDATE job SET arguments = ?, submissions = submissions + 1 WHERE id = ?", (merged, last_id)
                )
                return Added(last_id, merged=True, mine=owner == self._me, head=False)
        mine = owner == self._me
        if (self._count if mine else _open_count(db, owner)) >= capacity:
            return None
        db.execute(
            "INSERT INTO job (id, key, name, arguments, state, owner, submitted_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (job.id, job.key, job.name, arguments, "waiting", owner, time.time()),
        )
        self._count += mine
        return Added(job.id, merged=False, mine=mine, head=last is None)

    def _start(self, db: sqlite3.Connection, job_id: str) -> Started | None:
        row = db.execute(
            "SELECT key, name, arguments, starts FROM job WHERE id = ? AND owner = ? AND state = 'waiting'",
            (job_id, self._me),
        ).fetchone()
        if row is None:
            return None
        db.execute("UPDATE job SET state = 'running', starts = starts + 1 WHERE id = ?", (job_id,))
        key, name, arguments, starts = row
        return Started(key, name, json.loads(arguments), starts + 1)

    def _finish(self, db: sqlite3.Connection, job_id: str, outcome: Outcome) -> str | None:
        row = db.execute("SELECT key FROM job WHERE id = ?", (job_id,)).fetchone()
        if row is None:
            return None
        forget = ", key = '', arguments = '{}'" if outcome.state == "done" else ""
        db.execute(
            f"UPDATE job SET state = ?, error = ?, error_status = ?, finished_at = ?{forget} WHERE id = ?",  # noqa: S608
            (outcome.state, outcome.error, outcome.error_status, time.time(), job_id),
        )
        following = db.execute(
            f"SELECT id FROM job WHERE key = ? AND owner = ? AND {_OPEN} ORDER BY seq LIMIT 1",  # noqa: S608
            (row[0], self._me),
        ).fetchone()
        return None if following is None else str(following[0])

    def _adopt(self, db: sqlite3.Connection) -> list[str]:
        owners = db.execute(f"SELECT DISTINCT owner FROM job WHERE {_OPEN} AND owner != ?", (self._me,))  # noqa: S608
        heads: list[tuple[int, str]] = []
        assert self._owner is not None
        for owner in [row[0] for row in owners]:
            if not self._owner.is_dead(owner):
                continue
            db.execute(
                "UPDATE job SET state = 'failed', error = 'ProcessDied', finished_at = ? "
                "WHERE owner = ? AND state = 'running' AND starts >= ?",
                (time.time(), owner, self._max_starts),
            )
            # All unfinished jobs of a key have one owner, so none of these keys has a job of ours.
            heads += db.execute(
                f"SELECT min(seq), id FROM job WHERE owner = ? AND {_OPEN} GROUP BY key",  # noqa: S608
                (owner,),
            )
            db.execute(
                f"UPDATE job SET owner = ?, state = 'waiting' WHERE owner = ? AND {_OPEN}",  # noqa: S608
                (self._me, owner),
            )
        return [job_id for _, job_id in sorted(heads)]

    def _prune(self, db: sqlite3.Connection) -> None:
        now = time.time()
        if now - self._pruned >= _PRUNE_EVERY:
            self._pruned = now
            db.execute("DELETE FROM job WHERE state IN ('done', 'failed') AND finished_at < ?", (now - self._keep,))


_Answer = tuple[asyncio.Future[Any], Any, Exception | None]


def encode(arguments: Mapping[str, Any]) -> str:
    """Return the arguments as JSON. Raises `ValueError`, `TypeError` or `RecursionError`."""
    return json.dumps(arguments, allow_nan=False, separators=(",", ":"))


def merge_arguments(merge: Merge, older: dict[str, Any], newer: dict[str, Any]) -> dict[str, Any]:
    """Return the merged arguments. Raises `TypeError` if `merge` returns anything but a dict."""
    merged = merge(older, newer)
    if not isinstance(merged, dict):
        raise TypeError(f"the merge function of a job must return a dict, not {type(merged).__name__}")
    return merged


def _open_count(db: sqlite3.Connection, owner: str) -> int:
    found: int = db.execute(f"SELECT count(*) FROM job WHERE owner = ? AND {_OPEN}", (owner,)).fetchone()[0]  # noqa: S608
    return found


def _status(db: sqlite3.Connection, job_id: str) -> JobStatus | None:
    row = db.execute(
        "SELECT name, state, submissions, starts, submitted_at, finished_at, error, error_status FROM job WHERE id = ?",
        (job_id,),
    ).fetchone()
    if row is None:
        return None
    name, state, submissions, starts, submitted_at, finished_at, error, error_status = row
    return JobStatus(
        id=job_id,
        name=name,
        state=state,
        submissions=submissions,
        starts=starts,
        submitted_at=moment(submitted_at),
        finished_at=None if finished_at is None else moment(finished_at),
        error=error,
        error_status=error_status,
    )


def _failed(db: sqlite3.Connection, job_id: str) -> Started | None:
    row = db.execute(
        "SELECT key, name, arguments, starts FROM job WHERE id = ? AND state = 'failed'", (job_id,)
    ).fetchone()
    return None if row is None else Started(row[0], row[1], json.loads(row[2]), row[3])
