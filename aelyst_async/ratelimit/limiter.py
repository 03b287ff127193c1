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

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from types import TracebackType

import attrs

from aelyst_async.errors import ConfigurationError, RateLimitedError
from aelyst_async.ratelimit.bucket import Bucket
from aelyst_async.ratelimit.headers import read

__all__ = ["BucketSnapshot", "Permit", "RateLimiter"]

_PORTION = 256
"""Permits handed over in one go of the event loop: well under a millisecond's work."""

MOST_BUCKETS = 10_000
"""Buckets kept; the least recently used go first."""


@attrs.frozen(kw_only=True)
class BucketSnapshot:
    """One bucket at one moment. Times in seconds."""

    account: str
    endpoint: str
    path: str | None
    """The full path, if the quota is counted per path."""
    scope: str
    """``endpoint`` or ``path``."""
    scope_reason: str
    state: str
    limit: int | None
    """Requests per window, as the server said last."""
    remaining: int | None
    rate: float | None
    """Requests per second that the quota allows in the long run, once learned."""
    window: float | None
    waiting: int
    in_flight: int
    paused_for: float
    """Seconds that the server's last refusal still lasts."""
    sent: int
    refused: int


class _Account:
    """What all buckets of one credential share: a pause."""

    __slots__ = ("paused_until",)

    def __init__(self) -> None:
        self.paused_until = -math.inf


class _Lane:
    """One bucket with those who wait for it."""

    __slots__ = ("account", "bucket", "endpoint", "group", "path", "queue", "retries", "timer", "timer_at", "waiting")

    def __init__(self, account: str, endpoint: str, path: str | None, group: _Account) -> None:
        self.account = account
        self.endpoint = endpoint
        self.path = path
        self.group = group
        self.bucket = Bucket()
        self.retries: deque[Permit] = deque()
        self.queue: deque[Permit] = deque()
        self.waiting = 0
        self.timer: asyncio.Handle | None = None
        self.timer_at = math.inf

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
        "_asked", "_deadline", "_expiry", "_future", "_key", "_lane", "_limiter", "_max_wait", "_number", "_open",
        "_retry", "waited",
    )  # fmt: skip

    def __init__(
        self,
        limiter: RateLimiter,
        key: tuple[str, str, str | None],
        retry: bool,
        deadline: float | None,
        max_wait: float | None,
    ) -> None:
        self._limiter = limiter
        self._key = key
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

    async def __aenter__(self) -> Permit:
        limiter = self._limiter
        lane = self._lane = limiter._lane(self._key)  # noqa: SLF001 - one mechanism in two classes
        loop = limiter._loop  # noqa: SLF001
        assert loop is not None
        now = loop.time()
        if not lane.waiting and lane.group.paused_until <= now and lane.bucket.ready_at(now) <= now:
            self._number = lane.bucket.send(now)
            self._open = True
            return self
        self._asked = now
        limiter._enqueue(self, lane, now, loop)  # noqa: SLF001
        future = self._future
        assert future is not None
        try:
            wait = await future
        except asyncio.CancelledError:
            if future.cancelled():
                self._lane.waiting -= 1
                limiter._left(self._lane)  # noqa: SLF001
            elif self._open:
                self.unsent()
            raise
        finally:
            self._future = None
            if self._expiry is not None:
                self._expiry.cancel()
                self._expiry = None
        if not self._open:
            raise limiter._refusal(self._lane, wait)  # noqa: SLF001
        self.waited = wait
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            # Nobody can say whether the server counted it; what may have been spent is taken as spent.
            self._open = False
            lane = self._lane
            lane.bucket.lost(self._number, self._limiter._now())  # noqa: SLF001
            self._limiter._changed(lane)  # noqa: SLF001

    def observe(self, status: int, headers: Mapping[str, str]) -> None:
        """Tell what the server answered. Only the first call of `observe` or `unsent` counts."""
        if self._open:
            self._open = False
            self._limiter._answered(self._lane, self._number, status, headers)  # noqa: SLF001

    def unsent(self) -> None:
        """Give the permit back: the request surely never left."""
        if self._open:
            self._open = False
            lane = self._lane
            lane.bucket.unsent(self._number, self._limiter._now())  # noqa: SLF001
            self._limiter._changed(lane)  # noqa: SLF001

    def _grant(self, lane: _Lane, now: float) -> None:
        future = self._future
        assert future is not None
        self._lane = lane
        self._number = lane.bucket.send(now)
        self._open = True
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
        self._groups: dict[str, _Account] = {}
        self.on_change: Callable[[BucketSnapshot], None] | None = None

    def permit(
        self,
        endpoint: str,
        *,
        account: str = "",
        path: str | None = None,  # noqa: ARG002
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
        key = (account, endpoint, None)
        return Permit(self, key, retry, deadline, self._max_wait if max_wait is None else max_wait)

    def snapshot(self) -> tuple[BucketSnapshot, ...]:
        """Return every bucket as it is now."""
        now = -math.inf if self._loop is None else self._loop.time()
        return tuple(_snapshot(lane, now) for lane in self._lanes.values())

    def _now(self) -> float:
        assert self._loop is not None
        return self._loop.time()

    def _lane(self, key: tuple[str, str, str | None]) -> _Lane:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._bind(loop)
        lane = self._lanes.get(key)
        if lane is None:
            group = self._groups.setdefault(key[0], _Account())
            lane = self._lanes[key] = _Lane(*key, group)
        return lane

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        old = self._loop
        if old is not None and not old.is_closed():
            if old.is_running() or any(lane.waiting or lane.bucket.in_flight for lane in self._lanes.values()):
                raise ConfigurationError("this RateLimiter is in use in another event loop; make one for each loop")
        self._loop = loop
        self._lanes.clear()
        self._groups.clear()

    def _enqueue(self, permit: Permit, lane: _Lane, now: float, loop: asyncio.AbstractEventLoop) -> None:
        pause = max(lane.bucket.paused_until, lane.group.paused_until)
        most = permit._max_wait
        if pause > now and (
            (permit._deadline is not None and pause > permit._deadline) or (most is not None and pause - now > most)
        ):
            raise self._refusal(lane, pause - now)
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

    def _answered(self, lane: _Lane, number: int, status: int, headers: Mapping[str, str]) -> None:
        now = self._now()
        before = lane.bucket.paused_until
        lane.bucket.answer(number, now, status, read(headers, time.time()))
        if lane.bucket.paused_until > before:
            self._dismiss(lane, now)
        self._changed(lane)

    def _dismiss(self, lane: _Lane, now: float) -> None:
        """Fail those whose deadline lies before the end of the pause."""
        pause = lane.bucket.paused_until
        for queue in (lane.retries, lane.queue):
            for permit in queue:
                if permit._deadline is not None and permit._deadline < pause:
                    permit._give_up(pause - now)
        lane.compact()

    def _changed(self, lane: _Lane) -> None:
        if lane.waiting:
            self._pump(lane)
        if self.on_change is not None:
            self.on_change(_snapshot(lane, self._now()))

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
        scope_reason="",
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
