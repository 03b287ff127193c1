"""The law of windows that end for all at once: what it foretells, and when it lets the next request go. Pure.

What is left is spent evenly up to the earliest end of the window. Nothing is presumed until the latest moment at which
it may have ended; after that, a new quota is.

Two kinds look alike for long: windows that keep to the server's **clock**, and windows that each begin with the **first
request** after the last one's end. They differ in what a gap before a window means. A clock's window may have begun
anywhere in it, so its end is uncertain by as much, but nothing is lost by that: all of the quota is spent before. The
other kind begins when we do, and whatever we are late by is lost. So both are kept, each with the bounds that the
answers set to its length; the one that misfits less is gone by, or the one of the two that would be of a usual length.
As long as neither is known well, two requests are kept for where the end is expected: on whichever side they are
counted, they tell.

**Among others** an end shows less, as they may have spent most of the new window before our next request. So it is
taken for one already if what is authorised rises at all, and it is not missed where nothing shows after a while. A
clock's ends are then those on which all that was seen agrees (`Clock`).
"""

from __future__ import annotations

import math

from aelyst_async.ratelimit.books import FEW, USUAL, Books
from aelyst_async.ratelimit.hypotheses import Clock
from aelyst_async.ratelimit.memory import MISFITS_FADE, Boundaries

__all__ = ["Fixed"]

_LEAP = 0.6
"""Share of what was remembered that must be forgotten between two answers, for a window to have ended."""

_ROSE, _GAP = 2, 0.1
"""Requests by which what is authorised must rise after so much of the window, for one to have ended among others."""

_SURE = (0.25, 0.01)
"""Shares of the window by which its end may be uncertain without looking for it: of a clock's, of the other kind's."""


