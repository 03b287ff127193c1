"""Who waits for a quota: FIFO queues, and one timer per bucket that hands over permits.

::

    permit() ──▶ lane of its bucket ──▶ free and nobody before us? ──yes──▶ go
                                              │ no
                                              ▼
                       retries ▢▢▢  first comers ▢▢▢▢▢▢▢▢      one timer: the bucket's next time
                            └────────────┴──▶ pump ──▶ hand over ──▶ go ──▶ observe │ unsent │ neither
                                               ▲                                        │
                                               └──────────── the bucket learns ─────────┘

- **A permit is handed over.** The pump takes it from the bucket and gives it to the head of the queue in one step,
  so no newcomer slips in between. Whoever is cancelled after that, before it could run, gives it back.
- **No task and no timer per waiter**: a waiter is one `Permit` and one future in a deque. A hundred thousand of them
  are let go in portions, so that the loop is never held up.
- **The loop's clock is the only one**, and it is monotonic: a wall clock that jumps changes nothing; after a suspended
  host wakes up, the timers are late, and lateness is never turned into a burst beyond what the bucket allows.
- **No lock and no await** between looking and taking.
"""

# ruff: noqa: SLF001 - permit, lane and limiter are one mechanism in three classes

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from aelyst_async.errors import ConfigurationError, RateLimitedError
from aelyst_async.ratelimit.bucket import Bucket
from aelyst_async.ratelimit.headers import read
from aelyst_async.ratelimit.scope import AccountScope, PathScope
from aelyst_async.ratelimit.snapshot import BucketSnapshot

__all__ = ["BucketSnapshot", "Permit", "RateLimiter"]

_PORTION = 256
"""Permits handed over in one go of the event loop: well under a millisecond's work."""

_REPORT_EVERY = 0.05
"""Seconds between calls of `RateLimiter.on_change`."""

MOST_BUCKETS = 10_000
"""Buckets kept; the least recently used go first."""


class _Lane:
    """One bucket with those who wait for it."""

    __slots__ = (
        "account", "bucket", "endpoint", "group", "path", "queue", "retries", "scope", "timer", "timer_at", "waiting",
    )  # fmt: skip

    def __init__(self, account: str, endpoint: str, path: str | None, group: AccountScope, scope: PathScope) -> None:
        self.account = account
        self.endpoint = endpoint
        self.path = path
        self.group = group
        self.scope = scope
        self.bucket = Bucket()
        self.retries: deque[Permit] = deque()
        self.queue: deque[Permit] = deque()
        self.waiting = 0
        self.timer: asyncio.Handle | None = None
        self.timer_at = math.inf

    def busy(self, now: float) -> bool:
        """Return whether somebody waits, a request is out, or a pause lasts that must not be forgotten."""
        return bool(self.waiting or self.bucket.in_flight or self.bucket.paused_until > now)

    def head(self) -> Permit | None:
        """Return the next that still waits; drop those that gave up."""
        for queue in (self.retries, self.queue):
            while queue:
                if queue[0].waits:
                    return queue[0]
                queue.popleft()
        return None

    def pop(self) -> None:
        """Drop what `head` returned."""
        (self.retries or self.queue).popleft()

    def compact(self) -> None:
        """Drop those that gave up, once they are the majority: a deque cannot forget from its middle."""
        if len(self.queue) + len(self.retries) > 2 * self.waiting + 64:
            self.queue = deque(one for one in self.queue if one.waits)
            self.retries = deque(one for one in self.retries if one.waits)


