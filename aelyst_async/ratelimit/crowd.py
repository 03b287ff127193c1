"""Whether others spend the same quota, and by which window they and we go. Pure.

**Proof.** Whatever the rule, what the server remembers of us was sent within one window. Where it remembers more than
that, twice running, it remembers others. Without a law that fits, the window may be as long as all we know of; with
one it is that law's, with no more on top than what requests are put off by, so that newcomers are noticed by their
first. Nobody is there any more of whom nothing was seen for some windows. Around a change of the limit nothing is
proof: a bucket's level moves with it.

**The window.** Who starts together with others sees all that anybody sends until the first of it is forgotten, so the
laws learn the window as if alone (see `bucket`). Who comes later sees a full quota in which nothing ever seems to be
forgotten, since all that is gets taken again. So a usual window is presumed (no shorter than the commonest, nor than
the time for which nothing was forgotten), and corrected:

- more of ours within it than are remembered at all: it is shorter;
- several refused together: it is longer, as one may be refused by accident, but not what was sent a window ago;
- what is remembered beside ours is what the others hold, and that moves less under the right window than under any
  other, as under a wrong one our own requests seem to be theirs. The usual windows are compared by how much it moved.

**Buckets.** Of a bucket others leave much standing, and it trickles from the start: neither is seen of a log.
"""

from __future__ import annotations

import math

from aelyst_async.ratelimit.books import COMMONEST, USUAL, Books
from aelyst_async.ratelimit.memory import SendLog

__all__ = ["Crowd"]

_LONG, _LONGER = 8, 64
"""Windows after which nobody is there any more of whom nothing was seen: of a log that is shared, of anything else."""

_MARGIN = 0.8
"""Share of what a request is put off by that the window may be longer: with more, what we send again counts twice."""

_FRESH = 0.9
"""Share of the limit that the first answer leaves to whoever has seen all from the start."""

_TRICKLE, _EARLY = 1.2, 0.98
"""Requests forgotten within so much of the commonest window: a bucket."""

_STANDS, _STANDS_NOT = 0.06, 0.03
"""Shares of the limit that stand where others share a bucket, at least, and where they surely do not, at most ..."""

_ANSWERS, _WHILE = 5, 0.5
"""... for more than so many answers, and for so much of the window."""

_SCARCE, _EMPTY = 0.06, 0.8
"""Shares of the limit that remain at most, of what others keep full; and at least, where all is forgotten at once."""

_HELD = 0.6
"""Share of the time for which nothing was forgotten that the window lasts at least: others may have taken it first."""

_SAME = (0.97, 1.04)
"""Times the measured window, from and to, within which a usual one is taken for it."""

_ENOUGH = 32
"""Answers before windows are compared."""

_BETTER, _BY = 1.5, 6.0
"""The window gone by moved so much more than the best one: times, and requests on top."""

_SOON, _AT_LAST = 0.5, 1.1
"""Seconds from which on a log is shared of which nothing is known: after a window has begun, if others keep it full,
and after the first request."""

_WRONG = 3
"""Requests refused together that are no accident: a window shorter than the commonest is longer."""

_LEAST = 0.45
"""Share of the window gone by that another must have: under a very short one nothing of ours would move."""


