"""When one more request may go: pure arithmetic. Every method is told the time; none reads a clock.

What is gone by, and when that changes (`memory` says what is learned from an answer, `laws` how each law works, `judge`
which is believed)::

                 first answer with Limit and Remaining
      ┌───────┐ ────────────────────────────▶ ┌──────────┐ ◀─────────────── none fits any more
      │ blind │                               │ scouting │
      └───────┘ ◀─── no such headers at all   └──────────┘
     no headers: additive                          │   the law that foretold best
     increase, cut when refused          ┌─────────┼──────────┐
                                         ▼         ▼          ▼
                                    ┌───────┐ ┌─────────┐ ┌───────┐
                                    │ fixed │ │ sliding │ │ token │  ◀─▶ each other, as another foretells better
                                    └───────┘ └─────────┘ └───────┘
      any of them ── 429 ──▶ paused until Retry-After is over, then one request alone, then on

**Credit.** The answer to request *i* says that *i + R* of ours are authorised. What has been sent since is taken off:
``credit = i + R - sent``. It needs no clock and no window, and holds for every rule of counting. The laws are about
*when* to spend it, and what may be presumed before the next answer is in.

**Reserve.** Each request remembers what credit we believed in when it left; its answer says what was true. The
disappointments of late are kept as a reserve: neighbours who spend the same quota, requests that overtake each other
and rules that no law fits show there and nowhere else. Where requests are seen to overtake each other, moments are
put off by as much as answers vary, and a count is trusted only to within those that were out at the same time.

**Neighbours.** On a token bucket, standing credit costs nothing, and all clients see the same. Each leaves some
standing, the more, the higher its own rate: whoever has less goes on when the other already stops. A fixed window is
shared by itself, since all spread the same rest over the same time. On a sliding log, who sees that others have less
leaves a little.

**What is put off.** Most buckets are asked far less than they permit, so nothing is worked out before it is needed.
The newest request is noted, and enters the books when the next thing happens; given back before that, it leaves no
trace. When the next may go is found out when somebody asks. Neither shows: all is worked out from the times of the
events, in their order.
"""

from __future__ import annotations

import math

from aelyst_async.ratelimit.blind import Blind
from aelyst_async.ratelimit.books import Books
from aelyst_async.ratelimit.fixed import Fixed
from aelyst_async.ratelimit.headers import QuotaHeaders
from aelyst_async.ratelimit.judge import Judge
from aelyst_async.ratelimit.laws import Sliding, Token
from aelyst_async.ratelimit.scout import Scout

__all__ = ["Bucket", "Sent"]

_LATE = 0.002
"""Seconds of lateness made good. The grain of timers is a millisecond, of uvloop's clock as well."""

_TOGETHER = 0.0002
"""Seconds within which requests may overtake each other on their way."""

_NOISY = 0.05
"""Requests by which what is authorised falls from one answer to the next, on average, where requests overtake."""

_SEEN = 0.002
"""The same, if they did at all of late."""

_FIRST = 16
"""Answers after which it is known whether they do."""

_LEFT = {"alone": 0.02, "met": 0.2, "crowd": 0.06}
"""Share of the limit left standing for neighbours at sixteen limits a second: nobody met for long, somebody, many."""

_HURRY = 0.8
"""In a crowd, the time between requests shrinks by this factor, as long as some stands."""


def _gap(least: float, most: float, low: float, high: float) -> float:
    """Return how far what was foretold (least to most) is from what was true (low to high)."""
    return least - high if least > high else low - most if low > most else 0.0


class Sent:
    """A request that is out. A permit is one: nothing else is made for each request. Its bucket fills it in."""

    __slots__ = ("at", "believed", "beside", "number")

    at: float
    """When it left."""
    number: int
    """In the order of sending, from 1; not set while it is the bucket's newest."""
    beside: int
    """How many others were out when it left: before or after so many it may have been counted."""
    believed: float
    """What `allowed` would be if its answer were in; not a number, if nobody could say."""


