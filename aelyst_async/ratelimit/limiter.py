"""Permits, handed to waiting callers by one timer per bucket. What happens:

- **A caller asks** (`Permit.__aenter__`). If nobody waits and the bucket lets one go, no future is made. Else the
  permit joins its bucket's lane.
- **A permit is handed over** (`_pump`), in one step with no await, so that no newcomer slips in between. A caller that
  is cancelled before it could run gives it back.
- **A response arrives** (`Permit.observe`). The bucket learns, and the pump runs. A request that was never sent gives
  its permit back (`unsent`); one without a response counts as sent.
- **A request is refused.** The bucket pauses. Callers whose deadline lies before the end of the pause fail at once.
- **The scope of a quota changes.** All waiting permits move to their new buckets' lanes, in the order of asking.
- **A quota is shared by processes** (`shared=`). Each request is reserved there; see `shared`.

The loop's clock is the only one: a wall clock that jumps changes nothing. Timers that are late, as after the host was
suspended, cause no burst beyond what the bucket allows.
"""

# ruff: noqa: SLF001 - permit, lane and limiter are one mechanism

from __future__ import annotations

import asyncio
import math
from asyncio import get_running_loop
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from aelyst_async.errors import ConfigurationError, RateLimitedError
from aelyst_async.ratelimit.bucket import Bucket, Sent
from aelyst_async.ratelimit.headers import QuotaHeaders, read
from aelyst_async.ratelimit.queue import Lane, Slots
from aelyst_async.ratelimit.quota import (
    EVERY_ENDPOINT,
    MOST_BUCKETS,
    AccountScope,
    BucketSnapshot,
    PathScope,
    Quota,
    check_number,
    check_quotas,
)  # fmt: skip

if TYPE_CHECKING:
    from aiohttp import ClientRequest, ClientResponse

    from aelyst_async.ratelimit.shared import SharedQuota

__all__ = ["Permit", "RateLimiter"]

