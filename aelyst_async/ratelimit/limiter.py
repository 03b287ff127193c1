"""Who goes when: permits, handed to waiting callers by one timer per bucket. What happens:

- **A caller asks** (`Permit.__aenter__`): if nobody waits and the bucket lets one go, no future is made. Else it waits
  in its bucket's lane: repeats before first comers, each in the order of asking.
- **A permit is handed over** (`_pump`): taken from the bucket and given to the head of the queue in one step, so no
  newcomer slips in between. A caller that is cancelled before it could run gives it back.
- **A response arrives** (`Permit.observe`): the bucket learns, and the pump runs. A request that was never sent gives
  its permit back (`unsent`); one without a response counts as sent.
- **A refusal begins a pause**: callers whose deadline lies before its end fail at once.
- **The scope of a quota changes**: all waiting permits move to their new buckets' lanes, in the order of asking.
- **A quota is shared by processes** (`shared=`): each request is reserved there; see `shared`.

There is no lock and no await between looking and taking. The loop's clock is the only one, and it is monotonic: a wall
clock that jumps changes nothing. After a suspended host wakes up the timers are late; lateness never becomes a burst
beyond what the bucket allows.
"""

# ruff: noqa: SLF001 - permit, lane and limiter are one mechanism

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any

from aelyst_async.errors import ConfigurationError, RateLimitedError
from aelyst_async.ratelimit.bucket import Bucket, Sent
from aelyst_async.ratelimit.headers import QuotaHeaders, read
from aelyst_async.ratelimit.queue import Lane, Slots
from aelyst_async.ratelimit.quota import (
    EVERY_ENDPOINT,
    AccountScope,
    BucketSnapshot,
    PathScope,
    Quota,
    check_quotas,
)  # fmt: skip
from aelyst_async.ratelimit.shared import Reserver, SharedQuota

if TYPE_CHECKING:
    from aiohttp import ClientRequest, ClientResponse

__all__ = ["Permit", "RateLimiter"]

_BATCH = 1000
"""Permits handed over in one step of the loop, so that a step takes some milliseconds however many wait."""

_REPORT_EVERY = 0.05
"""Seconds between calls of `RateLimiter.on_change`. Source: faster than anybody reads."""

MOST_BUCKETS = 10_000
"""Buckets kept; the least recently used go first. Source: about 8 KiB each."""


