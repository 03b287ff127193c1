"""When one more request may be sent. Pure arithmetic: every method is told the time.

A client that keeps to one law is never refused, whether the server counts in fixed windows, in windows that begin with
a request, in a sliding log or in a token bucket, and in the long run it uses the whole quota of each:

    never more than Limit requests in any W seconds

So no kind of counting is told apart; only W has to be known (`window`). A request is sent because the newest response
leaves one (a *fact*), or because the law says that one has come free (a *presumption*, not confirmed by a response
yet). Presumptions are proven one, two, four … at a time, as TCP opens its window.

What happens:

- **A request is sent.** Its time is logged. If no fact covers it, it is a presumption.
- **A response with quota headers arrives.** It says how many requests the server still counted when it counted this
  one. That is known between two bounds only, because requests that leave within `_jitter` of each other may arrive in
  any order; each rule uses the careful bound. The response sets the facts anew, and narrows the bounds of W.
- **A request is refused.** The bucket pauses for as long as the server asks, then sends one alone. A refused
  presumption was based on a W that was too short: the request that it relied on is still counted at that age.
- **W is unknown, or nothing may be sent.** The last requests of a quota are sent at the age at which W is looked for,
  so that their responses move a bound (`_look`, `_first_quota`).
"""

from __future__ import annotations

import math

from aelyst_async.ratelimit.blind import Blind
from aelyst_async.ratelimit.headers import QuotaHeaders
from aelyst_async.ratelimit.others import FLOOR, Others
from aelyst_async.ratelimit.quota import Quota
from aelyst_async.ratelimit.window import COMMON, USUAL, Burst, Log, Sent, Window

__all__ = ["Bucket", "Sent"]

# In seconds. The first two: measured at a loopback server on a busy machine; the next two: on a mobile network.
_TOGETHER = 0.0002  # within which two requests may always overtake each other
_BURST = 0.005  # that a burst may last, each request of it sent within `_TOGETHER` of the one before
_FIRST_JITTER = 0.025  # the most jitter presumed before any is seen: the spread of round trips
_OVERTAKING = 0.25  # by which a request may overtake another; what comes later was sent by others
_PROBE_EVERY = 3600.0  # after which a longer pause is probed by one request: a server once asked for years

_CALMER = 1 - 1 / 400  # factor of the jitter for each response that agrees with it; simulated, less costs uses
_MARGIN = 0.005  # part of W added to it, for clocks and timers; simulated
_MOST_MARGIN = 0.05  # part of W that is added for jitter at most, so that jitter costs no more of the quota
_DOUBT = 60  # good responses (or the limit, if less) after which a Remaining that stays 0 is not believed


