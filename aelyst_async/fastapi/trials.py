"""Trials of suspects: jobs that may have killed their process run one at a time.

If a process dies while eleven jobs run, one of them may have killed it, or something else did (a deploy, another
program's use of memory). If all eleven were blamed, one bad job would cause the loss of ten good ones. So the journal
(`database`) marks them as suspects, and the next process

1. starts one suspect, the least blamed first, and starts no other job for `alone_seconds`. If the process dies in this
   time, only this suspect is blamed;
2. then starts ordinary jobs again, while the other suspects wait until `trial_seconds` have passed, if that is longer.
   If the process dies in this time, the suspect gets a tenth of the blame, since ordinary jobs ran beside it;
3. then starts the next suspect; the first one continues without blame.

A job that ends, with success or not, is no longer a suspect. Both times are short at first, so that good jobs lose
little time. They double with each unexplained death, so that a job that kills its process late is found too.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Callable, Iterable

from aelyst_async.fastapi.store import IN_TURN, Head, JournalError, Store

__all__ = ["Trials", "alone_seconds", "trial_seconds"]

_FIRST = 0.25
_LONGEST_ALONE = 4.0
_LONGEST = 3600.0


def trial_seconds(deaths: int) -> float:
    """Return the seconds for which other suspects wait for a suspect with this number of unexplained deaths."""
    return min(_LONGEST, _FIRST * 2.0 ** min(deaths - 1, 30))


def alone_seconds(deaths: int) -> float:
    """Return the seconds for which no other job starts."""
    return min(_LONGEST_ALONE, trial_seconds(deaths))


class Trials:
    """The suspects of one process. `go` is called when further jobs may start."""

    def __init__(self, store: Store, go: Callable[[], None]) -> None:
        self.alone: bool = False
        """Whether no job may start."""
        self._store = store
        self._go = go
        self._suspects: list[tuple[int, Head]] = []
        self._on_trial: Head | None = None
        self._watch: asyncio.Task[None] | None = None

    def accuse(self, heads: Iterable[Head]) -> None:
        """Add suspects."""
        for head in heads:
            heapq.heappush(self._suspects, (head.blame, head))

    def next(self) -> str | None:
        """Put the next suspect on trial and return its id; None if there is none or another is on trial."""
        if self._on_trial is not None or not self._suspects:
            return None
        self._on_trial = heapq.heappop(self._suspects)[1]
        self.alone = True
        return self._on_trial.id

    def begun(self, job_id: str) -> None:
        """Begin to measure the trial: the job starts."""
        if self._on_trial is not None and self._on_trial.id == job_id:
            self._watch = asyncio.create_task(self._measure(self._on_trial))

    async def _measure(self, head: Head) -> None:
        alone, whole = alone_seconds(head.deaths), trial_seconds(head.deaths)
        await asyncio.sleep(alone)
        if whole > alone:
            with contextlib.suppress(JournalError):
                await self._store.ask(lambda jobs: jobs.watch(head.id, IN_TURN))
            self.alone = False
            self._go()
            await asyncio.sleep(whole - alone)
        with contextlib.suppress(JournalError):
            await self._store.ask(lambda jobs: jobs.watch(head.id, 0))
        self._end()

    def ended(self, job_id: str) -> None:
        """End the trial if it is that of this job, which has ended."""
        if self._on_trial is not None and self._on_trial.id == job_id:
            self.stop()
            self._end()

    def _end(self) -> None:
        self._on_trial, self.alone = None, False
        self._go()

    def stop(self) -> None:
        """Stop measuring."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
