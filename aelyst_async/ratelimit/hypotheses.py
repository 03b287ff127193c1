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
one which needs the fewest others. Of several that are as slow, it is
the one that does the least harm where it is wrong: a log that is shared first, a bucket's burst last.

The slowest is not believed before it could have been refuted. Whoever has seen all from the start has had to wait for
that as long as the window. Who came late and gets little refutes little: there the commonest length is presumed, longer
ones where requests are refused again and again. And that windows end for all at once is what hardly seen ends may look
like as well, so longer ones than the commonest need evidence: that the ends met the grid, weighed by how likely they
would have done so by mere chance.

Only usual lengths are looked at, and the one that was measured of a log. Where it is another, whatever is believed is
refused again and again; then nothing is for a while, and the laws are judged as if alone.

What speaks against one is summed up in requests, and fades, more slowly each time it was refuted: when both send half
each, in turn, little speaks against anything any more. Most buckets never have others, so nothing is worked out before
there were some answers; and as few say as much as many, only so many in a window are.
"""

from __future__ import annotations

import math
from bisect import bisect_right

from aelyst_async.ratelimit.books import COMMONEST, USUAL
from aelyst_async.ratelimit.memory import SendLog

__all__ = ["Clock", "Hypotheses", "Hypothesis"]

_TOLD, _OF = 1.4, 0.02
"""Requests that may speak against one that is believed, and the share of the limit on top: an answer was late or lost.
"""

_FADES, _MOST = 16.0, 512.0
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
"""Answers that are kept before any is looked at."""

_OFTEN = 64
"""Answers looked at in a window, at most."""

_OLD = 64
"""Answers of more than a window ago that are kept."""


class Log:
    """A log of a window."""

    __slots__ = ("_least", "_most", "_times", "_window")

    def __init__(self, window: float) -> None:
        self._window = window
        self._times: list[float] = []
        self._least: list[float] = []  # that others sent in all, at least and at most, by those times
        self._most: list[float] = []

    def see(self, ours: SendLog, limit: int, at: float, remaining: int, slack: float, own: int) -> float:  # noqa: ARG002 - others need it
        """Take in an answer; return by how many requests it cannot be so."""
        window, gone, times = self._window, limit - remaining, self._times
        forgotten = at - window - slack - _FORGETS * window  # surely
        sure = max(ours.sent_by(at - slack) - ours.sent_by(at - window + slack), 0)
        maybe = ours.sent_by(at + slack) - ours.sent_by(forgotten)
        before, after = bisect_right(times, forgotten), bisect_right(times, at - window + slack)
        least, most, last = float(gone - maybe), float(gone - sure), 0.0
        if times:
            last = self._least[-1]
            least += self._least[before - 1] if before else 0.0
            most += self._most[min(after, len(times) - 1)]
        wrong = max(sure - gone, last - most, 0.0)
        least = max(least, last)
        times.append(at)
        self._least.append(least)
        self._most.append(max(most, least))
        if before > _OLD:
            for one in (times, self._least, self._most):
                del one[: before - 1]
        return wrong


class Level:
    """A bucket of a rate, that of the limit in a window."""

    __slots__ = ("_at", "_level", "_window")

    def __init__(self, window: float) -> None:
        self._window = window
        self._at = math.nan
        self._level = 0.0  # at most

    def see(self, ours: SendLog, limit: int, at: float, remaining: int, slack: float, own: int) -> float:
        """Take in an answer; return by how many requests it cannot be so."""
        before, wrong, level = self._at, 0.0, remaining + 1.0
        if not math.isnan(before):
            took = own + max(ours.sent_by(at - slack) - ours.sent_by(before + slack), 0)
            # It may have been full at any time in between, but what came in then made room for what we took.
            most = min(self._level + limit / self._window * (at - before + slack) - took, limit - own)
            wrong = max(remaining - most, 0.0)
            if not wrong:
                level = min(level, most)
        self._at, self._level = at, level
        return wrong


class Rises:
    """When more remained than before."""

    __slots__ = ("_at", "_remaining")

    def __init__(self) -> None:
        self._at = math.nan
        self._remaining = 0

    def rose(self, ours: SendLog, at: float, remaining: int, slack: float, own: int) -> tuple[int, float]:
        """Take in an answer; return by how many requests what remains has risen, and since when at the earliest."""
        before, self._at = self._at, at
        more = remaining - self._remaining
        self._remaining = remaining
        if not own or math.isnan(before):
            return 0, before
        return more + ours.sent_by(at - slack) - ours.sent_by(before + slack), before - slack


class Clock:
    """Windows that keep to the server's clock."""

    __slots__ = ("_rises", "evidence", "high", "low", "window")

    def __init__(self, window: float) -> None:
        self.window = window
        self.low = math.nan
        """Between these a window begins, as one does every so many seconds before and after."""
        self.high = math.nan
        self.evidence = 0.0
        self._rises = Rises()

    def see(self, ours: SendLog, limit: int, at: float, remaining: int, slack: float, own: int) -> float:  # noqa: ARG002 - others need it
        """Take in an answer; return by how many requests it cannot be so."""
        more, low = self._rises.rose(ours, at, remaining, slack, own)
        if more < 1:
            return 0.0
        high, window = at + slack, self.window
        if math.isnan(self.low):
            self.low, self.high = low, high
            return 0.0
        since = round((low + high - self.low - self.high) / (2 * window)) * window
        drift = _DRIFT * abs(since)
        was_low, was_high = self.low + since - drift, self.high + since + drift
        width, was = high - low, was_high - was_low
        if width + was >= window:  # that says nothing
            self.low, self.high = (low, high) if width < was else (was_low, was_high)
            return 0.0
        self.low, self.high = max(low, was_low), min(high, was_high)
        if self.low < self.high:
            self.evidence = self.evidence * _KEEPS - math.log((width + was) / window)
            return 0.0
        self.low, self.high, self.evidence = low, high, 0.0
        return float(more)

    def start(self, at: float) -> tuple[float, float]:
        """Return the earliest and the latest moment at which the window began in which a request of `at` surely is."""
        since = max((at - self.high) // self.window, 0.0) * self.window
        return self.low + since, self.high + since


class Anchored:
    """Windows that each begin with the first request after the end of the last one."""

    __slots__ = ("_began", "_rises", "_window")

    def __init__(self, window: float) -> None:
        self._window = window
        self._began = -math.inf  # at the earliest
        self._rises = Rises()

    def see(self, ours: SendLog, limit: int, at: float, remaining: int, slack: float, own: int) -> float:  # noqa: ARG002 - others need it
        """Take in an answer; return by how many requests it cannot be so."""
        more, low = self._rises.rose(ours, at, remaining, slack, own)
        if more < 1:
            return 0.0
        wrong = at + slack - self._began < (1 - _FORGETS) * self._window
        self._began = low
        return float(more) if wrong else 0.0


_RULES: dict[str, type[Log | Clock | Anchored | Level]] = {
    "sliding": Log,
    "fixed": Clock,
    "anchored": Anchored,
    "token": Level,
}
"""In the order in which those are preferred that are as slow."""


class Hypothesis:
    """One rule and one window."""

    __slots__ = ("against", "fades", "kind", "rule", "since", "window")

    def __init__(self, kind: str, window: float) -> None:
        self.kind = kind
        self.window = window
        self.against = 0.0
        """Requests that speak against it."""
        self.fades = _FADES
        self.begin(math.nan)

    def begin(self, at: float) -> None:
        """Look at it anew."""
        self.since = at
        self.rule = _RULES[self.kind](self.window)

    @property
    def tells(self) -> bool:
        """Whether it could be gone by: of a clock, some window must have been seen to begin."""
        return not isinstance(self.rule, Clock) or not math.isnan(self.rule.low)

    def see(self, ours: SendLog, limit: int, at: float, remaining: int, slack: float, own: int, most: float) -> None:
        """Take in an answer; `most`: what may speak against it."""
        before = self.against
        self.against -= before / (self.fades * limit)
        if self.against > _FOR_GOOD * most:
            return
        if before > _FOR_GOOD * most or math.isnan(self.since):
            self.begin(at)
        self.against += self.rule.see(ours, limit, at, remaining, slack, own)
        if before <= most < self.against:
            self.fades = min(2 * self.fades, _MOST)


class Hypotheses:
    """Which rules nothing speaks against, for a limit."""

    __slots__ = ("_all", "_at", "_clean", "_early", "_pressed", "_slowest", "_usual", "limit")

    def __init__(self, limit: int, *, clean: bool) -> None:
        self.limit = limit
        self._clean = clean
        self._all: list[Hypothesis] = []
        self._early: list[tuple[float, int, float, int]] = []
        self._slowest: list[Hypothesis] = []
        self._at = -math.inf
        self._pressed = 0.0  # refusals
        self._usual = 0.0

    @property
    def _most(self) -> float:
        """What may speak against one that is believed."""
        return _TOLD + _OF * self.limit

    @property
    def window(self) -> float:
        """That of what is believed, in seconds; infinite, if that is nothing."""
        return self._slowest[0].window if self._slowest else math.inf

    def believed(self, ours: SendLog, *, capped: bool) -> Hypothesis | None:
        """Return what is believed, `ours` being what we sent; None, if that is nothing.

        `capped`: as much remains again and again, and never more, as of a bucket that is full.
        """
        if not self._all:
            self._wake(ours)
        if self._pressed > _DISTRUST[self.window >= COMMONEST]:
            return None
        doubt = _DOUBT * self._most
        return min(self._slowest, key=lambda one: (capped and one.kind != "token", one.against > doubt), default=None)

    def refused(self, state: str) -> None:
        """A request was refused that left by the law of this name."""
        self._pressed += 1
        if state == "sliding" and len(self._slowest) > 1:
            for one in self._slowest:
                if one.kind == state:
                    one.against += _REFUSED * self._most

    def measured(self, window: float) -> None:
        """Look at a log of this window as well, as it seems to be one."""
        if self._all and all(abs(one.window - window) > _ALIKE * window for one in self._all if one.kind == "sliding"):
            self._all = [one for one in self._all if one.window in USUAL]
            self._all.append(Hypothesis("sliding", window))
            self._all.sort(key=lambda one: one.window)

    def see(self, ours: SendLog, at: float, remaining: int, slack: float, *, own: int = 1, usual: float = 0.0) -> None:
        """Take in the newest answer, to a request sent at `at` that was counted up to `slack` seconds off.

        `own`: 0, if it was refused. `usual`: how long windows seem to be that end for all at once; 0, if nobody knows.
        """
        if own:
            self._usual = usual
        if self._all:
            self._see(ours, at, remaining, slack, own)
        else:
            self._early.append((at, remaining, slack, own))
            if len(self._early) >= _EARLY:
                self._wake(ours)

    def _wake(self, ours: SendLog) -> None:
        self._all = [Hypothesis(kind, window) for window in USUAL for kind in _RULES]
        for early in self._early:
            self._see(ours, *early)
        self._early.clear()

    def _see(self, ours: SendLog, at: float, remaining: int, slack: float, own: int) -> None:
        if at < self._at or (own and self._slowest and at < self._at + self.window / _OFTEN):
            return
        self._at = at
        limit, most = self.limit, self._most
        self._pressed *= 1 - 1 / (_EASED * limit)
        longer = int(self._pressed / _PRESSED)
        presumed = USUAL[min(USUAL.index(COMMONEST) + longer, len(USUAL) - 1)]
        slowest: list[Hypothesis] = []
        for one in self._all:
            one.see(ours, limit, at, remaining, slack, own, most)
            if one.against > most or not one.tells:
                continue
            window, kind = one.window, one.kind
            ends = kind in {"fixed", "anchored"}
            seen = ends and (window == self._usual or (isinstance(one.rule, Clock) and one.rule.evidence >= _EVIDENCE))
            if window > max(COMMONEST, (at - one.since) / _SEEN) or not (seen or self._clean or window <= presumed):
                continue
            if not slowest or window == slowest[0].window:
                slowest.append(one)
            elif seen or not ends or window <= COMMONEST or longer:
                slowest = [one]
        self._slowest = slowest
