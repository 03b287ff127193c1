"""A quota that several processes share: each request is reserved in one place, as well as permitted by its bucket.

Whatever reserves requests implements `SharedQuota`. What happens:

- **A request may go by its bucket, and limit and window are known**: it takes the next reserved time. If none is left,
  as many are reserved as wait, up to a tenth of a second ahead, in one call.
- **A request is refused**: the others are told to pause.
- **The shared quota cannot be asked**: the process uses its own bucket for a second, then asks again.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, Protocol

from aelyst_async.ratelimit.queue import Lane
from aelyst_async.ratelimit.quota import Quota

__all__ = ["Reservation", "Reserver", "SharedQuota"]

logger = logging.getLogger("aelyst_async.ratelimit")

_AHEAD = 0.1
"""Seconds for which requests are reserved at once: few round trips, and little is lost when a process ends."""

_RETRY = 1.0
"""Seconds until a shared quota that failed is asked again."""


class Reservation(NamedTuple):
    """What a `SharedQuota` granted: so many requests, of which the first may be sent in ``wait`` seconds and each other
    one ``every`` seconds after the one before. If none was granted, ask again in ``wait`` seconds.
    """

    granted: int
    wait: float = 0.0
    every: float = 0.0


class SharedQuota(Protocol):
    """Reserves requests of a quota for all processes that share it: `RateLimiter(shared=…)`."""

    async def reserve(self, bucket: str, want: int, quota: Quota) -> Reservation:
        """Reserve up to `want` requests of `quota` in the bucket of this name."""
        ...

    async def pause(self, bucket: str, seconds: float) -> None:
        """The server refused a request: nobody may send any for so many seconds."""
        ...


class Reserver:
    """Keeps what is reserved for each lane of one limiter. ``wake`` is called with a lane that may go on."""

    def __init__(self, shared: SharedQuota, wake: Callable[[Lane], None]) -> None:
        self._shared = shared
        self._wake = wake
        self._tasks: set[asyncio.Task[None]] = set()

    def next_at(self, lane: Lane, now: float) -> float:
        """Return when the lane's next request may be sent; infinite: `wake` will be called."""
        bucket, quota = lane.bucket, lane.bucket.quota
        bucket.reserved = quota is not None and now >= lane.local_until
        if quota is None or not bucket.reserved:
            return now  # there is nothing to share yet: the bucket alone decides
        while lane.reserved and lane.reserved[0] < now - quota.per:
            lane.reserved.popleft()  # too old: another process may have it again
        if lane.reserved:
            return lane.reserved[0]
        if not lane.asking:
            lane.asking = True
            self._spawn(self._reserve(lane, quota))
        return math.inf

    def refused(self, lane: Lane, seconds: float) -> None:
        """Tell the others of a refusal that lasts so long."""
        self._spawn(self._pause(lane, seconds))

    async def _reserve(self, lane: Lane, quota: Quota) -> None:
        loop, wait = asyncio.get_running_loop(), 0.0
        try:
            want = max(1, min(lane.waiting, int(_AHEAD * quota.limit / quota.per)))
            granted, wait, every = await self._shared.reserve(_name(lane), want, quota)
            lane.reserved.extend(loop.time() + wait + every * number for number in range(granted))
        except Exception:
            logger.warning("the shared quota cannot be asked; this process uses its own limiter", exc_info=True)
            lane.local_until = loop.time() + _RETRY
        if not lane.reserved and loop.time() >= lane.local_until:
            await asyncio.sleep(max(wait, 0.001))
        lane.asking = False
        self._wake(lane)

    async def _pause(self, lane: Lane, seconds: float) -> None:
        try:
            await self._shared.pause(_name(lane), seconds)
        except Exception:
            logger.warning("the shared quota cannot be told of a refusal", exc_info=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _name(lane: Lane) -> str:
    return "\n".join((lane.account, lane.endpoint, lane.path or ""))
