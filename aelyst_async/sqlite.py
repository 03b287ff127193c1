"""Shared by the journals in SQLite: application ids, messages for SQLite's errors, and group commit.

Group commit: one thread owns the database. Requests that arrive while a transaction is written to the disk form the
next transaction. So a burst of a thousand requests costs a few syncs to disk, and the event loop does not wait for
them. A slower disk leads to larger groups.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from aelyst_async.waiting import uninterrupted

__all__ = ["JOBS_FILE", "SYNC_FILE", "GroupCommit", "Trouble", "trouble_of"]

JOBS_FILE = 0x61656C6A
"""``aelj``: the application id of a journal of jobs (``PRAGMA application_id``)."""

SYNC_FILE = 0x61656C53
"""``aelS``: the application id of a journal of a sync."""

Trouble: TypeAlias = Literal["unwritable", "locked", "not a database", "damaged", "other"]

_SIGNS: tuple[tuple[Trouble, tuple[str, ...]], ...] = (
    ("unwritable", ("full", "disk I/O")),
    ("locked", ("locked", "busy")),
    ("not a database", ("not a database",)),
    ("damaged", ("malformed", "no such table", "no such column", "has no column")),
)
"""Parts of SQLite's messages, because exceptions have SQLite's error code only from Python 3.11 on."""


def trouble_of(message: str) -> Trouble:
    """Return an explanation of a message of `sqlite3`."""
    for trouble, signs in _SIGNS:
        if any(sign in message for sign in signs):
            return trouble
    return "other"


W = TypeVar("W")
_Request: TypeAlias = "tuple[W, asyncio.Future[Any] | None]"
_Answer: TypeAlias = "tuple[asyncio.Future[Any], Any]"

_PORTION = 25
"""Largest number of results delivered in one iteration of the event loop, so that a burst does not delay other tasks.
"""


class GroupCommit(ABC, Generic[W]):
    """A thread that executes requests in groups and delivers their results in the event loop.

    A subclass implements the work of the thread (`_begin`, `_commit`, `_end`) and the error for callers (`_failure`).
    Every request gets a result or an error, also if the thread fails. The thread is a daemon, so it cannot block the
    exit of a program; an exit handler stops it in an orderly way.
    """

    group_size: int = 500
    """Largest number of requests in a transaction."""
    linger: float = 0.0
    """Longest delay, in seconds, of requests without a waiting caller."""

    def __init__(self) -> None:
        self._cause: BaseException | None = None
        """The exception that ended the thread before it was closed."""
        self._changed = threading.Condition()  # guards the next three attributes
        self._requests: list[_Request[W]] = []
        self._awaited = 0
        self._closing = True
        self._answers: deque[_Answer] = deque()
        self._thread: threading.Thread | None = None

    # In the thread.

    @abstractmethod
    def _begin(self) -> None:
        """Open the database. `open` raises the exceptions of this method."""

    @abstractmethod
    def _commit(self, works: Sequence[W]) -> Sequence[Any]:
        """Execute `works` in one transaction; return a result for each, or an `Exception` if it failed.

        If this method raises, the thread ends.
        """

    @abstractmethod
    def _end(self) -> None:
        """Close the database, if it is open. Raises nothing."""

    @abstractmethod
    def _failure(self, cause: BaseException | None) -> Exception:
        """Return a new error for a caller without a result. `cause` ended the thread; None: the thread does not run."""

    def _died(self, cause: BaseException) -> None:
        """Report the exception that ended the thread."""

    # In the event loop.

    async def open(self) -> None:
        """Start the thread and return once the database is open. Raises the exceptions of `_begin`."""
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._closing, self._cause = False, None
        self._thread = threading.Thread(target=self._run, args=(opened,), name="aelyst-journal", daemon=True)
        self._thread.start()
        atexit.register(self.stop)
        try:
            await opened
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Commit the pending requests and stop the thread. Idempotent. A cancellation is raised afterwards."""
        try:
            if self._thread is not None and self._thread.is_alive():
                self._close_soon()
                await uninterrupted(self._ended)
        finally:
            self.stop()

    def stop(self) -> None:
        """Commit the pending requests, stop the thread and wait for it. Blocks. Idempotent.

        Does nothing in a forked child, which has no thread.
        """
        atexit.unregister(self.stop)
        thread, self._thread = self._thread, None
        if thread is not None and thread.is_alive():
            self._close_soon()
            thread.join()

    def _close_soon(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify()

    def put(self, work: W) -> None:
        """Commit `work` soon, without waiting. Requests keep their order. Ignored if an error has ended the thread."""
        with self._changed:
            if self._cause is None:
                self._requests.append((work, None))
                if len(self._requests) in {1, self.group_size}:
                    self._changed.notify()

    async def ask(self, work: W) -> Any:
        """Return the result of `work` once it is committed. Raises the error of `work` or of the thread."""
        if self._thread is None or not self._thread.is_alive():  # threads are not copied by a fork
            raise self._failure(self._cause)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        with self._changed:
            if self._closing or self._cause is not None:
                raise self._failure(self._cause)
            self._requests.append((work, answer))
            self._awaited += 1
            self._changed.notify()
        return await answer

    # The thread itself.

    def _run(self, opened: asyncio.Future[None]) -> None:
        group: list[_Request[W]] = []
        try:
            try:
                self._begin()
            except BaseException as error:  # noqa: BLE001 - the caller of open() gets it, whatever it is
                self._post([(opened, error if isinstance(error, Exception) else self._failure(error))])
                return
            self._post([(opened, None)])
            while group := self._next_group():
                results = self._commit([work for work, _ in group])
                self._post(
                    [(answer, each) for (_, answer), each in zip(group, results, strict=True) if answer is not None]
                )
                group = []
        except BaseException as error:  # noqa: BLE001 - no caller may wait for a thread that has ended
            self._cause = error
            self._died(error)
        finally:
            with self._changed:  # requests that were submitted too late; no more are accepted
                self._closing = True
                group, self._requests = group + self._requests, []
            self._end()
            self._post([(answer, self._failure(self._cause)) for _, answer in group if answer is not None])
            self._post([(self._ended, None)])

    def _next_group(self) -> list[_Request[W]]:
        """Return the next requests to commit; empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._requests)
            self._changed.wait_for(
                lambda: self._closing or self._awaited or len(self._requests) >= self.group_size, timeout=self.linger
            )
            group, self._requests = self._requests[: self.group_size], self._requests[self.group_size :]
            self._awaited = sum(answer is not None for _, answer in self._requests)
            return group

    def _post(self, answers: Sequence[_Answer]) -> None:
        self._answers.extend(answers)
        with contextlib.suppress(RuntimeError):  # the loop is closed, so no caller waits
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        """Deliver results in the loop and in order, one portion in each iteration. Tasks that a result wakes run in
        between.
        """
        for _ in range(min(_PORTION, len(self._answers))):
            future, result = self._answers.popleft()
            if future.done():  # its caller was cancelled
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        if self._answers:
            self._loop.call_soon(self._deliver)
