"""No headers to learn from: a rate that grows while nothing is refused, and is cut to what was let through when it is.

Until the first refusal nothing says that there is a quota at all, so only the number of requests in flight is
bounded, and grows with each answer (TCP's slow start). The first refusal tells a rate: what was let through since the
last pause, over the time up to the end of the new one. From there on the rate grows, slowly, and only after so many
good answers that refusals stay below one in a hundred.
"""

from __future__ import annotations

import math

__all__ = ["Blind"]


class Blind:
    """Additive increase, multiplicative decrease. Pure: every method is told the time."""

    __slots__ = ("_began", "_ceiling", "_crowd", "_good", "_incident", "_last", "_refused", "_since_cut", "rate")

    def __init__(self) -> None:
        self.rate: float | None = None
        self._crowd = 1.0
        self._began = math.nan
        self._good = 0
        self._since_cut = 0
        self._refused = 0
        self._incident = -math.inf
        self._ceiling = math.inf
        self._last = -math.inf

    def next_at(self, out: int) -> float:
        """Return when one more request may go, with `out` in flight; infinite: not before an answer."""
        if out >= self._crowd:
            return math.inf
        return -math.inf if self.rate is None else self._last + 1 / self.rate

    def send(self, now: float) -> None:
        """A request leaves."""
        if math.isnan(self._began):
            self._began = now
        self._last = now

    def accepted(self, sent_at: float) -> None:
        """It was let through."""
        self._good += 1
        self._since_cut += 1
        if self.rate is None:
            self._crowd += 1.0 if self._crowd < 16 else 0.25
            return
        self._crowd = min(self._crowd + 0.25, 1024.0)
        # So many good ones pay for the refusals of the last incident; then try a little more.
        if sent_at > self._incident and self._since_cut > 150 * max(1, self._refused):
            self.rate *= 1 + 0.02 / max(16.0, self.rate)

    def refused(self, now: float, wait: float, in_a_row: int) -> None:
        """It was refused, the last of so many in a row, and the server wants `wait` seconds of silence."""
        if now <= self._incident:
            self._refused += 1
            return
        let_through = self._good / max(now + wait - self._began, 0.05)
        if not self._good and self.rate is None:
            pass  # refused from the start: the pause alone says how fast
        elif self.rate is None:
            self.rate = max(0.97 * let_through, 0.01)
        else:
            self.rate = max(min(0.95 * self.rate, max(let_through, 0.5 * self.rate)), 0.01)
        if self.rate is not None:
            # One request a pause is what the server itself offers, unless it refuses that too. Without this floor,
            # refusals that have nothing to do with the rate (an overloaded server) would cut it to nothing.
            self.rate = max(self.rate, min(1 / max(wait, 0.1), 10.0) * 0.5 ** min(max(in_a_row - 1, 0), 16))
        self._refused = 1
        self._since_cut = 0
        self._good = 0
        self._began = now + wait
        self._incident = now + wait
