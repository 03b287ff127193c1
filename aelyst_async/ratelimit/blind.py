"""No headers to learn from: so many at once, every so often; more while nothing is refused, fewer when it is. Pure.

``burst`` requests may leave in any ``cycle`` seconds; `refusal` says how the two are learned. What was sent a cycle ago
comes back, request by request. After a pause a whole burst is due, so a pause costs next to nothing, although servers
ask for it in whole seconds: on most of them the quota is whole again by then. What is due at once is spread over a
quarter of the cycle, since all that is out when one is refused is refused with it.

**Slow start.** Before the first refusal nothing says that there is a quota, so only the requests in flight are bounded.
One more for every eight answers makes that an eighth of the quota at most, which is 0.3 % of forty windows, and still
grows e-fold in eight round trips.

**Growth** is tried in two ways in turn. A larger *burst*: those beyond the old one are refused when the rest of the
cycle is waited for in any case, so that a failure costs little but the time that the burst took. A shorter *cycle*: one
request alone goes first, and a failure costs the pause, less what was left of the cycle; it must hold for three of the
old cycles, since what stands in a bucket, or the end of a window, helps at first. Either waits until it costs less than
one in a hundred of all that was let through since the last refusal; sooner, where a shorter cycle is about as likely as
the present one. A burst that succeeds is followed by the next, larger one.

**Pauses of our own**, where the server asks for none, last until the cycle is over, or the next longer usual one.
"""

from __future__ import annotations

import math

import attrs

from aelyst_async.ratelimit.books import COMMONEST, USUAL
from aelyst_async.ratelimit.memory import SendLog
from aelyst_async.ratelimit.refusal import PRICE, Quota, Refusal, Run, put_off, whole

__all__ = ["Blind"]

_MOST_OWED = 10
"""Refused requests that are paid for: however many were refused together, it is tried again some day."""

_LEAST_STEP, _HASTE = 0.02, 0.25
"""Shares of the burst by which it grows: the finest step, and the most that steps grow to where nothing stops them."""

_SLOW_START, _FASTER, _MOST_OUT = 0.125, 0.25, 1024.0
"""Requests in flight more for each answer: before anything was refused, afterwards; at most."""

_FLIGHT, _AHEAD = 0.125, 1.2
"""In flight at most: so much of a burst, or so many times what the rate needs. All of it may be refused."""

_QUICK, _EVEN = 4.0, 1.05
"""Times the average rate: how fast what is due at once leaves; where it comes in evenly, and what is full runs over."""

_GAP = 0.25
"""Share of the cycle: a longer gap ends a run."""

_EXACT = 1.03
"""A cycle is known well enough if it is no more than so many times too long."""

_LITTLE = 0.02
"""Share of the cycle by which it may have been a little too short."""

_SURELY = 3
"""Cycles for which a shorter one must hold."""

_FADES = 0.98
"""What is known of the least window gets older with each trial that fails."""

_MOST_OF_IT = 0.9
"""Share of a burst that is to be answered before more is tried, as some are lost; of a cycle, to have forgotten all."""

_KEPT = 1024
"""Send times kept before the first refusal."""

_LATE = 0.002
"""Seconds of lateness made good, as in `bucket`."""