class Bucket:
    """The state of one quota, and the time of the next request that it permits."""

    __slots__ = (
        "_alone", "_answers", "_apart", "_blind", "_books", "_ended", "_fixed", "_judge", "_met_at", "_most_forgotten",
        "_newest", "_next_at", "_noise", "_out", "_planned", "_refusals", "_round_trip", "_scout", "_settled_at",
        "_sliding", "_spread", "_surprise", "_token", "_wobble", "limit", "paused_until", "refused", "remaining",
        "state",
    )  # fmt: skip

    def __init__(self) -> None:
        self.limit: int | None = None
        self.remaining: int | None = None
        self.paused_until = -math.inf
        self.refused = 0
        self.state = "learning"
        self._next_at = -math.inf
        self._planned = True
        self._newest: Sent | None = None  # not yet in the books, nor in the following
        self._out: dict[Sent, None] = {}  # in the order of sending
        self._ended = 0
        self._books = Books()
        self._blind = Blind()
        self._scout = Scout()
        self._fixed = Fixed()
        self._sliding = Sliding()
        self._token = Token()
        self._judge = Judge(self._fixed, self._sliding, self._token)
        self._alone = False  # after a refusal: one request at a time until an answer is good
        self._refusals = 0
        self._round_trip = 0.0
        self._most_forgotten = 0.0
        self._answers = 0
        self._noise = 0.0
        self._wobble = 0.0  # seconds by which the time to an answer differs from the average
        self._surprise = 0.0
        self._spread = 0.0
        self._settled_at = -math.inf
        self._apart = 0.0  # seconds between the last two requests
        self._met_at = -math.inf  # when more was gone than we took

    # -- what it tells ----------------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Requests that are out."""
        return len(self._out) + (self._newest is not None)

    @property
    def sent(self) -> int:
        """Requests that have left, those out among them."""
        return self._ended + self.in_flight

    @property
    def credit(self) -> int:
        """Requests that the newest answer leaves to us."""
        return self._books.allowed - self._books.log.count - (self._newest is not None)

    @property
    def window(self) -> float | None:
        """The window in seconds, once known."""
        if self.state == "fixed":
            return self._fixed.window
        if self.state == "sliding":
            return self._sliding.high
        if self.state == "token" and (rate := self._token.rate) > 0:
            return (self.limit or 1) / rate
        return None

    @property
    def rate(self) -> float | None:
        """Requests per second that the quota allows in the long run, once known."""
        if self.state == "blind":
            return self._blind.rate
        window = self.window
        return None if window is None or self.limit is None or window <= 0 else self.limit / window

    # -- when -------------------------------------------------------------------------------------------------------

    @property
    def next_at(self) -> float:
        """The time from which one more request may go; infinite: not before an answer."""
        if not self._planned:
            self._enter()
            self._plan()
        return self._next_at

    def _plan(self) -> None:
        """Find out when the next may go. What is planned stays right until something happens."""
        books, out, state = self._books, len(self._out), self.state
        if self.limit is None or state == "blind":
            ready = self._blind.next_at(out)
        elif state == "fixed":
            ready = self._fixed.ready(books, self._spare())
        elif state == "sliding":
            ready = self._sliding.ready(books, max(self._spare(), self._sliding.give_way(books)))
        elif state == "token":
            ready = self._ready_token(books)
        else:
            ready = self._ready_scouting(books)
        if out:
            # An answer is waited for; a request that hangs must not hold up the others.
            patience = books.last + max(2.0, 8 * self._round_trip)
            if ready > patience or self._alone:
                ready = patience
        elif ready == math.inf or (books.limit == 1 and ready > books.last + 1):
            # A quota of one shows nothing of its window; what seems to be known of it is tried anew.
            ready = min(ready, self._scout.ask_again(books, self._fixed.bounds))
        self._next_at = max(self.paused_until, ready)
        self._planned = True

    def _spare(self) -> float:
        """Return the requests that are held back."""
        surprise = self._surprise + 3 * self._spread
        return 0.0 if surprise < 0.5 else float(min(math.ceil(surprise - 0.5), int(0.2 * (self.limit or 1))))

    def _ready_scouting(self, books: Books) -> float:
        scout, fixed, spare = self._scout, self._fixed, self._spare()
        if fixed.bounds.low > -math.inf and not scout.tells(books.last):
            return fixed.ready(books, spare, scout.least)
        ready = scout.ready(books, spare)
        if self._sliding.sudden and ready < math.inf:
            # Little by little comes back what was sent: what is due next by a log's law will tell how.
            ready = min(ready, max(books.last, self._sliding.due(books, 3)))
        return ready

    def _ready_token(self, books: Books) -> float:
        token, last = self._token, books.last
        rate = token.rate
        if self._judge.token_fits:
            met = last - self._met_at < 8 * books.limit / max(rate, 1e-3)
            spare = max(self._spare(), self._left("met" if met else "alone"))
            ready = token.ready(books, spare, calm=False)
        else:
            spare = max(self._spare(), 1 + self._left("crowd"))
            ready = token.ready(books, spare, calm=True)
            if self.credit - spare >= max(3.0, 0.04 * books.limit):
                # Faster and faster as long as some stands: our own inflow says little beside that of others.
                ready = min(ready, last + max(_HURRY * self._apart, self._round_trip / 2))
        if not self._out and self.credit >= 1:
            # Nothing is out to learn from: one of those held back shows where we stand.
            pause = books.limit / rate / 16 if rate > 0 else max(2.0 * self._apart, 0.05)
            ready = min(ready, last + max(pause, 4 * self._round_trip))
        return ready

    def _left(self, company: str) -> float:
        """Return what is left standing for neighbours (see the module's text)."""
        books = self._books
        log, limit = books.log, books.limit
        some = min(32, log.count - 1)
        if some < 4 or limit < 20:
            return 0.0
        rate = some / max(books.last - log.time(log.count - some), 1e-3)
        return float(int(_LEFT[company] * limit * min(rate / limit / 16, 1.0) ** 0.25))

    # -- what happens -----------------------------------------------------------------------------------------------

    def send(self, one: Sent, now: float) -> bool:
        """Let a request leave now, if it may; return whether it does."""
        if not self._planned:
            self._enter()
            self._plan()
        if self._next_at > now:
            return False
        one.at = now
        self._newest = one
        self._planned = False
        return True

    def _enter(self) -> None:
        """Enter the newest request in the books: something else happens."""
        one = self._newest
        if one is None:
            return
        self._newest = None
        one.beside = len(self._out)
        self._out[one] = None
        books, now = self._books, one.at
        number = one.number = books.log.append(now, 2 * books.limit)
        before, due = books.last, self._next_at
        # Timers wake late by a millisecond or so: what follows counts from when this one was due.
        books.last = due if now - _LATE < due < now else now
        if number == 1:
            self._scout.began(now)
        else:
            self._apart = books.last - before
        one.believed = self._believed(books, now)
        self._blind.send(now)

    def _believed(self, books: Books, now: float) -> float:
        """Return what `allowed` would be if this request's answer were in; not a number, if nobody can say."""
        if self.limit is None:
            return math.nan
        state = self.state
        if state == "sliding":
            return self._sliding.foretell(books, now)[0]
        if state == "token":
            return max(float(books.allowed), self._token.foretell(books, now, books.log.count)[0])
        if state == "fixed" and now >= self._fixed.late(books) > books.seen_at:
            return math.nan
        return float(books.allowed)

    def unsent(self, one: Sent) -> None:
        """A request never left."""
        if self._newest is one:  # nothing has happened since: what was planned before it is right again
            self._newest = None
            self._planned = True
            return
        self._enter()
        del self._out[one]
        self._discount(one)
        self._planned = False

    def _discount(self, one: Sent) -> None:
        books = self._books
        if one.number < books.log.count:
            for later in reversed(self._out):
                if later.number < one.number:
                    break
                later.number -= 1
        books.log.remove(one.number)
        if books.seen >= one.number:
            books.seen -= 1
            books.allowed -= 1
            books.forgotten -= 1
            self._most_forgotten -= 1
            self._token.shift(-1)

    def lost(self, one: Sent) -> None:
        """A request got no answer: it counts, since it may have been counted."""
        self._enter()
        del self._out[one]
        self._ended += 1
        self._planned = False

    def answer(self, one: Sent, now: float, status: int, quota: QuotaHeaders) -> None:
        """Learn from an answer."""
        self._enter()
        del self._out[one]
        self._ended += 1
        self._planned = False
        took = now - one.at
        if self._round_trip <= 0:
            self._round_trip = max(took, 1e-4)
            self._scout.round_trip(self._round_trip)
        self._wobble += (abs(took - self._round_trip) - self._wobble) / 16
        self._round_trip += (took - self._round_trip) / 8
        self._books.round_trip = self._round_trip
        if quota.reset is not None or quota.window is not None:
            self._scout.told(now, quota.reset, quota.window)
        if status == 429:
            self._refuse(one, now, quota)
        else:
            self._refusals = 0
            self._alone = False
            self._blind.accepted(one.at)
            limit, remaining = quota.limit, quota.remaining
            if limit is None or remaining is None:
                if self.limit is None:
                    self.state = "blind"
            else:
                if self.limit is None or self.state == "blind":
                    self.state = "scouting"
                    self._books.limit = limit
                self.limit, self.remaining = limit, remaining
                self._learn(one, limit, remaining)

    def _refuse(self, one: Sent, now: float, quota: QuotaHeaders) -> None:
        books, bounds, window = self._books, self._fixed.bounds, self.window
        self.refused += 1
        if one.at >= self.paused_until:  # not one of those that were out when the first was refused
            self._refusals += 1
        wait = self._own_wait(window) if quota.retry_after is None else quota.retry_after
        self.paused_until = max(self.paused_until, now + wait)
        self._blind.refused(now, wait, self._refusals, one.at)
        self._alone = True
        if quota.limit is not None and self.limit is not None:
            self.limit, self.remaining = quota.limit, 0
        if window is not None and not math.isnan(one.believed):
            self._disappointed(one.believed - (one.number - 1))
        # One refused again may have been counted as well, and have kept itself out: it proves nothing of the window.
        first = self._refusals == 1
        if window is None and bounds.known and first:
            self._fixed.longer(one.at - bounds.high)
        elif self.state == "sliding" or (self.state == "fixed" and math.isnan(one.believed)):
            books.slipped()
            if self.state == "sliding":
                self._sliding.refused(books, one.number, one.at)
            if self.state == "fixed":
                self._fixed.doubt(one.at - bounds.high)
                if not bounds.known:
                    self.state = "scouting"
        self._scout.refused(one.at, self.paused_until, wait, self._round_trip)
        if books.forgotten >= 0 and first:
            self._scout.remembers(self._scout.not_before - books.log.time(books.forgotten + 1), bounds.window_high)
        self._discount(one)
        allowed = min(books.allowed, books.log.count) + 1  # the one that asks again
        self._token.shift(allowed - books.allowed)
        books.allowed = allowed
        if window is None:
            self._scout.began(self.paused_until)

    def _own_wait(self, window: float | None) -> float:
        """Return the seconds to wait after a refusal that does not say."""
        guess = max(1.0, 2 * self._round_trip) if window is None else max(window / 4, 2 * self._round_trip)
        return guess * float(2 ** min(self._refusals - 1, 6))

    def _disappointed(self, by: float) -> None:
        """Take in by how much less was true than was believed."""
        if by <= 0 and not self._surprise and not self._spread:
            return  # nothing new and nothing to fade, as with most answers
        if self._books.seen_at <= self._settled_at:
            return
        limit = self.limit or 1
        weight = max(0.02, 2 / (16 + limit))
        by = min(max(by, 0.0), 0.2 * limit)
        self._spread += (abs(by - self._surprise) - self._spread) * weight
        self._surprise += (by - self._surprise) * weight

    def _learn(self, one: Sent, limit: int, remaining: int) -> None:
        books, number, at = self._books, one.number, one.at
        if limit != books.limit:
            books.allowed += limit - books.limit
            self._token.shift(limit - books.limit)
            books.limit = limit
        # Requests that left together may be counted in any order: this one was between the first and the last of them.
        log = books.log
        first, last = log.sent_by(at - _TOGETHER) + 1, log.sent_by(at + _TOGETHER)
        allowed, most, remembered = first + remaining, last + remaining, limit - remaining
        forgotten = first - remembered
        if one.believed == one.believed:
            self._disappointed(math.floor(one.believed) - most)
        if first <= books.seen:
            if first <= books.seen <= last and allowed > books.allowed:
                books.allowed, books.forgotten, books.remembered = allowed, forgotten, remembered
                self._token.at_least(allowed)
            self._fixed.refine(number, at, after=forgotten >= books.forgotten - max(1, 0.1 * limit))
            return
        if books.seen:
            self._overtaken(books.allowed - most)
            self._weigh(number, at, allowed, most, forgotten, remembered, one.beside)
        else:
            self._most_forgotten = float(forgotten)
        self._sliding.learn(books, number, at, forgotten, self._mistaken(one.beside), last - first)
        self._token.learn(books, number, at, allowed, most)
        books.newest(number, at, allowed, forgotten, remembered)
        # By a log's count, and by a fixed window's: is all that is remembered ours?
        lately, since = number - log.sent_by(at - self._sliding.high), number - self._fixed.bounds.numbers[1] + 1
        off = min(abs(remembered - lately), abs(remembered - since))
        self._judge.count(ours=off <= max(2, 0.05 * limit))
        # More is remembered than we ever sent: there are neighbours.
        state = self._judge.choose(self.state, limit, crowded=forgotten < -0.1 * limit)
        if state != self.state:
            self.state = state
            self._settled_at = at + (self.window or 0.0)
            self._surprise = self._spread = 0.0

    def _overtaken(self, fell: int) -> None:
        """Take in by how much less is authorised than by the answer before, as if requests overtook each other."""
        self._answers += 1
        if fell > 0 or self._noise:
            self._noise += (min(max(fell, 0), 4 * self._noise + 2.0) - self._noise) / 64
            # A request is late by no more than its answer.
            self._books.jitter = 2 * self._wobble if self._noise > _NOISY else 0.0

    def _mistaken(self, beside: int) -> int:
        """Return by how many requests the count of one may be mistaken that left with so many others out."""
        if self._answers < _FIRST:
            return min(beside, 2)
        return min(beside, math.ceil(3 * self._judge.noise)) if self._judge.noise > _SEEN else 0

    def _weigh(
        self, number: int, at: float, allowed: int, most: int, forgotten: int, remembered: int, beside: int
    ) -> None:
        """Compare an answer that is newer than the books with what each law foretold."""
        books, fixed, bounds = self._books, self._fixed, self._fixed.bounds
        news = forgotten - self._most_forgotten
        least, upmost = self._sliding.foretell(books, at)
        off_sliding = _gap(least, upmost, allowed, most)
        least, upmost = self._token.foretell(books, at, number)
        off_token = _gap(least, upmost, allowed, most)
        if least > most + 1.5:
            self._met_at = at
        end = bounds.high
        off_fixed = fixed.learn(books, number, at, forgotten, remembered, news, beside, self._scout.not_before)
        if bounds.high != end:
            self._scout.began(at)
            if books.forgotten >= 0:
                self._scout.remembers(books.seen_at - books.log.time(books.forgotten + 1), bounds.window_high)
        came = forgotten > books.forgotten
        if came and books.forgotten >= 0:
            self._scout.forgot(at - books.log.time(books.forgotten + 1))
        self._judge.weigh(
            books.limit, news, books.allowed - most, came=came, fixed=off_fixed, sliding=off_sliding, token=off_token
        )
        # Against the most that was ever forgotten: requests that overtake each other make it swing. Neighbours push it
        # down for good.
        self._most_forgotten += news if news > 0 else 0.1 * news
