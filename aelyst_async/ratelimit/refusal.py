"""What a refusal tells of a quota that sends no headers: how many may leave at once, and how often. Pure.

What is kept of the quota are two numbers: ``burst`` requests may leave in any ``cycle`` seconds, however they are
spread. With the quota's limit and window, that is admissible for fixed windows of any phase, for sliding logs and for
token buckets; so is a part of the limit in the same part of the window.

What a refusal tells of the two depends on where it comes. A *run* is what left with no longer gap than a part of the
cycle, a burst at most.

- *The first of all*: the burst is what was let through. The window is between the refusal and the end of the pause that
  the server asks for, counted from the first request. ``Retry-After`` comes in whole seconds, rounded up, so the end is
  known to a second only: the longest usual length in between is taken, which is safe. Where all that went on for far
  longer than the pause, it was more than one window, and what was let through in the last one counts.
- *Within a run*: the burst is what the run got through, but for at most half. If nothing was remembered when it began,
  the window is found anew, as at first.
- *One alone, and not soon again*: others of ours were late on their way. The cycle is stretched a little.
- *The first few of a run*, by a cycle that has not let one begin before: the cycle is too short. The window is longer
  than the age of the request that was a burst before the one refused.
- *With something tried*, or soon afterwards: what held before holds again, but for a larger burst that did get through.
- *Otherwise*: the cycle is stretched, by twice as much each time that it happens again soon.

**Evenly.** None of that fits a token bucket, of which a refusal shows the present level and nothing else. What tells it
is that refusals follow each other soon: again and again at nearly the whole burst, or with next to nothing let through
in between, or too often. Then what came in between two refusals, when the quota was used up both times, is its rate,
and requests go evenly spaced.

**Refusals that have nothing to do with the rate** (an overloaded server) would cut it to nothing. Six in succession
after fewer than ten answers each are no quota's doing: a request for each pause remains.

A refusal is looked at again with each further one of those that were out with it, from what was known before it.
"""

from __future__ import annotations

import math

import attrs

from aelyst_async.ratelimit.books import COMMONEST, USUAL
from aelyst_async.ratelimit.memory import SendLog

__all__ = ["PRICE", "Quota", "Refusal", "Run", "put_off", "whole"]

PRICE = 100.0
"""Good answers that pay for one that was not had, be it refused or lost to a pause."""

_GUESS, _COMMON = 10.0, 90.0
"""The same for shorter cycles as long as they may be right: where any is, where the present one is the commonest."""

_SLIP = 0.02
"""Share by which a cycle is stretched that proved too short, at first."""

_SOON = 4
"""Cycles and a pause within which a refusal follows another soon."""

_NEARLY, _HALF, _MOST = 0.8, 0.5, 0.9
"""Shares of a burst."""

_ONE_BY_ONE = 3
"""Requests let through between two refusals, or fewer, where they come in one by one."""

_OFTEN = 4
"""Refusals soon after each other that no window explains."""

_DEEPEST, _DECREASE = 0.3, 0.98
"""What a refusal leaves of an even rate at least, since little measures badly, and at most."""

_SMOOTH = 16
"""The burst of an even rate, at least: the cycle is as long as that takes."""

_FEW, _VAIN = 10, 6
"""So many times in succession so few let through between two refusals are no quota's doing."""

_LONG = (2, 8)
"""Pauses after which what was let through at first was of more than one window: pauses of a second or more, of less."""

_EARLY = 0.1
"""Seconds by which a pause in whole seconds may end before a usual window."""

_PUT_OFF = (0.0005, 0.003)
"""Seconds at most, and share of the cycle, by which what comes back is put off."""


def put_off(cycle: float) -> float:
    """Return the seconds by which what comes back after a cycle is put off."""
    return min(_PUT_OFF[0], 0.01 * cycle) + _PUT_OFF[1] * cycle


def whole(wait: float) -> bool:
    """Whether a pause, in seconds, may have been rounded up."""
    return abs(wait - round(wait)) < 1e-6


