"""Requests of other clients on the same quota, and our rate beside them.

What happens:

- **A response shows that the server counted more than we sent**, more than jitter explains. The difference is what
  others sent. From then on requests are sent at a rate of our own, at first at most half of the limit.
- **A round ends.** All clients of a quota see the same least Remaining of it. Where that is low, each lowers its rate
  by a part; else each adds the same part of it (AIMD). So the rates become equal.
- **Our rate is above the limit and no others are seen.** They have stopped; the whole quota is used again.
"""

from __future__ import annotations

import math

from aelyst_async.ratelimit.window import COMMON, Log, Window

__all__ = ["FLOOR", "Others"]

# Parts, simulated with two and four clients.
FLOOR = 0.03  # of a shared quota, left for requests of others under way
_GIVE_UP = 0.2  # of its rate, given up when too little is left by a client alone; by several, as they share the quota
_TAKE = 0.15  # of what is left, taken in a round; slower growth uses less


class Others:
    """What other clients spend of one quota."""

    def __init__(self) -> None:
        self.seen: float = 0.0  # requests of others that the server counts in W
        self.rate: float = math.inf  # our own requests per second beside them; infinite while there are none
        self._round_began, self._least_left = -math.inf, math.inf

    def learn(self, at: float, counted: int, limit: int, remaining: int, log: Log, window: Window) -> None:
        """Take in how many requests of others a response shows, and adjust our rate at the end of a round."""
        self.seen = max(counted, self.seen * (1 - 1 / (4 + limit)))
        if self.rate == math.inf:
            if self.seen < 1:
                return
            window.doubt()
            own = log.sent_by(at) - log.sent_by(at - window.believed)
            self.rate = max(1.0, min(own, limit / 2), limit / 8) / window.believed
            self._round_began, self._least_left = at, math.inf
        self._least_left = min(self._least_left, remaining)
        length = min(window.believed, window.high)
        if at - self._round_began < max(COMMON, length / 4):
            return
        left = self._least_left - FLOOR * limit
        own = log.sent_by(at) - log.sent_by(at - length)
        if left < 1:
            self.rate = max(limit / 64 / length, self.rate * (1 - _GIVE_UP * own / max(own + self.seen, 1)))
        else:
            self.rate += left / limit * (2 * _TAKE * self.rate + _TAKE * limit / length)
            if self.rate >= 1.2 * limit / length and self.seen < 1:
                self.rate = math.inf
                window.shared = False
        self._round_began, self._least_left = at, math.inf
