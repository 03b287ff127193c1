"""Two ways of forgetting little by little, as laws: what each foretells, and when it lets the next request go. Pure.

A law is told of every answer. It foretells what the next answer authorises (`memory` numbers requests and says what
*authorised* means); how far off it was decides which law is believed (`judge`). `fixed` has the third law, of windows
that end for all at once. All times are send times.

**Sliding**: what was sent a window ago is forgotten as it was sent. Request *n* goes when request ``n - Limit`` is
forgotten: the pattern of sending comes back window after window, and none of the quota is lost, even or not. The
window lies between the age of the oldest request that was still remembered and of the youngest that was forgotten;
the gate goes by the latter. Where requests overtake each other, they are sent evenly: of a burst, nobody could tell
which of it is forgotten when.

**Token**: what is authorised grows in a straight line, whatever was sent. Each answer shows the line to the next lower
whole number. The line is presumed to rise by a little less than it did: what that withholds stands in the bucket and
is shown by the next answer, so nothing is lost and nothing is overdrawn.
"""

from __future__ import annotations

import math

from aelyst_async.ratelimit.books import FEW, USUAL, Books, spread
from aelyst_async.ratelimit.memory import Extremum, Inflow

__all__ = ["Sliding", "Token"]

_OPEN, _COST, _FEW = 0.5, 0.0083, 60
"""Share of the windows in which one request of a log is left to whoever may come: at most, for each of the limit, and
the limit by which, and so by whose square, it is divided where that is less, as each costs more there."""

_SURE = 3
"""Requests that must be forgotten to be believed where requests overtake each other."""

_PRESUMED = 0.97
"""Share of the measured inflow that is presumed before it is shown."""

_BRISK, _CALM = 0.06, 0.3
"""Shares of the time to fill a bucket over which what stands in it is worked off."""

_BURST, _EVEN = 8.0, 1.1
"""Times the average rate: no faster than that, however much stands to be used; where requests overtake each other."""