class Crowd:
    """What is known of others' being there."""

    __slots__ = (
        "_began", "_compared", "_freed", "_held", "_known", "_limit", "_met_at", "_more", "_moved", "_quiet_until",
        "_refused", "_refuted", "_remaining", "_seen_at", "_sole", "_stood", "_stood_since", "bucket", "clean",
        "emptied", "gone", "log", "near", "others", "own", "scarce", "trickles", "window",
    )  # fmt: skip

    def __init__(self) -> None:
        self.log = SendLog()
        """What we sent; the books have others' requests as well."""
        self.near = False
        """Whether others are there."""
        self.clean: bool | None = None
        """Whether all was seen from the start, once an answer is in."""
        self.trickles = False
        """Whether something was forgotten bit by bit from the start."""
        self.bucket = False
        """Whether so much stands that it must be a bucket."""
        self.emptied = False
        """Whether all was forgotten at once, as only windows do where nobody pauses."""
        self.scarce = False
        """Whether little has remained, twice running."""
        self.window = 0.0
        """In seconds, that all go by; 0, as long as nothing is shared."""
        self.own = 0
        """Of ours, how many are remembered."""
        self.others = 0
        """And how many of others'."""
        self.gone = 0
        """Of the limit, as of the newest answer."""
        self._began = 0.0
        self._remaining = 0
        self._known = False
        self._limit = 0
        self._quiet_until = -math.inf
        self._more = False
        self._met_at = -math.inf
        self._freed = False
        self._held = 0.0
        self._stood = 0
        self._stood_since = 0.0
        self._seen_at = -math.inf
        self._moved: dict[float, float] = {}
        self._compared = 0
        self._sole = 0.0  # the window that was found by comparing
        self._refuted = 0.0  # up to this the window surely is longer
        self._refused = 0

    def watch(self, limit: int, gone: int, at: float, slack: float, longest: float, put_off: float) -> bool:
        """Take in that so many were gone; return whether others are there.

        `longest`: what the window is at most; `put_off`: by how much later than that what was sent goes again.
        """
        log = self.log
        if limit != self._limit:
            self._quiet_until = at + 2 * longest if self._limit else -math.inf
            self._limit = limit
        sent = log.sent_by(at + slack)
        if longest < math.inf:
            sent -= log.sent_by(at - longest - _MARGIN * put_off)
        more = gone > sent
        if more and self._more and at > self._quiet_until:
            self._met_at = at
        self._more = more
        self.near = at - self._met_at < (_LONG * self.window or _LONGER * longest)
        return self.near

    def look(self, books: Books, at: float, remaining: int, come: float) -> None:
        """Take in the newest answer; `come`: requests forgotten of late."""
        limit = books.limit
        if self.clean is None:
            self.clean = remaining >= _FRESH * limit
            self._began = books.log.time(1)
        if not self._freed and self.clean:
            self._freed = books.forgotten > 0
            if not self._freed:
                self._held = at - self._began
        if come > _TRICKLE and at < self._began + _EARLY * COMMONEST:
            self.trickles = True
        if self.near or not self.clean:
            self._remains(at, remaining, limit)
        self._remaining = remaining

    def _remains(self, at: float, remaining: int, limit: int) -> None:
        """See what others leave."""
        if self.scarce and self.clean and remaining > _EMPTY * limit:
            self.emptied = True
        self.scarce = max(remaining, self._remaining) < _SCARCE * limit
        if remaining >= _STANDS * limit:
            if not self._stood:
                self._stood_since = at
            self._stood += 1
        else:
            self._stood = 0
            if remaining < _STANDS_NOT * limit:
                self.bucket = False

    def stands(self, at: float) -> bool:
        """Whether so much has been standing for so long that whoever came late shares a bucket."""
        if not self.clean and self._stood > _ANSWERS and at - self._stood_since > _WHILE * self.window:
            self.bucket = True
        return self.bucket

    def presumed(self, at: float, origin: float, *, shared: bool, at_once: bool) -> str:
        """Return the law that is presumed where none is known, but others: a log is shared, until it proves one.

        `origin`: since when a window may have lasted; `shared`: a log is shared already; `at_once`: all seems to be
        forgotten at once.
        """
        if self.bucket:
            return "token"
        if self.emptied or (self.clean and at_once):
            return "scouting"
        late = at > self._began + _AT_LAST
        if shared or not self.trickles:
            full = self.scarce and at > origin + _SOON
            return "sliding" if shared or late or full else "scouting"
        return "token" if late else "scouting"

    def enter(self) -> None:
        """We begin to share."""
        self._moved = dict.fromkeys(USUAL, 0.0)
        self._compared = 0
        self._sole = 0.0
        self._seen_at = -math.inf

    def refused(self, *, fresh: bool) -> None:
        """We were refused while we share; `fresh`: not together with one before."""
        self._refused = 1 if fresh else self._refused + 1
        if self._refused == _WRONG and self.window < COMMONEST:
            self._refuted, self._sole = self.window, 0.0

    def settle(self, at: float, gone: int, limit: int, high: float, *, known: bool) -> None:
        """Settle the window after an answer; `high`: what the log's law has it at most, or, if `known`, what it is."""
        log = self.log
        if self._seen_at > -math.inf:
            self._compare(at, gone, limit)
        self._known = known
        window = self._sole or self._guess(high, known=known)
        if window < _SAME[1] * self._refuted:
            window = next((one for one in USUAL if one > _SAME[1] * self._refuted), 2 * self._refuted)
        self.window = window
        own = log.sent_by(at) - log.sent_by(at - window)
        if own > gone + 1:
            self._refuted = 0.0
            for window in reversed([one for one in USUAL if one < _SAME[0] * window]):
                own = log.sent_by(at) - log.sent_by(at - window)
                self.window = self._sole = window
                if own <= gone:
                    break
        self._seen_at, self.gone = at, gone
        self.own, self.others = own, gone - own

    def _guess(self, high: float, *, known: bool) -> float:
        if known:
            usual = [one for one in USUAL if _SAME[0] * high < one <= _SAME[1] * high]
            return usual[-1] if usual else high
        least = _HELD * self._held
        likely = next((one for one in USUAL if one >= max(COMMONEST, least)), least)
        if high == math.inf or not self.clean or likely <= _SAME[1] * high:
            return likely
        usual = [one for one in USUAL if least < one <= _SAME[1] * high]
        return usual[-1] if usual else max(high, least)

    def _compare(self, at: float, gone: int, limit: int) -> None:
        """Sum up by how much others' share moved under each window, and go by the one under which it moved least."""
        log, before, moved = self.log, self._seen_at, self._moved
        net = gone - self.gone - (log.sent_by(at) - log.sent_by(before))
        keep = 1 - 1 / (limit + 32)
        for one, sum_ in moved.items():
            moved[one] = sum_ * keep + abs(net + log.sent_by(at - one) - log.sent_by(before - one))
        self._compared += 1
        window = self.window
        best = min(moved, key=moved.__getitem__)
        if self._compared <= _ENOUGH or best == window or best <= _LEAST * window:
            return
        if (now := moved.get(window)) is None:  # an unusual one: its neighbour, if that is near
            nearest = min(moved, key=lambda one: abs(math.log(one / window)))
            near = 0.8 < nearest / window < 1.25
            if self._known and not near:
                return
            now = moved[nearest] if near else math.inf
        if now > _BETTER * moved[best] + _BY:
            self._sole = best
