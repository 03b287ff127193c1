"""What a quota may be among others, told by what it cannot be. Pure.

Whoever sends five requests a second beside others can measure nothing: each answer shows what the others did as much
as how the quota is counted. But not all is possible. Others send, and never take a request back. So under each rule the
answers tell how many of others' requests there must have been; and where that number would have to fall, or what
remains to rise, the rule is refuted:

- a **log** of a window: others' are what is gone beside ours, and those that were forgotten meanwhile, as the answers
  of a window ago told;
- a **bucket** of a rate holds no more than it held, and what came in since, less what we took;
- **windows** that end for all at once show more only where one begins. Those of a **clock** all begin on one grid; of
  those that begin with somebody's **request**, none begins sooner than a window after the one before.

A rule that forgets faster explains most of what a slower one does, and all, if the slower window is so many of the
faster ones: others must have been the busier. So the **slowest** is believed of those that nothing speaks against, the
one which needs the fewest others. Of several that are as slow, it is the one that does the least harm where it is
wrong: a log that is shared first, a bucket's burst last.

The slowest is not believed before it could have been refuted. Whoever has seen all from the start has had to wait for
that as long as the window. Who came late and gets little refutes little: there the commonest length is presumed, longer
ones where requests are refused again and again. And that windows end for all at once is what hardly seen ends may look
like as well, so longer ones than the commonest need evidence: that the ends met the grid, weighed by how likely they
would have done so by mere chance.

A log that is shared without a refusal is kept: clients that send the same again window after window refute nothing
slower, and whoever went by twice the window would end with a third.

Only usual lengths are looked at, and the one that was measured of a log. Where it is another, whatever is believed is
refused again and again; then nothing is for a while, and the laws are judged as if alone.

What speaks against one is summed up in requests, and fades, more slowly each time it was refuted: when both send half
each, in turn, little speaks against anything any more. Most buckets never have others, and there are up to ten thousand
of them, so nothing is worked out before there were some answers close to each other, or others; and as few say as much
as many, only so many in a window are.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections import deque
from typing import ClassVar, NamedTuple

from aelyst_async.ratelimit.books import COMMONEST, USUAL
from aelyst_async.ratelimit.memory import SendLog

__all__ = ["Clock", "Hypotheses", "Hypothesis", "Told"]

_TOLD, _OF = 1.4, 0.02
"""Requests that may speak against one that is believed, and the share of the limit on top: an answer was late or lost.
"""

_FADES, _LONGEST = 16.0, 512.0
"""Limits' worth of answers over which that fades e-fold: twice as many each time, from and to."""

_FOR_GOOD = 4.0
"""Times what may speak against one, from which on it is not looked at until that has faded, and begins anew then."""

_DOUBT = 0.5
"""Share of what may speak against one, from which on another one that is as slow is preferred."""

_REFUSED = 0.5
"""Share of it that speaks against a log by which a request left that was refused."""

_PRESSED, _EASED = 2.0, 16.0
"""Refusals from which on longer windows than the commonest are believed, one longer for each so many; and the limits'
worth of answers over which they are forgotten."""

_DISTRUST = {True: 16.0, False: 2.0}
"""Refusals from which on nothing is believed for a while, as the window is none of the usual ones: of those as long as
the commonest, of shorter ones."""

_REFUSALS = 0.5
"""Refusals of late below which a log that is gone by is kept, though slower ones have become possible."""

_SEEN = 1.5
"""Windows for which one must have been looked at."""

_FORGETS = 0.01
"""Share of the window by which a request may be forgotten late, or a window begin soon."""

_EVIDENCE, _KEEPS = 2.0, 1 - 1 / 16
"""Evidence for ends from which on they are believed: minus the logarithm of how likely they were by chance, of which so
much is kept with each."""

_ALIKE = 0.04
"""Share of a measured window by which another one must differ."""

_DRIFT = 3e-5
"""By how much two clocks may differ."""

_EARLY = 16
"""Answers that are kept, and not looked at before there were so many within the longest window."""

_OFTEN = 64
"""Answers looked at in a window, at most."""

_OLD = 64
"""Answers of more than a window ago that are kept."""


class Told(NamedTuple):
    """What an answer says, in the order of sending."""

    at: float
    """When its request was sent."""
    remaining: int
    slack: float = 0.0
    """Seconds by which it may have been counted sooner or later than that."""
    own: int = 1
    """0, if it was refused, and so not counted."""


