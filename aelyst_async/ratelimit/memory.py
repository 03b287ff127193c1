"""What the server still remembers: the two facts from which a window is read without being told.

Number our requests in the order of sending; request *i* was sent at ``s[i]``. Its answer says ``Remaining = R`` of
``Limit = L``, so the server remembered ``U = L - R`` requests when it counted *i*, and has forgotten the first
``G = i - U`` of ours. (A neighbour's requests make ``U`` larger and ``G`` smaller.) Hence, whatever the rule:

- the server's memory reaches back at least to the oldest request it remembers: ``W > s[i] - s[G + 1]``;
- and, if it forgets one by one, no further than the youngest it has forgotten: ``W <= s[i] - s[G]``.

*How* it forgets tells the rule. A **fixed** window forgets nearly everything between two requests that follow each
other closely, and the moment lies between their two send times; two such moments are a window apart. A **sliding**
log forgets one by one, as the requests were sent a window ago, and a **token bucket** one by one, evenly (`laws`).

All times are *send* times: the way to the server cancels out, as long as it is about the same for each request.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

__all__ = ["MISFITS_FADE", "Boundaries", "Extremum", "Inflow", "SendLog"]

_MOST = 1 << 17
"""Send times kept at most, 8 bytes each."""

_MOST_POINTS = 64

MISFITS_FADE = 0.9
"""By which misfits of a fixed window's kinds fade with every window."""


class SendLog:
    """The send times of our latest requests, by number (from 1)."""

    __slots__ = ("_base", "_times", "count")

    def __init__(self) -> None:
        self._times = array("d")
        self._base = 0  # number of the request before the first one kept
        self.count = 0

    def append(self, now: float, keep: int) -> int:
        """Note a request; forget all but the latest `keep` or so. Return its number."""
        times = self._times
        kept = len(times)
        if kept:
            if kept > 2 * keep + 64 or kept > 2 * _MOST + 64:
                cut = kept - min(keep, _MOST)
                del times[:cut]
                self._base += cut
            # Never backwards: bisection relies on it.
            if now < (newest := times[-1]):
                now = newest
        times.append(now)
        self.count = number = self.count + 1
        return number

    def insert(self, sent: Sequence[float]) -> None:
        """Note others' requests, as if we had sent them at these times in the past, in order; later ones move up."""
        times = self._times
        at = bisect_right(times, sent[0])
        later = sorted([*times[at:], *sent])
        del times[at:]
        times.extend(later)
        self.count += len(sent)

    def remove(self, number: int) -> None:
        """Take a request out, as if it had never been sent; later ones move up."""
        at = number - self._base - 1
        if at >= 0:
            del self._times[at]
        else:
            self._base -= 1
        self.count -= 1

    def time(self, number: int) -> float:
        """Return when a request was sent; for one older than all kept, the oldest kept; for a future one, inf."""
        at = number - self._base - 1
        times = self._times
        if at >= len(times):
            return math.inf
        if at >= 0:
            return times[at]
        return times[0] if times else -math.inf

    def known(self, number: int) -> bool:
        """Whether this request's time is kept."""
        return self._base < number <= self.count

    def sent_by(self, at: float) -> int:
        """Return the number of the last request sent at or before `at`."""
        times = self._times
        # Most ask for the time of an answer to one of the last.
        return self._base + bisect_right(times, at) if times and at < times[-1] else self.count


class Extremum:
    """The largest (or smallest) value of the last while."""

    __slots__ = ("_sign", "_values")

    def __init__(self, *, largest: bool) -> None:
        self._sign = 1.0 if largest else -1.0
        self._values: deque[tuple[float, float]] = deque()

    def push(self, now: float, value: float) -> None:
        """Take a value in."""
        value *= self._sign
        values = self._values
        while values and values[-1][1] <= value:
            values.pop()
        values.append((now, value))

    def get(self, since: float) -> float | None:
        """Return the extreme value of those pushed after `since`; the last one, if all are older."""
        values = self._values
        while len(values) > 1 and values[0][0] < since:
            values.popleft()
        return values[0][1] * self._sign if values else None

    def drop(self, beyond: float) -> None:
        """Forget all that are beyond this one."""
        values = self._values
        while values and values[0][1] > beyond * self._sign:
            values.popleft()


