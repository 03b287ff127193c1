"""The callers that wait for one bucket, and for a connection.

A lane has two FIFO queues: repeats go before first comers. A permit that leaves (cancelled, waited too long) stays in
its queue, marked, and is dropped when it comes to the front, or when more than half of the lane are such.

A permit without a connection would be useless: its request would reach the server later than the bucket notes. So
permit and slot are taken in one step (`Slots`), and no caller holds one while it waits for the other.
"""

# ruff: noqa: SLF001 - a permit is one object in two modules, here while it waits

from __future__ import annotations

import asyncio
import copy
import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from aelyst_async.ratelimit.bucket import Bucket
from aelyst_async.ratelimit.quota import check_number

if TYPE_CHECKING:
    from aelyst_async.ratelimit.limiter import Permit
    from aelyst_async.ratelimit.quota import AccountScope, PathScope

__all__ = ["Lane", "Slots"]


@attrs.define(eq=False)
class Lane:
    """The permits that wait for one bucket."""

    account: str
    endpoint: str
    path: str | None
    bucket: Bucket
    group: AccountScope
    scope: PathScope
    queues: tuple[deque[Permit], deque[Permit]] = attrs.Factory(lambda: (deque(), deque()))  # repeats, first comers
    waiting: int = 0
    timer: asyncio.TimerHandle | None = None
    soonest: float = math.inf  # no waiting deadline is earlier, so most pauses need no pass over the queues

    def busy(self, now: float) -> bool:
        """Return whether a permit waits, a request is out, or a pause lasts that must not be forgotten."""
        return bool(self.waiting or self.bucket.in_flight or self.bucket.paused_until > now)

    def join(self, permit: Permit) -> None:
        """Put `permit` at the end of its queue."""
        self.queues[not permit._retry].append(permit)
        permit._lane = self
        permit._waits = True
        self.waiting += 1
        self.soonest = min(self.soonest, permit._deadline)

    def leave(self, permit: Permit) -> None:
        """Note that `permit` waits no longer."""
        permit._waits = False
        if permit._timer is not None:
            permit._timer.cancel()
        self.waiting -= 1
        if sum(map(len, self.queues)) > 2 * self.waiting + 64:
            for queue in self.queues:
                kept = [one for one in queue if one._waits]
                queue.clear()
                queue.extend(kept)

    def first(self) -> Permit | None:
        """Return the permit that is next."""
        for queue in self.queues:
            while queue:
                if queue[0]._waits and not queue[0]._future.done():  # or its task is cancelled, and has yet to run
                    return queue[0]
                queue.popleft()
        return None

    def permits(self) -> list[Permit]:
        """Return all that wait, in their order."""
        return [permit for queue in self.queues for permit in queue if permit._waits]

    def take(self) -> list[Permit]:
        """Remove and return all that wait, in their order."""
        taken = self.permits()
        for permit in taken:
            self.leave(permit)
        for queue in self.queues:
            queue.clear()
        self.soonest = math.inf
        return taken

    def fail(self, error: Exception) -> None:
        """Raise a copy of the error to all callers that wait."""
        for permit in self.take():
            if not permit._future.done():
                permit._future.set_exception(copy.copy(error))


class Slots:
    """So many requests may be under way at once, by all that share this object. For one event loop.

    Lanes whose first permit waits for nothing but a slot stand in line here; each lets one go in its turn.
    """

    __slots__ = ("_waiting", "free")

    def __init__(self, number: int) -> None:
        """Raises `ConfigurationError` for anything but a whole number from 1."""
        check_number("Slots: the number", number, whole=True)
        self.free: int = number
        self._waiting: dict[Lane, Callable[[Lane], None]] = {}

    def wait(self, lane: Lane, wake: Callable[[Lane], None]) -> None:
        """No slot is free: call `wake` with `lane` when one is."""
        self._waiting.setdefault(lane, wake)

    def give_back(self) -> None:
        """Free a slot, and wake lanes as long as one is free."""
        self.free += 1
        waiting = self._waiting
        while self.free > 0 and waiting:
            lane = next(iter(waiting))
            waiting.pop(lane)(lane)
