"""The asynchronous side of a journal: what many rows want written becomes one transaction (`GroupCommit`).

`put` only appends to a list. `durable` returns once everything that was put before it is on the disk. If the thread
fails, `error` says why, and every current and later call of `durable` raises it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from aelyst_async.sqlite import GroupCommit
from aelyst_async.sync.errors import JournalError
from aelyst_async.sync.journal.state import Journal, Write

__all__ = ["Committer"]

_Work: TypeAlias = "Write | Mapping[str, Any] | None"
"""A write, the progress of the run, or None: wait for what was put before."""


class Committer(GroupCommit[_Work]):
    """Commits the writes of a run. Use as ``async with``; without a journal it does nothing."""

    group_size = 2_000
    linger: float = 0.05

    def __init__(self, journal: Journal | None) -> None:
        super().__init__()
        self.error: JournalError | None = None
        self.on_error: Callable[[], None] = lambda: None
        self.progress: Callable[[], Mapping[str, Any]] | None = None
        self._journal = journal

    async def __aenter__(self) -> Committer:  # noqa: PYI034 - no Self before 3.11
        if self._journal is not None:
            await self.open()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is GeneratorExit:  # a coroutine that is destroyed cannot wait
            self.stop()
        else:
            await self.close()

    def put(self, work: _Work) -> None:
        """Have a write committed soon. Writes keep their order."""
        if self._journal is not None:
            super().put(work)

    def beat(self) -> None:
        """Have the progress written soon, even if nothing else is."""
        if self.progress is not None:
            self.put(self.progress())

    async def durable(self) -> None:
        """Return when everything put so far is on the disk. Raises `JournalError`."""
        if self._journal is not None:
            await self.ask(None)

    def _begin(self) -> None:
        """The journal is open already."""

    def _end(self) -> None:
        """The journal is closed by its owner."""

    def _commit(self, works: Sequence[_Work]) -> Sequence[None]:
        assert self._journal is not None
        writes: list[Write] = []
        progress: Mapping[str, Any] | None = None
        for work in works:
            if isinstance(work, Mapping):
                progress = work
            elif work is not None:
                writes.append(work)
        if writes or progress is not None:
            self._journal.apply(writes, progress)
        return [None] * len(works)

    def _failure(self, cause: BaseException | None) -> JournalError:
        if isinstance(cause, JournalError):
            again = JournalError(str(cause))
            again.__cause__ = cause.__cause__
            return again
        if cause is None:
            return JournalError("the journal is being closed")
        failure = JournalError(f"the journal's writer failed: {type(cause).__name__}: {cause}")
        failure.__cause__ = cause
        return failure

    def _died(self, cause: BaseException) -> None:
        self.error = self._failure(cause)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self.on_error)
