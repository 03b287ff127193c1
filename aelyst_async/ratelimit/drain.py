"""A window that others spend as well: how fast it drains, and what is done about its end. Pure.

A window that ends for all at once is shared by itself, as all spread the same rest over the same time. What makes the
shares unequal, and what is lost, is at its end.

**What is left may be gone.** Others may have as many requests out as we have, so the last few are let be. And somebody
who does not slow down, as clients like us do when the rest gets less, takes what was left to us before the next of
ours leaves: for how long it lasts is reckoned from how fast it went so far, with twice the scatter on top that such a
count has, its root. That is heeded for some windows after a refusal, each time for longer.

**Who begins late has less.** Whoever does not know exactly when a window ends, presumes the next one late; meanwhile
the others spend it. Nothing narrows the end down but to ask while it may be over, and what was held back pays for that:
one request goes in the middle of where the end may be, and whichever side it is counted on, half of the doubt is gone.

**What everybody holds back is lost.** So shortly before the end it is spent, by as much as the others may do too.

Both are risks: where one is refused, none is taken for some windows, each time for longer. And a window may be shorter
than it seems to whoever sees only every other: with something left, its end is looked for after each usual length.
"""

from __future__ import annotations

import math

from aelyst_async.ratelimit.books import USUAL, Books, Doubling
from aelyst_async.ratelimit.fixed import Fixed

__all__ = ["Drain"]

_KEEPS = 1 - 1 / 32
"""Of what was seen of the drain, with every answer."""

_SOME = 0.5
"""Requests that others took: fewer may be an answer that was lost."""

_WARY = 2
"""Requests that must be left besides as many as we have out."""

_SHY, _SAME, _AGO = (8.0, 64.0), 4.0, 4.0
"""Windows for which whoever was refused is careful, at first and at most; within which it is the same misfortune; and
times as long ago as it was careful for, from which on the last one is forgotten."""

_BOLD, _NEAR = (64.0, 256.0), 0.05
"""Windows for which nothing is risked, after what was is refused, at first and at most; share of the window within
which a request is the one that was risked."""

_VAGUE = 0.05
"""Share of the window by which its end may be uncertain without asking for it."""

_AT_LAST = 5.0
"""Round trips before the end from which on what is held back is spent."""

_SHORTER = 0.8
"""Share of the window up to which its end is looked for."""


class Drain:
    """What others take of a window."""

    __slots__ = ("_bold_at", "_careful_until", "_fell", "_modest", "_refused_at", "_risk", "_seconds", "_shy")

    def __init__(self) -> None:
        self._fell = 0.0
        self._seconds = 0.0
        self._refused_at = -math.inf
        self._careful_until = -math.inf
        self._shy = Doubling(*_SHY)
        self._risk = -math.inf
        self._bold_at = -math.inf
        self._modest = Doubling(*_BOLD)

    def took(self, fell: int, seconds: float) -> None:
        """So many were gone that were not ours, from one answer to the next."""
        self._fell = self._fell * _KEEPS + fell
        self._seconds = self._seconds * _KEEPS + seconds

    @property
    def spend(self) -> bool:
        """Whether others took some of what was left, of late."""
        return self._fell > _SOME

    def refused(self, at: float, window: float) -> None:
        """What was left to us was gone when our request of `at` came."""
        ago = (at - self._refused_at) / window
        if ago > _SAME:
            if ago >= _AGO * self._shy.last:
                self._shy.forget()
            self._shy.again()
        self._refused_at = at
        self._careful_until = at + self._shy.last * window
        if abs(at - self._risk) < _NEAR * window:
            self._bold_at = at + self._modest.again() * window

    def lasts(self, credit: float, at: float) -> float:
        """Return the seconds for which at least one of so many is left to us, for whoever was refused of late."""
        if credit < 1 or at > self._careful_until or not self._fell:
            return math.inf
        # So many that, with twice the root of themselves on top, they come to the credit.
        gone = (math.sqrt(credit + 1) - 1) ** 2
        return gone * self._seconds / self._fell

    def ready(self, books: Books, fixed: Fixed, credit: int, ready: float, out: int, *, near: bool) -> float:
        """Return when the next may go into a window of which others may spend as well; infinite: not before an answer.

        `ready`: if they did not; `out`: requests that are out; `near`: others are known of.
        """
        late = fixed.late(books)
        if ready < late and ready > books.seen_at + self.lasts(credit, books.last):
            ready = fixed.ready(books, float(credit))
        if near and credit < out + _WARY and not books.seen_at < late <= ready:
            if out or late <= books.last:
                return math.inf
            ready = late
        if ready >= late > books.last and self.spend and credit >= 1:
            start = fixed.start(books)
            end = start + _SHORTER * fixed.window
            looks = [at for one in USUAL if books.last < (at := books.look(start, one)) < end]
            if near and credit >= out + _WARY:
                self._risk = self._risky(books, fixed)
                looks.append(self._risk)
            return min([*looks, ready])
        return ready

    def _risky(self, books: Books, fixed: Fixed) -> float:
        """Return when to risk one of those that were held back; infinite: never."""
        early, late = fixed.ends(books)
        trip, since = books.order.round_trip, max(books.last, self._careful_until, self._bold_at)
        middle, at_last = (early + late) / 2, max(books.last + trip, early - _AT_LAST * trip)
        if since < at_last < early:
            return at_last
        return middle if since < middle and late - early > _VAGUE * fixed.window else math.inf
