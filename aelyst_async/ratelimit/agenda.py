"""Work that grows with the crowd, done in portions: no round of the event loop does more than one.

One portion is shared by all buckets. When it is used up, the rest stands on the agenda for the loop's next round. It is
counted, not timed, so that the same happens on every machine and in tests; a unit is some microseconds' work, and as
many tasks at most, woken by it, run between two portions.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from aelyst_async.ratelimit.lane import Lane

__all__ = ["PORTION", "Agenda"]

PORTION = 32
"""Waiters let go, refused or moved in one round: half a millisecond of ours, and some more of theirs."""


class Agenda:
    """What is left to do. ``left``: units that may still be done before the loop's next round."""

    __slots__ = ("_loop", "_pump", "_turning", "_work", "left")

    def __init__(self, loop: asyncio.AbstractEventLoop, pump: Callable[[Lane], None]) -> None:
        self.left = PORTION
        self._loop = loop
        self._pump = pump
        self._work: deque[Lane | Iterator[None]] = deque()
        self._turning = False

    def add(self, work: Lane | Iterator[None]) -> None:
        """Put a lane that is to be pumped, or a job that `run` has begun, at the end."""
        if isinstance(work, Lane):
            work.due = True
        self._work.append(work)
        self._wake()

    def run(self, job: Iterator[None]) -> None:
        """Do so much of a job as the portion allows, a unit each time that it yields; the rest is added."""
        while self.left > 0:
            try:
                next(job)
            except StopIteration:
                return
            self.left -= 1
        self.add(job)

    def _wake(self) -> None:
        if not self._turning:
            self._turning = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Do one portion, each piece of work in its turn."""
        self._turning = False
        self.left = PORTION
        work = self._work
        try:
            for _ in range(len(work)):
                if self.left <= 0:
                    break
                one = work.popleft()
                if isinstance(one, Lane):
                    one.due = False
                    self._pump(one)
                else:
                    self.run(one)
        finally:  # `on_change` may raise
            if work:
                self._wake()
