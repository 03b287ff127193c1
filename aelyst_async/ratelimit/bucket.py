"""When one more request may go: pure arithmetic. Every method is told the time; none reads a clock.

What is gone by, and when that changes (`memory` says what is learned from an answer, `laws` how each law works, `judge`
which is believed)::

                 first answer with Limit and Remaining
      ┌───────┐ ────────────────────────────▶ ┌──────────┐ ◀─────────────── none fits any more
      │ blind │                               │ scouting │
      └───────┘ ◀─── no such headers at all   └──────────┘
     no headers: so many at                        │   the law that foretold best
     once, every so often                ┌─────────┼──────────┐
                                         ▼         ▼          ▼
                                    ┌───────┐ ┌─────────┐ ┌───────┐
                                    │ fixed │ │ sliding │ │ token │  ◀─▶ each other, as another foretells better
                                    └───────┘ └─────────┘ └───────┘
      among others: whatever the slowest rule is that nothing speaks against, from any state but blind
      any of them ── 429 ──▶ paused until Retry-After is over, then one request alone, then on

**Credit.** The answer to request *i* says that *i + R* of ours are authorised. What has been sent since is taken off:
``credit = i + R - sent``. It needs no clock and no window, and holds for every rule of counting. The laws are about
*when* to spend it, and what may be presumed before the next answer is in.

**Two bounds.** Requests overtake each other on their way, so *i* in the order of counting is known between two bounds
only (`order`), and so is what is authorised: ``allowed``, which is spent, and ``most``.

**Others.** Who else spends the quota shows where more is remembered than we sent (`crowd`). Then the law is not the one
that foretold best, but what the others have left possible (`hypotheses`). Their requests are entered in the books as if
they were ours, as soon as an answer shows that they must have been, so that a log's law foretells what all of us find.
`share` is about logs that are shared, `drain` about windows, `neighbours` about buckets.

**Reserve.** Each request remembers what credit we believed in when it left; its answer says what was true. The
disappointments of late are kept as a `reserve`: rules that no law fits show there and nowhere else.

**What is put off.** Most buckets are asked far less than they permit, so nothing is worked out before it is needed.
The newest request is noted, and enters the books when the next thing happens; given back before that, it leaves no
trace. When the next may go is found out when somebody asks. Neither shows: all is worked out from the times of the
events, in their order.
"""

from __future__ import annotations

import math

from aelyst_async.ratelimit.blind import Blind
from aelyst_async.ratelimit.books import Books, Sent
from aelyst_async.ratelimit.crowd import Crowd
from aelyst_async.ratelimit.drain import Drain
from aelyst_async.ratelimit.fixed import Fixed
from aelyst_async.ratelimit.headers import QuotaHeaders
from aelyst_async.ratelimit.hypotheses import Clock
from aelyst_async.ratelimit.judge import Judge, gap
from aelyst_async.ratelimit.laws import Sliding, Token
from aelyst_async.ratelimit.neighbours import Neighbours
from aelyst_async.ratelimit.reserve import Reserve
from aelyst_async.ratelimit.scout import Scout
from aelyst_async.ratelimit.share import Share

__all__ = ["Bucket"]

_LATE = 0.002
"""Seconds of lateness made good. The grain of timers is a millisecond, of uvloop's clock as well."""

_STEP, _TELLS = 0.03, 3
"""Share of what is known of a window to wait at least, and for how many to be forgotten by a log."""

_UNSEEN = 0.01
"""Share of the window, or of what is known of it, by which a request may have been late before any is seen to be."""

_UNPROVEN = 0.5
"""Requests out at once for each that is left, as long as another client may have started as we did."""