class RateLimiter:
    """Learns each API's quota from its responses, and makes every request wait its turn.

    ``max_wait``: the longest that a request may wait, in seconds (None: as long as it takes); a longer wait is refused
    with `RateLimitedError`. ``quotas``: quotas that are known, by endpoint (``"*"``: all others); they win over what
    the server tells or shows. ``share``: the part of each quota to use at most. ``shared``: reserves requests for all
    processes that share a quota. One limiter may serve any number of gateways. It belongs to the event loop of its
    first use; once that loop is closed or idle, the next one may use it, and what was learned is learned anew.
    """

    def __init__(
        self, *, max_wait: float | None = None, quotas: Mapping[str, Quota] | None = None, share: float = 1.0,
        shared: SharedQuota | None = None,
    ) -> None:  # fmt: skip
        self._max_wait = _seconds(max_wait, "max_wait")
        self._quotas = check_quotas(quotas)
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1:
            raise ConfigurationError(f"share must be a number above 0, up to 1, not {share!r}")
        self._share = share
        self._every = self._quotas.get(EVERY_ENDPOINT)
        self.shared = shared
        self._reserver = None if shared is None else Reserver(shared, self._share, self._changed, self._dismiss)
        self._loop: asyncio.AbstractEventLoop | None = None
        # Whether the running loop is ours: ours runs, and in this thread. Cheaper than `get_running_loop`, which asks
        # the kernel for the process before Python 3.12.
        self._running: Callable[[], bool] = bool
        self._thread = 0
        self._time = time.monotonic
        self._lanes: OrderedDict[tuple[str, str, str | None], Lane] = OrderedDict()
        self._scopes: OrderedDict[tuple[str, str], PathScope] = OrderedDict()
        self._groups: OrderedDict[str, AccountScope] = OrderedDict()
        self._usual: dict[tuple[str, str], Lane] = {}  # the endpoints' own lanes, for speed
        self._news: set[Lane] = set()  # lanes that have changed since they were reported
        self.on_change: Callable[[BucketSnapshot], None] | None = None
        """Called with a bucket's snapshot after it has changed, at most twenty times a second for each bucket."""

    def permit(
        self, endpoint: str, *, account: str = "", path: str | None = None, retry: bool = False,
        deadline: float | None = None, max_wait: float | None = None, slots: Slots | None = None,
    ) -> Permit:  # fmt: skip
        """Return an async context manager that waits for the right to send one request.

        ``endpoint``: method and route template, ``"GET /contact/{identifier}"``. ``account``: any `str` that names
        credential and server (not the credential itself: it shows in `snapshot`). ``path``: the full path, for APIs
        that count per path. ``retry``: wait before all first comers. ``deadline``: the loop's time after which the
        response is of no use: a pause known to last longer fails at once. ``max_wait``: as in the constructor, for
        this request. ``slots``: connections, one of which is held until the block is left. Entering raises
        `RateLimitedError` with ``attempts=0`` where the wait would be too long.
        """
        if slots is not None and not isinstance(slots, Slots):
            raise ConfigurationError(f"slots must be a Slots, as Slots(100), or None, not {slots!r}")
        permit = Permit()
        permit._limiter = self
        permit._key = (account, endpoint)
        permit._path = path
        permit._retry = retry
        permit._deadline = deadline
        permit._max_wait = max_wait
        permit._slots = slots
        permit._bucket = None
        permit.waited = 0.0
        return permit

    def snapshot(self) -> tuple[BucketSnapshot, ...]:
        """Return every bucket as it is now. May be called from any thread."""
        now = self._time()
        # Copied at once: building the list runs no Python code, so the interpreter does not switch threads in it.
        return tuple([_snapshot(lane, now) for lane in list(self._lanes.values())])

    def middleware(
        self, endpoint: str | Callable[[ClientRequest], str] | None = None, *, account: str | None = None
    ) -> Callable[[ClientRequest, Callable[[ClientRequest], Awaitable[ClientResponse]]], Awaitable[ClientResponse]]:
        """Return an aiohttp client middleware: ``ClientSession(middlewares=[limiter.middleware()])``.

        Each request waits for its permit; each response is learned from. ``endpoint`` as in `permit`, or a callable
        that returns it for an `aiohttp.ClientRequest`; the method and the host, if None. ``account``: the host, if
        None. A refused request is not repeated. Raises `ConfigurationError` if aiohttp is older than 3.12.
        """
        import aiohttp

        if not hasattr(aiohttp, "ClientMiddlewareType"):
            raise ConfigurationError(f"client middlewares need aiohttp 3.12 or later, this is {aiohttp.__version__}")

        async def limited(
            request: ClientRequest, handler: Callable[[ClientRequest], Awaitable[ClientResponse]]
        ) -> ClientResponse:
            host = request.url.authority
            name = endpoint(request) if callable(endpoint) else endpoint or f"{request.method} {host}"
            who = host if account is None else account
            async with self.permit(name, account=who, path=request.url.raw_path) as permit:
                try:
                    response = await handler(request)
                except aiohttp.ClientConnectorError:
                    permit.unsent()
                    raise
                permit.observe(response.status, response.headers)
                return response

        return limited

    # -- lanes ------------------------------------------------------------------------------------------------------

    def _lane(self, key: tuple[str, str], path: str | None) -> Lane:
        """Return the lane of a request's bucket."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._bind(loop)
        self._thread = get_ident()
        scope = self._scopes.get(key)
        quota = self._quotas.get(key[1], self._every)
        if scope is None:
            scope = self._scopes[key] = PathScope(quota)
            _trim(self._scopes, lambda name: (*name, None) not in self._lanes)
        name = (*key, path if scope.per_path else None)
        if quota is not None and quota.scope == "account":
            name = (key[0], EVERY_ENDPOINT, None)
        lane = self._lanes.get(name)
        if lane is None:
            group = self._groups.get(key[0])
            if group is None:
                group = self._groups[key[0]] = AccountScope()
                _trim(self._groups, lambda account: account != key[0])
            lane = self._lanes[name] = Lane(*name, Bucket(quota, self._share), group, scope)
            if len(self._lanes) > MOST_BUCKETS:
                now = self._time()
                self._usual.clear()
                _trim(self._lanes, lambda name: not self._lanes[name].busy(now))
        else:
            self._lanes.move_to_end(name)
        if not scope.per_path and self.shared is None:
            self._usual[key] = lane
        return lane

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        old, busy = self._loop, any(lane.busy(math.inf) for lane in self._lanes.values())
        if old is not None and not old.is_closed() and (old.is_running() or busy):
            raise ConfigurationError("this RateLimiter is in use in another event loop; make one for each loop")
        for lane in self._lanes.values():
            lane.take()  # who waited in a closed loop is not let go by this one
        self._loop, self._running = loop, loop.is_running
        # asyncio's own loops read this clock as well, in one more step.
        self._time = time.monotonic if type(loop).time is asyncio.BaseEventLoop.time else loop.time
        for kept in (self._lanes, self._usual, self._scopes, self._groups, self._news):
            kept.clear()

    # -- waiting ----------------------------------------------------------------------------------------------------

    def _enqueue(self, permit: Permit, lane: Lane, now: float) -> asyncio.Future[float]:
        loop, pause, most = self._loop, lane.paused_until, permit._max_wait
        assert loop is not None
        if most is None:
            most = self._max_wait
        until = math.inf if most is None else now + most
        if pause > now and pause > min(until, math.inf if permit._deadline is None else permit._deadline):
            raise _refusal(permit._key, pause - now)
        if most is not None and lane.waiting and not permit._retry:
            rate = lane.bucket.rate
            if rate and lane.waiting / (2 * rate) > most:
                raise _refusal(permit._key, lane.waiting / rate)
        permit._asked = now
        permit._future = future = loop.create_future()
        permit._expires = until
        empty = not lane.waiting
        lane.join(permit)
        if empty or permit._retry or lane.next_expiry < lane.timer_at:  # or a timer is set, or a response awaited
            self._pump(lane)
        return future

    def _pump(self, lane: Lane) -> None:
        """Let go all that may go now, end the waits that last too long, and set the timer for the next."""
        now, bucket = self._time(), lane.bucket
        while (late := lane.expired(now)) is not None:
            ready = bucket.next_at
            self._give_up(late, ready - now if ready < math.inf else 0.0)
        ready = math.inf
        for _ in range(_BATCH):
            permit = lane.first()
            if permit is None:
                ready = math.inf
                break
            ready = bucket.next_at if self._reserver is None else self._reserver.next_at(lane, now)
            ready = max(ready, lane.group.paused_until)
            if ready > now:
                break
            slots = permit._slots
            if slots is not None and slots.free <= 0:
                slots.wait(lane, self._changed)
                ready = math.inf
                break
            lane.leave(permit)
            if not permit._future.done():  # or it is cancelled, and its task has yet to run
                if slots is not None:
                    slots.free -= 1
                permit._bucket = bucket
                bucket.send(permit, now)
                if self._reserver is not None:
                    self._reserver.used(lane)
                permit._future.set_result(now - permit._asked)
        self._arm(lane, min(ready, lane.next_expiry))

    def _arm(self, lane: Lane, at: float) -> None:
        if lane.timer is not None:
            if lane.timer_at == at:
                return
            lane.timer.cancel()
        assert self._loop is not None
        lane.timer_at, lane.timer = at, self._loop.call_at(at, self._tick, lane) if at < math.inf else None

    def _tick(self, lane: Lane) -> None:
        lane.timer, lane.timer_at = None, math.inf
        self._pump(lane)

    def _give_up(self, permit: Permit, wait: float) -> None:
        """End a wait without a permit: it would last `wait` seconds more."""
        permit._lane.leave(permit)
        if not permit._future.done():
            permit._future.set_result(max(0.0, wait))

    # -- responses --------------------------------------------------------------------------------------------------

    def _answered(self, permit: Permit, bucket: Bucket, status: int, quota: QuotaHeaders) -> None:
        lane, now = permit._lane, self._time()
        before = bucket.paused_until
        unexpected = status == 429 and (bucket.limit is None or bucket.credit >= 2)
        bucket.answer(permit, now, status, quota)
        if bucket.paused_until > before:
            if lane.group.refused(lane.endpoint, now, bucket.paused_until, unexpected=unexpected):
                for other in [one for one in self._lanes.values() if one.group is lane.group and one.waiting]:
                    self._dismiss(other)
            self._dismiss(lane)
        if self._reserver is not None:
            self._reserver.answered(
                lane, now, quota, bucket.paused_until - now if bucket.paused_until > before else -1.0
            )
        if lane.scope.observe(permit._path, permit.at, status, quota.limit, quota.remaining):
            self._rescope(lane)
        if lane.waiting or self.on_change is not None:
            self._changed(lane)

    def _changed(self, lane: Lane) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            return  # a permit that was left behind in a coroutine
        if lane.waiting:
            self._pump(lane)
        if self.on_change is not None and lane not in self._news:
            self._news.add(lane)
            loop.call_later(_REPORT_EVERY, self._report, lane)

    def _dismiss(self, lane: Lane) -> None:
        """Fail the callers whose deadline lies before the end of the pause."""
        pause, now = lane.paused_until, self._time()
        if lane.soonest >= pause:
            return
        late = [one for one in lane.permits() if one._deadline is not None and one._deadline < pause]
        for permit in late[: 10 * _BATCH]:
            self._give_up(permit, pause - now)
        if len(late) > 10 * _BATCH:
            assert self._loop is not None
            self._loop.call_soon(self._dismiss, lane)  # the rest in the loop's next step
        else:
            lane.soonest = min((one._deadline or math.inf for one in lane.permits()), default=math.inf)

    def _rescope(self, lane: Lane) -> None:
        """Move all that wait to the lanes of their new buckets, in the order in which they came."""
        key = (lane.account, lane.endpoint)
        self._usual.pop(key, None)
        lanes = [one for one in self._lanes.values() if (one.account, one.endpoint) == key]
        sources = sum(bool(one.waiting) for one in lanes)
        waiting = [permit for one in lanes for permit in one.take()]
        if sources > 1:
            waiting.sort(key=lambda permit: (not permit._retry, permit._asked))
        if not lane.scope.per_path:
            for one in lanes:
                # What the endpoint's bucket knew is long out of date; a path's bucket is of no more use.
                if one.path is None:
                    one.bucket = Bucket(share=self._share)
                elif not one.bucket.in_flight:
                    self._lanes.pop((*key, one.path), None)
        homes: dict[Lane, None] = {}
        for permit in waiting:
            home = self._lane(key, permit._path)
            home.join(permit)
            homes[home] = None
        for home in homes:
            self._dismiss(home)
            self._pump(home)

    def _report(self, lane: Lane) -> None:
        self._news.discard(lane)
        if self.on_change is not None:
            self.on_change(_snapshot(lane, self._time()))


class Permit(Sent):
    """The right to send one request. ``async with limiter.permit(…) as permit``; see `RateLimiter.permit`."""

    __slots__ = (
        "_asked", "_bucket", "_deadline", "_expires", "_future", "_key", "_lane", "_limiter", "_max_wait", "_path",
        "_retry", "_slots", "_waits", "waited",
    )  # fmt: skip

    _limiter: RateLimiter
    _key: tuple[str, str]
    _path: str | None
    _retry: bool
    _deadline: float | None
    _max_wait: float | None
    _slots: Slots | None
    _lane: Lane
    _bucket: Bucket | None
    """Set while the right is held."""
    _asked: float
    _expires: float
    _future: asyncio.Future[float]
    _waits: bool
    waited: float
    """Seconds between asking and getting."""

    async def __aenter__(self) -> Permit:  # noqa: PYI034 - typing has no Self on 3.10
        limiter = self._limiter
        lane = limiter._usual.get(self._key)
        alone = True
        if lane is None or limiter._thread != get_ident() or not limiter._running():
            lane = limiter._lane(self._key, self._path)
            alone = limiter.shared is None
        now = limiter._time()
        slots = self._slots
        if alone and not lane.waiting and lane.group.paused_until <= now and (slots is None or slots.free > 0):
            bucket = lane.bucket
            if bucket.send(self, now):
                if slots is not None:
                    slots.free -= 1
                self._lane = lane
                self._bucket = bucket
                return self
        future = limiter._enqueue(self, lane, now)
        try:
            wait = await future
        except BaseException:  # cancelled, or the coroutine is closed
            if self._waits:
                self._lane.leave(self)
                if slots is not None:
                    limiter._changed(self._lane)  # the next one may need another connection
            if self._bucket is not None:
                self.unsent()
                if slots is not None:
                    slots.give_back()
            raise
        if self._bucket is None:
            raise _refusal(self._key, wait)
        self.waited = wait
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        bucket = self._bucket
        if bucket is not None:
            # Nobody can say whether the server counted it; what may have been spent is taken as spent.
            self._bucket = None
            bucket.lost(self)
            self._ended()
        if self._slots is not None:
            self._slots.give_back()

    def observe(self, status: int, headers: Mapping[str, str]) -> None:
        """Tell what the server answered. Only the first call of `observe` or `unsent` counts.

        Raises `ConfigurationError` for headers that are no mapping of `str` to `str`; the permit is as it was then.
        """
        bucket = self._bucket
        if bucket is not None:
            try:
                quota = read(headers)
            except (AttributeError, TypeError):
                kind = type(headers).__name__
                what = f"headers must map str to str, as response.headers does; this {kind} does not"
                raise ConfigurationError(f"permit.observe: {what}") from None
            self._bucket = None
            self._limiter._answered(self, bucket, status, quota)

    def unsent(self) -> None:
        """Give the permit back: the request was never sent."""
        bucket = self._bucket
        if bucket is not None:
            self._bucket = None
            bucket.unsent(self)
            self._ended()

    def _ended(self) -> None:
        lane, limiter = self._lane, self._limiter
        if lane.waiting or limiter.on_change is not None:
            limiter._changed(lane)


def _snapshot(lane: Lane, now: float) -> BucketSnapshot:
    """Return the lane's bucket as it is at the loop's time `now`. Reads only: other threads may call it."""
    bucket, paused = lane.bucket, max(0.0, lane.paused_until - now)
    same = ("limit", "remaining", "rate", "window", "source", "in_flight", "sent", "refused")
    scope = "path" if lane.path is not None else "account" if lane.endpoint == EVERY_ENDPOINT else "endpoint"
    return BucketSnapshot(
        account=lane.account, endpoint=lane.endpoint, path=lane.path, scope=scope, scope_reason=lane.scope.reason,
        state="paused" if paused else bucket.state, waiting=lane.waiting, paused_for=paused,
        **{name: getattr(bucket, name) for name in same},
    )  # fmt: skip


def _refusal(key: tuple[str, str], wait: float) -> RateLimitedError:
    method, _, route = key[1].partition(" ")
    message = "not sent: its turn would not come in time"
    return RateLimitedError(status=429, message=message, method=method, url=route, retry_after=wait, attempts=0)


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