class Bucket:
    """One quota as one client sees it."""

    paused_until: float
    refused: int

    def __init__(self, quota: Quota | None = None, share: float = 1.0) -> None:
        """``quota``: told by the user; ``share``: the part to use."""
        self.limit: int | None = None if quota is None else quota.limit
        self.remaining: int | None = None
        self.paused_until = self._closed_until = -math.inf  # refused until then; nothing left until then, as it says
        self._entered = self.refused = 0  # sent, but the newest
        self.reserved: bool = False  # whether a `SharedQuota` grants each request, so that others are not our concern
        self._told, self._share = quota, share
        self._blind: Blind | None = Blind() if quota is None else None  # until a good response has quota headers
        self._log = Log()
        self._newest: Sent | None = None  # sent, but not entered yet: it may be given back at once
        self._out = self._presumed = self._let_through = 0  # under way; presumptions of those; let through so far
        self._burst = Burst(-math.inf, 0)
        self._last = self._seen_at = -math.inf  # the last request left then; that of the newest response
        self._allowed = self._sure = 0  # requests in all that the newest response authorises; the most that any did
        self._round_trip, self._jitter, self._overtaken = 0.0, _TOGETHER, False
        self._alone, self._refusals = False, 0  # one at a time, since that many were refused in a row
        self._zeros, self._refuted = 0, 0.0  # good responses in a row that left nothing; W as believed before them
        self._others = Others()
        self._ready, self._stale = -math.inf, False
        self._fresh()

    def _fresh(self) -> None:
        """Know nothing of the window but what the user told."""
        self._window = Window()
        if self._told is not None:
            self._window.tell(self._told.per)

    @property
    def sent(self) -> int:
        """Requests sent so far."""
        return self._entered + (self._newest is not None)

    @property
    def in_flight(self) -> int:
        """Requests that are out."""
        return self._out + (self._newest is not None)

    @property
    def credit(self) -> int:
        """Requests that the newest response leaves."""
        return self._allowed - self._log.count - (self._newest is not None)

    @property
    def window(self) -> float | None:
        """W in seconds, once known."""
        return self._window.believed if self._window.known else None

    @property
    def quota(self) -> Quota | None:
        """What may be used, once known."""
        limit = self.limit if self._blind is None else self._blind.limit
        if not limit or limit == math.inf or not self._window.known:
            return None
        return Quota(max(1, int(self._share * limit)), self._window.believed)

    @property
    def rate(self) -> float | None:
        """Requests per second that may be used in the long run, once known."""
        return None if (quota := self.quota) is None else quota.limit / quota.per

    @property
    def source(self) -> str | None:
        """Where the window is from."""
        if self._window.told:
            return "server" if self._told is None else "user"
        return "learned" if self._window.known else None

    @property
    def state(self) -> str:
        """See `BucketSnapshot`."""
        if self._blind is not None and self._let_through > 1:
            return "blind"
        return "shared" if self._others.rate < math.inf else "known" if self._window.known else "learning"

    def reserve_elsewhere(self, reserved: bool) -> None:
        """Whether each request is reserved in a `SharedQuota`, so that only pauses are this bucket's concern."""
        self.reserved, self._stale = reserved, True

    def adopt(self, window: float | None, paused_until: float) -> None:
        """Take over the window that other processes know, a first guess if this one learns again, and their pause."""
        if window is not None and not self._window.told and window != self._window.believed:
            self._window = Window()
            self._window.hint(window)
        self.paused_until, self._stale = max(self.paused_until, paused_until), True

    @property
    def next_at(self) -> float:
        """When one more may be sent, if nothing else happens."""
        if self._newest is not None:
            self._enter()
        if not self._stale:
            return self._ready
        ready = -math.inf if self.reserved else self._due()
        if self._out and not self.reserved and (ready == math.inf or self._alone):
            ready = self._last + max(2.0, 8 * self._round_trip)  # one that hangs must not hold up the others
        elif ready == math.inf:
            ready = self._last + 1.005 * COMMON * float(2 ** min(self._refusals, 6))
        if not self._window.told:
            ready = min(ready, self._last + USUAL[-1])
        self._ready, self._stale = max(self.paused_until, ready, self._closed_until), False
        return self._ready

    def _due(self) -> float:
        """Return when the quota allows one more; infinite: a response has to come first."""
        limit, window, last, blind = self.limit, self._window, self._last, self._blind
        if blind is not None:
            if self._out >= blind.may_be_out(self._let_through, self._out):
                return math.inf
            return self._law(int(self._share * blind.limit) or 1) if window.known and blind.limit < math.inf else last
        assert limit is not None
        own = int(self._share * limit) or 1  # requests of ours in a window, at most
        credit = self._allowed - self._log.count
        if self._others.rate < math.inf:
            return self._in_turn(limit)
        if window.known and own == limit and credit >= 2:
            return last  # nearly always
        if window.told:
            return self._law(own)  # responses say nothing more, and mislead where requests overtake each other
        if not window.known:
            credit -= limit - own
            return self._first_quota(limit, credit) if credit >= 1 else math.inf
        if own < limit or credit < 1:
            unproven = self._presumed >= 2 * window.proven and self._out > 0
            return math.inf if credit < 1 and unproven else self._law(own)
        if not window.exact and (window.proven < 2 * limit or (window.proven // limit) % 16 == 0):
            return self._look(limit)
        return last

    def _law(self, limit: int) -> float:
        """Return when fewer than the limit were sent in the last W seconds."""
        return self._log.time(self._log.count + 1 - limit) + self._window.believed + self._margin()

    def _margin(self) -> float:
        """Return the seconds added to W. Both the request to send and the one that it relies on may be overtaken."""
        w = self._window.believed
        return _MARGIN * w + min((1 + self._overtaken) * self._jitter, _MOST_MARGIN * w)

    def _first_quota(self, limit: int, credit: int) -> float:
        """Spread the first quota: half at once, then evenly on a logarithmic scale up to a second, a few later."""
        half, hold = limit // 2, min(8, limit // 4)
        if credit > half:
            return self._last
        look = self._look(limit)
        if credit <= hold:
            return look
        begin = max(2 * self._round_trip, 0.002)
        done = 1 - (credit - hold) / (half - hold)
        return min(look, self._oldest(limit) + begin * math.pow(max(COMMON, 4 * begin) / begin, done))

    def _oldest(self, limit: int) -> float:
        """Return when the oldest requests left that the server may still count: some, not only the very first."""
        oldest = max(self._sure - limit, 0) + 1
        start = self._log.time(oldest)
        if start == math.inf:
            return self._last
        return min(max(start, self._log.time(oldest + min(5, limit // 10))), start + 0.03)

    def _look(self, limit: int) -> float:
        """Return when to spend the last of the credit to see whether the window is over."""
        start, window = self._oldest(limit), self._window
        low, believed = max(window.low, self._last - start), window.believed
        for usual in USUAL:
            if low < usual < believed:
                return start + 1.004 * usual
        if not window.known:
            return start + 1.5 * low
        if window.proven > 1:
            return start + 0.75 * believed
        return start + believed + self._margin()

    def send(self, one: Sent, now: float) -> bool:
        """Let a request go, if one may; return whether."""
        if (self._ready if self._newest is None and not self._stale else self.next_at) > now:
            return False
        one.at, self._newest = now, one
        return True

    def _enter(self) -> None:
        """Enter the newest request into the books. Later than it is sent, since it may be given back at once."""
        one, limit = self._newest, self.limit
        assert one is not None
        at, self._newest = one.at, None
        fact = limit is not None and self._allowed > self._log.count
        one.presumed = not fact and self._window.known
        self._presumed += one.presumed
        if at > self._last + _TOGETHER or at > self._burst.before + _BURST:
            self._burst = Burst(at, self._out)
        one.burst = self._burst
        one.burst.end = self._last = at
        self._log.append(at, 2 * (limit or 4000))
        self._out += 1
        self._entered += 1
        self._stale = True

    def unsent(self, one: Sent) -> None:
        """The request was never sent."""
        if one is self._newest:
            self._newest = None
            return
        self.lost(one)
        self._entered -= 1
        self._discount(one)

    def lost(self, one: Sent) -> None:
        """The request is not out any more, and the server may have counted it."""
        if self._newest is not None:
            self._enter()
        self._out -= 1
        self._presumed -= one.presumed
        self._stale = True

    def _discount(self, one: Sent) -> None:
        self._log.remove(one.at)
        if self._seen_at >= one.at:
            self._allowed -= 1
            self._sure -= 1
            self._window.shift(-1)

    def answer(self, one: Sent, now: float, status: int, quota: QuotaHeaders) -> None:
        """Take in a response."""
        self.lost(one)
        took = now - one.at
        if not self._round_trip:
            self._round_trip = max(took, 1e-4)
            self._jitter = min(max(took, _TOGETHER), _FIRST_JITTER)
        self._round_trip += (took - self._round_trip) / 8
        if status == 429:
            self._refuse(one, now, quota)
            return
        limit, remaining, _, reset, length = quota
        self._refusals, self._alone = 0, False
        self._window.proven += one.presumed
        self._let_through += 1
        if self._told is None:
            if length is not None and length != self._window.believed:
                self._window.tell(length)
        elif limit != self.limit:
            return  # it describes another quota than the one that the user told
        if reset is not None and one.at >= self._seen_at:
            self._reset(now, remaining, reset)
        if self.reserved:
            # What others sent is counted too, so it shows nothing of the window.
            if limit is not None:
                self._blind, self.limit, self.remaining = None, limit, remaining
        elif limit is not None and remaining is not None and self._credible(limit, remaining):
            self._learn(one, limit, remaining)
        elif self._blind is not None:
            self._blind.accepted(one.at, self._log, self._window)

    def _reset(self, now: float, remaining: int | None, reset: float) -> None:
        """The quota is whole again in so many seconds: W is at least that. Most servers round up to whole seconds."""
        left = reset - 1 if self._window.known else reset
        if reset > 1:
            self._window.hint(next((usual for usual in USUAL if reset <= usual <= reset + 1), reset))
        self._closed_until = now + min(left, _PROBE_EVERY) if remaining == 0 else -math.inf

    def _credible(self, limit: int, remaining: int) -> bool:
        """Return whether to believe a good response's counts: not if nothing was left before the request, again and
        again, as no window explains.
        """
        if remaining or limit == 1:
            self._zeros, self._refuted = 0, self._window.believed if self._window.known else 0.0
        else:
            self._zeros += 1
        unexplained = self._window.believed >= 1.5 * self._refuted
        doubted = self._zeros > min(max(limit, 2), _DOUBT) and (unexplained or self._blind is not None)
        if doubted != (self._blind is not None):
            self._blind = Blind() if doubted else None
            self._fresh()
        return not doubted

    def _learn(self, one: Sent, limit: int, remaining: int) -> None:
        log, window, jitter, at = self._log, self._window, self._jitter, one.at
        if limit != self.limit:
            if at < self._seen_at:
                return
            if self.limit is not None:
                self._allowed += limit - self.limit
                self._sure += limit - self.limit
                window.new_limit()
            self.limit = limit
        old, burst = self._allowed, one.burst
        # Requests in all that are authorised, as if this one had been counted first of those within the jitter, or last
        begin, end = at - jitter, at + jitter
        if begin > burst.before:
            begin = burst.before
        if end < burst.end:
            end = burst.end
        before = log.sent_by(begin)
        if burst.out:  # under way when the burst began: the server may count them later, but not much later
            before = max(before - burst.out, log.sent_by(begin - 4 * _FIRST_JITTER))
        least, most = before + 1 + remaining, log.sent_by(end) + remaining
        if at < self._seen_at - jitter:
            self._allowed = max(old, least)
            return
        self.remaining = remaining
        seen = self._seen_at > -math.inf
        if seen and most < old:
            by = log.time(old - remaining) - at
            if by < _OVERTAKING:
                self._overtaken = True
                self._jitter = jitter = max(jitter, 1.3 * by)
                least, most = min(least, log.sent_by(at - jitter) + 1 + remaining), old
        elif most > least and jitter > _TOGETHER:
            self._jitter = max(_TOGETHER, jitter * _CALMER)
        if seen and old > least:
            least = min(old, most)
        if at > self._seen_at:
            self._seen_at = at
        self._allowed = least
        if least > self._sure:
            self._sure = least
            if least > limit:
                window.proven = window.proven or 1
        others = window.narrow(log, at, least - limit, most - limit, limit, jitter)
        if others or self._others.seen or self._others.rate < math.inf:
            self._others.learn(at, others, limit, remaining, log, window)

    def _in_turn(self, limit: int) -> float:
        """Return when one may be sent beside others' requests: at our rate, and only if one is left."""
        burst = max(1, limit // 32)
        turn = self._log.time(self._log.count + 1 - burst) + burst / self._others.rate
        theirs = self._others.seen * self._round_trip / self._window.believed  # under way
        if self._allowed - self._log.count > FLOOR * limit + theirs:
            return turn
        return math.inf if self._out else max(turn, self._last + self._window.believed / 4)

    def _refuse(self, one: Sent, now: float, quota: QuotaHeaders) -> None:
        fresh = one.at >= self.paused_until
        self.refused += 1
        self._refusals += fresh
        self._alone = True
        log, window, limit, blind = self._log, self._window, self.limit, self._blind
        if quota.limit is not None and blind is not None:
            self.limit = quota.limit
        wait = quota.retry_after
        if wait is None and not fresh:
            wait = 0.0  # it was under way when the pause began, which is long enough
        if fresh and not self.reserved:  # or it says nothing of the window
            if blind is not None:
                blind.refused(one.at, now, now + (COMMON if wait is None else wait), log, window, quota.limit)
            elif one.presumed and limit is not None:
                window.at_least(one.at - log.time(log.sent_by(one.at) - limit))
        if wait is None:
            if blind is not None:
                wait = blind.pause(one.at, log, window) - (now - one.at)
            else:
                wait = max(COMMON, 2 * self._round_trip) * float(2 ** min(self._refusals - 1, 6))
            wait = min(wait, USUAL[-1])
        self.paused_until = max(self.paused_until, now + min(wait, _PROBE_EVERY))
        self._discount(one)
        self._allowed = min(self._allowed, self._log.count) + 1
