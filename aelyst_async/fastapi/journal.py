"""The store in SQLite: accepted jobs survive ``kill -9``.

A submission is accepted once it is committed and synced to disk. A job is marked as running before it runs and as
finished afterwards. If the process dies in between, the job runs again. So a job runs *at least once*, and its
function must be idempotent, as an upsert is.

The event loop does not wait for the disk: a thread owns the `Database` and commits requests in groups
(`aelyst_async.sqlite.GroupCommit`).

Several processes on one host may use one journal, such as the workers of ``uvicorn --workers 2``. The rules of `store`
hold across processes, because each change is one transaction: a submission goes to the owner of the unfinished jobs of
its key, may be merged into a waiting job there, and is found by that owner after the preceding job. The jobs of a dead
process are adopted by the next process that checks.

The file holds personal data: only its user can read it, the key and the arguments of a successful job are deleted at
once, and finished jobs are deleted after `keep` seconds.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from aelyst_async.fastapi.database import Database, concerns_all, encode, explain
from aelyst_async.fastapi.log import logger
from aelyst_async.fastapi.store import Added, JournalError, Submission
from aelyst_async.sqlite import GroupCommit

__all__ = ["Journal"]

_PRUNE_EVERY = 60.0
"""Seconds between deletions of old finished jobs."""

_Work: TypeAlias = "Callable[[Database], Any]"


class Journal(GroupCommit[_Work]):
    """A store in the SQLite file `path`, created if it does not exist. `keep`, `max_starts`: as of `Database`."""

    durable = True

    def __init__(self, path: str | os.PathLike[str], *, keep: float, max_starts: int) -> None:
        super().__init__()
        self.open_count: int = 0
        self._path = Path(path)
        self._keep = keep
        self._max_starts = max_starts
        self._pruned: float | None = None
        self._db: Database | None = None

    async def add(self, job: Submission, *, capacity: int) -> Added | None:
        """See `MemoryStore.add`."""
        arguments = encode(job.arguments)  # now, so that later changes of the caller's objects have no effect
        added: Added | None = await self.ask(lambda db: db.add(job, arguments, capacity))
        return added

    def _begin(self) -> None:
        try:
            self._db = Database(self._path, keep=self._keep, max_starts=self._max_starts)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller of open() gets one line
            raise JournalError(f"cannot open the journal {self._path.name}: {explain(error)}") from None

    def _end(self) -> None:
        if self._db is not None:
            self._db.close()

    def _failure(self, cause: BaseException | None) -> JournalError:
        if cause is None:
            return JournalError("the journal is not open")
        return JournalError(f"the journal failed ({self._path.name}): {explain(cause)}")

    def _died(self, cause: BaseException) -> None:
        logger.critical("%s; jobs continue when the app is restarted", self._failure(cause))

    def _commit(self, works: Sequence[_Work]) -> list[Any]:
        assert self._db is not None
        db, execute = self._db, self._db.connection.execute
        results: list[Any] = []
        try:
            execute("BEGIN IMMEDIATE")
            db.open_count = self.open_count
            for work in works:
                # A savepoint for each, so that one that fails half-way does not affect the others.
                execute("SAVEPOINT request")
                try:
                    results.append(work(db))
                except BaseException as error:
                    if concerns_all(error):
                        raise
                    execute("ROLLBACK TO request")
                    results.append(_refusal(error))
                execute("RELEASE request")
            now = time.monotonic()
            if self._pruned is None or now - self._pruned >= _PRUNE_EVERY:
                self._pruned = now
                db.prune()
            count = db.count()
            execute("COMMIT")
            self.open_count = count
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                execute("ROLLBACK")
            return [self._failure(error) for _ in works]
        return results


def _refusal(error: BaseException) -> Exception:
    if isinstance(error, Exception) and not isinstance(error, (sqlite3.Error, StopIteration)):
        return error
    return JournalError(f"the journal refused the request: {type(error).__name__}: {error}")
