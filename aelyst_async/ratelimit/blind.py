"""The quota of a server that sends no quota headers: the same law, its limit and window taken from refusals. Pure.

What happens:

- **Before the first refusal**: one request may be out, then two and a twelfth of those that were let through.
- **The first refusal after some were let through**: those are the limit. The window is the shortest usual length that
  is no shorter than the pause, nor much shorter than the time in which they left. A refusal before anything was let
  through (an earlier run or another process has spent the window) says nothing of the quota. Until a window has been
  used to nine tenths, half of the limit may leave at once, and the rest as before.
- **The second refusal right after a pause**: the window is longer than the age of the oldest request that counts in it.
- **Any other refusal**: of a trial, the trial is taken back and the next must be paid for by more good requests; else
  what was let through since the last pause is the limit, if that is less.
- **Many good requests at the limit**: a few more per window are tried; where that goes well, soon twice as many more.
"""

from __future__ import annotations

import math

from aelyst_async.ratelimit.window import COMMON, USUAL, Log, Window

__all__ = ["Blind"]

_PRICE = 20.0  # quotas that must go well before more is tried: a refused trial costs 5 %; doubled by each refusal
_STEP = 0.02  # part of the limit by which more is tried; doubled by each trial that goes well


class Blind:
    """What is learned without headers."""

    def __init__(self) -> None:
        self.limit: float = math.inf  # requests per window; infinite before the first refusal
        self._let = self._let_before = 0  # let through since the last pause, and before it
        self._run_began, self._ended_at = math.inf, -math.inf  # when the first of them left; when the last pause began
        self._counted = False  # whether the limit is what was let through before it
        self._told = self._used = False  # whether the refusal said the limit; whether a window has been used
        self._again = 0  # refusals in a row after which nothing was let through
        self._clean = self._before_trial = 0.0  # good at the limit; the limit before a trial
        self._price, self._step = _PRICE, _STEP

    def may_be_out(self, let_through: int, out: int) -> float:
        """Return how many requests may be out at once, if so many were let through so far and so many are out."""
        if self.limit == math.inf:
            return 2 + let_through // 12 if let_through else 1
        return math.inf if self._used or self._let + out < self.limit / 2 else 2 + self._let // 12

    def accepted(self, at: float, log: Log, window: Window) -> None:
        """A request sent at `at` was let through."""
        if at < self._ended_at:
            # It was out when another was refused. What was counted then as the limit lacks it.
            self.limit += self._counted
            return
        self._let += 1
        self._run_began = min(self._run_began, at)
        limit = self.limit
        if limit == math.inf or log.sent_by(at) - log.sent_by(at - window.believed) < 0.9 * limit:
            return
        self._used = True
        self._clean += 1
        if self._before_trial:
            if self._clean >= limit:
                self._before_trial = 0.0
                self._step = min(2 * self._step, 1.0)
                self._clean = (self._price - 1) * limit
        elif self._clean >= self._price * limit and not self._told:
            self._clean = 0.0
            self._before_trial = limit
            self.limit += max(1, int(self._step * limit))

    def refused(self, at: float, now: float, until: float, log: Log, window: Window, told: int | None) -> None:
        """A request sent at `at` was refused, which ends at `until`. `told`: the limit, if the refusal says it."""
        let, before, self._let, self._let_before = self._let, self._let_before, 0, self._let
        self._ended_at, self._counted = now, False
        began, self._run_began = self._run_began, math.inf
        self._clean = 0.0
        self._again = 0 if let else self._again + 1
        if let == 0:
            if self.limit < math.inf and self._again > 1:
                window.at_least(at - log.time(log.sent_by(at) - int(self.limit)))
            return
        if self.limit == math.inf:
            self.limit = told or let
            self._told = told is not None
            self._counted = not self._told
            # Too short a window costs a refusal. Too long a one would halve the use for long.
            least = max(0.99 * (until - now), (at - began) / 1.5)
            window.hint(next((one for one in USUAL if one >= least), until - began))
        elif self._before_trial:
            self.limit, self._before_trial = self._before_trial, 0.0
            self._step = _STEP
            self._price = min(2 * self._price, 8 * _PRICE)
        elif before >= 2 * self.limit or let > 1.1 * self.limit:
            # The limit has held for long. A bucket is not full after a pause, so a fifth is taken at most.
            self.limit = max(min(let, int(0.97 * self.limit)), int(0.8 * self.limit), 1)
        elif let < self.limit and told is None:
            self.limit, self._counted = let, True
        else:
            age = at - log.time(log.sent_by(at) - int(self.limit))
            window.at_least(max(age, min(self.limit / let, 2.0) * window.believed))

    def pause(self, at: float, log: Log, window: Window) -> float:
        """Return the seconds from `at` until the next usual window would be over, where the server says nothing."""
        if self.limit == math.inf:
            return COMMON
        if self._again == 1:
            return window.believed  # the quota may have been counted over two fixed windows
        oldest = log.time(max(1, log.sent_by(at) - int(self.limit)))
        return max(0.05, oldest + window.believed - at)
