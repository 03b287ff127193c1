"""A fair part of what forgets little by little, of which others spend as well. Pure.

Each client goes by a log of its own: so many requests in a window, and one again when one of them is a window old. That
is permitted whatever the rule of counting, as long as all do the same, and loses nothing. What is left is how many each
may have:

- **Taking.** What remains and is nobody's is a *hole*: not ours, and not freed so lately that whoever had it is about
  to take it again. Who has less than the others takes at once, who has as much after a while, who has more only what
  nobody else wanted for long. Half of many are taken at a time, as others see them too.
- **Giving.** Who has more than half of all gives requests up by not sending them again, the faster, the more it has:
  with two clients each ends with a half. Everybody gives some up at all times, so that more than two become equal, if
  slowly. No more is given than is taken, so little stands. Whoever had it alone gives nothing for a second: a newcomer
  who sees some come in from the start takes it for a bucket's.
- **What is lost.** A request that is not sent again in time is given up: who sends less has less.

A hundredth of the limit is left standing, so that somebody's late or early request is not refused: a refusal costs all
of a client's requests for a second, and then the others have them. Of few requests that is one, at times: after some
windows it is taken, and given up again.
"""

from __future__ import annotations

import math
from collections import deque

from aelyst_async.ratelimit.books import Books, spread
from aelyst_async.ratelimit.crowd import Crowd

__all__ = ["Share"]

_GIVEN, _ALWAYS = 1.5, 0.005
"""Given up in a window: of what we have above half, and of all."""

_UNTAKEN = (1.0, 0.02, 0.05)
"""Holes up to which more is given: at least, of all that is held, of what we have above half."""

_PATIENCE = (0.01, 0.2, 0.5)
"""Share of the window for which holes must stand to be taken: by who has less than the others, as much, more."""

_LESS, _MORE = 0.8, 1.25
"""Times what the others have: less than as much, more than as much."""

_MANY, _AT_ONCE = 0.1, 1 / 3
"""Share of the limit from which on holes are not left standing, and what is taken of those."""

_LOOK = 2
"""Holes, from more of which on one is taken when its time has come, though no answer shows it standing by then."""

_REST = 0.01
"""Share of the limit that is left standing, but by who has less."""

_LAST = 5.0
"""Windows, half as many to half as many again, for which the last hole must have stood to be taken nevertheless."""

_NEWS, _ALONE = 1.0, 0.9
"""Seconds for which nothing is given up by whoever had a log alone, and the share of it from which on that is so."""

_LEAST = 1e-5
"""Seconds: less than any loop can wait for."""

_OVER = 0.125
"""Share of the window over which holes are taken."""

_LAPSE, _ROUND_TRIPS = 0.06, 4
"""A request is lost that is so late: in windows, in round trips, whichever is longer."""

_THEIRS = 0.002
"""Seconds by which others' timers may be late."""

_APART = 0.25
"""Times the average time between our requests that they are apart at least."""