class Fixed:
    """A window that ends for all at once."""

    __slots__ = ("_anchored", "_early", "_late", "_odd", "anchored", "bounds", "clock", "usual")

    def __init__(self) -> None:
        self.bounds = Boundaries()
        self._anchored = Anchored()
        self.clock: Clock | None = None
        """When windows begin, as others let it be known; gone by instead of what was seen alone."""
        self._odd = 0  # ends one after the other that came far too early
        self.usual: list[float] = []
        """The usual lengths that fit all that was seen, if that is not too vague."""
        self.anchored = False
        """Whether windows may begin with their first request."""
        self._early = -math.inf
        self._late = math.inf

    def doubt(self, elapsed: float) -> None:
        """The window is longer than `elapsed`: it should have ended, and has not."""
        self.bounds.doubt(elapsed)
        self._anchored.doubt(elapsed)
        self.settle()

    def longer(self, elapsed: float) -> None:
        """The window is at least so long."""
        bounds = self.bounds
        bounds.window_low = max(bounds.window_low, elapsed)
        if bounds.window_low > bounds.window_high:
            self.bounds.doubt(elapsed)
        self._anchored.doubt(elapsed)
        self.settle()

    def refine(self, number: int, at: float, *, after: bool) -> None:
        """A late answer shows on which side of the last boundary a request in between was counted."""
        if self.bounds.refine(number, at, after=after):
            self.settle()

    @property
    def usable(self) -> bool:
        """Whether the window is known well enough to go by."""
        bounds = self.bounds
        if self.clock is not None:
            return True
        return bounds.known and (bounds.window_high <= 2 * bounds.window_low or len(self.usual) == 1)

    @property
    def likely(self) -> float:
        """The one usual length that fits all that was seen; 0, if none or several do."""
        return self.usual[0] if len(self.usual) == 1 and self.bounds.known else 0.0

    @property
    def window(self) -> float:
        """Its length in seconds."""
        return self.clock.window if self.clock else (self.bounds.window_low + self.bounds.window_high) / 2

    def start(self, books: Books) -> float:
        """Return the latest moment at which the present window began."""
        return self.clock.start(books.seen_at)[1] if self.clock else self.bounds.high

    def settle(self) -> None:
        """Choose what to go by, after anything about the windows has changed.

        A window that begins with its first request and one that keeps to the clock look alike for long. Where only one
        of the two would be of a usual length, it is that; otherwise the one that misfitted less.
        """
        bounds, anchored = self.bounds, self._anchored
        fit_fixed = _fit(bounds.window_low, bounds.window_high)
        fit_anchored = _fit(anchored.low, anchored.high)
        fixed, fresh = True, anchored.known
        if fresh:
            worse = anchored.misfits - bounds.misfits
            both = [one for one in fit_fixed if one in fit_anchored]
            if both:
                fit_fixed = fit_anchored = both
            if abs(worse) <= 1 and bool(fit_fixed) != bool(fit_anchored):
                fixed, fresh = bool(fit_fixed), bool(fit_anchored)
            elif worse:
                fixed, fresh = worse > 0, worse < 0
        self.anchored = fresh
        fit = fit_anchored if fresh else fit_fixed
        low, high, started, start = math.inf, -math.inf, bounds.low, bounds.high
        if fixed:
            low, high = bounds.low + bounds.window_low, bounds.high + bounds.window_high
        else:
            started = start = anchored.start
        if fresh:
            low, high = min(low, anchored.start + anchored.low), max(high, anchored.start + anchored.high)
        if fit:
            low, high = started + fit[0], start + fit[-1]
        self.usual = fit
        self._early, self._late = low, high

    def ends(self, books: Books) -> tuple[float, float]:
        """Return the earliest and the latest moment at which the present window ends."""
        if self.clock:
            window, (low, high) = self.clock.window, self.clock.start(books.seen_at)
            return low + window, high + window + books.put_off(window)
        return self._early, self._late + books.put_off(self._late - self.bounds.high)

    def late(self, books: Books) -> float:
        """Return when the present window has ended at the latest."""
        return self.ends(books)[1]

    def learn(
        self,
        books: Books,
        number: int,
        at: float,
        forgotten: int,
        remembered: int,
        news: float,
        vague: int,
        not_before: float,
        *,
        met: bool,
    ) -> float:
        """Take in an answer that is newer than `books`; return by how many requests it was off.

        `vague`: by so many more may be forgotten. `met`: others are known of.
        """
        bounds = self.bounds
        lately = at - books.seen_at < _GAP * bounds.window_high  # or others may have spent most of a new window
        if news <= 0:
            if bounds.confirmed >= 1 and at > self.late(books) and (lately or not met):
                missing = float(number - 1 - forgotten)
                self.doubt(at - bounds.high)
                return missing
            return 0.0
        rose = met and not lately and news >= _ROSE
        if not rose and (forgotten - books.forgotten < _LEAP * books.remembered or news <= vague):
            return news
        # Clean: next to nothing is remembered from before. Otherwise neighbours may have spent since.
        clean = remembered <= max(number - books.seen + 1, 0.3 * books.limit)
        if bounds.confirmed >= 2:
            # Far too early for an end: requests overtook each other, unless it comes again.
            if at < bounds.low + 0.7 * bounds.window_low:
                self._odd += 1
                if self._odd <= 2:
                    return news
                self._odd = 0
            else:
                self._odd = 0
        low = max(books.seen_at, not_before)
        bounds.found(low, at, (books.seen, number))
        # Where others began it, nobody knows when.
        self._anchored.found(low, at if not met or remembered <= number - books.seen + 1 else math.nan)
        self.settle()
        return 0.0 if clean else 0.3 * news

    def ready(self, books: Books, spare: float, least: float = 0.0) -> float:
        """Return when the next request may go; infinite: not before an answer.

        `least`: seconds that the server's memory goes back at least, which say more as long as no window is known.
        """
        bounds, limit, log = self.bounds, books.limit, books.log
        early, late = self.ends(books)
        last = books.last
        if books.seen_at < late and last < late:
            credit = books.allowed - log.count - spare
            if credit >= 1:
                return self._spend(books, credit, least) if late < math.inf else self._feel(books, credit, least)
        if books.seen_at >= late:
            # An answer from after the end shows no new window: until it does, the credit is gone by.
            return last + self.window / limit if books.allowed - log.count - spare >= 1 else math.inf
        if bounds.confirmed < 2 and not self.clock:
            return math.inf if last >= late else late
        # A new window is presumed. Whatever left after the earliest possible end may count in it.
        credit = limit - (log.count - log.sent_by(early)) - spare
        if credit < 1:
            return math.inf
        return late if last < late else last + self.window / limit

    def _spend(self, books: Books, credit: float, least: float) -> float:
        """Return when the next request goes, of so many that the present window still has."""
        bounds, anchored, last = self.bounds, self._anchored, books.last
        if self.clock:
            early, late = self.ends(books)
            return last + max(early - last, 0.25 * (late - last), 0.0) / credit
        window = bounds.window_high
        low, high = bounds.low + max(bounds.window_low, least), bounds.high + window
        if usual := self.usual:
            # Between two that fit, one is kept to look whether the shorter has ended.
            looks = [at for one in usual[:-1] if (at := bounds.high + one + books.put_off(one)) > last]
            if len(looks) >= credit:
                return looks[len(looks) - int(credit)]
            early = max(self._early, bounds.high + 0.5 * usual[0])
            return last + max(early - last, 0.25 * (bounds.high + usual[0] - last), 0.0) / (credit - len(looks))
        # Nothing is lost on a fixed window by not knowing its end exactly, as long as there is time to spend all
        # before. A window that begins with its first request loses what it is late by.
        enough = _SURE[0] * window
        if self.anchored and books.limit >= FEW:
            enough = max(_SURE[1] * window, 0.001)
            low, high = anchored.start + anchored.low, anchored.start + anchored.high
        if high - low <= enough:
            return last + max(low - last, 0.25 * (high - last), 0.0) / credit
        # Probes go where the end is expected: on whichever side they are counted, they tell. The last one goes just
        # after it, so that the new window is not presumed but seen.
        probes = 1 if books.limit < FEW else 2
        if credit < probes + 1:
            end = high + books.put_off(window)
            last = max(last, low)
            return (last + high) / 2 if credit >= 2 and last < high else max(end, last)
        return last + max(low - last, 0.25 * (high - last), 0.0) / (credit - probes)

    def _feel(self, books: Books, credit: float, least: float) -> float:
        """Return when the next request goes, in a window whose beginning is known and nothing else."""
        last, start = books.last, self.bounds.high
        few = int(min(max(4.0, 0.06 * books.limit), 12.0, 0.7 * books.limit))
        low = start + least
        if credit >= few + 1 and last < low:
            return last + (low - last) / (credit - few)
        since = max(last - start, least, 0.001)
        return books.feel(start, least, credit, last + since * max(0.5 / credit, 0.15 if credit < 3 else 0.0))