class Inflow:
    """How fast new quota comes in: the slope of what is authorised, over so much of it as is given."""

    __slots__ = ("_last", "_points")

    def __init__(self) -> None:
        self._points: deque[tuple[float, int, int]] = deque()
        self._last = (0.0, 0, 0)

    def push(self, at: float, allowed: int, most: int, grain: int, enough: int) -> None:
        """Note that at `at` so many were authorised in all, or up to `most`; keep what it takes to grow by `enough`."""
        points = self._points
        self._last = (at, allowed, most)
        if not points or abs(allowed - points[-1][1]) >= grain:
            points.append((at, allowed, most))
            while len(points) > 2 and (allowed - points[1][1] >= enough or len(points) > _MOST_POINTS):
                points.popleft()

    def clear(self) -> None:
        """Forget all."""
        self._points.clear()

    def rates(self) -> tuple[float, float]:
        """Return the least and the most that it may be, in requests per second."""
        if not self._points:
            return 0.0, math.inf
        (began, first, first_most), (ended, last, last_most) = self._points[0], self._last
        span = ended - began
        if span <= 0:
            return 0.0, math.inf
        return max(0.0, (last - first_most - 1) / span), max(0.0, (last_most - first + 1) / span)


class Boundaries:
    """The moments at which a fixed window began anew, as intervals of send times, and the window between them."""

    __slots__ = (
        "_first", "_times", "confirmed", "drifts", "high", "low", "misfits", "numbers", "window_high", "window_low",
    )  # fmt: skip

    def __init__(self) -> None:
        self.low = -math.inf
        self.high = -math.inf
        self.numbers = (0, 0)
        self.window_low = 0.0
        self.window_high = math.inf
        self.confirmed = 0
        self.misfits = 0.0
        """Times that the windows did not follow each other as they should, of late."""
        self.drifts = False
        """Windows do not follow each other without a gap: each begins with its first request."""
        self._first = (math.nan, math.nan)
        self._times = 0

    @property
    def known(self) -> bool:
        """Whether a window's length is known, if only within bounds."""
        return self.window_high < math.inf

    def found(self, low: float, high: float, numbers: tuple[int, int]) -> None:
        """A window began after `low` (when request ``numbers[0]`` was sent) and not after `high`."""
        if self.low == -math.inf:
            self.low, self.high, self.numbers = low, high, numbers
            self._restart(low, high)
            return
        if high - self.low < 1e-6:
            return  # no window is that short: requests overtook each other
        # Up to `low` the last window was still remembered, so the next began later: whatever else the gap may hide.
        least, most = max(0.0, low - self.high), high - self.low
        predicted = self.high + self.window_high
        if least <= self.window_high and most >= self.window_low:
            least, most = max(least, self.window_low), min(most, self.window_high)
            times = max(1, math.ceil((low - self.high) / most - 1e-6))
            if times >= math.floor((high - self.low) / max(least, 1e-9) + 1e-6):
                # Surely so many windows since the last one seen, and since the first: the more there are, the less
                # it matters how exactly the two ends are known.
                self._times += times
                predicted = self.high + times * most
                least = max(least, (low - self._first[1]) / self._times)
                most = min(most, (high - self.low) / times, (high - self._first[0]) / self._times)
            else:
                self._restart(low, high)
                times = 0
        else:
            times = 0
            self._times = 0
        agrees = (
            least <= most * 1.000001 and least <= self.window_high * 1.000001 and most >= self.window_low * 0.999999
        )
        self.misfits *= MISFITS_FADE
        if agrees:
            low = max(low, min(self.low + max(times, 1) * least, high))
            self.window_low, self.window_high = least, max(least, most)
            self.confirmed += times > 0
            if low > predicted + 0.0005:
                self.drifts = True
                self.misfits += 1
            elif not self.drifts and self.confirmed >= 3 and times:
                high = max(low, min(high, predicted))
        else:  # the window has changed, or each begins with its first request: what was just seen holds
            self.window_low, self.window_high = max(0.0, low - self.high), high - self.low
            self.confirmed = min(self.confirmed, 1)
            self.misfits += 1
            self._restart(low, high)
        self.low, self.high, self.numbers = low, high, numbers

    def _restart(self, low: float, high: float) -> None:
        self._first = (low, high)
        self._times = 0

    def refine(self, number: int, at: float, *, after: bool) -> bool:
        """A late answer shows on which side of the last boundary a request in between was counted, if it was one."""
        first, second = self.numbers
        between = first < number < second
        if between:
            if after:
                self.numbers, self.high = (first, number), min(self.high, at)
            else:
                self.numbers, self.low = (number, second), max(self.low, min(at, self.high))
        return between

    def doubt(self, elapsed: float) -> None:
        """A window that should have ended has not: it is longer than `elapsed`."""
        self.confirmed = 0
        self.drifts = True
        self.window_low = max(self.window_low, elapsed)
        if self.window_high <= self.window_low:
            self.window_high = math.inf