class Permit:
    """The right to send one request. ``async with limiter.permit(…) as permit``; see `RateLimiter.permit`."""

    __slots__ = (
        "_asked", "_bucket", "_deadline", "_expiry", "_future", "_key", "_lane", "_limiter", "_max_wait", "_number",
        "_open", "_path", "_retry", "_sent_at", "waited",
    )  # fmt: skip

    def __init__(
        self,
        limiter: RateLimiter,
        key: tuple[str, str],
        path: str | None,
        retry: bool,
        deadline: float | None,
        max_wait: float | None,
    ) -> None:
        self._limiter = limiter
        self._key = key
        self._path = path
        self._retry = retry
        self._deadline = deadline
        self._max_wait = max_wait
        self._future: asyncio.Future[float] | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._open = False
        self.waited = 0.0
        """Seconds between asking and getting."""

    @property
    def waits(self) -> bool:
        """Whether it stands in a queue and nobody has cancelled it."""
        return self._future is not None and not self._future.done()

    async def __aenter__(self) -> Permit:  # noqa: PYI034 - typing has no Self on 3.10
        limiter = self._limiter
        loop = asyncio.get_running_loop()
        lane = limiter._usual.get(self._key) if loop is limiter._loop else None
        if lane is None:
            lane = limiter._lane(self._key, self._path)
        self._lane = lane
        now = loop.time()
        if not lane.waiting and lane.group.paused_until <= now and lane.bucket.ready_at(now) <= now:
            self._take(lane, now)
            return self
        self._asked = now
        limiter._enqueue(self, lane, now, loop)
        future = self._future
        assert future is not None
        try:
            wait = await future
        except asyncio.CancelledError:
            if future.cancelled():
                self._lane.waiting -= 1
                limiter._left(self._lane)
            elif self._open:
                self.unsent()
            raise
        finally:
            self._future = None
            if self._expiry is not None:
                self._expiry.cancel()
                self._expiry = None
        if not self._open:
            raise limiter._refusal(self._lane, wait)
        self.waited = wait
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            # Nobody can say whether the server counted it; what may have been spent is taken as spent.
            self._open = False
            lane = self._lane
            self._bucket.lost(self._number)
            self._limiter._changed(lane)

    def observe(self, status: int, headers: Mapping[str, str]) -> None:
        """Tell what the server answered. Only the first call of `observe` or `unsent` counts."""
        if self._open:
            self._open = False
            self._limiter._answered(self, status, headers)

    def unsent(self) -> None:
        """Give the permit back: the request surely never left."""
        if self._open:
            self._open = False
            lane = self._lane
            self._bucket.unsent(self._number)
            self._limiter._changed(lane)

    def _take(self, lane: _Lane, now: float) -> None:
        self._lane = lane
        self._bucket = lane.bucket
        self._number = lane.bucket.send(now)
        self._sent_at = now
        self._open = True

    def _grant(self, lane: _Lane, now: float) -> None:
        future = self._future
        assert future is not None
        self._take(lane, now)
        future.set_result(now - self._asked)

    def _give_up(self, wait: float) -> None:
        """End the wait without a permit: it would last `wait` seconds more."""
        future = self._future
        if future is not None and not future.done():
            self._lane.waiting -= 1
            future.set_result(wait)


