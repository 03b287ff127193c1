"""How many requests should be in flight: as few as keep the API busy.

Little's law: a rate of λ requests a second, each taking W seconds, has λ·W in flight. More of them do not go faster;
they wait in the queue, and a crash leaves more rows in doubt. Where the limiter has learned a rate, that is the
bound. Where there is no quota, the number grows while the latency does not (additive increase), and shrinks when the
latency shows a queue at the server (multiplicative decrease): the law again, with the latency as the witness.
"""

from __future__ import annotations

import math

__all__ = ["Sizer"]

_START = 8
_LEAST = 4
_SLOWER = 2.0
"""A smoothed latency of this many times the best one says that requests queue at the server."""


class Sizer:
    """The concurrency of a run, up to `ceiling`. Latencies in seconds, rates in requests per second."""

    def __init__(self, ceiling: int) -> None:
        self._ceiling = ceiling
        self._limit = float(min(_START, ceiling))
        self._best = math.inf
        self._smooth = 0.0
        self._since_cut = 0
        self._was_cut = False
        self.rate: float | None = None
        self.saturated = False

    @property
    def limit(self) -> int:
        """How many rows may be in flight now."""
        limit = self._limit
        if self.rate is not None and self._smooth:
            # Twice the law's number: latency varies, and a row may need more than one request.
            limit = min(limit, max(_LEAST, 2 * self.rate * self._smooth + 2))
        return max(1, min(self._ceiling, int(limit)))

    def observe(self, latency: float) -> None:
        """Take the duration of one request into account."""
        # The best latency slowly forgets, so that a route that got longer is not taken for a queue for ever.
        self._best = min(latency, self._best * 1.00002)
        self._smooth = latency if not self._smooth else self._smooth + 0.05 * (latency - self._smooth)
        self._since_cut += 1
        if self._smooth > max(_SLOWER * self._best, self._best + 0.01):
            # Only after a full round of requests at the last size, or one slow moment would be cut many times.
            if self._since_cut >= 2 * self._limit:
                self._limit = max(float(_LEAST), self._limit * 0.85)
                self._since_cut = 0
                self._was_cut = True
        elif self.saturated:
            # Before the first cut the number doubles with each round, as TCP's does; then it grows by two a round.
            step = 2.0 / self._limit if self._was_cut else 1.0
            self._limit = min(float(self._ceiling), self._limit + step)
