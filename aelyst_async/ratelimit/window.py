"""How long a server counts a request: the window W, known between two bounds. Pure; every method is told the time.

Number our requests in the order of sending; S(t) of them were sent by time t. A response to request i that shows
Remaining R of Limit L says that the server still counted L - R requests, so it had forgotten the first G = i + R - L.
For fixed windows of any phase, windows that begin with a request, sliding logs and token buckets alike:

1. No request is counted for longer than W:  G(t) >= S(t - W). So W is at least the age of the oldest request that a
   response shows to be still counted: the lower bound.
2. At most L requests are forgotten in any time shorter than W. So W is less than any time in which L + 1 were
   forgotten: the upper bound.

These are the arrival and departure curves of network calculus; W is their largest horizontal distance. The length to
work with (`believed`) is the longest usual length (1 s, 10 s, 60 s, …) between the bounds, or else the upper bound.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections import deque

__all__ = ["COMMON", "USUAL", "Burst", "Log", "Sent", "Window"]

USUAL = (0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0)
"""Seconds: lengths of windows that APIs use, tried before all others. Source: the pages of public APIs."""

COMMON = 1.0  # seconds: the most common length, assumed where nothing is known
_MOST_LOGGED = 100_000  # send times that are kept, 8 bytes each; of a larger quota, Remaining alone is obeyed
_PROVEN = 1 << 30  # presumptions that may be out at once where W is told: any number
_TRUSTED = 16  # presumptions that came true, after which other clients explain what contradicts the length
_POINTS = 256  # points per quota by which the upper bound is found: it is at most 1/256 of a window too long


class Burst:
    """Requests sent in one go. The server may count them in any order, above all where connections are opened."""

    __slots__ = ("before", "end", "out")

    def __init__(self, begin: float, out: int) -> None:
        self.before: float = math.nextafter(begin, 0)  # the last moment before its first request
        self.end: float = begin
        self.out: int = out  # requests under way when it began, so that the server may count them later


class Sent:
    """A request that is out. A permit is one, so that nothing else is made for each request."""

    __slots__ = ("at", "burst", "presumed")

    at: float  # when it was sent
    presumed: bool
    burst: Burst


class Log:
    """The times of the latest requests, in order. Requests are known by their time: equal times are interchangeable."""

    def __init__(self) -> None:
        self._times = array("d")
        self._dropped = 0
        self.count: int = 0  # requests so far

    def append(self, at: float, keep: int) -> None:
        """Add a request; forget all but the latest `keep`, now and then."""
        times = self._times
        if keep > _MOST_LOGGED:
            keep = _MOST_LOGGED
        if len(times) > 2 * keep + 64:
            cut = len(times) - keep
            del times[:cut]
            self._dropped += cut
        times.append(at)
        self.count += 1

    def time(self, number: int) -> float:
        """Return when that request was sent: infinite for one to come, minus infinite for one forgotten."""
        place = number - self._dropped - 1
        if place < 0:
            return -math.inf
        return self._times[place] if place < len(self._times) else math.inf

    def sent_by(self, at: float) -> int:
        """Return how many were sent by then."""
        times = self._times
        if not times or at >= times[-1]:
            return self.count
        return self._dropped + bisect_right(times, at)

    def remove(self, at: float) -> None:
        """Remove a request that the server did not count."""
        place = bisect_right(self._times, at) - 1
        self.count -= 1
        if place >= 0:
            del self._times[place]
        else:
            self._dropped -= 1


class Window:
    """The bounds of W in seconds, and the length to work with."""

    def __init__(self) -> None:
        self.low: float = 0.0
        self.high: float = math.inf
        self.believed: float = math.inf  # the length to work with; infinite while nothing is known
        self.known: bool = False
        self.told: bool = False  # whether the length was told, so that responses do not change it
        self.proven: int = 0  # presumptions that came true while this length was believed
        self.shared: bool = False  # whether others spend the same quota, so that the lower bound cannot be seen
        self._points: deque[tuple[float, int]] = deque()  # (time, requests forgotten by then at most)
        self._first = -math.inf  # when nothing was forgotten for the last time

    @property
    def exact(self) -> bool:
        """Whether no shorter length is possible any more, within 3 %."""
        return self.told or self.high <= 1.03 * self.low

    def tell(self, seconds: float) -> None:
        """Use this length, whatever the responses show."""
        self._believe(seconds)
        self.low = self.high = seconds
        self.told, self.proven = True, _PROVEN

    def hint(self, seconds: float) -> None:
        """Start from this length; responses correct it."""
        if not self.told and self.low <= seconds < self.high and (not self.known or seconds > self.believed):
            self._believe(seconds)

    def doubt(self) -> None:
        """Others spend the same quota: what counts longest may be theirs, so the lower bound cannot be seen."""
        self.shared = True
        if not self.told and self.proven < _TRUSTED:
            self.low = 0.0
            self._believe(min(self.believed, self.high, COMMON))

    def shift(self, by: int) -> None:
        """The requests are numbered anew: one was not counted."""
        self._points = deque((at, forgotten + by) for at, forgotten in self._points)

    def new_limit(self) -> None:
        """The upper bound counts requests of one limit only."""
        self._points.clear()

    def narrow(self, log: Log, at: float, least: int, most: int, limit: int, jitter: float) -> int:
        """Take in that by `at`, requests from the first to between `least` and `most` were forgotten.

        Return how many requests of others the server must count: those that it would have to count for longer than W
        if they were ours.
        """
        if not self.told:
            points, before = self._points, least - limit - 1
            while len(points) > 1 and points[1][1] <= before:
                points.popleft()
            if points and points[0][1] <= before:
                self.high = min(self.high, at - points[0][0] + jitter)
            if not points or most > points[-1][1] + limit // _POINTS:
                points.append((at, most))
            elif most <= points[-1][1]:
                points[-1] = (at, points[-1][1])
        others, age = 0, 0.0
        if most < log.count:
            age = at - jitter - log.time(most + 1 if most > 0 else 1)
        if most < 0 or age > self.low or self.shared:
            length = min(self.believed, self.high)
            trusted = length if self.shared or self.proven >= _TRUSTED else self.high
            if most < 0 or age > 1.02 * trusted:
                others = max(0, log.sent_by(at - length - jitter) - most)
            elif age > self.low and not self.told and not self.shared:
                self.low = age
        if self.told:
            return others
        if self.low > self.believed or self.high < 0.99 * self.believed:
            self._choose()
        elif self.high == math.inf and most <= 2 * least and least > max(min(1, limit // 4), limit // 50):
            # As a log, a window or a bucket would explain it, whichever is slowest. A bucket would have given some
            # back before, so it explains nothing that came back at once.
            begun = log.time(1)
            span = at - begun
            sudden = least * (self._first - begun) >= 2 * span
            guess = math.inf if sudden else limit * span / least
            if not self.known:
                guess = max(span + jitter, 0.0 if sudden else guess)
            if guess < self.believed or self.believed not in USUAL:
                guess = max(self._usual(guess, first=not self.known), self.low)
                if guess < self.believed:
                    self._believe(guess)
        if most <= 0:
            self._first = at
        return others

    def at_least(self, age: float) -> None:
        """A request of this age was still counted: one that relied on the opposite was refused."""
        if not self.told and self.low < age < math.inf:
            self.low = age
            self._choose()
        else:
            self.proven = 0

    def _choose(self) -> None:
        if self.high < math.inf:
            self._believe(max(self._usual(self.high), self.low))
        else:
            self._believe(next((one for one in USUAL if one > 1.002 * self.low), 1.1 * self.low))

    def _believe(self, seconds: float) -> None:
        self.believed = seconds
        self.known = seconds < math.inf
        self.proven = 0

    def _usual(self, most: float, *, first: bool = False) -> float:
        """Return the longest usual length between the bounds, up to `most`; if there is none, `most`, or the next."""
        for one in reversed(USUAL):
            if self.low <= one <= most:
                return one
        return next((one for one in USUAL if one > most), most) if first else most
