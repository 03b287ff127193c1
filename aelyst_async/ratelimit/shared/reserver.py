"""A quota that several processes share: each request is reserved in one place. `RedisQuota` is such a place.

A `SharedQuota` grants *slots*: times at which one request each may be sent. A slot that is not used within a short time
lapses, so a process that dies or stalls takes nothing from the window after it. What happens in each process:

- **A caller waits and no slot is left**: as many slots are reserved as callers wait, in one call. Before the last slot
  is used, the next ones are reserved, so that round trips cost no time.
- **Nobody knows the window yet**: one process may send *alone* for a moment, by its own bucket, which learns. The
  others wait. A process that has been the only one for some time goes on like that.
- **A response arrives**: what it says is reported, at most once in `_REPORT_EVERY`; a refusal at once.
- **The shared quota says that the server asked for a pause**: this process pauses too.
- **The shared quota cannot be asked**: nothing is sent; it is asked again after `_RETRY`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import secrets
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any
from weakref import WeakKeyDictionary, ref

from aelyst_async.errors import ConfigurationError
from aelyst_async.ratelimit.bucket import Bucket
from aelyst_async.ratelimit.headers import QuotaHeaders
from aelyst_async.ratelimit.queue import Lane
from aelyst_async.ratelimit.quota import Quota
from aelyst_async.ratelimit.shared import Demand, Reservation, SharedQuota

__all__ = ["Reserver"]

logger: logging.Logger = logging.getLogger("aelyst_async.ratelimit")

_RETRY = 1.0
"""Seconds until a shared quota that failed is asked again."""

_REPORT_EVERY = 0.1
"""Seconds between reports of what responses showed."""

_BEAT = 5.0
"""Seconds between the signs of life of an idle process."""


class _State:
    """What is known of one lane's part of the shared quota."""

    def __init__(self, bucket: Bucket) -> None:
        self.slots: deque[float] = deque()
        self.usable = math.inf
        self.alone_until = -math.inf
        self.ask_at = -math.inf  # not asked again before that
        self.asking = self.reporting = False
        self.ahead = 0.0  # seconds that a call takes
        self.bucket, self.told = bucket, 0  # of its requests, so many were told
        self.limit: int | None = None
        self.remaining: int | None = None

    def untold(self, bucket: Bucket) -> int:
        """Return how many requests the shared quota has not been told of."""
        if bucket is not self.bucket:
            self.bucket, self.told = bucket, 0
        return max(0, bucket.sent - self.told)


