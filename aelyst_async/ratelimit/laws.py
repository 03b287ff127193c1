"""Three ways in which servers count, each as a law: what it foretells, and when it lets the next request go.

A law is told of every answer. It foretells what the next answer authorises (`memory` numbers requests and says what
*authorised* means); how far off it was decides which law is believed (`bucket`). All times are send times.

**Fixed**: everything is forgotten at once, a window after the last time. What is left is spread evenly up to the
earliest end of the window. Nothing is presumed until the latest moment at which it may have ended; after that, a new
quota is.

**Sliding**: what was sent a window ago is forgotten as it was sent. Request *n* goes when request ``n - Limit`` is
forgotten: the pattern of sending comes back window after window, and none of the quota is lost, even or not. The
window lies between the age of the oldest request that was still remembered and of the youngest that was forgotten;
the gate goes by the latter.

**Token**: what is authorised grows in a straight line, whatever was sent. Each answer shows the line to the next lower
whole number. The line is presumed to rise by a little less than it did: what that withholds stands in the bucket and
is shown by the next answer, so nothing is lost and nothing is overdrawn.
"""

from __future__ import annotations

import math

from aelyst_async.ratelimit.memory import Boundaries, Extremum, Inflow, SendLog

__all__ = ["Books", "Fixed", "Sliding", "Token"]

_GRAIN = 0.0005
"""Seconds by which a presumed moment is put off, and ..."""

_PUT_OFF = 0.003
"""... the share of the window on top of it."""

_SLIP = (0.004, 0.05)
"""Share of the window by which more it is put off after one that came too early: at first, at most."""

_SLIP_FADES = 1 - 1 / 4000  # with every answer: a refusal in some thousand requests keeps the balance

_LEFT_IN_A_LOG = 0.04
"""Share of the limit left to neighbours who have less of a sliding log than we."""

_PRESUMED = 0.97
"""Share of the measured inflow that is presumed before it is shown."""

_BRISK, _CALM = 0.06, 0.3
"""Shares of the time to fill a bucket over which what stands in it is worked off."""

_BURST = 8.0
"""Times the average rate: no faster than that, however much stands to be used."""


class Books:
    """What the laws share: our sends, and the newest answer in the order of sending."""

    __slots__ = ("allowed", "forgotten", "last", "limit", "log", "remembered", "seen", "seen_at", "slip")

    def __init__(self) -> None:
        self.log = SendLog()
        self.limit = 1
        self.seen = 0
        """Number of the request that the newest answer belongs to."""
        self.seen_at = -math.inf
        self.allowed = 0
        self.forgotten = 0
        self.remembered = 0
        self.last = -math.inf
        """When the last request left, or was due to."""
        self.slip = 0.0
        """Share of the window by which presumptions came too early of late."""

    def newest(self, number: int, at: float, allowed: int, forgotten: int, remembered: int) -> None:
        """Enter the newest answer."""
        self.seen, self.seen_at = number, at
        self.allowed, self.forgotten, self.remembered = allowed, forgotten, remembered
        self.slip *= _SLIP_FADES

    def slipped(self) -> None:
        """A presumption came too early."""
        self.slip = min(max(2 * self.slip, _SLIP[0]), _SLIP[1])

    def put_off(self, window: float) -> float:
        """Return the seconds by which a presumption is put off."""
        return min(_GRAIN, 0.01 * window) + (_PUT_OFF + self.slip) * window


class Fixed:
    """A window that ends for all at once."""

    __slots__ = ("_odd", "bounds")

    def __init__(self) -> None:
        self.bounds = Boundaries()
        self._odd = 0

    @property
    def usable(self) -> bool:
        """Whether the window is known well enough to go by."""
        return self.bounds.known and self.bounds.window_high <= 2 * self.bounds.window_low

    @property
    def window(self) -> float:
        """Its length in seconds."""
        return (self.bounds.window_low + self.bounds.window_high) / 2

    def late(self, books: Books) -> float:
        """Return when the present window has ended at the latest."""
        bounds = self.bounds
        return bounds.high + bounds.window_high + books.put_off(bounds.window_high)

    def learn(
        self, books: Books, number: int, at: float, forgotten: int, remembered: int, news: float, not_before: float
    ) -> float:
        """Take in an answer that is newer than `books`; return by how many requests it was off."""
        bounds = self.bounds
        if news <= 0:
            if bounds.confirmed >= 1 and at > self.late(books):
                missing = float(number - 1 - forgotten)
                bounds.doubt(at - bounds.high)
                return missing
            return 0.0
        if forgotten - books.forgotten < 0.6 * books.remembered:
            return news
        # Clean: next to nothing is remembered from before. Otherwise neighbours may have spent since.
        clean = remembered <= max(number - books.seen + 1, 0.3 * books.limit)
        if bounds.confirmed >= 2:
            # Far too early for an end: requests overtook each other, unless it comes again.
            self._odd = self._odd + 1 if at < bounds.low + 0.7 * bounds.window_low else 0
            if self._odd in {1, 2}:
                return news
        bounds.found(max(books.seen_at, not_before), at, (books.seen, number))
        return 0.0 if clean else 0.3 * news

    def ready(self, books: Books, spare: float) -> float:
        """Return when the next request may go; infinite: not before an answer."""
        bounds, limit, log = self.bounds, books.limit, books.log
        margin = books.put_off(bounds.window_high)
        early, late = bounds.low + bounds.window_low, bounds.high + bounds.window_high + margin
        last = books.last
        if books.seen_at < late and last < late:
            credit = books.allowed - log.count - spare
            if credit >= 1:
                if credit < 2 and late - early > max(0.01, min(0.5, 5 / limit)) * bounds.window_high:
                    # The last one goes where the end is expected: on whichever side it is counted, it tells.
                    ready = max(last, (early + late - margin) / 2)
                else:
                    # All but the last by the earliest end; in a hurry, still not in one burst.
                    left = max(early - last, 0.25 * (late - last), 0.0)
                    ready = last + left / credit
                if ready < late:
                    return ready
        if books.seen_at >= late:
            # An answer from after the end shows no new window: until it does, the credit is gone by.
            return last + bounds.window_low / limit if books.allowed - log.count - spare >= 1 else math.inf
        if bounds.confirmed < 2:
            return math.inf if last >= late else late
        # A new window is presumed. Whatever left after the earliest possible end may count in it.
        credit = limit - (log.count - log.sent_by(early)) - spare
        return math.inf if credit < 1 else max(late, last + bounds.window_high / limit)