class Blind:
    """A burst and a cycle, learned from refusals alone. Every method is told the time, in seconds."""

    __slots__ = (
        "_crowd", "_empty_at", "_full_at", "_good", "_last", "_log", "_owed", "_pause_end", "_proven",
        "_quota", "_refusal", "_run", "_step", "_streak", "_through", "_tried", "_tried_at", "_turn",
    )  # fmt: skip

    def __init__(self) -> None:
        self._quota = Quota()
        self._log = SendLog()
        self._last = -math.inf
        self._run = Run(-math.inf, fresh=True)
        self._crowd = 1.0  # requests in flight at most
        self._through = 0  # let through in all
        self._refusal: Refusal | None = None
        self._good = 0  # let through since, of those that left since
        self._pause_end = -math.inf
        self._owed = 0
        self._full_at = -math.inf  # when the first of those left that the quota was full with then
        self._empty_at = -math.inf  # when the one left that was refused then
        # Growth.
        self._step = _LEAST_STEP
        self._turn = "cycle"
        self._tried = ""
        self._tried_at = -math.inf
        self._proven = self._quota  # before that
        self._streak = False

    @property
    def rate(self) -> float | None:
        """Requests per second; None before the first refusal."""
        return self._quota.burst / self._quota.cycle if self._quota.burst else None

    # -- when -------------------------------------------------------------------------------------------------------

    def next_at(self, out: int, round_trip: float = 0.0) -> float:
        """Return when one more request may go, with `out` in flight; infinite: not before an answer."""
        run, most = self._run, self._crowd
        if self._tried == "cycle" and (run.through == 0 or run.began < self._tried_at):
            most = 1.0
        elif rate := self.rate:
            most = min(most, max(_FLIGHT * self._quota.burst, _AHEAD * rate * round_trip, 2.0))
        return math.inf if out >= most else self._due()

    def _due(self) -> float:
        quota, log = self._quota, self._log
        burst, cycle = quota.burst, quota.cycle
        if not burst:
            return -math.inf
        ready = self._last + cycle / ((_EVEN if quota.even else _QUICK) * burst)
        back = log.count + 1 - burst
        if back > 0:
            ready = max(ready, log.time(back) + cycle + (0.0 if quota.even else put_off(cycle)))
        return ready

    def own_wait(self, now: float, sent_at: float) -> float:
        """Return the seconds to wait after what left at `sent_at` was refused, where the server does not say.

        To the end of the cycle, counted from the request that the quota was full with, if that is known; else of the
        next longer usual one. After a minute, twice as long each time.
        """
        refusal, run, quota = self._refusal, self._run, self._quota
        if refusal is not None and sent_at < refusal.known_at:
            return max(self._pause_end - now, 0.0)  # it was out when another was refused
        first = refusal is None or self._good
        if first or self._full_at == -math.inf:
            alone = quota.burst > 0 and run.sent == 1
            full_at = self._log.time(self._log.sent_by(sent_at) - quota.burst) if alone else run.began
            self._full_at = full_at if math.isfinite(full_at) else sent_at  # nothing was let through yet
            self._empty_at = sent_at
        present = self._proven.cycle if self._tried == "cycle" else quota.cycle
        cycles = [one for one in USUAL if one >= (present or COMMONEST)]
        if first and present:
            cycles += [present, present * (1 + _LITTLE)]
        ends = [self._full_at + one + put_off(one) - now for one in cycles]
        if refusal is None or not (self._good or refusal.before.burst):
            # What was let through at first may have been of two windows, the second of which began later.
            ends.append(self._empty_at + COMMONEST + put_off(COMMONEST) - now)
        return min([end for end in ends if end > _LATE], default=now - self._full_at)

    # -- what happens -----------------------------------------------------------------------------------------------

    def send(self, now: float) -> None:
        """A request leaves."""
        run, burst, cycle, last = self._run, self._quota.burst, self._quota.cycle, self._last
        due = max(self._due(), self._pause_end)
        at = due if now - _LATE < due < now else now
        over = (
            run.sent - run.refused >= burst
            or at - last > _GAP * cycle
            or (self._tried == "cycle" and run.began < self._tried_at)
        )
        if last == -math.inf or (burst and over):
            run = self._run = Run(at, fresh=at - last > _MOST_OF_IT * cycle)
        run.sent += 1
        self._log.append(at, burst or _KEPT)
        self._last = at

    def unsent(self, sent_at: float) -> None:
        """What was to leave then never did."""
        self._forget(sent_at)
        if self._run.began <= sent_at:
            self._run.sent -= 1

    def _forget(self, sent_at: float) -> None:
        number = self._log.sent_by(sent_at + _LATE / 100)
        if self._log.known(number):
            self._log.remove(number)

    def accepted(self, sent_at: float) -> None:
        """It was let through."""
        run, quota, refusal = self._run, self._quota, self._refusal
        self._through += 1
        if refusal is None:
            self._good += 1
            self._crowd += _SLOW_START
            run.through += 1
            return
        self._crowd = min(self._crowd + _FASTER, _MOST_OUT)
        if sent_at < refusal.known_at:  # it was out when another was refused
            return
        self._good += 1
        if sent_at < run.began - _LATE:
            return
        run.through += 1
        if run.through == 1 and not run.fresh:
            quota.held += 1
            if self._tried == "cycle" and sent_at > self._tried_at + _SURELY * self._proven.cycle:
                self._tried = ""
        if self._tried != "cycle" and run.sent >= quota.burst and run.through >= _MOST_OF_IT * quota.burst:
            rest = run.began + quota.cycle - sent_at
            # Where fewer were sent than might have been, nothing would be tried.
            if run.began > self._tried_at if quota.even else rest > -_GAP * quota.cycle:
                self._grow(refusal, sent_at, max(rest, 0.0))

    def refused(
        self, now: float, wait: float, in_a_row: int, sent_at: float, *, told: bool = True, limit: int | None = None
    ) -> None:
        """What left at `sent_at` was refused, the last of so many in a row; `wait` seconds are waited.

        `told`: the server wants that; `limit`: what it says that the quota is.
        """
        log, refusal = self._log, self._refusal
        if refusal is None or (sent_at >= refusal.known_at and self._good):
            refusal = self._refusal = self._begin(now, sent_at)
        self._forget(sent_at)
        if self._run is refusal.run:
            refusal.run.refused += 1
        self._owed = min(self._owed + 1, _MOST_OWED)
        refusal.add(now, wait, sent_at, in_a_row, told=told)
        self._pause_end = max(self._pause_end, refusal.pause_end)
        self._quota = refusal.conclude(log, limit)

    def _begin(self, now: float, at: float) -> Refusal:
        """Note what is so before a refusal is taken in."""
        log, quota, last = self._log, self._quota, self._refusal
        if self._tried == "cycle" and at < self._tried_at:  # one from before the trial
            self._tried, quota.cycle = "", self._proven.cycle
        tried, back = self._tried, log.sent_by(at) - quota.burst
        if tried:
            if tried == "cycle":
                quota.tried_in_vain()
            self._turn = "cycle" if tried == "burst" else "burst"
            quota.least *= _FADES
        refusal = Refusal(
            at=at, known_at=now, run=self._run, before=quota, tried=tried, proven=self._proven, good=self._good,
            through=self._through, oldest=log.time(back), longest=at - log.time(back - 1),
        )  # fmt: skip
        if last is not None:
            refusal.follows(last)
        self._tried, self._streak, self._step = "", False, _LEAST_STEP
        self._good = self._owed = 0
        return refusal

    # -- growth -----------------------------------------------------------------------------------------------------

    def _grow(self, last: Refusal, at: float, rest: float) -> None:
        """Try more, if that is paid for, with so many seconds to wait in any case."""
        if self._tried == "burst":
            self._tried = ""
            self._streak = True
            self._step = min(1.5 * self._step, _HASTE)
        quota, wait = self._quota, last.wait
        pace = quota.cycle / quota.burst
        more, shorter = max(1, int(self._step * quota.burst)), self._shorter(last)
        turn = self._turn if shorter and not quota.even else "burst"
        price = PRICE
        if turn == "cycle":
            loss = pace + _loss(quota.cycle - shorter, wait)
            price = quota.worth
        else:
            # What is lost in a pause stands in a bucket after it.
            loss = more * pace + (0.0 if quota.even else _loss(rest, wait))
        if not self._streak:
            owed = self._owed * PRICE * pace if price == PRICE else 0.0
            if at < self._pause_end + price * loss + owed:
                return
            self._proven = attrs.evolve(quota)
        quota.settled()
        self._tried, self._tried_at = turn, at
        if turn == "burst":
            quota.burst += more
        else:
            quota.cycle = shorter
            quota.held = 0

    def _shorter(self, last: Refusal) -> float:
        """Return the next shorter cycle to try; 0: it is known well enough."""
        cycle, least = self._quota.cycle, self._quota.least
        usual = [one for one in USUAL if max(least, 0.95 * _GAP * cycle) * _EXACT < one < cycle / _EXACT]
        if usual:
            # The cheapest, and of those the longest.
            return min(reversed(usual), key=lambda one: round(_loss(cycle - one, last.wait), 3))
        return math.sqrt(cycle * least) if cycle > _EXACT * least > 0 else 0.0


def _loss(rest: float, wait: float) -> float:
    """Return the seconds that a refusal costs so much before the end of a cycle, by the last pause."""
    return max(0.0, min(wait, rest + (1.0 if whole(wait) else 0.0)) - rest)
