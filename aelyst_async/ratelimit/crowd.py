"""Whether others spend the same quota, how it is counted, and what is whose. Pure.

**Proof.** Whatever the rule, what the server remembers of us was sent within one window. Where it remembers more than
that, twice running, it remembers others. Without a law that fits, the window may be as long as all we know of; with
one it is that law's, with no more on top than what requests are put off by, so that newcomers are noticed by their
first; and for some windows it still is, though they have made it misfit. Nobody is there any more of whom nothing was
seen for some windows. Around a change of the limit nothing is proof: a bucket's level moves with it.

**The rule.** Among others the laws are not judged by what they foretell: all of them are wrong, as nobody foretells
others. What is left is what cannot be (`hypotheses`).
"""

from __future__ import annotations

import math

from aelyst_async.ratelimit.books import Books
from aelyst_async.ratelimit.hypotheses import Hypotheses, Hypothesis, Told
from aelyst_async.ratelimit.memory import SendLog

__all__ = ["Crowd"]

_LONG, _LONGER = 8, 64
"""Windows after which nobody is there any more of whom nothing was seen: of a log that is shared, of anything else."""

_RECALL = 4
"""Windows for which the law is remembered that fitted before others came: none does once they are there."""

_MARGIN = 0.8
"""Share of what a request is put off by that the window may be longer: with more, what we send again counts twice."""

_FRESH = 0.9
"""Share of the limit that the first answer leaves to whoever has seen all from the start."""

_TOPS, _OFTEN = 5, 0.25
"""Answers that show the most that ever remained, and their share of all since the first, from which on it is a cap."""

_TOGETHER, _AT_FIRST = 0.0005, 0.005
"""Seconds by which requests may overtake each other at least; and at most, as long as none did."""


class Crowd:
    """What is known of others' being there."""

    __slots__ = (
        "_clean", "_fitted_at", "_hypotheses", "_limit", "_longest", "_met_at", "_more", "_quiet_until", "_since_top",
        "_top", "_top_at", "_tops", "log", "near", "others", "own", "window",
    )  # fmt: skip

    def __init__(self) -> None:
        self.log = SendLog()
        """What we sent; the books have others' requests as well."""
        self.near = False
        """Whether others are there."""
        self.window = 0.0
        """In seconds, of the log that is shared; 0, as long as none is."""
        self.own = 0
        """Of ours, how many it remembers."""
        self.others = 0
        """And how many of others'."""
        self._clean: bool | None = None  # whether all was seen from the start, once an answer is in
        self._hypotheses: Hypotheses | None = None
        self._limit = 0
        self._quiet_until = -math.inf
        self._more = False
        self._longest = 0.0  # the window at most, by the law that fitted last, and when it did
        self._fitted_at = -math.inf
        self._met_at = -math.inf
        self._top = 0  # the most that remained, how often, since when, and of how many answers
        self._tops = 0
        self._top_at = 0.0
        self._since_top = 0

    def watch(self, books: Books, limit: int, gone: int, at: float, slack: float, longest: float) -> bool:
        """Take in that so many were gone; return whether others are there.

        `longest`: what the window is at most, by the law gone by, if alone.
        """
        log, hypotheses, changed = self.log, self._hypotheses, limit != self._limit
        if changed:
            self._fitted_at = -math.inf
        if longest < math.inf:
            self._longest, self._fitted_at = longest, at
        elif at - self._fitted_at < _RECALL * self._longest:
            longest = self._longest
        if hypotheses is not None and self.near:
            longest = min(longest, hypotheses.window)
        if changed:
            self._quiet_until = at + 2 * longest if self._limit else -math.inf
            self._limit = limit
        sent = log.sent_by(at + slack)
        if longest < math.inf:
            sent -= log.sent_by(at - longest - _MARGIN * books.put_off(longest))
        more = gone > sent
        if more and self._more and at > self._quiet_until:
            self._met_at = at
        self._more = more
        self.near = at - self._met_at < (_LONG * self.window or _LONGER * longest)
        return self.near

    def look(
        self, books: Books, at: float, remaining: int, usual: float, measured: float, *, shared: bool
    ) -> Hypothesis | None:
        """Take in the newest answer; return how the quota is counted, if others are there and it can be said.

        `usual`: how long windows seem to be that end for all at once; 0, if nobody knows. `measured`: how long a log
        seems to be; infinite, if nobody knows. `shared`: a log is gone by, together with others.
        """
        limit, hypotheses = books.limit, self._hypotheses
        if self._clean is None:
            self._clean = remaining >= _FRESH * limit
        if hypotheses is None or hypotheses.limit != limit:
            # Since the limit changed, nobody has seen all from the start.
            hypotheses = self._hypotheses = Hypotheses(limit, clean=self._clean and hypotheses is None)
        hypotheses.usual(usual)
        hypotheses.see(self.log, Told(at, remaining, _slack(books)))
        if measured < math.inf:
            hypotheses.measured(measured)
        capped = self._capped(at, remaining)
        return hypotheses.believed(self.log, capped=capped, shared=self.window * shared) if self.near else None

    def _capped(self, at: float, remaining: int) -> bool:
        """Return whether as much remains again and again, and never more: a bucket that holds less than its limit."""
        self._since_top += 1
        if remaining > self._top:
            self._top, self._tops, self._top_at, self._since_top = remaining, 1, at, 1
        elif remaining == self._top:
            self._tops += 1
        window = self._hypotheses.window if self._hypotheses is not None else math.inf
        return not self._clean and self._tops > max(_TOPS, _OFTEN * self._since_top) and at - self._top_at > window

    def refused(self, books: Books, at: float, state: str, *, fresh: bool) -> None:
        """A request of `at` that left by the law of this name was refused for want of quota.

        `fresh`: not together with one before.
        """
        if self._hypotheses is not None:
            if fresh:
                self._hypotheses.refused(state)
            self._hypotheses.see(self.log, Told(at, 0, _slack(books), 0))

    def settle(self, at: float, gone: int, window: float) -> None:
        """Take in an answer from a log that is shared: of `gone`, what is ours and what is others'."""
        self.window = window
        self.own = self.log.sent_by(at) - self.log.sent_by(at - window)
        self.others = gone - self.own


def _slack(books: Books) -> float:
    """Return the seconds by which requests may have been counted sooner or later than they were sent."""
    order = books.order
    return max(_TOGETHER, order.jitter if order.shown else min(order.jitter, _AT_FIRST))
