"""Group commit: what many rows want written becomes one transaction, on a thread of its own.

`put` only appends to a list. While one transaction is on its way to the disk, the next one fills; so the slower the
disk, the larger the groups, and the event loop waits for none of them. `durable` returns once everything that was
put before it is on the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

from aelyst_async.sync.errors import JournalError
from aelyst_async.sync.journal import Attempt, Dead, Journal, Settled

__all__ = ["Committer", "Write"]

Write: TypeAlias = "Settled | Attempt | Dead"

_LINGER = 0.05
"""Seconds that writes nobody waits for may lie before they are committed."""

_ENOUGH = 2_000
"""Writes that are committed without lingering."""


class Committer:
    """The asynchronous side of a `Journal`. Use as ``async with``; without a journal it does nothing."""

    def __init__(self, journal: Journal | None) -> None:
        self.error: JournalError | None = None
        self.on_error: Callable[[], None] = lambda: None
        self.progress: Callable[[], Mapping[str, Any]] | None = None
        self._journal = journal
        self._writes: list[Write] = []
        self._waiters: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._beat = False
        self._task: asyncio.Task[None] | None = None
        self._thread: ThreadPoolExecutor | None = None

    async def __aenter__(self) -> Committer:  # noqa: PYI034 - no Self before 3.11
        if self._journal is not None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="aelyst-journal")
            self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is None or self._thread is None:
            return
        self._closing = True
        self._wake.set()
        # What the rows have learned is written even if we are being cancelled.
        await _uncancelled(self._task)
        self._thread.shutdown(wait=True)

    def put(self, write: Write) -> None:
        """Have `write` committed soon. Writes keep their order."""
        if self._journal is None:
            return
        self._writes.append(write)
        if len(self._writes) in {1, _ENOUGH}:
            self._wake.set()

    def beat(self) -> None:
        """Have the progress written soon, even if nothing else is."""
        self._beat = True
        self._wake.set()

    async def durable(self) -> None:
        """Return when everything put so far is on the disk. Raises `JournalError`."""
        if self._journal is None:
            return
        if self.error is not None:
            raise _again(self.error)
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._wake.set()
        await waiter

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        assert self._journal is not None
        while True:
            if not (self._writes or self._waiters or self._beat):
                if self._closing:
                    return
                await self._wake.wait()
            self._wake.clear()
            if not (self._waiters or self._closing or len(self._writes) >= _ENOUGH):
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _LINGER)
                self._wake.clear()
            writes, self._writes = self._writes, []
            waiters, self._waiters = self._waiters, []
            beat, self._beat = self._beat, False
            progress = self.progress() if beat and self.progress is not None else None
            if self.error is None:
                try:
                    if writes or progress is not None:
                        await loop.run_in_executor(self._thread, self._journal.apply, writes, progress)
                except JournalError as error:
                    self.error = error
                    self.on_error()
            for waiter in waiters:
                if waiter.done():
                    continue
                if self.error is None:
                    waiter.set_result(None)
                else:
                    waiter.set_exception(_again(self.error))


def _again(error: JournalError) -> JournalError:
    """Return a new error of the same words: one object raised in many tasks would collect all their tracebacks."""
    return JournalError(str(error))


async def _uncancelled(task: asyncio.Task[None]) -> None:
    """Wait for `task` to its end; a cancellation that comes meanwhile is raised afterwards."""
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:  # noqa: PERF203
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