class Sliding:
    """A window that goes along with time."""

    __slots__ = ("_floor", "_lower", "_odd", "_upper", "alone", "high", "low", "measured", "settled", "sudden")

    def __init__(self) -> None:
        self._odd = 0
        self.settled = False
        """Whether the window gone by is not the one that was measured: others spend as well (`crowd`)."""
        self.measured = math.inf
        """The window in seconds, as measured; infinite, as long as nothing was forgotten."""
        self.alone = True
        """Whether nothing older than the window is remembered, as neighbours' requests would make it seem."""
        self.sudden = False
        """Whether the first that was forgotten was one of many that were still remembered: no bucket does that."""
        self._floor = 0.0
        self._lower = Extremum(largest=True)
        self._upper = Extremum(largest=False)
        self.low = 0.0
        self.high = math.inf

    @property
    def usable(self) -> bool:
        """Whether something was forgotten yet."""
        return self.high < math.inf

    def foretell(self, books: Books, at: float) -> tuple[float, float]:
        """Return the least and the most that a request sent at this time may find authorised."""
        log, high = books.log, self.high
        allowed = float(books.allowed)
        if high == math.inf:
            low = self.low
            return allowed, books.most + max(0, log.sent_by(at - 0.99 * low) - max(books.forgotten, 0))
        base = log.sent_by(books.seen_at - high)
        if books.forgotten > base:
            base = books.forgotten
        least = log.sent_by(at - 1.005 * high) - base
        most = log.sent_by(at - 0.99 * min(self.low, high)) - base
        return allowed + max(0, least), books.most + max(0, most)

    def learn(self, books: Books, number: int, at: float, forgotten: int, vague: int, late: float) -> None:
        """Take in an answer: so many are forgotten, or up to so many more; it may have been counted so much later."""
        log, jitter = books.log, books.order.shown
        if forgotten < 0:
            return
        sure = _SURE if jitter else 1
        if books.forgotten < sure <= forgotten and not self.usable:
            self.sudden = forgotten < 0.5 * books.remembered >= 0.35 * books.limit
        self._lower.push(at, at - jitter - log.time(min(forgotten + 1 + max(vague, 0), number)))
        if forgotten >= sure and log.known(forgotten) and books.remembered >= 0.4 * books.limit:
            age = at + late - log.time(forgotten + 1 - sure)
            # Far younger than what was remembered just before: requests overtook each other, unless it comes again.
            self._odd = self._odd + 1 if age < 0.8 * self.low else 0
            if not 1 <= self._odd <= sure:
                self._upper.push(at, age)
        high = self._upper.get(at - (32 * self.high if self.high < math.inf else math.inf))
        if high is not None:
            self.measured = max(high, self._floor, 1e-4)
            if not self.settled:
                self.high = self.measured
        self.low = self._lower.get(at - 4 * self.high) or 0.0
        self.alone = self.low <= 1.05 * self.high + 0.001

    def refused(self, books: Books, number: int, at: float) -> None:
        """A request was refused that this law had let go: the request a limit before is still remembered.

        With a few requests in a window there is little else to learn from, and the next usual length is tried.
        """
        if not books.log.known(number - books.limit):
            return
        least = at - books.log.time(number - books.limit)
        if books.limit < FEW:
            if least > 0.9 * self.high:
                self._floor = next((one for one in USUAL if one > least), 1.1 * least)
                self.high = max(self.high, self._floor)
        elif least - books.order.shown > self.high:
            self._upper.drop(least)
            self.high = least

    def give_way(self, books: Books) -> float:
        """Return what is left to whoever may come: of a full log they would be refused, and never be known of."""
        limit = books.limit
        return float(spread(books.last // self.high) < min(_OPEN, _COST * limit, (limit / _FEW) ** 2))

    def due(self, books: Books, more: int) -> float:
        """Return when so many more are forgotten; infinite: none is known of."""
        needed = books.forgotten + more
        return books.log.time(needed) + self.high + books.put_off(self.high) if books.log.known(needed) else math.inf

    def ready(self, books: Books, spare: float) -> float:
        """Return when the next request may go; infinite: not before an answer."""
        log, high, last = books.log, self.high, books.last
        # A burst comes back window after window; where requests overtake each other, nobody knows what it forgets.
        pace = high / books.limit
        soonest = last + min(max(pace / _BURST, 2 * books.order.shown), pace / _EVEN)
        credit = books.allowed - log.count - spare
        if credit >= 1:
            # In no hurry that leaves no time to see an answer: what seems to be known of the window may be wrong.
            return max(soonest, last + min(2 * books.order.round_trip / (credit + 1), pace))
        base = log.sent_by(books.seen_at - high)
        if books.forgotten > base:
            base = books.forgotten
        needed = base + math.ceil(1 - credit)
        if log.known(needed):
            ready = log.time(needed) + high + books.put_off(high)
            return max(ready, soonest)
        return math.inf


class Token:
    """A bucket that fills evenly."""

    __slots__ = ("_inflow", "_level", "_level_at", "fast", "slow")

    def __init__(self) -> None:
        self._inflow = Inflow()
        self._level = 0.0
        self._level_at = -math.inf
        self.slow = 0.0
        self.fast = math.inf

    @property
    def usable(self) -> bool:
        """Whether it is seen to fill."""
        return self.slow > 0

    @property
    def rate(self) -> float:
        """Requests per second, 0 if not known."""
        return (self.slow + self.fast) / 2 if self.fast < math.inf else self.slow

    @property
    def pace(self) -> float:
        """Seconds between requests that take no more than comes in; infinite, if that is not known."""
        return 1 / self.slow if self.slow else math.inf

    def foretell(self, books: Books, at: float, number: int) -> tuple[float, float]:
        """Return the least and the most that this request, sent at this time, may find authorised."""
        full = number - 1.0 + books.limit
        since = at - self._level_at
        least = self._level + self.slow * since - 0.1
        most = books.most + 1.1 + self.fast * max(since, 0.0)
        return min(least, full), min(most, full)

    def learn(self, books: Books, number: int, at: float, allowed: int, most: int, late: float) -> None:
        """Take in an answer: so many were authorised, or up to `most`, when it was counted, up to so much later."""
        counted = at + late
        level = self._level + _PRESUMED * self.slow * (counted - self._level_at) if self.slow else 0.0
        if level < allowed:
            level = float(allowed)
        elif level - _PRESUMED * self.slow * late >= most + 1:
            level, counted = float(allowed), at
        self._level, self._level_at = level, counted
        if books.seen:
            # Only now is everything in that was sent together with the one before.
            grain, enough = 1 + books.limit // 64, max(16, books.limit // 4)
            self._inflow.push(books.seen_at, books.allowed, books.most, grain, enough)
        if allowed >= number - 1 + books.limit:
            self._inflow.clear()  # full: what came in was lost
        slow, fast = self._inflow.rates()
        if fast < math.inf:
            self.slow, self.fast = slow, fast

    def at_least(self, allowed: int) -> None:
        """So much is authorised: another answer of those sent together shows it."""
        self._level = max(self._level, float(allowed))

    def shift(self, by: float) -> None:
        """So much more is authorised, by another limit or another count of ours."""
        self._level += by

    def ready(self, books: Books, spare: float, *, calm: bool) -> float:
        """Return when the next request may go; infinite: not before an answer. `calm`: with no hurry."""
        last = books.last
        needed = books.log.count + 1 + spare
        if not self.slow:
            return last if self._level >= needed else math.inf
        rate = _PRESUMED * self.slow
        standing = self._level + rate * (last - self._level_at) - needed
        if standing >= 0:
            pace = 1 / self.slow
            window = books.limit * pace
            return last + min(0.9 * pace, (_CALM if calm else _BRISK) * window / (standing + 1))
        return max(last, self._level_at + (needed - self._level) / rate)