class Sliding:
    """A window that goes along with time."""

    __slots__ = ("_lower", "_upper", "high", "low")

    def __init__(self) -> None:
        self._lower = Extremum(largest=True)
        self._upper = Extremum(largest=False)
        self.low = 0.0
        self.high = math.inf

    @property
    def usable(self) -> bool:
        """Whether something was forgotten yet."""
        return self.high < math.inf

    @property
    def alone(self) -> bool:
        """Whether nothing older than the window is remembered, as neighbours' requests would make it seem."""
        return self.low <= 1.05 * self.high + 0.001

    def foretell(self, books: Books, at: float) -> tuple[float, float]:
        """Return the least and the most that a request sent at this time may find authorised."""
        log, high = books.log, self.high
        allowed = float(books.allowed)
        if high == math.inf:
            low = self.low
            return allowed, allowed + max(0, log.sent_by(at - 0.99 * low) - max(books.forgotten, 0))
        base = log.sent_by(books.seen_at - high)
        if books.forgotten > base:
            base = books.forgotten
        least = log.sent_by(at - 1.005 * high) - base
        most = log.sent_by(at - 0.99 * min(self.low, high)) - base
        return allowed + (max(0, least)), allowed + (max(0, most))

    def learn(self, books: Books, number: int, at: float, forgotten: int, noise: int, together: int) -> None:
        """Take in an answer; so many requests left with it, and so many may have overtaken each other."""
        log = books.log
        if forgotten < 0:
            return
        self._lower.push(at, at - log.time(min(forgotten + 1 + noise + together, number)))
        if log.known(forgotten - noise):
            self._upper.push(at, at - log.time(forgotten - noise))
        high = self._upper.get(at - (32 * self.high if self.high < math.inf else math.inf))
        if high is not None:
            self.high = max(high, 1e-4)
        self.low = self._lower.get(at - 4 * self.high) or 0.0

    def give_way(self, books: Books) -> float:
        """Return what is left to neighbours who have less than we."""
        own = books.seen - books.log.sent_by(books.seen_at - self.high)
        others = books.remembered - own
        if others > 2 + 0.02 * books.limit and own > 1.1 * others:
            return max(1.0, float(int(_LEFT_IN_A_LOG * books.limit)))
        return 0.0

    def ready(self, books: Books, spare: float) -> float:
        """Return when the next request may go; infinite: not before an answer."""
        log, high, last = books.log, self.high, books.last
        credit = books.allowed - log.count - spare
        if credit >= 1:
            return last + high / (_BURST * books.limit)
        base = log.sent_by(books.seen_at - high)
        if books.forgotten > base:
            base = books.forgotten
        needed = base + math.ceil(1 - credit)
        if log.known(needed):
            ready = log.time(needed) + high + books.put_off(high)
            return max(ready, last + high / (_BURST * books.limit))
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

    def foretell(self, books: Books, at: float, number: int) -> tuple[float, float]:
        """Return the least and the most that this request, sent at this time, may find authorised."""
        full = number - 1.0 + books.limit
        since = at - self._level_at
        least = self._level + self.slow * since - 0.1
        most = books.allowed + 1.1 + self.fast * since
        return min(least, full), min(most, full)

    def learn(self, books: Books, number: int, at: float, allowed: int, most: int) -> None:
        """Take in an answer: so many were authorised, or up to `most`."""
        level = self._level + _PRESUMED * self.slow * (at - self._level_at) if self.slow else 0.0
        if level < allowed:
            level = float(allowed)
        elif level >= most + 1:
            level = float(most)
        self._level, self._level_at = level, at
        if books.seen:
            # Only now is everything in that was sent together with the one before.
            self._inflow.push(books.seen_at, books.allowed, 1 + books.limit // 64, max(16, books.limit // 4))
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
        standing = self._level + rate * max(last - self._level_at, 0.0) - needed
        if standing >= 0:
            pace = 1 / self.slow
            window = books.limit * pace
            return last + min(0.9 * pace, (_CALM if calm else _BRISK) * window / (standing + 1))
        return max(last, self._level_at + (needed - self._level) / rate)