@attrs.define
class Quota:
    """What is known of it. No request was refused yet as long as the burst is 0."""

    burst: int = 0
    cycle: float = 0.0
    even: bool = False
    """Whether it seems to come in evenly."""
    held: int = 0
    """Runs that this cycle let begin."""
    least: float = 0.0
    """The window is longer than so many seconds."""
    worth: float = PRICE
    """Good answers that pay for a request lost by looking for a shorter cycle."""
    slip: float = _SLIP
    """Share by which the cycle is stretched next."""

    def settled(self) -> None:
        """Nothing was refused for long."""
        self.slip = _SLIP

    def vague(self, seconds: float) -> None:
        """What was let through at first was of two windows, in so many seconds, so the cycle may be shorter."""
        self.least = min(self.least, seconds)
        self.worth = _GUESS

    def tried_in_vain(self) -> None:
        """A shorter cycle proved too short."""
        self.worth = min(3 * self.worth, PRICE)


class Run:
    """Requests that left with no longer gap than a part of the cycle."""

    __slots__ = ("began", "fresh", "refused", "sent", "through")

    def __init__(self, began: float, *, fresh: bool) -> None:
        self.began = began
        self.fresh = fresh
        """Whether nothing was remembered when it began."""
        self.sent = self.through = self.refused = 0