class Hypothesis:
    """One rule and one window."""

    __slots__ = ("_limit", "_most", "against", "evidence", "fades", "since", "window")

    kind: ClassVar[str]
    """The law's name."""
    at_once: ClassVar[bool] = False
    """Whether all is forgotten at once."""

    def __init__(self, window: float, limit: int) -> None:
        self.window = window
        self.against = 0.0
        """Requests that speak against it."""
        self.evidence = 0.0
        """What speaks for it, where that is needed."""
        self.fades = _FADES
        self.since = math.nan
        """Since when it is looked at."""
        self._limit = limit
        self._most = _TOLD + _OF * limit
        self._begin()

    def _begin(self) -> None:
        """Forget what was seen."""
        raise NotImplementedError

    def _wrong(self, ours: SendLog, told: Told) -> float:
        """Take in an answer; return by how many requests it cannot be so."""
        raise NotImplementedError

    @property
    def possible(self) -> bool:
        """Whether too little speaks against it."""
        return self.against <= self._most

    @property
    def doubtful(self) -> bool:
        """Whether another one that is as slow is preferred."""
        return self.against > _DOUBT * self._most

    def doubt(self) -> None:
        """A request was refused that left by it."""
        self.against += _REFUSED * self._most

    def see(self, ours: SendLog, told: Told) -> None:
        """Take in an answer, `ours` being what we sent."""
        before, for_good = self.against, _FOR_GOOD * self._most
        self.against -= before / (self.fades * self._limit)
        if self.against > for_good:
            return
        if math.isnan(self.since):
            self.since = told.at
        self.against += self._wrong(ours, told)
        if before <= self._most < self.against:
            self.fades = min(2 * self.fades, _LONGEST)
        if self.against > for_good:
            self.since = math.nan
            self._begin()


class Log(Hypothesis):
    """A log of a window."""

    __slots__ = ("_least", "_times", "_upmost")

    kind = "sliding"

    def _begin(self) -> None:
        self._times = array("d")
        self._least = array("d")  # that others sent in all, at least and at most, by those times
        self._upmost = array("d")

    def _wrong(self, ours: SendLog, told: Told) -> float:
        at, slack, window, times = told.at, told.slack, self.window, self._times
        gone = self._limit - told.remaining
        forgotten = at - window - slack - _FORGETS * window  # surely
        sure = max(ours.sent_by(at - slack) - ours.sent_by(at - window + slack), 0)
        maybe = ours.sent_by(at + slack) - ours.sent_by(forgotten)
        before, after = bisect_right(times, forgotten), bisect_right(times, at - window + slack)
        least, most, last = float(gone - maybe), float(gone - sure), 0.0
        if times:
            last = self._least[-1]
            least += self._least[before - 1] if before else 0.0
            most += self._upmost[min(after, len(times) - 1)]
        wrong = max(sure - gone, last - most, 0.0)
        least = max(least, last)
        times.append(at)
        self._least.append(least)
        self._upmost.append(max(most, least))
        if before > _OLD:
            for one in (times, self._least, self._upmost):
                del one[: before - 1]
        return wrong


class Level(Hypothesis):
    """A bucket of a rate, that of the limit in a window."""

    __slots__ = ("_at", "_level")

    kind = "token"

    def _begin(self) -> None:
        self._at = math.nan
        self._level = 0.0  # at most

    def _wrong(self, ours: SendLog, told: Told) -> float:
        at, remaining, slack, own = told
        before, wrong, level = self._at, 0.0, remaining + 1.0
        if not math.isnan(before):
            took = own + max(ours.sent_by(at - slack) - ours.sent_by(before + slack), 0)
            # It may have been full at any time in between, but what came in then made room for what we took.
            came = self._limit / self.window * (at - before + slack)
            most = min(self._level + came - took, self._limit - own)
            wrong = max(remaining - most, 0.0)
            if not wrong:
                level = min(level, most)
        self._at, self._level = at, level
        return wrong


class Ends(Hypothesis):
    """Windows that end for all at once: more remains than before only where one began."""

    __slots__ = ("_at", "_remaining")

    at_once = True

    def _begin(self) -> None:
        self._at = math.nan
        self._remaining = 0

    def _wrong(self, ours: SendLog, told: Told) -> float:
        at, remaining, slack, own = told
        before, more = self._at, remaining - self._remaining
        self._at, self._remaining = at, remaining
        if not own or math.isnan(before):
            return 0.0
        more += ours.sent_by(at - slack) - ours.sent_by(before + slack)
        return float(more) if more >= 1 and not self._began(before - slack, at + slack) else 0.0

    def _began(self, low: float, high: float) -> bool:
        """One began between two moments: return whether it can have."""
        raise NotImplementedError


