"""When one more request may go: pure arithmetic. Every method is told the time; none reads a clock.

Three laws, by what is known of the server (`memory` says how it is known)::

                 first answer with Limit and Remaining
      ┌───────┐ ────────────────────────────▶ ┌──────────┐  forgets all at once, twice   ┌───────┐
      │ blind │                               │ scouting │ ────────────────────────────▶ │ fixed │
      └───────┘ ◀──── none for a long time ── └──────────┘ ◀── a window ends late ────── └───────┘
     no headers: additive                          │                                       ▲   │
     increase, cut when refused                    │ forgets one by one                    │   │ the other
                                                   ▼                                       │   ▼ way shows
                                              ┌────────┐ ──────────────────────────────────┘
                                              │ smooth │ ◀──────────────────────────────────
                                              └────────┘
      any of them ── 429 ──▶ paused until Retry-After is over, then one request alone, then on

**Credit.** The answer to request *i* says that *i + R* of ours are authorised (`memory` numbers them). What has been
sent since is taken off: ``credit = i + R - sent``. It needs no clock and no window, and holds for every rule of
counting. The rest is about *when* to spend it, and what may be presumed before the next answer is in.

- *scouting*: the window is unknown, so the credit is spent evenly on a logarithmic scale: for any window, the most of
  the first one is used, and enough is left to see it end.
- *fixed*: what is left is spread evenly up to the end of the window. Nothing is presumed until the latest moment at
  which the window may have ended; after that a new quota is.
- *smooth*: what was sent a window ago comes back as it was sent. That is presumed for the requests whose answers are
  still out, but no more than has come in on average; standing credit is worked off over a fraction of a window.

**Reserve.** Each request remembers what credit we believed in when it left; its answer says what was true. The worst
disappointment of late is kept as a reserve: neighbours who spend the same quota, requests that overtake each other
and rules that no law fits show there and nowhere else.
"""

from __future__ import annotations

import math

from aelyst_async.ratelimit.blind import Blind
from aelyst_async.ratelimit.headers import QuotaHeaders
from aelyst_async.ratelimit.memory import Boundaries, Extremum, Inflow, SendLog

__all__ = ["Bucket"]

_SOON = (0.004, 0.05)
"""Seconds, from and to: the credit of the very start is spent within two round trips or so."""

_LATE = 0.002
"""Seconds of lateness made good. The grain of timers is a millisecond, of uvloop's clock as well."""

_WIDE = 0.008  # of a window: bounds further apart than this are worth a test

_FAIR = 0.008
"""Share of the limit held back at one limit per second."""

_FIRST_GUESS = 1.0
"""Seconds after which an empty quota is asked again when nothing is known of its window."""


class _Sent:
    """A request that is out."""

    __slots__ = ("at", "believed", "number")

    def __init__(self, number: int, at: float, believed: float) -> None:
        self.number = number
        self.at = at
        self.believed = believed