@attrs.define(kw_only=True)
class Refusal:
    """A request that was refused, with those that were out with it."""

    at: float
    """When it left."""
    known_at: float
    """When we heard of it."""
    run: Run
    before: Quota
    """What was known before."""
    tried: str
    """What was tried with it: a larger ``burst``, a shorter ``cycle``."""
    proven: Quota
    """What was known before that, or before what was tried last."""
    through: int
    """What had been let through in all."""
    oldest: float
    """When the request left that is a burst before it."""
    longest: float
    """How much earlier than the one before it that is a burst before that left."""
    good: int
    """What was let through since the one before."""
    in_vain: int = 0
    """Refusals in succession, this one included, after next to nothing was let through."""
    close: bool = False
    """Whether it follows another soon, ..."""
    soon: bool = False
    """... with which nothing was tried."""
    row: int = 0
    """Refusals before it that followed each other soon."""
    nearly: int = 0
    """Times in succession, this one included, that nearly a whole burst was let through."""
    since: tuple[float, int] = (-math.inf, 0)
    """When the first of that row was refused, or else the last one before, and what had been let through by then."""
    wait: float = 0.0
    times: int = 0
    """Pauses, with none let through in between."""
    pause_end: float = -math.inf
    earliest: float = math.inf
    """The earliest true end of the pause."""
    _nearly_before: int = 0
    _through_then: int = 0
    """What was let through in all until then: all that is not known to be refused."""

    def __attrs_post_init__(self) -> None:
        self.in_vain = int(self.good < _FEW)

    def follows(self, other: Refusal) -> None:
        """Take over what must be known of the one before."""
        self.in_vain = other.in_vain + 1 if self.in_vain else 0
        near = self.at - other.at < _SOON * self.before.cycle + other.wait
        self.close = near and not self.tried
        self.soon = self.close and not other.tried
        self.since = other.since if self.soon and other.row else (other.at, other._through_then)
        if self.soon:
            self.row = other.row + 1
            self._nearly_before = other.nearly

    def add(self, now: float, wait: float, sent_at: float, times: int, *, told: bool) -> None:
        """Take one in that left at `sent_at`, after so many pauses, with none let through since."""
        self.times = times
        if times > 1 or not told:
            self.earliest = sent_at  # until then the quota was used up
        else:
            self.earliest = min(self.earliest, sent_at + (max(wait - 1, 0.0) if whole(wait) else wait))
        self.wait = wait
        self.pause_end = max(self.pause_end, now + wait)

    def conclude(self, log: SendLog, limit: int | None) -> Quota:
        """Return what is known of the quota now. `limit`: what the refusal says that it is."""
        run, before = self.run, self.before
        new = attrs.evolve(before)
        burst, cycle = before.burst, before.cycle
        through = run.sent - run.refused
        when, already = self.since
        self._through_then = self.through + run.sent - run.through - run.refused
        got = self._through_then - already
        rate = (got + 0.5) / max(self.at - when, 1e-3)
        self.nearly = self._nearly_before + (through > _NEARLY * burst > 0)
        new.even = before.even or (burst > 0 and self.soon and self._comes_evenly(through, got, rate * cycle))
        if not burst:
            self._first(new, log, through)
        elif new.even:
            rate = burst / cycle * min(max(rate * cycle / burst, _DEEPEST), _DECREASE)
            new.burst = max(int(rate * cycle), _SMOOTH)
            new.cycle = new.burst / rate
        elif self.tried == "cycle":
            new.least = max(before.least, cycle)
            new.burst, new.cycle = self.proven.burst, self.proven.cycle
        elif self.tried:
            new.burst = min(burst, max(through, self.proven.burst))
        elif self.close and not self.soon and _MOST * self.proven.burst <= through < burst:
            new.burst, new.cycle = self.proven.burst, self.proven.cycle
        elif run.refused == 1 and not run.fresh and before.slip == _SLIP and through < burst:
            self._stretch(new)
        elif through < _HALF * burst and before.held <= 1:
            self._fit(new, self.oldest)
            if through > 0:
                new.cycle = min(new.cycle, max(self.longest, new.least))
        elif 0 < through < burst and (run.fresh or through > _HALF * burst):
            new.burst = max(through, int(_HALF * burst))
            if run.fresh:
                self._fit(new, run.began)
            elif before.held <= 1:
                new.vague(self.at - run.began)
        else:
            self._stretch(new)
        if self.in_vain >= _VAIN:
            new.cycle = min(new.cycle, new.burst * max(self.wait, 1.0) * 2.0 ** min(self.times - 1, 16))
        new.burst, new.cycle = max(new.burst, 1), max(new.cycle, 0.001)
        if limit and limit < new.burst:
            if new.even:
                new.cycle *= limit / new.burst
            elif not burst:
                new.vague(self.at - run.began)
            new.burst = limit
        if new.cycle != cycle:
            new.held = 2 if new.cycle == self.proven.cycle else 0
        return new

    def _comes_evenly(self, through: int, got: int, expected: float) -> bool:
        """Whether no window does that; `got` were let through since then, so many for a cycle of that time."""
        burst, cycle = self.before.burst, self.before.cycle
        one_by_one = got <= _ONE_BY_ONE or self.wait * burst < 2 * cycle
        return (
            self.row >= _OFTEN
            or self.nearly > 1
            or (got < _HALF * burst and one_by_one)
            or (self.row > 1 and not self.run.fresh and _HALF * burst < through < _MOST * burst and through <= expected)
        )

    def _stretch(self, new: Quota) -> None:
        new.cycle *= 1 + self.before.slip
        new.slip = min(2 * self.before.slip, 1.0)

    def _first(self, new: Quota, log: SendLog, through: int) -> None:
        pause = self.pause_end - self.at
        if self.at - self.run.began <= _LONG[pause < 1 - _EARLY] * pause:
            new.burst = through
            self._fit(new, self.run.began)
        else:
            new.cycle = next((one for one in USUAL if one >= pause - _EARLY), pause)
            new.burst = log.count - log.sent_by(self.at - new.cycle)

    def _fit(self, new: Quota, began: float) -> None:
        """Set the cycle to the window that began then and ends within the pause: as it is, or else a usual one."""
        least, most = self.earliest - began, self.pause_end - began
        new.least = least
        if least < new.cycle <= most:
            return
        fit = [one for one in USUAL if least < one <= most]
        new.worth = PRICE if most < 1.1 * least else _COMMON if fit and fit[-1] == COMMONEST else _GUESS
        new.cycle = fit[-1] if fit else most
