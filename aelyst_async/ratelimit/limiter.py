"""Who goes when: permits, and one timer per bucket that hands them over to those in line (`lane`).

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
- **A connection, where one is needed, comes with the permit** (`slots`): nobody holds one and waits for the other.
- **No task and no timer per waiter**: a waiter is one `Permit`, one `Waiter` and one future. Those who wait for the
  same time at most share a timer.
- **Whatever grows with the crowd is done in portions** (`agenda`): letting it go, refusing it, moving it to other
  buckets. In between, everybody keeps their place: newcomers stand behind those who are still to be served.
- **The loop's clock is the only one**, and it is monotonic: a wall clock that jumps changes nothing; after a suspended
  host wakes up, the timers are late, and lateness is never turned into a burst beyond what the bucket allows.
- **No lock and no await** between looking and taking.
"""

# ruff: noqa: SLF001 - permit and limiter are one mechanism in two modules

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from threading import get_ident
from typing import Any

from aelyst_async.errors import ConfigurationError, RateLimitedError
from aelyst_async.ratelimit.agenda import Agenda
from aelyst_async.ratelimit.bucket import Bucket
from aelyst_async.ratelimit.headers import QuotaHeaders
from aelyst_async.ratelimit.lane import Expiry, Lane, Move, Patience, Waiter
from aelyst_async.ratelimit.permit import Permit
from aelyst_async.ratelimit.scope import AccountScope, PathScope
from aelyst_async.ratelimit.slots import Slots
from aelyst_async.ratelimit.snapshot import BucketSnapshot, snapshot_of

__all__ = ["RateLimiter"]

_GLANCE = 16
"""Waiters looked at for the price of one."""

_REPORT_EVERY = 0.05
"""Seconds between calls of `RateLimiter.on_change`."""

MOST_BUCKETS = 10_000
"""Buckets kept; the least recently used go first."""