def _fit(low: float, high: float) -> list[float]:
    """Return the usual lengths between two, if those are not too far apart."""
    fit = [window for window in USUAL if low < window <= high]
    return fit if fit and high < 2 * fit[-1] else []


class Anchored:
    """The variant in which a window begins with the first request after the last one's end."""

    __slots__ = ("high", "low", "misfits", "start")

    def __init__(self) -> None:
        self.start = -math.inf
        self.low = 0.0
        self.high = math.inf
        self.misfits = 0.0

    @property
    def known(self) -> bool:
        """Whether a window was seen from its start to its end."""
        return self.high < math.inf

    def doubt(self, elapsed: float) -> None:
        """The window is longer than `elapsed`."""
        if self.start > -math.inf:
            self.low = max(self.low, elapsed)
            if self.high <= self.low:
                self.high = math.inf

    def found(self, last: float, first: float) -> None:
        """A window ended between the request sent at `last`, still counted in it, and `first`, with which one began.

        `first` is not a number, if somebody else's began it.
        """
        if math.isnan(first):
            self.start, self.low, self.high = -math.inf, 0.0, math.inf
            return
        if self.start > -math.inf:
            low, high = max(0.0, last - self.start), first - self.start
            self.misfits *= MISFITS_FADE
            if low < self.high and high > self.low:
                self.low, self.high = max(low, self.low), min(high, self.high)
            else:
                self.low, self.high = low, high
                self.misfits += 1
        self.start = first