class Bucket:
    """The state of one quota, and the time of the next request that it permits."""

    __slots__ = (
        "_alone", "_apart", "_blind", "_books", "_crowd", "_drain", "_ended", "_fixed", "_judge", "_most_forgotten",
        "_neighbours", "_newest", "_next_at", "_out", "_planned", "_refusals", "_reserve", "_scout",
        "_share", "_sliding", "_token", "limit", "paused_until", "refused", "remaining", "state",
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
        self._blind: Blind | None = Blind()  # until a limit is known
        self._scout = Scout()
        self._fixed = Fixed()
        self._sliding = Sliding()
        self._token = Token()
        self._judge = Judge(self._fixed, self._sliding, self._token)
        self._alone = False  # after a refusal: one request at a time until an answer is good
        self._refusals = 0
        self._most_forgotten = 0.0
        self._neighbours = Neighbours()
        self._drain = Drain()
        self._reserve = Reserve()
        self._crowd = Crowd()
        self._share = Share(self._crowd)
        self._apart = 0.0  # seconds between the last two requests

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
        if self._blind is not None:
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
        sharing = self._share.on and state in {"sliding", "scouting"}
        if self._blind is not None:
            ready = self._blind.next_at(out, books.order.round_trip)
        elif sharing:
            ready = self._share.ready(books)
        elif state == "fixed":
            ready = self._fixed.ready(books, self._reserve.spare)
        elif state == "sliding":
            ready = self._sliding.ready(books, max(self._reserve.spare, self._sliding.give_way(books)))
        elif state == "token":
            ready = self._neighbours.ready(books, self._token, self._judge, self._reserve.spare, self._apart, out)
        else:
            ready = self._ready_scouting(books)
        if ready < math.inf and state == "fixed":
            near = self._crowd.near
            ready = self._drain.ready(books, self._fixed, self.credit, ready, out, near=near)
        elif not sharing and out > 1 + _UNPROVEN * self.credit and (state == "scouting" or self._wary()):
            # No more than comes in.
            ready = max(ready, books.last + self._token.pace) if state == "token" else math.inf
        if out:
            if ready == math.inf or self._alone:
                # An answer is waited for; a request that hangs must not hold up the others.
                ready = books.last + max(2.0, 8 * books.order.round_trip)
        elif self._blind is None and (ready == math.inf or (books.limit == 1 and ready > books.last + 1)):
            # A quota of one shows nothing of its window; what seems to be known of it is tried anew.
            ready = min(ready, self._scout.ask_again(books, self._fixed.bounds))
        self._next_at = max(self.paused_until, ready)
        self._planned = True

    def _wary(self) -> bool:
        """Whether others may spend what is left as fast as we do."""
        books = self._books
        fresh = books.seen_at <= self._reserve.until
        return self.state == "token" and (fresh or self._neighbours.here(books.last, self.window or 0.0))

    def _ready_scouting(self, books: Books) -> float:
        # What surprised at first must not starve us later.
        scout, fixed, spare = self._scout, self._fixed, min(self._reserve.spare, max(self.credit, 0) // 2)
        if self._crowd.near:
            spare = min(spare, 2)  # what is held back, others take
        if fixed.bounds.low > -math.inf and not scout.tells(books.last):
            return fixed.ready(books, spare, scout.least)
        ready = scout.ready(books, spare)
        if self._sliding.sudden and ready < math.inf:
            # Little by little comes back what was sent: what is due next by a log's law will tell how.
            ready = min(ready, max(books.last + _STEP * scout.least, self._sliding.due(books, _TELLS)))
        return ready

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
        self._out[one] = None
        books, now = self._books, one.at
        number = one.number = books.log.append(now, 2 * books.limit)
        self._crowd.log.append(now, 2 * books.limit)
        before, due = books.last, self._next_at
        # Timers wake late by a millisecond or so: what follows counts from when this one was due.
        books.last = due if now - _LATE < due < now else now
        if number == 1:
            self._scout.began(now)
        else:
            self._apart = books.last - before
        one.believed = self._believed(books, now)
        if self._share.on:
            self._share.sent(now)
        if self._blind is not None:
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
        if self._blind is not None:
            self._blind.unsent(one.at)
        self._planned = False

    def _discount(self, one: Sent) -> None:
        books = self._books
        own = self._crowd.log
        own.remove(own.sent_by(one.at))
        if one.number < books.log.count:
            for later in reversed(self._out):
                if later.number < one.number:
                    break
                later.number -= 1
        books.log.remove(one.number)
        if books.seen >= one.number:
            books.seen -= 1
            books.allowed -= 1
            books.most -= 1
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
        order = self._books.order
        if order.round_trip <= 0:
            self._scout.round_trip(max(took, 1e-4))
        order.answered(took)
        if quota.reset is not None or quota.window is not None:
            self._scout.told(now, quota.reset, quota.window)
        if status == 429:
            self._refuse(one, now, quota)
        else:
            self._refusals = 0
            self._alone = False
            limit, remaining = quota.limit, quota.remaining
            if limit is None or remaining is None:
                if self._blind is not None:
                    self.state = "blind"
                    self._blind.accepted(one.at)
            else:
                if self._blind is not None:
                    self._blind = None
                    self.state = "scouting"
                    self._books.limit = limit
                if one.number >= self._books.seen:
                    self.limit, self.remaining = limit, remaining
                self._learn(one, limit, remaining, took)

    def _refuse(self, one: Sent, now: float, quota: QuotaHeaders) -> None:
        books, bounds, window = self._books, self._fixed.bounds, self.window
        self.refused += 1
        fresh = one.at >= self.paused_until  # not one of those that were out when the first was refused
        self._refusals += fresh
        if quota.retry_after is not None:
            wait = quota.retry_after
        elif self._blind is not None:
            wait = self._blind.own_wait(now, one.at)
        else:
            wait = self._own_wait(window)
        again = self._refusals > 1 and self.state != "blind"
        pause = self._neighbours.stagger(wait, self.refused) if again else wait
        self.paused_until = max(self.paused_until, now + pause)
        if self._blind is not None:
            told, limit = quota.retry_after is not None, quota.limit
            self._blind.refused(now, wait, self._refusals, one.at, told=told, limit=limit)
        self._alone = True
        if quota.limit is not None and self.limit is not None:
            self.limit, self.remaining = quota.limit, 0
        if window is not None and not math.isnan(one.believed):
            self._reserve.disappointed(one.believed - (one.number - 1), self.limit or 1, books.seen_at)
            if one.believed >= one.number:
                self._drain.refused(one.at, window)
        # One refused again may have been counted as well, and have kept itself out: it proves nothing of the window.
        first = self._refusals == 1
        # Of another limit, it says nothing of the window; among others, they may have been quicker.
        same = quota.limit in {None, books.limit} and not self._share.on
        if window is None and bounds.known and first:
            self._fixed.longer(one.at - bounds.high)
        elif window and same and (self.state == "sliding" or (self.state == "fixed" and math.isnan(one.believed))):
            if fresh:
                books.slipped(window)
            if self.state == "sliding":
                self._sliding.refused(books, one.number, one.at)
            if self.state == "fixed":
                self._fixed.doubt(one.at - bounds.high)
                if not bounds.known:
                    self.state = "scouting"
        self._scout.refused(one.at, self.paused_until, wait, books.order.round_trip)
        if books.forgotten >= 0 and first:
            self._scout.remembers(self._scout.not_before - books.log.time(books.forgotten + 1), bounds.window_high)
        self._discount(one)
        if not quota.remaining:  # or it was refused for something else than this quota
            self._crowd.refused(books, one.at, self.state, fresh=fresh)
        allowed = min(books.allowed, books.log.count) + 1  # the one that asks again
        self._token.shift(allowed - books.allowed)
        books.allowed = books.most = allowed
        if window is None:
            self._scout.began(self.paused_until)

    def _own_wait(self, window: float | None) -> float:
        """Return the seconds to wait after a refusal that does not say."""
        guess = max(1.0 if window is None else window / 4, 2 * self._books.order.round_trip)
        return guess * float(2 ** min(max(self._refusals - 1, 0), 6))

    def _learn(self, one: Sent, limit: int, remaining: int, took: float) -> None:
        books, number, at, order = self._books, one.number, one.at, self._books.order
        log, remembered = books.log, limit - remaining
        late = min(order.slack(took), max(order.shown, _UNSEEN * self._sliding.low))
        allowed, most = order.bounds(log, at, took, remaining)
        if limit != books.limit:
            if number < books.seen:
                return  # from before the limit changed
            self._token.shift(limit - books.limit)
            # Some laws add what is new at once, others let it come in.
            books.allowed = min(books.allowed + limit - books.limit, most)
            books.most = most
            books.limit = limit
        if one.believed == one.believed:
            self._reserve.disappointed(math.floor(one.believed) - most, self.limit or 1, books.seen_at)
        if number <= books.seen:
            if most - remaining >= books.seen and allowed > books.allowed:
                books.allowed, books.remembered = allowed, remembered
                self._token.at_least(allowed)
            after = allowed >= books.allowed - max(1, 0.1 * limit)
            self._fixed.refine(number, at + min(late, order.shown) if after else at, after=after)
            return
        if books.seen:
            slack = min(order.slack(took), order.jitter)
            near = self._crowd.watch(books, limit, remembered, at, slack, self._judge.longest(self.state, limit))
            allowed, most = order.narrow(log, number, at, took, remaining, allowed, most, books.allowed, crowded=near)
            if allowed <= books.most:
                self._drain.took(max(books.allowed - most, 0), at - books.seen_at)
            if near and self.state in {"scouting", "sliding"}:
                others = books.meet(int(self._expected(at) - most), at, self._out)
                one.number = number = number + others
                allowed, most = allowed + others, most + others
            self._weigh(number, at, allowed, most, remembered, late)
        else:
            self._most_forgotten = float(allowed - limit)
        self._neighbours.saw(remaining)
        self._sliding.learn(books, number, at, allowed - limit, most - allowed, late)
        self._token.learn(books, number, at, allowed, most, late)
        books.newest(number, at, allowed, most, remembered)
        self._choose(at, remaining, allowed)

    def _choose(self, at: float, remaining: int, allowed: int) -> None:
        """Choose the law to go by after an answer, and whether it is gone by alone or shared."""
        books, fixed, share, sliding = self._books, self._fixed, self._share, self._sliding
        limit = books.limit
        among = self._crowd.look(books, at, remaining, fixed.likely, sliding.measured, shared=share.on)
        if self.state == "token" and self._judge.fits("token", limit):
            among = None  # nobody else is needed to explain it
        fixed.clock = among if isinstance(among, Clock) else None
        if among is None:
            # More is remembered than we ever sent: there are others.
            state = self._judge.choose(self.state, limit, crowded=allowed < 0.9 * limit)
        elif among.kind == "anchored":
            state = "fixed" if fixed.usable else "scouting"
        else:
            state = among.kind
        if state != self.state:
            self.state = state
            self._reserve.clear(at + (self.window or 0.0))
        # Gone by together with others, a law's window is not measured but settled.
        shared = among if state == "sliding" else None
        sliding.settled = shared is not None
        if shared is None:
            share.on = False
            return
        anew = not share.on or shared.window != sliding.high
        sliding.high = shared.window
        self._crowd.settle(at, limit - remaining, shared.window)
        if anew:
            share.begin(at)
        share.learn(books, at, remaining)

    def _expected(self, at: float) -> float:
        """Return what is authorised at least, but for others."""
        books, sliding = self._books, self._sliding
        if self.state == "sliding" or sliding.settled:
            return max(sliding.foretell(books, at)[0], float(books.limit + books.log.sent_by(at - 1.02 * sliding.high)))
        return float(books.allowed)

    def _weigh(self, number: int, at: float, allowed: int, most: int, remembered: int, late: float) -> None:
        """Compare an answer that is newer than the books with what each law foretold."""
        books, fixed, bounds = self._books, self._fixed, self._fixed.bounds
        forgotten = allowed - books.limit
        news = forgotten - self._most_forgotten
        least, upmost = self._sliding.foretell(books, at)
        off_sliding = gap(least, upmost, allowed, most)
        least, upmost = self._token.foretell(books, at, number)
        off_token = gap(least, upmost, allowed, most)
        if least > most + 1.5:
            self._neighbours.met(at)
        end = bounds.high
        counted, not_before = at + min(late, books.order.shown), self._scout.not_before
        vague = most - allowed
        met = self.state == "fixed" and self._crowd.near
        off_fixed = fixed.learn(books, number, counted, forgotten, remembered, news, vague, not_before, met=met)
        if bounds.high != end:
            self._scout.began(at)
            if books.forgotten >= 0:
                self._scout.remembers(books.seen_at - books.log.time(books.forgotten + 1), bounds.window_high)
        came = allowed > books.most
        if came and books.forgotten >= 0:
            self._scout.forgot(at - books.log.time(books.forgotten + 1))
        self._judge.weigh(books.limit, news, came=came, fixed=off_fixed, sliding=off_sliding, token=off_token)
        # Against the most that was ever forgotten: requests that overtake each other make it swing. Neighbours push it
        # down for good.
        self._most_forgotten += news if news > 0 else 0.1 * news
