"""Others who spend the same bucket: what is left to them (`drain` is about windows, `share` about logs). Pure.

Nobody tells us of others. They show where more is gone than we took, and all of us see the same rest, so that is what
clients share by, without a word between them.

**Standing rest.** What comes in is nobody's, so of a bucket each leaves some standing, the more, the higher its own
rate: whoever has less goes on when the other has already stopped, until both are equally fast. What stands costs
nothing there, but for once, so of few requests it is left before anybody was met as well: who comes late is not refused
then, and two that share from the start never meet, as each takes what the other leaves for what comes in. Of many, less
is left then: what looks like a bucket may be a counter that weighs the last window, which loses what stands. Where it
may be something else, less is left, too. What is left grows with the logarithm of the rate, since nobody knows how much
is much: for each doubling, the same share of the limit. Parts of a request are left every now and then.

**Stagger.** Whoever fills a log fills it at the same moments again and again, and one who is refused and pauses whole
seconds comes at the same one each time. So such pauses are lengthened, each by another part of itself.
"""

from __future__ import annotations

import math

from aelyst_async.ratelimit.books import Books, spread
from aelyst_async.ratelimit.judge import Judge
from aelyst_async.ratelimit.laws import Token

__all__ = ["Neighbours"]

_LEFT = (1.5, 0.2)
"""Requests left standing, and the share of the limit that this is at most; and ..."""

_MORE = {True: 0.02, False: 0.01}
"""... the share of the limit on top for each doubling of our rate from a limit in 64 s on: of what may be a token
bucket, of anything else. ..."""

_LEAST = (0.75, 0.05)
"""... That is so many requests at least, or so much of the limit, where that is less."""

_OVER = (32, 0.5, 4)
"""Requests over which our rate is taken: at most, the share of the limit, and at least."""

_ALONE, _MANY, _FEW = (0.4, 8.0), 40, 4
"""As long as nobody was met: share of the limit that is left at most, and requests; the limit from which on these
become fewer, as it becomes larger; and the limit under which nothing is left."""

_ROOM = (0.02, 0.25)
"""Share of the limit by which less is left than the most that was ever seen to remain, or of that, where it is less."""

_LONG = 8
"""Windows after which nobody is there any more of whom nothing was seen."""

_STAGGER = 0.25
"""Share of a pause by which it is lengthened at most."""

_ASK = (1 / 16, 2.0)
"""Share of the limit that comes in, and requests at least, before one that is held back is sent to see where we stand.
"""

_HURRY, _TAKEN = 0.7, 16.0
"""In a crowd, the time between requests shrinks by this factor, as long as some stands; all that stands in a bucket is
taken in so many round trips."""


class Neighbours:
    """What is known of others."""

    __slots__ = ("_met_at", "_most")

    def __init__(self) -> None:
        self._met_at = -math.inf
        self._most = 0

    def met(self, at: float) -> None:
        """More was gone than we took."""
        self._met_at = at

    def saw(self, remaining: int) -> None:
        """So many remained: a bucket may hold far less than its limit."""
        self._most = max(self._most, remaining)

    def here(self, at: float, window: float) -> bool:
        """Whether somebody was met in the last few windows."""
        return at - self._met_at < _LONG * window

    @staticmethod
    def stagger(pause: float, refused: int) -> float:
        """Return a pause lengthened by another part of itself for each number of refusals."""
        return pause * (1 + _STAGGER * spread(refused))

    def left(self, books: Books, *, token: bool) -> float:
        """Return how many requests are left standing; `token`: it may be a token bucket."""
        log, limit, most = books.log, books.limit, self._most
        some = min(_OVER[0], max(int(_OVER[1] * limit), _OVER[2]), log.count - 1)
        if some < 1:
            return 0.0
        rate = some / max(books.last - log.time(log.count - some), 1e-3)
        more = max(_MORE[token] * limit, min(_LEAST[0], _LEAST[1] * limit))
        left = min(_LEFT[0], _LEFT[1] * limit) + more * max(math.log2(rate / limit) + 6.0, 0.0)
        return float(int(min(left, most - min(_ROOM[0] * limit, _ROOM[1] * most)) + spread(log.count)))

    def ready(self, books: Books, token: Token, judge: Judge, spare: float, apart: float, out: int) -> float:
        """Return when the next may go, by a token bucket of which others may take as well.

        `spare`: requests held back anyway; `apart`: seconds between our last two; `out`: requests that are out.
        """
        last, rate, fits, likely = books.last, token.rate, judge.token_fits, judge.token_likely
        credit, round_trip = books.allowed - books.log.count, books.order.round_trip
        met = not fits or self.here(last, books.limit / max(rate, 1e-3))
        if met:
            # What was believed in vain when others came must not starve us: few answers would let it fade.
            spare = max(min(spare, credit // 2), self.left(books, token=likely))
        elif books.limit >= _FEW:
            most = min(_ALONE[0] * books.limit, _ALONE[1] * min(1.0, _MANY / books.limit))
            spare = max(spare, min(self.left(books, token=True), most))
        ready = token.ready(books, spare, calm=not fits)
        if met and (more := credit - spare) >= 1:
            # Faster and faster as long as some stands: our own inflow says little beside that of others. Of a bucket,
            # what stands is taken in as many round trips as others need to see it go.
            faster = _HURRY * apart
            if likely:
                faster = max(min(faster, _TAKEN * round_trip / more), round_trip / (2 + 2 * out))
            else:
                faster = max(faster, round_trip / 2)
            ready = min(ready, last + faster)
        if not out and credit >= 1:
            # Nothing is out to learn from: one of those held back shows where we stand.
            pause = max(_ASK[0] * books.limit, _ASK[1]) / rate if rate > 0 else max(2.0 * apart, 0.05)
            ready = min(ready, last + max(pause, 4 * round_trip))
        return ready
