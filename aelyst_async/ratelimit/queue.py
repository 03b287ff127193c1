"""Who waits for one bucket, and for a connection.

A lane is two FIFO queues: repeats go before first comers. What happens:

- **A caller waits**: its permit stands last in its queue; a heap keeps the time at which it gives up, if it does.
- **A caller leaves** (cancelled, out of time): its permit stays where it stands, without a lane, and is dropped when it
  comes to the front, or when more than half of a queue are such.
- **The next one is wanted**: `Lane.first` returns the first that still waits.

A connection that is missing would make a permit useless: its request would reach the server later than the bucket
notes. So permit and slot are had in one step (`Slots`), and no caller holds one while it waits for the other.
"""

# ruff: noqa: SLF001 - a permit is one object in two modules, here while it waits

from __future__ import annotations

import asyncio
import copy
import math
from collections import deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

from aelyst_async.errors import ConfigurationError
from aelyst_async.ratelimit.bucket import Bucket

if TYPE_CHECKING:
    from aelyst_async.ratelimit.limiter import Permit
    from aelyst_async.ratelimit.quota import AccountScope, PathScope

__all__ = ["Lane", "Slots"]

_numbers = count()


class Lane:
    """The permits that wait for one bucket."""

    def __init__(
        self, account: str, endpoint: str, path: str | None, bucket: Bucket, group: AccountScope, scope: PathScope
    ) -> None:
        self.account = account
        self.endpoint = endpoint
        self.path = path
        self.bucket = bucket
        self.group = group
        self.scope = scope
        self.repeats: deque[Permit] = deque()
        self.queue: deque[Permit] = deque()
        self.waiting: int = 0
        self.expiries: list[tuple[float, int, Permit]] = []
        self.timer: asyncio.TimerHandle | None = None
        self.timer_at: float = math.inf
        self.soonest: float = math.inf
        """No deadline of a waiting permit is earlier, so most pauses need no pass over the queue."""

    @property
    def paused_until(self) -> float:
        """The end of the pause, the bucket's or the account's."""
        return max(self.bucket.paused_until, self.group.paused_until)

    def busy(self, now: float) -> bool:
        """Return whether a permit waits, a request is out, or a pause lasts that must not be forgotten."""
        return bool(self.waiting or self.bucket.in_flight or self.bucket.paused_until > now)

    def join(self, permit: Permit) -> None:
        """Let `permit` stand last in its queue."""
        (self.repeats if permit._retry else self.queue).append(permit)
        permit._lane = self
        permit._waits = True
        self.waiting += 1
        if permit._deadline is not None and permit._deadline < self.soonest:
            self.soonest = permit._deadline
        if permit._expires < math.inf:
            heappush(self.expiries, (permit._expires, next(_numbers), permit))

    def leave(self, permit: Permit) -> None:
        """`permit` waits no longer."""
        permit._waits = False
        self.waiting -= 1
        if len(self.queue) + len(self.repeats) > 2 * self.waiting + 64:
            self.queue, self.repeats = deque(self._of(self.queue)), deque(self._of(self.repeats))

    def _of(self, queue: Iterable[Permit]) -> Iterable[Permit]:
        return (permit for permit in queue if permit._waits and permit._lane is self)

    def first(self) -> Permit | None:
        """Return the permit that is next."""
        for queue in (self.repeats, self.queue):
            while queue:
                permit = queue[0]
                if permit._waits and permit._lane is self:
                    return permit
                queue.popleft()
        return None

    def permits(self) -> list[Permit]:
        """Return all that wait, in their order."""
        return [*self._of(self.repeats), *self._of(self.queue)]

    def take(self) -> list[Permit]:
        """Remove and return all that wait, in their order."""
        taken = self.permits()
        self.repeats.clear()
        self.queue.clear()
        self.expiries.clear()
        self.waiting = 0
        self.soonest = math.inf
        return taken

    def fail(self, error: Exception) -> None:
        """Raise a copy of the error at all callers that wait."""
        for permit in self.take():
            permit._waits = False
            if not permit._future.done():
                permit._future.set_exception(copy.copy(error))

    def expired(self, now: float) -> Permit | None:
        """Return a permit that waits for longer than it may, and forget its time."""
        heap = self.expiries
        while heap and (heap[0][0] <= now or not heap[0][2]._waits):
            permit = heappop(heap)[2]
            if permit._waits and permit._lane is self:
                return permit
        return None

    @property
    def next_expiry(self) -> float:
        """When the next permit will have waited for as long as it may."""
        return self.expiries[0][0] if self.expiries else math.inf


class Slots:
    """So many requests may be under way at once, by all that share this object. For one event loop.

    Lanes whose first permit waits for nothing but a slot stand in line here; each lets one go in its turn.
    """

    __slots__ = ("_waiting", "free")

    def __init__(self, number: int) -> None:
        """Raises `ConfigurationError` for anything but a whole number from 1."""
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ConfigurationError(f"Slots: the number must be a whole number from 1, not {number!r}")
        self.free: int = number
        self._waiting: dict[Lane, Callable[[Lane], None]] = {}

    def wait(self, lane: Lane, wake: Callable[[Lane], None]) -> None:
        """No slot is free: call `wake` with `lane` when one is."""
        self._waiting.setdefault(lane, wake)

    def give_back(self) -> None:
        """A slot is free again."""
        self.free += 1
        waiting = self._waiting
        while self.free > 0 and waiting:
            lane = next(iter(waiting))
            waiting.pop(lane)(lane)
