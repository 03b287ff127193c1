"""Within how many seconds requests may overtake each other on their way to the server. Pure.

The laws take the order of sending for the order of counting. Where the way to the server takes now longer, now
shorter, that is wrong for requests that leave soon after each other; by how many depends on how fast they leave, so
what is kept is the time: ``jitter``. Requests within it may have been counted in any order, and an answer tells what is
authorised only between two bounds: as if its request had been the first of those, and as if it had been the last.

An answer that contradicts the bounds shows how much larger they must be. Where none does for long, they shrink. A
request that was late has an answer that is late by at least as much, so nothing that a neighbour takes is put down to
a request that was quick.
"""

from __future__ import annotations

import math

from aelyst_async.ratelimit.memory import SendLog

__all__ = ["Order"]

_TOGETHER = 0.0002
"""Seconds within which requests may overtake each other at least."""

_SHRINK = (24.0, 1000.0)
"""Answers over which the jitter shrinks e-fold: where nothing was overtaken so far, later."""

_MARGIN = 1.3
"""Where some overtook each other, others will a little more."""

_AT_FIRST = 0.025
"""Seconds of jitter presumed at most before any is seen."""

_FIRST = 16
"""Answers before which the quickest says little of how quick one is that nothing held up."""


class Order:
    """How far the order of counting may be from the order of sending."""

    __slots__ = ("_answers", "_fastest", "jitter", "round_trip", "shown")

    def __init__(self) -> None:
        self.round_trip = 0.0
        """Seconds from a request to its answer, on average."""
        self.jitter = _TOGETHER
        """Seconds within which requests may be counted in any order."""
        self.shown = 0.0
        """Seconds by which they did overtake each other of late."""
        self._fastest = math.inf
        self._answers = 0

    def answered(self, took: float) -> None:
        """An answer took so many seconds."""
        if not self._answers:
            self.round_trip = max(took, 1e-4)
            self.jitter = min(max(took, _TOGETHER), _AT_FIRST)
        self._answers += 1
        self.round_trip += (took - self.round_trip) / 8
        self._fastest = took if took < self._fastest else self._fastest + (took - self._fastest) / 512

    @property
    def scatter(self) -> float:
        """Seconds by which an answer is later than the quickest, on average."""
        return max(self.round_trip - self._fastest, 0.0)

    def slack(self, took: float) -> float:
        """Return by how many seconds a request may have been late at most, by what its answer took."""
        return took - self._fastest

    def bounds(self, log: SendLog, at: float, took: float, remaining: int) -> tuple[int, int]:
        """Return how many are authorised in all, at least and at most, by an answer that shows so many remaining."""
        allowed = log.sent_by(at - self.jitter) + 1 + remaining
        return allowed, log.sent_by(at + min(self.jitter, self.slack(took))) + remaining

    def narrow(
        self,
        log: SendLog,
        number: int,
        at: float,
        took: float,
        remaining: int,
        allowed: int,
        most: int,
        before: int,
        *,
        crowded: bool,
    ) -> tuple[int, int]:
        """Return the bounds of the newest answer as narrowed by what was authorised before.

        What is authorised never becomes less, but for others. If it seems to, others of ours may have overtaken
        this request: then what was concluded from the order of sending so far is not to be trusted either.
        """
        plain = number + remaining
        if plain < before and not crowded and self._overtaken(log.time(before - remaining) - at, took):
            return log.sent_by(at - self.jitter) + 1 + remaining, before
        if most < before:
            return plain, most
        if most > allowed:
            self._kept()
        return max(allowed, before), most

    def _overtaken(self, by: float, took: float) -> bool:
        """It seems that others that left up to so many seconds later overtook a request: return whether it is news."""
        if by > (took if self._answers < _FIRST else self.slack(took)):
            return False
        self.shown = max(self.shown, by)
        if by > self.jitter:
            self.jitter = _MARGIN * by
            return True
        return False

    def _kept(self) -> None:
        """Nothing was overtaken among requests that might have been."""
        if self.jitter > _TOGETHER:
            self.jitter = max(self.jitter * (1 - 1 / _SHRINK[self.shown > 0]), _TOGETHER)
            self.shown = min(self.shown, self.jitter)
