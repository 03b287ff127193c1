"""Jobs in SQLite: what was accepted survives ``kill -9``.

A submission is answered once it is committed and synced to disk. A job is marked as running before it runs and as
over after; a process that dies between the two leaves it behind, and it runs again. So a job runs *at least once*,
and its function must be idempotent: an upsert is.

The loop never waits for the disk. One thread owns the `Database`; it takes all requests that have come in, carries
them out in one transaction and answers them together (group commit), so a burst of a thousand submissions costs a
few syncs, not a thousand. Whatever ends the thread, every request is answered: with its cause, if it died.

Several processes on one host may use one journal, as the workers of ``uvicorn --workers 2`` do. All rules of `store`
hold across them, because each is one transaction: a submission goes to the owner who has unfinished jobs of its key,
may be merged into a job there that waits, and is found by that owner when it finishes the job before. What a dead
process has left is adopted by the next that looks.

The file holds people's data: it is readable by its user only, a job that succeeded loses its key and arguments at
once, and finished jobs are deleted after a while.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs

from aelyst_async.fastapi.database import Database, concerns_all, encode, explain
from aelyst_async.fastapi.log import logger
from aelyst_async.fastapi.store import (
    Added,
    Adopted,
    FailedJob,
    JobStatus,
    JournalError,
    Outcome,
    Started,
    Submission,
)

__all__ = ["Journal"]

T = TypeVar("T")

_BATCH = 500
"""Requests that one transaction carries out at the most."""

_PORTION = 25
"""Answers that the loop gets in one turn, so that a burst does not hold it up."""

_PRUNE_EVERY = 60.0
"""Seconds between deletions of old finished jobs."""


@attrs.frozen
class _Request:
    work: Callable[[Database], Any]
    answer: asyncio.Future[Any]


_Answer = tuple[asyncio.Future[Any], Any, "Exception | None"]


class Journal:
    """A `Store` in the SQLite file `path`, made if it is not there. `keep`, `max_starts`: as of `Database`."""

    durable = True

    def __init__(self, path: str | os.PathLike[str], *, keep: float, max_starts: int) -> None:
        self.open_count = 0
        self._path = Path(path)
        self._keep = keep
        self._max_starts = max_starts
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._answers: deque[_Answer] = deque()
        self._thread: threading.Thread | None = None
        self._ended: asyncio.Future[None] | None = None
        self._over = "the journal is not open"  # why the thread answers no more, once it does not
        self._answering = False
        self._pruned = 0.0

    async def open(self) -> None:
        """Open or make the file and start the thread. Raises `JournalError`."""
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        self._ended = loop.create_future()
        self._thread = threading.Thread(
            target=self._run, args=(loop, opened, self._ended), name="aelyst-journal", daemon=True
        )
        self._answering = True
        self._thread.start()
        # A program that ends without closing must not take the interpreter from under the thread.
        atexit.register(self.stop)
        try:
            await opened
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Carry out what is asked for, stop the thread, give up ownership: what is unfinished is free for others."""
        if self._thread is not None and self._thread.is_alive() and self._ended is not None:
            self._requests.put(None)
            await asyncio.shield(self._ended)
        self.stop()

    def stop(self) -> None:
        """Stop the thread and wait for it. Blocks. Idempotent; does nothing in a forked child, which has no thread."""
        atexit.unregister(self.stop)
        thread, self._thread = self._thread, None
        if thread is not None:
            self._requests.put(None)
            thread.join()

    async def add(self, job: Submission, *, capacity: int) -> Added | None:
        """See `Store`."""
        arguments = encode(job.arguments)
        return await self._ask(lambda db: db.add(job, arguments, capacity))

    async def start(self, job_id: str, trial: int = 0) -> Started | None:
        """See `Store`."""
        return await self._ask(lambda db: db.start(job_id, trial))

    async def watch(self, job_id: str, trial: int) -> None:
        """See `Store`."""
        await self._ask(lambda db: db.watch(job_id, trial))

    async def finish(self, job_id: str, outcome: Outcome) -> str | None:
        """See `Store`."""
        return await self._ask(lambda db: db.finish(job_id, outcome))

    async def put_back(self, job_id: str, *, uncounted: bool, waited: float = 0.0) -> None:
        """See `Store`."""
        await self._ask(lambda db: db.put_back(job_id, uncounted=uncounted, waited=waited))

    async def adopt(self) -> Adopted:
        """See `Store`."""
        return await self._ask(lambda db: db.adopt())

    async def status(self, job_id: str) -> JobStatus | None:
        """See `Store`."""
        return await self._ask(lambda db: db.status(job_id))

    async def failed(self, job_id: str) -> Started | None:
        """See `Store`."""
        return await self._ask(lambda db: db.failed(job_id))

    async def failures(self, limit: int) -> list[FailedJob]:
        """See `Store`."""
        return await self._ask(lambda db: db.failures(limit))

    async def _ask(self, work: Callable[[Database], T]) -> T:
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._requests.put(_Request(work, answer))
        # After the put: either the thread takes the request, or this sees that it does not. A fork copies no thread.
        if not self._answering or self._thread is None or not self._thread.is_alive():
            answer.cancel()
            raise JournalError(self._over)
        return await answer

    # What follows runs in the thread.

    def _run(self, loop: asyncio.AbstractEventLoop, opened: asyncio.Future[None], ended: asyncio.Future[None]) -> None:
        db: Database | None = None
        batch: list[_Request] | None = None
        try:
            try:
                db = Database(self._path, keep=self._keep, max_starts=self._max_starts)
            except BaseException as error:  # noqa: BLE001 - the caller of open() must hear of it, whatever it is
                reason = f"cannot open the journal {self._path.name}: {explain(error)}"
                self._post(loop, [(opened, None, JournalError(reason))])
                return
            self._post(loop, [(opened, None, None)])
            while (batch := self._next_batch()) is not None:
                self._post(loop, self._carry_out(db, batch))
        except BaseException as error:  # noqa: BLE001 - nobody else would answer the requests
            self._over = f"the journal failed ({self._path.name}): {explain(error)}"
            logger.critical("%s; jobs go on when the app is started again", self._over)
        finally:
            self._answering = False
            if db is not None:
                db.close()
            self._post(loop, [(one.answer, None, JournalError(self._over)) for one in [*(batch or []), *self._left()]])
            self._post(loop, [(ended, None, None)])

    def _left(self) -> list[_Request]:
        left: list[_Request] = []
        with contextlib.suppress(queue.Empty):
            while True:
                request = self._requests.get_nowait()
                left += [] if request is None else [request]
        return left

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

    def _carry_out(self, db: Database, batch: list[_Request]) -> list[_Answer]:
        execute = db.connection.execute
        answers: list[_Answer] = []
        try:
            execute("BEGIN IMMEDIATE")
            db.open_count = self.open_count
            for request in batch:
                # A savepoint each, so that one that fails half-way takes nothing else with it.
                execute("SAVEPOINT request")
                try:
                    answers.append((request.answer, request.work(db), None))
                except BaseException as error:
                    if concerns_all(error):
                        raise
                    execute("ROLLBACK TO request")
                    answers.append((request.answer, None, _refusal(error)))
                execute("RELEASE request")
            if time.monotonic() - self._pruned >= _PRUNE_EVERY or not self._pruned:
                self._pruned = time.monotonic()
                db.prune()
            count = db.count()
            execute("COMMIT")
            self.open_count = count
        except sqlite3.Error as error:
            reason = f"the journal failed ({self._path.name}): {explain(error)}"
            with contextlib.suppress(sqlite3.Error):
                execute("ROLLBACK")
            return [(request.answer, None, JournalError(reason)) for request in batch]
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
            if future.done():  # the caller has been cancelled
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)
        if self._answers:
            loop.call_soon(self._deliver, loop)


def _refusal(error: BaseException) -> Exception:
    if isinstance(error, Exception) and not isinstance(error, (sqlite3.Error, StopIteration)):
        return error
    return JournalError(f"the journal refuses: {type(error).__name__}: {error}")