class Bucket:
    """The state of one quota, and the time of the next request that it permits."""

    def __init__(self) -> None:
        self.limit: int | None = None
        self.remaining: int | None = None
        self.paused_until = -math.inf
        self.sent = 0
        self.refused = 0
        self.state = "learning"
        self._out: dict[int, _Sent] = {}
        self._ticket = 0
        self._log = SendLog()
        self._last = -math.inf
        self._blind = Blind()
        self._expecting = False
        self._due = -math.inf
        self._alone = False  # after a refusal: one request at a time until an answer is good
        self._refusals = 0
        self._round_trip = 0.0
        self._soon = _SOON[1]
        # The newest answer, in the order of sending.
        self._seen = 0
        self._seen_at = -math.inf
        self._allowed = 0  # i + R
        self._forgotten = 0  # G
        self._remembered = 0  # U
        # What is known of the window.
        self._origin = -math.inf
        self._at_least = 0.0
        self._not_before = -math.inf
        self._bounds = Boundaries()
        self._ages = Extremum(largest=True)
        self._forgot_ages = Extremum(largest=False)
        self._odd = 0
        self._at_once = 0.0
        self._one_by_one = 0.0
        self._most_forgotten = 0.0
        self._inflow = Inflow()
        self._surprise = 0.0
        self._spread = 0.0
        self._test = 0
        self._test_at = -math.inf
        self._share = 0.0
        self._untouched = 0.0
        self._lowest = Extremum(largest=False)
        self._settled_at = -math.inf
        self._slip = 0.0

    # -- what it tells ----------------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Requests that are out."""
        return len(self._out)

    @property
    def credit(self) -> int:
        """Requests that the newest answer leaves to us."""
        return self._allowed - self._log.count

    @property
    def window(self) -> float | None:
        """The window in seconds, once known."""
        if self.state == "fixed":
            return (self._bounds.window_low + self._bounds.window_high) / 2
        if self.state == "smooth":
            return self._gate_window()[1]
        return None

    @property
    def rate(self) -> float | None:
        """Requests per second that the quota allows in the long run, once known."""
        if self.state == "blind":
            return self._blind.rate
        window = self.window
        return None if window is None or self.limit is None or window <= 0 else self.limit / window

    # -- when -------------------------------------------------------------------------------------------------------

    def ready_at(self, now: float) -> float:
        """Return when one more request may go: `now` or earlier, or later."""
        if self.paused_until > now:
            return self.paused_until
        # While an answer is to be expected, it is waited for; a request that hangs must not hold up the others.
        patience = self._last + max(2.0, 8 * self._round_trip)
        self._expecting = bool(self._out) and now < patience
        if self._alone and self._expecting:
            return patience
        if self.limit is None or self.state == "blind":
            return min(self._blind.ready_at(now, len(self._out)), max(patience, now))
        if self.state == "fixed":
            ready = self._ready_fixed(now)
        elif self.state == "smooth":
            ready = self._ready_smooth(now)
        else:
            ready = self._ready_scouting()
        if self._expecting and ready > patience:
            ready = patience
        self._due = ready
        return ready

    def _spare(self) -> float:
        """Return the requests that are held back."""
        limit = self.limit or 1
        surprise = max(self._surprise, 0.0) + 3 * self._spread
        surprise = 0.0 if surprise < 0.5 else min(math.ceil(surprise - 0.5), 0.2 * limit)
        # What nobody has touched for a window need not be guarded.
        return float(int(surprise / (1 + self._untouched) + self._share))

    def _ready_scouting(self) -> float:
        credit: float = self._allowed - self._log.count
        credit -= min(self._spare(), credit // 2) if credit > 0 else 0
        known = self._bounds.low > -math.inf
        since = max(self._last - self._origin, self._at_least, self._soon)
        if credit < 1:
            return self._ask_again(since)
        if credit <= 7 and credit < (self.limit or 0):
            # The last few are for seeing the window end: they go at times that grow by a factor.
            factor = 0.3 if credit > 3 else 0.5 if credit > 1 else 1.0
            return self._last + since * (factor / 2 if known else factor)
        gap = since / ((2.0 if known else 1.0) * credit)
        return self._last + (gap if gap > 1e-5 else 0.0)  # less than any loop can wait for

    def _ask_again(self, since: float) -> float:
        """Return when an empty quota is tried again."""
        if self._expecting:
            return math.inf
        bounds = self._bounds
        if not bounds.known:
            return self._last + max(since, _FIRST_GUESS)
        low, high = bounds.window_low, bounds.window_high
        guess = _FIRST_GUESS if low < 0.99 * _FIRST_GUESS and high >= _FIRST_GUESS else (low + high) / 2
        return max(bounds.high + guess + self._margin(guess), self._last + self._soon)

    def _ready_fixed(self, now: float) -> float:
        bounds, limit = self._bounds, self.limit or 1
        margin = self._margin(bounds.window_high)
        early, late = bounds.low + bounds.window_low, bounds.high + bounds.window_high + margin
        spare = self._spare()
        if now < late:
            credit = self._allowed - self._log.count - spare
            if credit < 1:
                return late
            if credit < 2 and late - early > 0.01 * bounds.window_high:
                # The last one goes where the end is expected: on whichever side it is counted, it tells.
                return max(self._last, (early + late - margin) / 2)
            # All but the last by the earliest end; in a hurry, still not in one burst.
            left = max(early - self._last, 0.25 * (late - self._last), 0.0)
            return self._last + left / credit
        if self._seen_at >= late:
            # An answer from after the end, and no new window: `answer` has seen to it; go by the credit.
            return self._ready_scouting()
        if bounds.confirmed < 2:
            return math.inf if self._expecting and self._last >= late else late
        # A new window is presumed. Whatever left after the earliest possible end may count in it.
        credit = limit - (self._log.count - self._log.sent_by(early)) - spare
        if credit < 1:
            return math.inf if self._expecting else self._last + bounds.window_high
        return max(late, self._last + bounds.window_high / limit)

    def _margin(self, window: float) -> float:
        return 0.0005 + 0.003 * window + self._slip

    def _gate_window(self) -> tuple[float, float]:
        """Return the bounds of the window of a server that forgets one by one."""
        oldest = self._ages.get(-math.inf) or 0.0
        low = self._ages.get(self._seen_at - 4 * oldest) or 0.0
        high = self._forgot_ages.get(self._seen_at - 256 * oldest)
        if high is None or high < low:  # neighbours make the lower bound too high; then pace goes by that
            high = low
        return low, max(high, 0.001)

    def _returned(self, at: float, window: float, margin: float) -> int:
        """Return how many requests a sliding log gives back between the newest answer and `at`."""
        base = max(self._log.sent_by(self._seen_at - window), self._forgotten)
        return max(0, self._log.sent_by(at - window - margin) - base)

    def _ready_smooth(self, now: float) -> float:
        limit = self.limit or 1
        low, high = self._gate_window()
        margin = self._margin(high)
        spare = self._spare()
        credit = self._allowed - self._log.count - spare
        flow = self._inflow.rate()
        pace = 0.9 * (min(high / limit, 1 / flow) if flow > 0 else high / limit)
        base = max(self._log.sent_by(self._seen_at - high), self._forgotten)
        if credit >= 1:
            ready = self._last + min(pace, high / 16 / credit)
            if credit < 2 and high - low > _WIDE * high and self._log.known(base + 1):
                # The one to spare is best sent between the bounds: it brings them together.
                ready = max(ready, self._log.time(base + 1) + (low + high) / 2)
            return ready
        needed = base + 1 - int(credit)
        if now >= self._test_at and high - low > _WIDE * high and limit > 2:
            needed += 1  # wait for one more, to have one to spare
        ready = self._log.time(needed) + high + margin if self._log.known(needed) else math.inf
        if flow > 0:
            ready = max(ready, self._seen_at + ((1.0 if high <= low else 0.7) - credit) / flow)
        if not self._expecting and credit + spare >= 1:
            # Nothing is out to learn from: a request of those held back shows where we stand.
            ready = min(ready, self._last + max(high / 16, self._round_trip))
        elif math.isinf(ready):
            return math.inf if self._expecting else self._last + high
        return max(ready, self._last + pace)

    # -- what happens -----------------------------------------------------------------------------------------------

    def send(self, now: float) -> int:
        """Count a request that leaves now, and return its ticket."""
        number = self._log.append(now, 2 * (self.limit or 64))
        if number == 1:
            self._origin = now
        # Timers wake late by a millisecond or so: what follows counts from when this one was due.
        late = min(_LATE, 0.01 * window) if (window := self.window) else 0.0
        self._last = min(now, max(self._due, now - late))
        self.sent += 1
        self._ticket += 1
        if self.state == "smooth" and self._allowed >= number and now >= self._test_at:
            self._test = number
        self._out[self._ticket] = _Sent(number, now, self._believed(now))
        self._blind.send(now)
        return self._ticket

    def _believed(self, now: float) -> float:
        """Return what `_allowed` would be if this request's answer were in."""
        if self.limit is None:
            return math.nan
        if self.state == "smooth":
            return self._allowed + self._returned(now, self._gate_window()[1], 0.0)
        if self.state == "fixed" and now >= self._bounds.high + self._bounds.window_high:
            return math.nan
        return self._allowed

    def unsent(self, ticket: int) -> None:
        """Take a request back that never left."""
        self._discount(self._out.pop(ticket))
        self.sent -= 1

    def _discount(self, one: _Sent) -> None:
        self._log.remove(one.number)
        for other in self._out.values():
            if other.number > one.number:
                other.number -= 1
        if self._seen >= one.number:
            self._seen -= 1
            self._allowed -= 1
            self._forgotten -= 1
            self._most_forgotten -= 1

    def lost(self, ticket: int) -> None:
        """A request got no answer: it counts, since it may have been counted."""
        del self._out[ticket]

    def answer(self, ticket: int, now: float, status: int, quota: QuotaHeaders) -> None:
        """Learn from an answer."""
        one = self._out.pop(ticket)
        if self._round_trip <= 0:
            self._round_trip = max(now - one.at, 1e-4)
            self._soon = min(max(2 * self._round_trip, _SOON[0]), _SOON[1])
        self._round_trip += ((now - one.at) - self._round_trip) / 8
        if status == 429:
            self._refuse(one, now, quota)
            return
        self._refusals = 0
        self._alone = False
        self._blind.accepted(one.at)
        if quota.limit is None or quota.remaining is None:
            if self.limit is None:
                self.state = "blind"
            return
        if self.limit is None or self.state == "blind":
            self.state = "scouting"
        self.limit, self.remaining = quota.limit, quota.remaining
        self._learn(one, quota.limit, quota.remaining)

    def _refuse(self, one: _Sent, now: float, quota: QuotaHeaders) -> None:
        self.refused += 1
        if one.at >= self.paused_until:  # not one of those that were out when the first was refused
            self._refusals += 1
        wait = quota.retry_after
        if wait is None:
            wait = self._own_wait()
        self.paused_until = max(self.paused_until, now + wait)
        self._blind.refused(now, wait, self._refusals)
        self._alone = True
        if quota.limit is not None:
            self.limit = quota.limit if self.limit is not None else self.limit
            self.remaining = 0
        window = self.window
        if window is not None and not math.isnan(one.believed):
            self._disappointed(one.believed - (one.number - 1))
        if window is None and self._bounds.known:
            self._bounds.window_low = max(self._bounds.window_low, one.at - self._bounds.high)
            if self._bounds.window_low > self._bounds.window_high:
                self._bounds.doubt(self._bounds.window_low)
        elif self.state == "fixed" and math.isnan(one.believed):
            self._slip = min(max(2 * self._slip, 0.004 * self._bounds.window_high), 0.05 * self._bounds.window_high)
            self._bounds.doubt(one.at - self._bounds.high)
            if not self._bounds.known:
                self.state = "scouting"
        if self._forgotten >= 0:
            self._at_least = max(self._at_least, one.at - self._log.time(self._forgotten + 1))
        self._not_before = max(self._not_before, one.at)
        if wait >= 2 and wait == int(wait):
            # Whole seconds are seconds rounded up: the end is within the last one.
            self._not_before = max(self._not_before, self.paused_until - 1.05 - self._round_trip)
        self._discount(one)
        self._allowed = min(self._allowed, self._log.count) + 1
        if window is None:
            self._origin = max(self._origin, self.paused_until)

    def _own_wait(self) -> float:
        """Return the seconds to wait after a refusal that does not say."""
        window = self.window
        guess = max(1.0, 2 * self._round_trip) if window is None else max(window / 4, 2 * self._round_trip)
        return guess * float(2 ** min(self._refusals - 1, 6))

    def _disappointed(self, by: float) -> None:
        """Take in by how much less was true than was believed."""
        if self._seen_at <= self._settled_at:
            return
        weight = 2 / (16 + (self.limit or 1))
        by = min(max(by, 0.0), 0.2 * (self.limit or 1))
        self._spread += (abs(by - self._surprise) - self._spread) * weight
        self._surprise += (by - self._surprise) * weight

    def _weigh_share(self) -> None:
        """Set what is held back for neighbours: the more, the larger our own rate (see the module's text)."""
        window, limit = self.window, self.limit or 1
        if window is None or limit < 20:
            self._share = 0.0
            return
        self._lowest.push(self._seen_at, float(self.remaining or 0))
        self._untouched = self._lowest.get(self._seen_at - window) or 0.0
        count = self._log.count - max(self._forgotten, 0)
        rate = count / max(self._last - self._log.time(max(self._forgotten, 0) + 1), 1e-3)
        self._share = _FAIR * limit * min(rate / limit, 16.0) ** 0.33

    def _learn(self, one: _Sent, limit: int, remaining: int) -> None:
        allowed, remembered = one.number + remaining, limit - remaining
        forgotten = one.number - remembered
        log = self._log
        if forgotten >= 0 and self.state != "fixed":
            noise = int(2 * self._spread)  # requests that overtake each other
            self._ages.push(one.at, max(0.0, one.at - log.time(min(forgotten + 1 + noise, one.number))))
            if log.known(forgotten - noise):
                self._forgot_ages.push(one.at, one.at - log.time(forgotten - noise))
        if one.number == self._test and not remaining:
            self._test_at = one.at + 8 * (self.window or 1.0)  # it came too early; leave it for a while
        if not math.isnan(one.believed):
            self._disappointed(one.believed - allowed)
        if one.number <= self._seen:
            self._bounds.refine(one.number, one.at, after=forgotten >= self._forgotten - max(1, 0.1 * limit))
            return
        if self._seen:
            self._weigh(one, forgotten, remembered)
        else:
            self._most_forgotten = float(forgotten)
        self._seen, self._seen_at = one.number, one.at
        self._allowed, self._forgotten, self._remembered = allowed, forgotten, remembered
        self._inflow.push(one.at, allowed, max((self.window or self._soon) / 16, 0.001))
        if self.state == "scouting" and forgotten < -0.1 * limit and remaining >= 2:
            # Neighbours spend it, yet some is left each time: the quota comes back faster than we look.
            self._origin += 0.3 * max(one.at - self._origin, 0.0)
        self._judge()
        if self.state == "smooth":
            self._weigh_share()

    def _weigh(self, one: _Sent, forgotten: int, remembered: int) -> None:
        """Compare with the answer before: how much was forgotten, and did it go at once?"""
        gone = forgotten - self._forgotten
        if gone <= 0:
            self._most_forgotten += 0.1 * (forgotten - self._most_forgotten)  # neighbours push it down
            late = self._bounds.high + self._bounds.window_high + self._margin(self._bounds.window_high)
            if self.state == "fixed" and one.at > late and gone <= 0:
                self._bounds.doubt(one.at - self._bounds.high)
                if not self._bounds.known:
                    self.state = "scouting"
                    self._origin = self._bounds.high
                    self._at_least = self._bounds.window_low
            return
        limit = self.limit or 1
        between = one.number - self._seen
        age = self._seen_at - self._log.time(self._forgotten + 1) if self._forgotten >= 0 else self._at_least
        news = forgotten - self._most_forgotten
        all_at_once = (
            gone >= 0.6 * self._remembered
            and news >= 0.6 * (self._seen - self._most_forgotten)
            and remembered <= max(between + 1, 0.3 * limit)
        )
        if all_at_once and self._bounds.confirmed >= 2:
            # Far too early for an end: requests overtook each other, unless it comes again.
            self._odd = self._odd + 1 if one.at < self._bounds.low + 0.7 * self._bounds.window_low else 0
            if self._odd in {1, 2}:
                return
        close = one.at - self._seen_at <= 0.3 * age
        if all_at_once and (close or self.state != "smooth"):
            self._bounds.found(max(self._seen_at, self._not_before), one.at, (self._seen, one.number))
            self._origin = one.at
            self._at_least = max(age, self._bounds.window_low)
        # Against the most that was ever forgotten: requests that overtake each other make `gone` swing.
        if news > 0:
            self._most_forgotten = float(forgotten)
            if not all_at_once:
                self._one_by_one += news
            elif close and self._remembered >= 2:
                self._at_once += news
            if self._at_once + self._one_by_one > 2 * limit:
                self._at_once /= 2
                self._one_by_one /= 2

    def _crowd(self) -> int:
        """Return how many requests were sent so close to the newest that they may have overtaken it, or it them."""
        near = 0.001 + self._round_trip / 8
        return self._log.sent_by(self._seen_at + near) - self._log.sent_by(self._seen_at - near) - 1

    def _judge(self) -> None:
        """Decide for a law."""
        limit = self.limit or 1
        total = self._at_once + self._one_by_one
        before = self.state
        if total >= max(2.0, 0.05 * limit, 2 * self._crowd()) and self._one_by_one > 0.3 * total:
            self.state = "smooth"
        elif (
            self._bounds.known
            and self._bounds.window_high <= 2 * self._bounds.window_low
            and (before != "smooth" or self._at_once > 0.8 * total)
        ):
            self.state = "fixed"
        if self.state != before:
            self._settled_at = self._seen_at + (self.window or 0.0)