class Share:
    """How much of the quota is ours, and when the next of it may go."""

    __slots__ = (
        "_crowd", "_gap", "_given", "_gives_at", "_holes", "_look", "_none_at", "_take", "_taken", "mine", "on",
    )  # fmt: skip

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self.on = False
        """Whether it is gone by."""
        self.mine = 0
        """Requests in a window that are ours."""
        self._take = 0  # holes to be taken next
        self._taken: deque[float] = deque()  # when, of those that no answer has shown yet
        self._gap = 0.0
        self._look = math.inf
        self._given = 0.0
        self._none_at = math.inf  # when there was no hole
        self._gives_at = -math.inf
        self._holes: deque[tuple[float, int]] = deque()

    def begin(self, at: float) -> None:
        """Go by it from now on: what we have is ours."""
        crowd = self._crowd
        if not self.on:
            self._gives_at = at + (_NEWS if crowd.own > _ALONE * (crowd.own + crowd.others) else 0.0)
        self.on = True
        self.mine = crowd.own
        self._take = 0
        self._holes.clear()
        self._none_at = at

    def learn(self, books: Books, at: float, remaining: int) -> None:
        """Take in an answer; `Crowd.settle` has."""
        crowd, limit, holes = self._crowd, books.limit, self._holes
        window, own, others = crowd.window, crowd.own, crowd.others
        hole = self._hole(books, at, remaining)
        holes.append((at, hole))
        poor, rich = own < _LESS * others - 1, own > _MORE * others + 1
        while len(holes) > 1 and holes[1][0] <= at - 1.5 * _PATIENCE[-1] * window:
            holes.popleft()
        about = window * (0.5 + spread(crowd.log.count))  # another time for each of us, and each time
        wait = _PATIENCE[0 if poor else 2 if rich else 1] * about
        least = float(self._stood(hole, at - wait))
        if hole > _MANY * limit:
            least = max(least, hole * _AT_ONCE)
        self._look = at + wait if hole > max(_LOOK, 1 + least) else math.inf
        take = least - (0.0 if poor else _REST * limit)
        stands = at - self._none_at > _LAST * about
        if hole < 1 or stands:
            self._none_at = at
        if stands and hole == 1 and not rich:
            take = 1.0
        if take > 2:
            take /= 2
        self._take = int(max(take, 0.0))
        if self._take:
            self._gap = max(window / limit / 2, _OVER * window / take)

    def _hole(self, books: Books, at: float, remaining: int) -> int:
        """Return how many remain that are nobody's."""
        crowd, taken, log, total = self._crowd, self._taken, self._crowd.log, books.log
        while taken and taken[0] <= at:
            taken.popleft()
        hole = remaining - len(taken) - max(self.mine - crowd.own, 0)
        if hole < 0:  # somebody took what was ours
            self.mine = max(self.mine + hole, 1)
        freed = at - crowd.window
        since = freed - 2 * books.put_off(crowd.window) - _THEIRS
        theirs = (total.sent_by(freed) - total.sent_by(since)) - (log.sent_by(freed) - log.sent_by(since))
        return max(hole - max(theirs, 0), 0)

    def _stood(self, hole: int, since: float) -> int:
        """Return how many holes stood since then."""
        least = hole
        for at, one in reversed(self._holes):
            least = min(least, one)
            if at <= since:
                return least
        return 0

    def sent(self, at: float) -> None:
        """A request leaves: take a hole, or one of ours is used again, or given up."""
        if self._take > 0:
            self._take -= 1
            self._holes = deque((when, one - 1) for when, one in self._holes)
        elif at >= self._look:
            self._look = math.inf
        else:
            if at >= self._gives_at:
                self._give()
            return
        self.mine += 1
        self._taken.append(at)

    def _give(self) -> None:
        own, others = self._crowd.own, self._crowd.others
        surplus = max(own - others - 1, 0) / 2
        least, of_all, of_surplus = _UNTAKEN
        hole = self._holes[-1][1] if self._holes else 0
        if hole < least + of_all * (own + others) + of_surplus * surplus:
            self._given += _ALWAYS + _GIVEN * surplus / max(own, 1)
            if self._given >= 1 and self.mine > 1:
                self._given -= 1
                self.mine -= 1

    def ready(self, books: Books) -> float:
        """Return when the next request may go."""
        log, last, window = self._crowd.log, books.last, self._crowd.window
        put_off = books.put_off(window)
        lapse = max(_LAPSE * window, _ROUND_TRIPS * books.order.round_trip)
        self.mine = max(1, min(self.mine, log.count - log.sent_by(last - window - put_off - lapse)))
        soonest = last + _APART * window / self.mine
        due = max(log.time(log.count - self.mine + 1) + window + put_off, soonest)
        if self._take > 0:
            due = min(due, last + self._gap)
        due = min(due, max(self._look, soonest))
        return due if due - last > _LEAST else last