class RateLimiter:
    """Learns each API's quota from its answers, and makes every request wait its turn.

    ``max_wait``: the longest that a request may wait, in seconds (None: as long as it takes); a longer wait is refused
    with `RateLimitedError`. One limiter may serve any number of gateways. It belongs to the event loop of its first
    use; once that loop is closed or idle, the next one may use it, and what was learned is learned anew.
    """

    def __init__(self, *, max_wait: float | None = None) -> None:
        self._max_wait = _seconds(max_wait, "max_wait")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lanes: OrderedDict[tuple[str, str, str | None], _Lane] = OrderedDict()
        self._scopes: OrderedDict[tuple[str, str], PathScope] = OrderedDict()
        self._groups: OrderedDict[str, AccountScope] = OrderedDict()
        self._usual: dict[tuple[str, str], _Lane] = {}  # the endpoints' own lanes, for speed
        self._news: dict[_Lane, None] = {}
        self.on_change: Callable[[BucketSnapshot], None] | None = None
        """Called with a bucket's snapshot after it has changed, at most twenty times a second for each bucket."""

    def permit(
        self,
        endpoint: str,
        *,
        account: str = "",
        path: str | None = None,
        retry: bool = False,
        deadline: float | None = None,
        max_wait: float | None = None,
    ) -> Permit:
        """Return an async context manager that waits for the right to send one request.

        ``endpoint``: method and route template, ``"GET /contact/{identifier}"``. ``account``: any text that names
        credential and server (not the credential itself: it shows in `snapshot`). ``path``: the full path, for APIs
        that count per path. ``retry``: wait before all first comers. ``deadline``: the loop's time after which the
        answer is of no use: a refusal known to last longer fails at once. ``max_wait``: as in the constructor, for
        this request. Entering raises `RateLimitedError` with ``attempts=0`` where the wait would be too long.
        """
        return Permit(
            self, (account, endpoint), path, retry, deadline, self._max_wait if max_wait is None else max_wait
        )

    def snapshot(self) -> tuple[BucketSnapshot, ...]:
        """Return every bucket as it is now."""
        now = -math.inf if self._loop is None else self._loop.time()
        return tuple(_snapshot(lane, now) for lane in self._lanes.values())

    def _now(self) -> float:
        assert self._loop is not None
        return self._loop.time()

    def _lane(self, key: tuple[str, str], path: str | None) -> _Lane:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._bind(loop)
        scope = self._scopes.get(key)
        if scope is None:
            scope = self._scopes[key] = PathScope()
            _trim(self._scopes, lambda name: (*name, None) not in self._lanes)
        name = (*key, path if scope.per_path else None)
        lane = self._lanes.get(name)
        if lane is None:
            group = self._groups.get(key[0])
            if group is None:
                group = self._groups[key[0]] = AccountScope()
                _trim(self._groups, lambda account: account != key[0])
            lane = self._lanes[name] = _Lane(*name, group, scope)
            now = loop.time()
            if len(self._lanes) > MOST_BUCKETS:
                self._usual.clear()
                _trim(self._lanes, lambda name: not self._lanes[name].busy(now))
        else:
            self._lanes.move_to_end(name)
        if not scope.per_path:
            self._usual[key] = lane
        return lane

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        old = self._loop
        in_use = (
            old is not None
            and not old.is_closed()
            and (old.is_running() or any(lane.busy(math.inf) for lane in self._lanes.values()))
        )
        if in_use:
            raise ConfigurationError("this RateLimiter is in use in another event loop; make one for each loop")
        self._loop = loop
        self._lanes.clear()
        self._usual.clear()
        self._scopes.clear()
        self._groups.clear()
        self._news.clear()

    def _enqueue(self, permit: Permit, lane: _Lane, now: float, loop: asyncio.AbstractEventLoop) -> None:
        pause = max(lane.bucket.paused_until, lane.group.paused_until)
        most = permit._max_wait
        if pause > now and (
            (permit._deadline is not None and pause > permit._deadline) or (most is not None and pause - now > most)
        ):
            raise self._refusal(lane, pause - now)
        rate = lane.bucket.rate
        if most is not None and rate and not permit._retry and lane.waiting / (2 * rate) > most:
            raise self._refusal(lane, lane.waiting / rate)
        permit._future = loop.create_future()
        if most is not None:
            permit._expiry = loop.call_later(most, self._expire, permit)
        (lane.retries if permit._retry else lane.queue).append(permit)
        lane.waiting += 1
        self._pump(lane)

    def _expire(self, permit: Permit) -> None:
        lane = permit._lane
        ready = lane.bucket.ready_at(self._now())
        permit._give_up(max(0.0, ready - self._now()) if math.isfinite(ready) else 0.0)
        self._left(lane)

    def _left(self, lane: _Lane) -> None:
        lane.compact()
        if lane.waiting:
            self._pump(lane)

    def _pump(self, lane: _Lane) -> None:
        now = self._now()
        bucket = lane.bucket
        for _ in range(_PORTION):
            permit = lane.head()
            if permit is None:
                return
            ready = max(bucket.ready_at(now), lane.group.paused_until)
            if ready > now:
                self._arm(lane, ready)
                return
            lane.pop()
            lane.waiting -= 1
            permit._grant(lane, now)
        self._arm(lane, now)

    def _arm(self, lane: _Lane, at: float) -> None:
        if lane.timer is not None:
            if lane.timer_at <= at:
                return
            lane.timer.cancel()
            lane.timer = None
        loop = self._loop
        assert loop is not None
        if math.isinf(at):
            lane.timer_at = at
            return
        lane.timer_at = at
        lane.timer = loop.call_at(at, self._tick, lane)

    def _tick(self, lane: _Lane) -> None:
        lane.timer = None
        lane.timer_at = math.inf
        self._pump(lane)

    def _answered(self, permit: Permit, status: int, headers: Mapping[str, str]) -> None:
        now = self._now()
        lane, bucket = permit._lane, permit._bucket
        quota = read(headers, time.time())
        before = bucket.paused_until
        unexpected = status == 429 and (bucket.limit is None or bucket.credit >= 2)
        bucket.answer(permit._number, now, status, quota)
        if bucket.paused_until > before:
            if lane.group.refused(lane.endpoint, now, bucket.paused_until, unexpected=unexpected):
                for other in list(self._lanes.values()):
                    if other.group is lane.group:
                        self._dismiss(other, now, lane.group.paused_until)
            self._dismiss(lane, now, bucket.paused_until)
        if lane.scope.observe(permit._path, permit._sent_at, status, quota.limit, quota.remaining):
            self._rescope(lane)
        self._changed(lane)

    def _rescope(self, lane: _Lane) -> None:
        """Send those who wait to the queue of their new bucket, in the order in which they came."""
        self._usual.clear()
        family = [one for one in self._lanes.values() if one.account == lane.account and one.endpoint == lane.endpoint]
        if not lane.scope.per_path:
            for one in family:
                # What the endpoint's bucket held is long out of date; a path's bucket is of no more use.
                if one.path is None:
                    one.bucket = Bucket()
                elif not one.bucket.in_flight:
                    del self._lanes[one.account, one.endpoint, one.path]
        waiting: list[Permit] = []
        for one in family:
            moving = [permit for queue in (one.retries, one.queue) for permit in queue if permit.waits]
            one.retries.clear()
            one.queue.clear()
            one.waiting -= len(moving)  # who was cancelled just now has yet to sign off
            waiting += moving
        moved: dict[_Lane, None] = {}
        for permit in sorted(waiting, key=lambda permit: permit._asked):
            home = permit._lane = self._lane(permit._key, permit._path)
            (home.retries if permit._retry else home.queue).append(permit)
            home.waiting += 1
            moved[home] = None
        for one in moved:
            self._pump(one)

    def _dismiss(self, lane: _Lane, now: float, pause: float) -> None:
        """Fail those whose deadline lies before the end of the pause."""
        for queue in (lane.retries, lane.queue):
            for permit in queue:
                if permit._deadline is not None and permit._deadline < pause:
                    permit._give_up(pause - now)
        lane.compact()

    def _changed(self, lane: _Lane) -> None:
        if lane.waiting:
            self._pump(lane)
        if self.on_change is not None:
            if not self._news:
                assert self._loop is not None
                self._loop.call_later(_REPORT_EVERY, self._report)
            self._news[lane] = None

    def _report(self) -> None:
        news, self._news = self._news, {}
        tell, now = self.on_change, self._now()
        if tell is not None:
            for lane in news:
                tell(_snapshot(lane, now))

    def _refusal(self, lane: _Lane, wait: float) -> RateLimitedError:
        method, _, route = lane.endpoint.partition(" ")
        return RateLimitedError(
            status=429,
            message="not sent: the quota would not be free in time",
            method=method,
            url=route,
            retry_after=wait,
            attempts=0,
        )


def _trim(kept: OrderedDict[Any, Any], idle: Callable[[Any], bool]) -> None:
    """Drop the least recently used, unless it is in use; then it has another turn."""
    for _ in range(8):
        if len(kept) <= MOST_BUCKETS:
            return
        name = next(iter(kept))
        if idle(name):
            del kept[name]
        else:
            kept.move_to_end(name)


def _seconds(value: float | None, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0 or math.isinf(value):
        raise ConfigurationError(f"{name} must be a number of seconds, 0 or more, or None, not {value!r}")
    return float(value)


def _snapshot(lane: _Lane, now: float) -> BucketSnapshot:
    bucket = lane.bucket
    return BucketSnapshot(
        account=lane.account,
        endpoint=lane.endpoint,
        path=lane.path,
        scope="endpoint" if lane.path is None else "path",
        scope_reason=lane.scope.reason,
        state=bucket.state,
        limit=bucket.limit,
        remaining=bucket.remaining,
        rate=bucket.rate,
        window=bucket.window,
        waiting=lane.waiting,
        in_flight=bucket.in_flight,
        paused_for=max(0.0, max(bucket.paused_until, lane.group.paused_until) - now),
        sent=bucket.sent,
        refused=bucket.refused,
    )
