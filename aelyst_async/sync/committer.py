"""Group commit: what many rows want written becomes one transaction, on a thread of its own.

`put` only appends to a list. While one transaction is on its way to the disk, the next one fills; so the slower the
disk, the larger the groups, and the event loop waits for none of them. `durable` returns once everything that was
put before it is on the disk.

The thread depends on no task, so no cancellation can end it before the last write. If it fails, for whatever reason,
`error` says why, and every current and later call of `durable` raises it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from aelyst_async.sync.errors import JournalError
from aelyst_async.sync.journal import Journal, Write
from aelyst_async.waiting import uninterrupted

__all__ = ["Committer"]

_LINGER = 0.05
"""Longest delay, in seconds, of writes that no caller waits for."""

_ENOUGH = 2_000
"""Writes that are committed without lingering."""


class _Group(NamedTuple):
    """What becomes one transaction, and the futures that wait for it."""

    writes: list[Write]
    waiters: list[asyncio.Future[None]]
    progress: Mapping[str, Any] | None


class Committer:
    """The asynchronous side of a `Journal`. Use as ``async with``; without a journal it does nothing."""

    def __init__(self, journal: Journal | None) -> None:
        self.error: JournalError | None = None
        self.on_error: Callable[[], None] = lambda: None
        self.progress: Callable[[], Mapping[str, Any]] | None = None
        self._journal = journal
        self._changed = threading.Condition()  # guards all that follows
        self._writes: list[Write] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._beat: Mapping[str, Any] | None = None
        self._closing = False
        self._thread: threading.Thread | None = None

    async def __aenter__(self) -> Committer:  # noqa: PYI034 - no Self before 3.11
        if self._journal is not None:
            self._loop = asyncio.get_running_loop()
            self._ended: asyncio.Future[None] = self._loop.create_future()
            # A daemon, so that an interpreter that exits without closing the committer does not wait for ever. That
            # loses no more than a crash would.
            self._thread = threading.Thread(target=self._run, args=(self._journal,), name="aelyst-journal", daemon=True)
            self._thread.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._thread is None:
            return
        with self._changed:
            self._closing = True
            self._changed.notify()
        try:
            if kind is not GeneratorExit:  # a coroutine that is destroyed cannot wait
                await uninterrupted(self._ended)
        finally:
            self._thread.join()

    def put(self, write: Write) -> None:
        """Have `write` committed soon. Writes keep their order."""
        if self._journal is None or self.error is not None:
            return
        with self._changed:
            self._writes.append(write)
            if len(self._writes) in {1, _ENOUGH}:
                self._changed.notify()

    def beat(self) -> None:
        """Have the progress written soon, even if nothing else is."""
        if self._journal is not None and self.progress is not None:
            beat = self.progress()
            with self._changed:
                self._beat = beat
                self._changed.notify()

    async def durable(self) -> None:
        """Return when everything put so far is on the disk. Raises `JournalError`."""
        if self._journal is None:
            return
        waiter = asyncio.get_running_loop().create_future()
        with self._changed:
            if self.error is not None or self._closing:
                raise _again(self.error or JournalError("the journal is being closed"))
            self._waiters.append(waiter)
            self._changed.notify()
        await waiter

    def _run(self, journal: Journal) -> None:
        """Commit until the end. Runs on the thread."""
        group: _Group | None = None
        try:
            while (group := self._next_group()) is not None:
                if group.writes or group.progress is not None:
                    journal.apply(group.writes, group.progress)
                if group.waiters:
                    self._in_loop(_resolve, group.waiters, None)
        except BaseException as error:  # noqa: BLE001 - ends the run: no caller may wait for a dead thread
            self._fail(error, [] if group is None else group.waiters)
        finally:
            self._in_loop(_resolve, [self._ended], None)

    def _next_group(self) -> _Group | None:
        """Return what is to be committed next; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._writes or self._waiters or self._beat is not None)
            self._changed.wait_for(
                lambda: self._closing or self._waiters or len(self._writes) >= _ENOUGH, timeout=_LINGER
            )
            group = _Group(self._writes, self._waiters, self._beat)
            if self._closing and not any(group):
                return None
            self._writes, self._waiters, self._beat = [], [], None
            return group

    def _fail(self, error: BaseException, waiters: list[asyncio.Future[None]]) -> None:
        if not isinstance(error, JournalError):
            words = f"the journal's writer failed: {type(error).__name__}: {error}"
            cause, error = error, JournalError(words)
            error.__cause__ = cause
        with self._changed:
            self.error = error
            waiters = waiters + self._waiters
            self._writes, self._waiters = [], []
        self._in_loop(_resolve, waiters, error)
        self._in_loop(self.on_error)

    def _in_loop(self, function: Callable[..., object], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, so no caller waits
            self._loop.call_soon_threadsafe(function, *arguments)


def _resolve(waiters: list[asyncio.Future[None]], error: JournalError | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(_again(error))


def _again(error: JournalError) -> JournalError:
    """Return a new error of the same words: one object raised in many tasks would collect all their tracebacks."""
    again = JournalError(str(error))
    again.__cause__ = error.__cause__
    return again
