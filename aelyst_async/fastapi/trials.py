"""Suspects, jobs that may have killed their process, and how they are run: one at a time, until the culprit is known.

A process that dies while eleven jobs run was killed by one of them, or by somebody else (a deploy, the memory of a
neighbour). Were each of the eleven held guilty, one bad job would take ten good ones with it, and a few restarts all
of them. So the journal (`database`) marks them as suspects, and the next process

1. begins one suspect at a time, the least blamed first, and for `alone_seconds` nothing else begins. If the process
   dies now, that one is blamed, and nobody else is suspected;
2. then lets ordinary jobs begin again, while the other suspects wait until `trial_seconds` are over, if that is longer.
   A death now blames the suspect a tenth as much, since ordinary jobs run beside it;
3. then begins the next suspect, while the first runs on, unblamed.

A job that ends, with success or not, is no suspect any more. Both times are short at first, so that the innocent lose
little, and double with each death that they do not explain, so that a slow killer is caught in the act too.
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
    """Return for how long other suspects wait for one that has seen so many unexplained deaths."""
    return min(_LONGEST, _FIRST * 2.0 ** min(deaths - 1, 30))


def alone_seconds(deaths: int) -> float:
    """Return for how long nothing else begins."""
    return min(_LONGEST_ALONE, trial_seconds(deaths))


class Trials:
    """The suspects of one process. `go` is called whenever a job may begin that could not before."""

    def __init__(self, store: Store, go: Callable[[], None]) -> None:
        self.alone = False
        """Whether nothing may begin."""
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
        """Put the next suspect on trial and return its id, unless there is none or another is on trial."""
        if self._on_trial is not None or not self._suspects:
            return None
        self._on_trial = heapq.heappop(self._suspects)[1]
        self.alone = True
        return self._on_trial.id

    def begun(self, job_id: str) -> None:
        """Measure the trial from now on: the job begins."""
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
        """End the trial if it is that of this job: it is over."""
        if self._on_trial is not None and self._on_trial.id == job_id:
            self.stop()
            self._end()

    def _end(self) -> None:
        self._on_trial, self.alone = None, False
        self._go()

    def stop(self) -> None:
        """Measure no longer."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