class RateLimiter:
    """Learns each API's quota from its answers, and makes every request wait its turn.

    ``max_wait``: the longest that a request may wait, in seconds (None: as long as it takes); a longer wait is refused
    with `RateLimitedError`. One limiter may serve any number of gateways. It belongs to the event loop of its first
    use; once that loop is closed or idle, the next one may use it, and what was learned is learned anew.
    """

    def __init__(self, *, max_wait: float | None = None) -> None:
        self._max_wait = _seconds(max_wait, "max_wait")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._agenda: Agenda  # of that loop
        # Whether the running loop is ours: ours runs, and in this thread. Cheaper than `get_running_loop`, which asks
        # the kernel for the process before Python 3.12.
        self._running: Callable[[], bool] = bool
        self._thread = 0
        self._time = time.monotonic
        self._lanes: OrderedDict[tuple[str, str, str | None], Lane] = OrderedDict()
        self._scopes: OrderedDict[tuple[str, str], PathScope] = OrderedDict()
        self._groups: OrderedDict[str, AccountScope] = OrderedDict()
        self._usual: dict[tuple[str, str], Lane] = {}  # the endpoints' own lanes, for speed
        self._moving: dict[tuple[str, str], Move] = {}
        self._patiences: dict[float, Patience] = {}
        self._news: dict[Lane, None] = {}
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
        slots: Slots | None = None,
    ) -> Permit:
        """Return an async context manager that waits for the right to send one request.

        ``endpoint``: method and route template, ``"GET /contact/{identifier}"``. ``account``: any text that names
        credential and server (not the credential itself: it shows in `snapshot`). ``path``: the full path, for APIs
        that count per path. ``retry``: wait before all first comers. ``deadline``: the loop's time after which the
        answer is of no use: a refusal known to last longer fails at once. ``max_wait``: as in the constructor, for
        this request. ``slots``: connections, one of which is held until the block is left; who waits for one holds no
        permit. Entering raises `RateLimitedError` with ``attempts=0`` where the wait would be too long.
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
        # Copied at once: building the list runs no Python code (keys are hashed in C, no object is made that could
        # start the garbage collector), so the interpreter does not switch threads before it is whole.
        return tuple([snapshot_of(lane, now) for lane in list(self._lanes.values())])

    def _lane(self, key: tuple[str, str], path: str | None) -> Lane:
        """Return the lane in which a newcomer takes its place."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._bind(loop)
        self._thread = get_ident()
        move = self._moving.get(key)
        return self._home(key, path) if move is None else move.transit

    def _home(self, key: tuple[str, str], path: str | None) -> Lane:
        """Return the lane of a request's bucket."""
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
            lane = self._lanes[name] = Lane(*name, group, scope)
            if len(self._lanes) > MOST_BUCKETS:
                now = self._time()
                self._usual.clear()
                _trim(self._lanes, lambda name: not self._lanes[name].busy(now))
        else:
            self._lanes.move_to_end(name)
        if not scope.per_path and key not in self._moving:
            self._usual[key] = lane
        return lane

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        old = self._loop
        if (
            old is not None
            and not old.is_closed()
            and (old.is_running() or any(lane.busy(math.inf) for lane in self._lanes.values()))
        ):
            raise ConfigurationError("this RateLimiter is in use in another event loop; make one for each loop")
        for lane in self._lanes.values():
            lane.take()  # who waited in a closed loop is not let go by this one
        self._loop, self._running = loop, loop.is_running
        # asyncio's own loops read this clock as well, in one more step.
        plain = getattr(loop.time, "__func__", None) is asyncio.BaseEventLoop.time
        self._time = time.monotonic if plain else loop.time
        self._agenda = Agenda(loop, self._pump)
        self._lanes.clear()
        self._usual.clear()
        self._scopes.clear()
        self._groups.clear()
        self._moving.clear()
        self._patiences.clear()
        self._news.clear()

    # -- waiting ----------------------------------------------------------------------------------------------------

    def _enqueue(self, permit: Permit, lane: Lane, now: float) -> Waiter:
        loop, pause, most = self._loop, lane.paused_until, permit._max_wait
        assert loop is not None
        if most is None:
            most = self._max_wait
        if pause > now and (
            (permit._deadline is not None and pause > permit._deadline) or (most is not None and pause - now > most)
        ):
            raise self._refusal(permit._key, pause - now)
        if most is not None and not permit._retry and lane.waiting:
            rate = lane.bucket.rate
            if rate and lane.waiting / (2 * rate) > most:
                raise self._refusal(permit._key, lane.waiting / rate)
        waiter = Waiter(permit, now, loop.create_future(), permit._deadline, permit._retry)
        if most is not None:
            patience = self._patiences.get(most)
            if patience is None:
                patience = self._patiences[most] = Patience(most)
                patience.timer = loop.call_at(now + most, self._expire, patience)
            waiter.expiry = Expiry(waiter, patience)
            patience.append(waiter.expiry)
        lane.join(waiter)
        if lane.first() is waiter:  # for the others a timer is set, or an answer awaited
            self._pump(lane)
        return waiter

    def _pump(self, lane: Lane) -> None:
        """Let go whoever may go now, and set the timer for the next."""
        if lane.due:
            return
        now, bucket, agenda = self._time(), lane.bucket, self._agenda
        while (waiter := lane.first()) is not None:
            ready = bucket.next_at
            if lane.group.paused_until > ready:
                ready = lane.group.paused_until
            if ready > now:
                self._arm(lane, ready)
                return
            permit = waiter.permit
            slots = permit._slots
            if slots is not None and slots.free <= 0:
                slots.wait(lane, self._changed)
                return
            if agenda.left <= 0:
                agenda.add(lane)
                return
            agenda.left -= 1
            lane.leave(waiter)
            if not waiter.future.done():  # or it is cancelled, and its task has yet to run
                if slots is not None:
                    slots.free -= 1
                permit._lane = lane
                permit._bucket = bucket
                bucket.send(permit, now)
                waiter.future.set_result(now - waiter.asked)

    def _arm(self, lane: Lane, at: float) -> None:
        if lane.timer is not None:
            if lane.timer_at <= at:
                return
            lane.timer.cancel()
            lane.timer = None
        if at < math.inf:
            assert self._loop is not None
            lane.timer_at = at
            lane.timer = self._loop.call_at(at, self._tick, lane)

    def _tick(self, lane: Lane) -> None:
        lane.timer = None
        self._pump(lane)

    def _give_up(self, waiter: Waiter, lane: Lane, wait: float) -> None:
        """End a wait without a permit: it would last `wait` seconds more."""
        self._leave(waiter, lane)
        if not waiter.future.done():
            waiter.future.set_result(max(0.0, wait))

    def _leave(self, waiter: Waiter, lane: Lane) -> None:
        """Take out of line who waits no longer. The next may not need the connection that was waited for."""
        lane.leave(waiter)
        if waiter.permit._slots is not None:
            self._changed(lane)

    def _expire(self, patience: Patience) -> None:
        patience.timer = None
        self._agenda.run(self._expiries(patience))

    def _expiries(self, patience: Patience) -> Iterator[None]:
        while isinstance(expiry := patience.next, Expiry):
            waiter, now = expiry.waiter, self._time()
            if (at := waiter.asked + patience.seconds) > now:
                assert self._loop is not None
                patience.timer = self._loop.call_at(at, self._expire, patience)
                return
            self._unlist(expiry)
            if (lane := waiter.lane) is not None:
                ready = lane.bucket.next_at
                self._give_up(waiter, lane, ready - now if ready < math.inf else 0.0)
            yield

    def _unlist(self, expiry: Expiry) -> None:
        expiry.waiter.expiry = None
        expiry.unlink()
        patience = expiry.patience
        if patience.next is patience and self._patiences.get(patience.seconds) is patience:
            del self._patiences[patience.seconds]
            if patience.timer is not None:
                patience.timer.cancel()
                patience.timer = None

    # -- answers ----------------------------------------------------------------------------------------------------

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
        if self.on_change is not None:
            if not self._news:
                loop.call_later(_REPORT_EVERY, self._report)
            self._news[lane] = None

    def _dismiss(self, lane: Lane) -> None:
        """Fail those whose deadline lies before the end of the pause."""
        if lane.cursor is not None:
            lane.look()
        elif lane.soonest < lane.paused_until:
            lane.look()
            self._agenda.run(self._dismissals(lane))

    def _dismissals(self, lane: Lane) -> Iterator[None]:
        glances = 0
        while (waiter := lane.seen()) is not None:
            glances += 1
            if waiter.deadline is not None:
                if waiter.deadline < (pause := lane.paused_until):
                    self._give_up(waiter, lane, pause - self._time())
                    glances = _GLANCE
                else:
                    lane.soonest = min(lane.soonest, waiter.deadline)
            if glances >= _GLANCE:
                glances = 0
                yield

    def _rescope(self, lane: Lane) -> None:
        """Send those who wait to the queue of their new bucket, in the order in which they came."""
        key = (lane.account, lane.endpoint)
        self._usual.pop(key, None)
        if key in self._moving:
            self._moving[key].again = True
        else:
            self._moving[key] = move = Move(lane)
            self._agenda.run(self._moves(key, move))

    def _moves(self, key: tuple[str, str], move: Move) -> Iterator[None]:
        while True:
            if move.again:
                move.again = False
                per_path = move.transit.scope.per_path
                for lane in [one for one in self._lanes.values() if (one.account, one.endpoint) == key]:
                    move.add(lane.take())
                    if not per_path:
                        # What the endpoint's bucket held is long out of date; a path's bucket is of no more use.
                        if lane.path is None:
                            lane.bucket = Bucket()
                        elif not lane.bucket.in_flight:
                            self._lanes.pop((*key, lane.path), None)
                    yield
            elif (waiter := move.first()) is not None:
                assert waiter.lane is not None
                waiter.lane.leave(waiter)
                home = self._home(key, waiter.permit._path)
                home.join(waiter)
                if waiter.deadline is not None and waiter.deadline < (pause := home.paused_until):
                    self._give_up(waiter, home, pause - self._time())
                elif home.first() is waiter:
                    self._pump(home)
                yield
            elif move.transit.first() is not None:
                move.add(move.transit.take())
            else:
                del self._moving[key]
                return

    def _report(self) -> None:
        news, self._news = self._news, {}
        self._agenda.run(self._reports(news))

    def _reports(self, news: dict[Lane, None]) -> Iterator[None]:
        for lane in news:
            if self.on_change is not None:
                self.on_change(snapshot_of(lane, self._time()))
            yield

    def _refusal(self, key: tuple[str, str], wait: float) -> RateLimitedError:
        method, _, route = key[1].partition(" ")
        return RateLimitedError(
            status=429,
            message="not sent: its turn would not come in time",
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