_REPORT_EVERY = 0.05  # seconds between calls of `RateLimiter.on_change`: faster than anybody reads
_BATCH = 1000  # permits handed over in one step of the loop: measured, 5 to 10 ms


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
        if max_wait is not None:
            check_number("max_wait", max_wait, zero=True)
        check_number("share", share, most=1)
        self._max_wait = math.inf if max_wait is None else max_wait
        self._share = share
        self._quotas = check_quotas(quotas)
        self.shared = shared
        self._reserver = None
        if shared is not None:
            from aelyst_async.ratelimit.shared import SharedQuota
            from aelyst_async.ratelimit.shared.reserver import Reserver

            if not isinstance(shared, SharedQuota):
                kind = type(shared).__name__  # not the value: a URL may hold a password
                raise ConfigurationError(f"shared must be a SharedQuota such as RedisQuota(url), not {kind}")
            self._reserver = Reserver(shared, share, self._changed, self._dismiss)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._time = monotonic
        self._lanes: OrderedDict[tuple[str, str, str | None], Lane] = OrderedDict()  # the least recently used first
        self._usual: dict[tuple[str, str], Lane] = {}  # by account and endpoint, unless it is counted per path: faster
        self._scopes: WeakValueDictionary[tuple[str, str], PathScope] = WeakValueDictionary()  # the lanes hold them
        self._groups: WeakValueDictionary[str, AccountScope] = WeakValueDictionary()
        self._unreported: set[Lane] = set()
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
        permit._deadline = math.inf if deadline is None else deadline
        permit._max_wait = self._max_wait if max_wait is None else max_wait
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

    def _lane(self, key: tuple[str, str], path: str | None) -> Lane:
        """Return the lane of a request's bucket."""
        loop = get_running_loop()
        if loop is not self._loop:
            self._bind(loop)
        account, endpoint = key
        quota = self._quotas.get(endpoint, self._quotas.get(EVERY_ENDPOINT))
        scope = self._scopes.get(key)
        if scope is None:
            scope = self._scopes[key] = PathScope(quota)
        name = (account, endpoint, path if scope.per_path else None)
        if quota is not None and quota.scope == "account":
            name = (account, EVERY_ENDPOINT, None)
        lane = self._lanes.get(name)
        if lane is None:
            group = self._groups.setdefault(account, AccountScope())
            lane = self._lanes[name] = Lane(*name, Bucket(quota, self._share), group, scope)
            lane.bucket.adopt(None, group.paused_until)
            if len(self._lanes) > MOST_BUCKETS:
                self._trim()
        self._lanes.move_to_end(name)
        if not scope.per_path:
            self._usual[key] = lane
        return lane

    def _trim(self) -> None:
        """Drop the least recently used lanes; those in use have another turn."""
        self._usual.clear()
        for _ in range(2):  # more than are added, since one may be in use
            name, lane = self._lanes.popitem(last=False)
            if lane.busy(self._time()):
                self._lanes[name] = lane

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        old, busy = self._loop, any(lane.busy(math.inf) for lane in self._lanes.values())
        if old is not None and not old.is_closed() and (old.is_running() or busy):
            raise ConfigurationError("this RateLimiter is in use in another event loop; make one for each loop")
        for lane in self._lanes.values():
            lane.take()  # callers that waited in a closed loop are not woken by this one
        self._loop, self._time = loop, loop.time
        for kept in (self._lanes, self._usual, self._unreported):
            kept.clear()

    def _enqueue(self, permit: Permit, lane: Lane) -> asyncio.Future[None]:
        now, pause, until = self._time(), lane.bucket.paused_until, permit._asked + permit._max_wait
        if pause > max(now, min(until, permit._deadline)):
            raise self._refusal(permit, pause)
        if until < math.inf and lane.waiting and not permit._retry:
            rate = lane.bucket.rate
            if rate and lane.waiting / (2 * rate) > until - now:
                raise self._refusal(permit, now + lane.waiting / rate)
        loop = get_running_loop()
        permit._future = future = loop.create_future()
        permit._timer = loop.call_at(until, self._give_up, permit) if until < math.inf else None
        lane.join(permit)
        if lane.waiting == 1 or permit._retry:  # or a timer is set, or a response awaited
            self._pump(lane)
        return future

    def _pump(self, lane: Lane) -> None:
        """Let go all that may go now, and set the timer for the next."""
        now, bucket, reserver = self._time(), lane.bucket, self._reserver
        ready = now  # after a whole batch, the loop's other work has a turn
        for _ in range(_BATCH):
            permit = lane.first()
            if permit is None:
                ready = math.inf
                break
            ready = bucket.next_at if reserver is None else reserver.next_at(lane, now)
            if ready > now:
                break
            slots = permit._slots
            if slots is not None:
                if slots.free <= 0:
                    slots.wait(lane, self._changed)
                    ready = math.inf
                    break
                slots.free -= 1
            lane.leave(permit)
            permit._bucket = bucket
            bucket.send(permit, now)
            if reserver is not None:
                reserver.used(lane)
            permit._future.set_result(None)
        if lane.timer is not None:
            lane.timer.cancel()
        lane.timer = get_running_loop().call_at(ready, self._pump, lane) if ready < math.inf else None

    def _dismiss(self, lane: Lane) -> None:
        """Fail the callers whose deadline lies before the end of the pause."""
        pause = lane.bucket.paused_until
        if lane.soonest < pause:
            loop, waiting = get_running_loop(), lane.permits()
            for permit in waiting:
                if permit._deadline < pause:
                    loop.call_soon(self._give_up, permit)
            lane.soonest = min((one._deadline for one in waiting if one._deadline >= pause), default=math.inf)

    def _give_up(self, permit: Permit) -> None:
        """End a wait that would last too long."""
        if permit._waits:
            lane = permit._lane
            lane.leave(permit)
            if not permit._future.done():
                permit._future.set_exception(self._refusal(permit, lane.bucket.next_at))
            self._changed(lane)

    def _refusal(self, permit: Permit, until: float) -> RateLimitedError:
        method, _, route = permit._key[1].partition(" ")
        message, wait = "not sent: its turn would not come in time", until - self._time()
        if self._reserver is not None and self._reserver.trouble is not None:
            wait = math.inf
            message += f", since the shared quota cannot be reached ({self._reserver.trouble})"
            message += "; check that its server runs and can be reached from here"
        return RateLimitedError(
            status=429, message=message, method=method, url=route, attempts=0,
            retry_after=wait if 0 < wait < math.inf else None,
        )  # fmt: skip

    def _answered(self, permit: Permit, bucket: Bucket, status: int, quota: QuotaHeaders) -> None:
        lane, now, before = permit._lane, self._time(), bucket.paused_until
        unexpected = status == 429 and (bucket.limit is None or bucket.credit >= 2)
        bucket.answer(permit, now, status, quota)
        paused = bucket.paused_until > before
        if paused:
            group, lanes = lane.group, [lane]
            if group.refused(lane.endpoint, now, bucket.paused_until, unexpected=unexpected):
                lanes = [one for one in self._lanes.values() if one.group is group]
            for one in lanes:
                one.bucket.adopt(None, group.paused_until)
                self._dismiss(one)
        if self._reserver is not None:
            self._reserver.answered(lane, now, quota, bucket.paused_until - now if paused else None)
        if lane.scope.observe(permit._path, permit.at, status, quota.limit, quota.remaining):
            self._rescope(lane, permit._path)
        if lane.waiting or self.on_change is not None:
            self._changed(lane)

    def _changed(self, lane: Lane) -> None:
        """Let go what may go now and report the change, unless the lane was left behind in a closed loop."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        if lane.waiting:
            self._pump(lane)
        if self.on_change is not None and lane not in self._unreported:
            self._unreported.add(lane)
            loop.call_later(_REPORT_EVERY, self._report, lane)

    def _report(self, lane: Lane) -> None:
        self._unreported.discard(lane)
        if self.on_change is not None:
            self.on_change(_snapshot(lane, self._time()))

    def _rescope(self, lane: Lane, path: str | None) -> None:
        """The scope of a quota has changed: all callers that wait for it ask again, in the order of their first asking.

        `path` is that of the response which has shown it.
        """
        key = (lane.account, lane.endpoint)
        self._usual.pop(key, None)
        lanes = [name for name, one in self._lanes.items() if one.scope is lane.scope]
        waiting = [permit for name in lanes for permit in self._lanes.pop(name).take()]
        self._lane(key, path)  # a new one holds the scope; what the old buckets know is out of date
        for permit in sorted(waiting, key=lambda permit: permit._asked):
            if not permit._future.done():
                permit._future.set_result(None)


class Permit(Sent):
    """The right to send one request. ``async with limiter.permit(…) as permit``; see `RateLimiter.permit`."""

    __slots__ = (
        "_asked", "_bucket", "_deadline", "_future", "_key", "_lane", "_limiter", "_max_wait", "_path", "_retry",
        "_slots", "_timer", "_waits", "waited",
    )  # fmt: skip

    _limiter: RateLimiter
    _key: tuple[str, str]
    _path: str | None
    _retry: bool
    _deadline: float
    _max_wait: float
    _slots: Slots | None
    _bucket: Bucket | None  # set while the right is held
    _lane: Lane
    _asked: float
    _future: asyncio.Future[None]
    _timer: asyncio.TimerHandle | None  # ends the wait after `_max_wait`
    _waits: bool
    waited: float  # seconds between asking and getting

    async def __aenter__(self) -> Permit:  # noqa: PYI034 - typing has no Self on 3.10
        limiter, slots = self._limiter, self._slots
        lane = limiter._usual.get(self._key)
        if lane is None or get_running_loop() is not limiter._loop:
            lane = limiter._lane(self._key, self._path)
        now = limiter._time()
        alone = not lane.waiting and limiter._reserver is None
        if alone and (slots is None or slots.free > 0) and lane.bucket.send(self, now):
            if slots is not None:
                slots.free -= 1
            self._lane = lane
            self._bucket = lane.bucket
            return self
        self._asked = now
        while True:
            future = limiter._enqueue(self, lane)
            try:
                await future
            except BaseException:  # refused or cancelled, or the coroutine is closed
                if self._waits:
                    self._lane.leave(self)
                    limiter._changed(self._lane)  # the next one may need another connection, which is free
                elif self._bucket is not None:
                    self.unsent()
                    if slots is not None:
                        slots.give_back()
                raise
            if self._bucket is not None:
                self.waited = self.at - self._asked
                return self
            lane = limiter._lane(self._key, self._path)  # the scope of the quota has changed

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        bucket = self._bucket
        if bucket is not None:
            # Nobody can say whether the server counted it; what may have been spent is taken as spent.
            self._bucket = None
            bucket.lost(self)
            if self._lane.waiting or self._limiter.on_change is not None:
                self._limiter._changed(self._lane)
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
            if self._lane.waiting or self._limiter.on_change is not None:
                self._limiter._changed(self._lane)


def _snapshot(lane: Lane, now: float) -> BucketSnapshot:
    """Return the lane's bucket as it is at the loop's time `now`. Reads only: other threads may call it."""
    bucket, paused = lane.bucket, max(0.0, lane.bucket.paused_until - now)
    same = ("limit", "remaining", "rate", "window", "source", "in_flight", "sent", "refused")
    scope = "path" if lane.path is not None else "account" if lane.endpoint == EVERY_ENDPOINT else "endpoint"
    return BucketSnapshot(
        account=lane.account, endpoint=lane.endpoint, path=lane.path, scope=scope, scope_reason=lane.scope.reason,
        state="paused" if paused else bucket.state, waiting=lane.waiting, paused_for=paused,
        **{name: getattr(bucket, name) for name in same},
    )  # fmt: skip