class Clock(Ends):
    """Windows that keep to the server's clock."""

    __slots__ = ("high", "low")

    kind = "fixed"

    def _begin(self) -> None:
        super()._begin()
        self.evidence = 0.0
        self.low = math.nan
        """Between these a window begins, as one does every so many seconds before and after."""
        self.high = math.nan

    def _began(self, low: float, high: float) -> bool:
        window = self.window
        if math.isnan(self.low):
            self.low, self.high = low, high
            return True
        since = round((low + high - self.low - self.high) / (2 * window)) * window
        drift = _DRIFT * abs(since)
        was_low, was_high = self.low + since - drift, self.high + since + drift
        width, was = high - low, was_high - was_low
        if width + was >= window:  # that says nothing
            self.low, self.high = (low, high) if width < was else (was_low, was_high)
            return True
        self.low, self.high = max(low, was_low), min(high, was_high)
        if self.low < self.high:
            self.evidence = self.evidence * _KEEPS - math.log((width + was) / window)
            return True
        self.low, self.high, self.evidence = low, high, 0.0
        return False

    @property
    def possible(self) -> bool:
        """Whether too little speaks against it, and some window was seen to begin."""
        return super().possible and not math.isnan(self.low)

    def start(self, at: float) -> tuple[float, float]:
        """Return the earliest and the latest moment at which the window began in which a request of `at` surely is."""
        since = max((at - self.high) // self.window, 0.0) * self.window
        return self.low + since, self.high + since


class FirstRequest(Ends):
    """Windows that each begin with the first request after the end of the last one."""

    __slots__ = ("_low",)

    kind = "anchored"

    def _begin(self) -> None:
        super()._begin()
        self._low = -math.inf  # when the last one began, at the earliest

    def _began(self, low: float, high: float) -> bool:
        before, self._low = self._low, low
        return high - before >= (1 - _FORGETS) * self.window


_RULES = (Log, Clock, FirstRequest, Level)
"""In the order in which those are preferred that are as slow."""


class Hypotheses:
    """Which rules nothing speaks against, for a limit."""

    __slots__ = ("_all", "_at", "_clean", "_early", "_kept", "_pressed", "_slowest", "_usual", "limit")

    def __init__(self, limit: int, *, clean: bool) -> None:
        self.limit = limit
        self._clean = clean  # whether all was seen from the start
        self._all: list[Hypothesis] = []
        self._early: deque[Told] = deque(maxlen=_EARLY)
        self._slowest: list[Hypothesis] = []
        self._kept: Hypothesis | None = None  # what is believed instead of those
        self._at = -math.inf
        self._pressed = 0.0  # refusals of late
        self._usual = 0.0

    @property
    def window(self) -> float:
        """That of what is believed, in seconds; infinite, if that is nothing."""
        one = self._kept or next(iter(self._slowest), None)
        return math.inf if one is None else one.window

    def believed(self, ours: SendLog, *, capped: bool, shared: float) -> Hypothesis | None:
        """Return what is believed, `ours` being what we sent; None, if that is nothing.

        `capped`: as much remains again and again, and never more, as of a bucket that is full. `shared`: the window of
        the log that is gone by so far; 0, if none is.
        """
        if not self._all:
            self._wake(ours)
        if self._pressed > _DISTRUST[self.window >= COMMONEST]:
            return None
        best = min(self._slowest, key=lambda one: (capped and one.kind != "token", one.doubtful), default=None)
        kept = None
        if best is not None and best.window > shared >= COMMONEST and self._pressed < _REFUSALS:
            kept = next((one for one in self._all if one.kind == "sliding" and one.window == shared), None)
        self._kept = kept if kept is not None and kept.possible else None
        return self._kept or best

    def refused(self, state: str) -> None:
        """A request was refused that left by the law of this name."""
        self._pressed += 1
        if state == "sliding" and len(self._slowest) > 1:
            for one in self._slowest:
                if one.kind == state:
                    one.doubt()

    def measured(self, window: float) -> None:
        """Look at a log of this window as well, as it seems to be one."""
        if self._all and all(abs(one.window - window) > _ALIKE * window for one in self._all if one.kind == "sliding"):
            self._all = [one for one in self._all if one.window in USUAL]
            self._all.append(Log(window, self.limit))
            self._all.sort(key=lambda one: one.window)

    def usual(self, window: float) -> None:
        """Believe in this window, if all is forgotten at once, without evidence; 0: in none."""
        self._usual = window

    def see(self, ours: SendLog, told: Told) -> None:
        """Take in the newest answer."""
        if self._all:
            self._see(ours, told)
        else:
            self._early.append(told)
            if len(self._early) == _EARLY and told.at - self._early[0].at < USUAL[-1]:
                self._wake(ours)

    def _wake(self, ours: SendLog) -> None:
        self._all = [rule(window, self.limit) for window in USUAL for rule in _RULES]
        for told in self._early:
            self._see(ours, told)
        self._early.clear()

    def _see(self, ours: SendLog, told: Told) -> None:
        at = told.at
        if at < self._at or (told.own and self._slowest and at < self._at + self.window / _OFTEN):
            return
        self._at = at
        self._pressed *= 1 - 1 / (_EASED * self.limit)
        longer = int(self._pressed / _PRESSED)
        presumed = USUAL[min(USUAL.index(COMMONEST) + longer, len(USUAL) - 1)]
        slowest: list[Hypothesis] = []
        for one in self._all:
            one.see(ours, told)
            if not one.possible:
                continue
            window = one.window
            seen = one.at_once and (window == self._usual or one.evidence >= _EVIDENCE)
            if window > max(COMMONEST, (at - one.since) / _SEEN) or not (seen or self._clean or window <= presumed):
                continue
            if not slowest or window == slowest[0].window:
                slowest.append(one)
            elif seen or not one.at_once or window <= COMMONEST or longer:
                slowest = [one]
        self._slowest = slowest
