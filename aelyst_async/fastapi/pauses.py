"""The pauses of jobs after temporary errors.

A pause of up to an hour ends by a timer. A server that asks for a longer one is often wrong, or recovers earlier. So
the jobs of one function with such a pause are *held*: once an hour one of them is started as a probe, and after a job
of that function succeeds, all of them continue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aelyst_async.fastapi.failures import LONGEST_WAIT

__all__ = ["Pauses"]


class Pauses:
    """The pauses of one process. `resume` is called with the id of each job whose pause has ended."""

    def __init__(self, resume: Callable[[str], None]) -> None:
        self._resume = resume
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._held: dict[str, dict[str, None]] = {}  # function → ids, oldest first
        self._probes: dict[str, asyncio.TimerHandle] = {}

    def add(self, job_id: str, name: str, seconds: float) -> None:
        """Pause a job of the function `name`; hold it if the pause is longer than an hour."""
        loop = asyncio.get_running_loop()
        self._timers[job_id] = loop.call_later(seconds, self._end, job_id)
        if seconds > LONGEST_WAIT:
            self._held.setdefault(name, {})[job_id] = None
            if name not in self._probes:
                self._probes[name] = loop.call_later(LONGEST_WAIT, self._probe, name)

    def _end(self, job_id: str) -> None:
        self._timers.pop(job_id).cancel()
        for name, ids in tuple(self._held.items()):
            if ids.pop(job_id, self) is None and not ids:
                self._release(name)
        self._resume(job_id)

    def _release(self, name: str) -> None:
        del self._held[name]
        self._probes.pop(name).cancel()

    def _probe(self, name: str) -> None:
        self._probes[name] = asyncio.get_running_loop().call_later(LONGEST_WAIT, self._probe, name)
        self._end(next(iter(self._held[name])))

    def succeeded(self, name: str) -> None:
        """End the pauses of all held jobs of the function `name`."""
        for job_id in tuple(self._held.get(name, ())):
            self._end(job_id)

    def stop(self) -> list[str]:
        """Cancel all timers; return the ids of the paused jobs."""
        paused = list(self._timers)
        for timer in (*self._timers.values(), *self._probes.values()):
            timer.cancel()
        self._timers.clear()
        self._probes.clear()
        self._held.clear()
        return paused
