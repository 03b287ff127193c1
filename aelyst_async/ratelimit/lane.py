"""Who stands in line for one bucket.

A queue is a ring of links, since whoever gives up leaves from the middle: one step, however long the queue. (A deque
keeps those who left and has to be swept; an ordered dict grows by copying itself. With 100,000 in line either takes
several milliseconds at once.) A ring is also handed on as a whole in one step, when a crowd moves to other buckets.

A waiter is out of line (`Waiter.lane` is None) before its future is set: nobody is let go twice.
"""

from __future__ import annotations

import asyncio
import math
from heapq import heappop, heappush, heapreplace
from itertools import count
from typing import TYPE_CHECKING

from aelyst_async.ratelimit.bucket import Bucket
from aelyst_async.ratelimit.scope import AccountScope, PathScope

if TYPE_CHECKING:
    from aelyst_async.ratelimit.permit import Permit

__all__ = ["Expiry", "Lane", "Link", "Move", "Patience", "Ring", "Waiter"]


class Link:
    """A place in a ring. Its neighbours are those of the time when it left, once it has."""

    __slots__ = ("next", "prev")

    next: Link
    prev: Link

    def unlink(self) -> None:
        """Leave; must be called no more than once."""
        before, after = self.prev, self.next
        before.next = after
        after.prev = before


class Ring(Link):
    """A queue: the link between the last and the first."""

    __slots__ = ()

    def __init__(self) -> None:
        self.next = self.prev = self

    def append(self, link: Link) -> None:
        """Let `link` stand last."""
        last = self.prev
        link.prev = last
        link.next = self
        last.next = self.prev = link

    def take(self) -> Ring:
        """Return a ring with all that stand here, and be empty."""
        taken = Ring()
        if self.next is not self:
            taken.next, taken.prev = self.next, self.prev
            taken.next.prev = taken.prev.next = taken
            self.next = self.prev = self
        return taken


_numbers = count()
"""The order of asking: several ask within one tick of the clock."""


class Waiter(Link):
    """What a permit needs only while it waits."""

    __slots__ = ("asked", "deadline", "expiry", "future", "lane", "number", "permit", "retry")

    def __init__(
        self, permit: Permit, asked: float, future: asyncio.Future[float], deadline: float | None, retry: bool
    ) -> None:
        self.permit = permit
        self.asked = asked
        self.number = next(_numbers)
        self.future = future
        self.deadline = deadline
        self.retry = retry
        self.lane: Lane | None = None
        self.expiry: Expiry | None = None


class Expiry(Link):
    """A waiter's place among those who are as patient as it is."""

    __slots__ = ("patience", "waiter")

    def __init__(self, waiter: Waiter, patience: Patience) -> None:
        self.waiter = waiter
        self.patience = patience


class Patience(Ring):
    """All who wait for the same time at most: who asked first gives up first, so one timer serves them all."""

    __slots__ = ("seconds", "timer")

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.timer: asyncio.TimerHandle | None = None


class Lane:
    """One bucket with those who wait for it."""

    __slots__ = (
        "account", "bucket", "cursor", "due", "endpoint", "group", "path", "queue", "retries", "scope", "soonest",
        "timer", "timer_at", "waiting",
    )  # fmt: skip

    def __init__(self, account: str, endpoint: str, path: str | None, group: AccountScope, scope: PathScope) -> None:
        self.account = account
        self.endpoint = endpoint
        self.path = path
        self.group = group
        self.scope = scope
        self.bucket = Bucket()
        self.retries = Ring()
        self.queue = Ring()
        self.waiting = 0
        self.due = False
        """Whether it has a place in the limiter's agenda."""
        self.timer: asyncio.TimerHandle | None = None
        self.timer_at = math.inf
        self.soonest = math.inf
        """No deadline of those who wait is earlier: most pauses need no look at them."""
        self.cursor: Link | None = None

    @property
    def paused_until(self) -> float:
        """The end of the pause, the bucket's or the account's."""
        return max(self.bucket.paused_until, self.group.paused_until)

    def busy(self, now: float) -> bool:
        """Return whether somebody waits, a request is out, or a pause lasts that must not be forgotten."""
        return bool(self.waiting or self.bucket.in_flight or self.bucket.paused_until > now)

    def join(self, waiter: Waiter) -> None:
        """Let `waiter` stand last in its queue."""
        (self.retries if waiter.retry else self.queue).append(waiter)
        waiter.lane = self
        self.waiting += 1
        if waiter.deadline is not None and waiter.deadline < self.soonest:
            self.soonest = waiter.deadline

    def leave(self, waiter: Waiter) -> None:
        """Take `waiter` out of line, where it now stands."""
        if waiter is self.cursor:
            self.cursor = waiter.next
        waiter.unlink()
        waiter.lane = None
        self.waiting -= 1

    def first(self) -> Waiter | None:
        """Return who is next."""
        link = self.retries.next
        if not isinstance(link, Waiter):
            link = self.queue.next
        return link if isinstance(link, Waiter) else None

    def take(self) -> tuple[Ring, Ring]:
        """Hand on the repeats and the first comers. They count here until they leave."""
        self.cursor = None
        return self.retries.take(), self.queue.take()

    def look(self) -> None:
        """Begin to look at each of those who wait; again from the start, if that is under way."""
        self.cursor = self.retries.next
        self.soonest = math.inf

    def seen(self) -> Waiter | None:
        """Return the next one to be looked at, or None at the end."""
        link = self.cursor
        if link is self.retries:
            link = self.queue.next
        if not isinstance(link, Waiter):
            self.cursor = None
            return None
        self.cursor = link.next
        return link


class Move:
    """A crowd on its way to other buckets, since the scope of its quota has changed: repeats first, each in the order
    of asking.
    """

    __slots__ = ("_heap", "again", "transit")

    def __init__(self, lane: Lane) -> None:
        self.again = True
        """Whether the lanes must be asked (again) who waits: the scope has changed (once more)."""
        self.transit = Lane(lane.account, lane.endpoint, None, lane.group, lane.scope)
        """Where newcomers queue meanwhile, so that they overtake nobody. It never lets anyone go: `waiting` is never
        0, and it is always `due`."""
        self.transit.waiting = 1
        self.transit.due = True
        self._heap: list[tuple[int, int, int, Ring]] = []  # the third number keeps rings from being compared

    def add(self, rings: tuple[Ring, Ring]) -> None:
        """Take in the repeats and the first comers of a lane, each in the order of asking."""
        for rank, ring in enumerate(rings):
            if isinstance(link := ring.next, Waiter):
                heappush(self._heap, (rank, link.number, next(_numbers), ring))

    def first(self) -> Waiter | None:
        """Return who is next."""
        heap = self._heap
        while heap:
            rank, number, unique, ring = heap[0]
            link = ring.next
            if not isinstance(link, Waiter):
                heappop(heap)
            elif link.number > number:
                heapreplace(heap, (rank, link.number, unique, ring))
            else:
                return link
        return None
