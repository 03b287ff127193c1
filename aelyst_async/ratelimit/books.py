"""What the laws share: our sends, the newest answer in the order of sending, and when a presumption is safe. Pure.

A window's length may be anything from 50 ms to a minute, but most are of a few usual lengths. That is used in two ways
that cost nothing where it is wrong: with a request to spare, the end of a window is looked for just after each usual
length (if the window goes on, the request counts in it all the same); and of several lengths that fit all that was
seen, a usual one is taken first. One that an answer contradicts is not taken again.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable

from aelyst_async.ratelimit.memory import SendLog
from aelyst_async.ratelimit.order import Order

__all__ = ["COMMONEST", "FEW", "USUAL", "Books", "Doubling", "Sent", "spread"]

USUAL = (0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0)
"""Seconds that windows usually last."""

COMMONEST = 1.0
"""The commonest of all: an empty quota is asked again after it, where nothing speaks against it."""

FEW = 8
"""Requests too few to spend any on looking alone."""

_GRAIN = 0.0005
"""Seconds by which a presumed moment is put off, and ..."""

_PUT_OFF = 0.003
"""... the share of the window on top of it."""

_SLIP = (0.004, 0.05)
"""Share of the window by which more it is put off after one that came too early: at first, at most."""

_SCATTER = 0.03
"""Share of the window by which it is put off then for answers whose times scatter, at most: their requests' may."""

_SLIP_FADES = 1 - 1 / 4000  # with every answer: a refusal in some thousand requests keeps the balance

_HEAD, _HEAD_WAIT = 5, 0.006
"""Requests that a log should have forgotten to be told from a bucket, and the share of the window to wait for that."""

_OTHERS = 10_000
"""Others' requests that are entered for one answer at most: more would keep the loop, and say no more."""

_JITTER = 0.05
"""Share of the window that is given away for requests that are late, at most."""


def spread(number: float) -> float:
    """Return a place between 0 and 1 for a number, so that those of all numbers lie as evenly as can be."""
    return number * 0.6180339887498949 % 1  # the golden ratio


class Doubling:
    """For how many windows to refrain from what went wrong: each time for twice as many."""

    __slots__ = ("_first", "_most", "last")

    def __init__(self, first: float, most: float) -> None:
        self._first, self._most = first, most
        self.last = 0.0
        """What `again` returned last."""

    def again(self) -> float:
        """It went wrong: return for how many windows not to try it."""
        self.last = min(2 * self.last, self._most) if self.last else self._first
        return self.last

    def forget(self) -> None:
        """Begin anew."""
        self.last = 0.0


class Sent:
    """A request that is out. A permit is one: nothing else is made for each request. Its bucket fills it in."""

    __slots__ = ("at", "believed", "number")

    at: float
    """When it left."""
    number: int
    """In the order of sending, from 1; not set while it is the bucket's newest."""
    believed: float
    """What `allowed` would be if its answer were in; not a number, if nobody could say."""


class Books:
    """What the laws share: our sends, and the newest answer in the order of sending."""

    __slots__ = (
        "allowed", "last", "limit", "log", "most", "order", "remembered", "seen", "seen_at", "slip",
    )  # fmt: skip

    def __init__(self) -> None:
        self.log = SendLog()
        self.limit = 1
        self.seen = 0
        """Number of the request that the newest answer belongs to."""
        self.seen_at = -math.inf
        self.allowed = 0
        self.most = 0
        """As the newest answer has it, up to so many are authorised."""
        self.remembered = 0
        self.last = -math.inf
        """When the last request left, or was due to."""
        self.order = Order()
        self.slip = 0.0
        """Share of the window by which presumptions came too early of late."""

    @property
    def forgotten(self) -> int:
        """How many of our first requests are forgotten, at least."""
        return self.allowed - self.limit

    def newest(self, number: int, at: float, allowed: int, most: int, remembered: int) -> None:
        """Enter the newest answer."""
        self.seen, self.seen_at, self.remembered = number, at, remembered
        self.allowed, self.most = allowed, max(allowed, most)
        self.slip *= _SLIP_FADES

    def meet(self, others: int, at: float, out: Iterable[Sent]) -> int:
        """Enter so many of others' requests as if they were ours, between the newest answer's request and one at `at`.

        Those of ours that are `out` move up. Return how many were entered.
        """
        others = min(others, _OTHERS)
        if others <= 0:
            return 0
        seen, began = self.seen, self.seen_at
        times = [began + (at - began) * one / (others + 1) for one in range(1, others + 1)]
        self.log.insert(times)
        for one in out:
            if one.number > seen:
                one.number += bisect_left(times, one.at)
        return others

    def slipped(self, window: float) -> None:
        """A presumption came too early."""
        scatter = min(self.order.scatter / window, _SCATTER)
        self.slip = min(max(2 * self.slip, _SLIP[0], scatter), _SLIP[1])

    def feel(self, start: float, least: float, credit: float, ready: float) -> float:
        """Return when the next of so many goes into a window that lasts longer than `least` and began at `start`.

        `ready`, unless the end of a window of a usual length comes first: there it is looked at, at no cost if the
        window goes on. The last few go from one such moment to the next, up to the commonest.
        """
        last = self.last
        ends = [at for one in USUAL if one > least and (at := self.look(start, one)) > last]
        short = [at for at in ends if at < start + 1.01 * COMMONEST]
        if len(short) >= credit:
            return max(short[len(short) - int(credit)], ready) if credit >= 2 else short[-1]
        if credit < FEW and ends:
            return min(ends[0], ready)
        return ready

    def look(self, start: float, window: float) -> float:
        """Return when to look whether a window that began at `start` has ended, if it is so long.

        Of the very first window: once a log would have forgotten the first few requests, not only the first, since
        that alone tells a log from a bucket that fills slowly.
        """
        log = self.log
        head = min(_HEAD, 1 + self.limit // 10)
        late = min(log.time(head) - log.time(1), _HEAD_WAIT * window) if log.known(1) else 0.0
        return start + window + self.put_off(window) + late

    def put_off(self, window: float) -> float:
        """Return the seconds by which a presumption is put off."""
        return min(_GRAIN, 0.01 * window) + (_PUT_OFF + self.slip) * window + min(self.order.shown, _JITTER * window)
