"""How a quota is spent whose window nobody knows: evenly on a logarithmic scale. Pure.

The window may be 50 milliseconds or a minute long. Credit that falls with the inverse of time spends, whatever the
window, the most of the first one, and leaves some to see it end. The last few credits go at times that grow by a
factor, so that the end is seen soon after it has come, be it early or late.

Where the server tells more, scouting is hardly needed: with the window's length (``w`` of the IETF policy) the credit
is spent evenly over it, and with the time of its end (``Reset``, ``t``) up to that.
"""

from __future__ import annotations

import math

from aelyst_async.ratelimit.books import COMMONEST, USUAL, Books
from aelyst_async.ratelimit.memory import Boundaries

__all__ = ["Scout"]

_SOON = (0.004, 0.05)
"""Seconds, from and to: the credit of the very start is spent within two round trips or so."""

_FEW = (14.0, 0.35, 20.0)
"""Credits that go at growing times: at least, as a share of the limit, at most."""

_LONGEST = 120.0
"""Seconds after which an empty quota is asked again at the latest: a server that wants more says so when it refuses."""

_A_DAY = 86400.0

_STRETCH = 0.35
"""By what share those times grow."""


class Scout:
    """What is known of a window before it is known."""

    __slots__ = ("_at_least", "_ends_at", "_not_before", "_origin", "_soon", "_window")

    def __init__(self) -> None:
        self._origin = -math.inf
        self._soon = _SOON[1]
        self._at_least = 0.0
        self._not_before = -math.inf
        self._window = 0.0
        self._ends_at = -math.inf

    @property
    def not_before(self) -> float:
        """The time before which the present window does not end."""
        return self._not_before

    @property
    def origin(self) -> float:
        """When the present window began, or the first request left."""
        return self._origin

    def began(self, at: float) -> None:
        """A window began, or the first request left."""
        if at > self._origin:
            self._origin = at

    def round_trip(self, seconds: float) -> None:
        """The first answer took so long."""
        self._soon = min(max(2 * seconds, _SOON[0]), _SOON[1])

    def remembers(self, seconds: float, most: float) -> None:
        """The server's memory goes back at least so far, and the window is at most `most`."""
        if seconds > self._at_least:
            self._at_least = min(seconds, most)

    def told(self, now: float, reset: float | None, window: float | None) -> None:
        """Take in what the server says of its window: seconds to its end, and its length."""
        if window is not None and window <= _LONGEST:  # nobody wants a day's quota spread over the day
            self._window = self._at_least = window
        # Whole seconds may be rounded down; of one or two they say next to nothing.
        if reset is not None and reset <= _A_DAY and (reset > 2 or reset != int(reset)):
            self._ends_at = now + reset + (1.0 if reset == int(reset) else 0.01)

    def forgot(self, seconds: float) -> None:
        """The server's memory goes back no further."""
        if seconds < self._at_least:
            self._at_least = seconds

    def refused(self, sent_at: float, until: float, wait: float, round_trip: float) -> None:
        """A request was refused until then: the window does not end before."""
        self._not_before = max(self._not_before, sent_at)
        if wait >= 2 or wait != int(wait):
            # Whole seconds are seconds rounded up: the end is within the last one.
            rounded = 1.0 if wait == int(wait) else 0.01 * wait
            self._not_before = max(self._not_before, until - rounded - 0.05 - round_trip)

    def _since(self, last: float) -> float:
        return max(last - self._origin, self._at_least, self._soon)

    @property
    def least(self) -> float:
        """Seconds that the server's memory goes back at least."""
        return max(self._at_least, self._soon)

    def tells(self, last: float) -> bool:
        """Whether the server tells its window, or the window's end."""
        return bool(self._window) or 0 < self._ends_at - last <= _LONGEST

    def ready(self, books: Books, spare: float) -> float:
        """Return when the next request may go, by the credit."""
        credit = float(books.allowed - books.log.count)
        if credit > 0:
            credit -= min(spare, credit // 2)
        if credit < 1:
            return math.inf
        last, limit = books.last, books.limit
        since = self._since(last)
        if 0 < self._ends_at - last <= _LONGEST:
            gap = (self._ends_at - last) / credit
        elif self._window:
            gap = self._window / limit
        else:
            few = min(max(_FEW[0], _FEW[1] * limit), _FEW[2])
            gap = since / credit
            if credit <= few:
                # The last few go at growing times, up to the end of the commonest window and just after it.
                end = books.look(0.0, COMMONEST)
                gap = since * max(1 / credit, (end / since) ** (1 / credit) - 1 if since < 0.9 * end else _STRETCH)
                return books.feel(self._origin, self._at_least, credit, last + gap)
        return last + (gap if gap > 1e-5 else 0.0)  # less than any loop can wait for

    def ask_again(self, books: Books, bounds: Boundaries) -> float:
        """Return when an empty quota is tried again, with nothing out to learn from."""
        last = books.last
        if self._ends_at > last:
            return self._ends_at
        return min(self._ask(books, bounds, last), last + _LONGEST)

    def _ask(self, books: Books, bounds: Boundaries, last: float) -> float:
        began = bounds.high if bounds.low > -math.inf else self._origin
        if self._window:
            ends = began + self._window + books.put_off(self._window)
            return ends if ends > last else last + self._window
        if not bounds.known:
            for window in USUAL:
                if window >= max(COMMONEST, self._at_least, 0.995 * (last - began)):
                    at = books.look(began, window)
                    if at > last:
                        return at
            return last + self._since(last)
        low, high = bounds.window_low, bounds.window_high
        guess = COMMONEST if low < 0.99 * COMMONEST and high >= COMMONEST else (low + high) / 2
        return max(bounds.high + max(guess, self._at_least) + books.put_off(guess), last + self._soon)