class Reserver:
    """Reserves slots for the lanes of one limiter. ``wake`` is called with a lane that may go on, ``paused`` with one
    that was paused by another process.
    """

    def __init__(
        self, shared: SharedQuota, share: float, wake: Callable[[Lane], None], paused: Callable[[Lane], None]
    ) -> None:
        self._shared, self._share, self._wake, self._paused = shared, share, wake, paused
        self.trouble: str | None = None
        """Why the shared quota cannot be asked now, without an address."""
        self._token = ""
        self._states: WeakKeyDictionary[Lane, _State] = WeakKeyDictionary()
        self._tasks: set[asyncio.Task[None]] = set()
        self._beating: asyncio.AbstractEventLoop | None = None
        self._latest: Lane | None = None

    def next_at(self, lane: Lane, now: float) -> float:
        """Return when the lane's next request may be sent; infinite: `wake` will be called."""
        state, bucket = self._state(lane), lane.bucket
        alone, slots = now < state.alone_until, state.slots
        bucket.reserve_elsewhere(not alone)
        ready = bucket.next_at
        if alone:
            if now >= state.ask_at:
                self._ask(lane, state)
            return ready if state.asking else min(ready, state.ask_at)
        if ready > now:
            return ready
        while slots and slots[0] < now - state.usable:
            slots.popleft()
        if lane.waiting > len(slots) and now >= state.ask_at and (not slots or slots[-1] - now < state.ahead):
            self._ask(lane, state)
        if slots:
            return slots[0]
        return math.inf if state.asking else state.ask_at

    def used(self, lane: Lane) -> None:
        """A request of the lane was let go."""
        state = self._state(lane)
        if state.slots:
            state.slots.popleft()

    def answered(self, lane: Lane, now: float, quota: QuotaHeaders, pause: float | None) -> None:
        """A response arrived. `pause`: the seconds that the server asks for, if it refused the request."""
        state = self._state(lane)
        if quota.limit is not None and quota.remaining is not None:
            if state.limit == quota.limit and state.remaining is not None:
                state.remaining = min(state.remaining, quota.remaining)
            else:
                state.limit, state.remaining = quota.limit, quota.remaining
        if pause is not None:
            self._spawn(self._report(lane, state, pause))
        elif not state.reporting:
            state.reporting = True
            asyncio.get_running_loop().call_later(_REPORT_EVERY, self._flush, lane, state)
        if state.ask_at <= now < state.alone_until and lane.bucket.in_flight:
            self._ask(lane, state)  # or another process would learn from what this one does

    # -- calls ------------------------------------------------------------------------------------------------------

    def _state(self, lane: Lane) -> _State:
        state = self._states.get(lane)
        if state is None:
            state = self._states[lane] = _State(lane.bucket)
        return state

    def _ask(self, lane: Lane, state: _State) -> None:
        if not state.asking:
            state.asking = True
            self._spawn(self._reserve(lane, state))

    def _flush(self, lane: Lane, state: _State) -> None:
        self._spawn(self._report(lane, state, None))

    async def _reserve(self, lane: Lane, state: _State) -> None:
        loop = asyncio.get_running_loop()
        began, bucket, untold = loop.time(), lane.bucket, state.untold(lane.bucket)
        self._beat(lane, loop)
        try:
            got = await self._shared.reserve(self._demand(lane, untold), max(1, lane.waiting - len(state.slots)))
        except ConfigurationError as error:
            lane.fail(error)
            got = Reservation(first=loop.time() + _RETRY)
        except Exception as error:  # noqa: BLE001 - of any implementation
            trouble = f"{type(self._shared).__name__}: {type(error).__name__}"  # its text may hold a password
            if self.trouble is None:
                logger.warning("the shared quota cannot be reached (%s); requests wait for it", trouble)
            got = Reservation(first=loop.time() + _RETRY, trouble=trouble)
        else:
            state.told += untold if state.bucket is bucket else 0
            state.ahead += (loop.time() - began - state.ahead) / 4
        now = loop.time()
        self.trouble = got.trouble
        state.asking = False
        state.alone_until = got.alone_until
        state.ask_at = (now + got.alone_until) / 2 if got.alone_until > now else -math.inf if got.granted else got.first
        state.slots.extend(got.first + got.every * number for number in range(got.granted))
        state.usable = got.usable
        longer = got.paused_until > max(now, bucket.paused_until)
        bucket.adopt(None if got.alone_until > now else got.window, got.paused_until)
        if longer:
            self._paused(lane)
        self._wake(lane)

    async def _report(self, lane: Lane, state: _State, pause: float | None) -> None:
        bucket, untold = lane.bucket, state.untold(lane.bucket)
        limit, remaining, state.remaining, state.reporting = state.limit, state.remaining, None, False
        state.told += untold  # at once: a call for slots may be made before this one returns
        try:
            await self._shared.report(self._demand(lane, untold), limit, remaining, pause)
        except Exception as error:  # noqa: BLE001 - of any implementation
            # What cannot be told now is said by the next response; a wrong setting, to those that wait for slots.
            state.told -= untold if state.bucket is bucket else 0
            logger.debug("the shared quota cannot be told of a response: %s", type(error).__name__)

    def _demand(self, lane: Lane, sent: int) -> Demand:
        bucket, quota = lane.bucket, lane.bucket.quota
        if quota is not None:
            quota = Quota(bucket.limit or max(1, round(quota.limit / self._share)), quota.per)
        # A fork gets a name of its own, as do two limiters in one process.
        self._token = self._token or secrets.token_hex(4)
        name = "\n".join((lane.account, lane.endpoint, lane.path or ""))
        return Demand(
            member=f"{os.getpid():x}.{self._token}", bucket=name, quota=quota, source=bucket.source,
            share=self._share, sent=sent,
        )  # fmt: skip

    # -- signs of life ----------------------------------------------------------------------------------------------

    def _beat(self, lane: Lane, loop: asyncio.AbstractEventLoop) -> None:
        self._latest = lane
        if self._beating is not loop:
            self._beating = loop
            _beat(ref(self), loop)

    def hello(self) -> None:
        """Say that this limiter is alive."""
        if self._latest is not None:
            self._spawn(self._hello(self._latest))

    async def _hello(self, lane: Lane) -> None:
        try:
            await self._shared.reserve(self._demand(lane, 0), 0)
        except Exception as error:  # noqa: BLE001 - of any implementation
            logger.debug("the shared quota cannot be told that this process is alive: %s", type(error).__name__)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _beat(held: ref[Reserver], loop: asyncio.AbstractEventLoop) -> None:
    """Say now and then that the limiter is alive, for as long as somebody holds it."""

    def beat() -> None:
        reserver = held()
        if reserver is not None:
            reserver.hello()
            loop.call_later(_BEAT, beat)

    loop.call_later(_BEAT, beat)
