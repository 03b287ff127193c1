"""Servers with a quota, and clients that load them, in virtual time. Independent of the limiter's own arithmetic.

A `Server` counts a request when it *arrives*, up to `up` seconds after it was sent; the answer takes `down` seconds
more. This module uses only the public interface of the limiter.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable

import attrs

from aelyst_async.ratelimit import RateLimiter, Slots

ENDPOINT = "GET /contact/{identifier}"


@attrs.define(kw_only=True)
class Server:
    """One quota. ``kind``: fixed, anchored (a window starts with its first request), sliding, counter, token."""

    kind: str
    limit: int
    window: float
    phase: float = 0.0
    """Seconds from the start of the run to the first window boundary (fixed only)."""
    headers: str = "all"
    """``all``, ``429`` (on refusals only), ``none``, or ``window`` (all, and the window's length)."""
    retry_after: str = "ceil"
    refused_count: bool = False
    changes: tuple[tuple[float, int], ...] = ()
    """(seconds from the start, new limit)"""
    burst: int | None = None
    """What a full bucket holds, where that is not the limit (token only). The limit is what the headers announce."""
    accepted: list[float] = attrs.field(factory=list)
    refused: list[float] = attrs.field(factory=list)
    foreign_accepted: list[float] = attrs.field(factory=list)
    _index: int | None = None
    _used: int = 0
    _before: int = 0
    _start: float = -math.inf
    _log: deque[float] = attrs.field(factory=deque)
    _tokens: float = math.nan
    _at: float = 0.0

    def ask(self, now: float, *, foreign: bool = False) -> tuple[int, dict[str, str]]:
        """Count a request that arrives at `now` (seconds from the start of the run)."""
        while self.changes and now >= self.changes[0][0]:
            self.limit = self.changes[0][1]
            self.changes = self.changes[1:]
        left, wait = self._left(now)
        if left >= 1:
            self._take(now)
            left -= 1
            (self.foreign_accepted if foreign else self.accepted).append(now)
            status = 200
        else:
            if self.refused_count:
                self._take(now)
            if not foreign:
                self.refused.append(now)
            status = 429
        headers = {}
        if self.headers in {"all", "window"} or (self.headers == "429" and status == 429):
            headers = {"X-RateLimit-Limit": str(self.limit), "X-RateLimit-Remaining": str(max(0, math.floor(left)))}
        if self.headers == "window":
            headers["RateLimit-Policy"] = f'"default";q={self.limit};w={self.window:g}'
        if status == 429 and self.retry_after != "absent":
            text = {"ceil": str(max(1, math.ceil(wait))), "exact": f"{wait + 0.001:.3f}"}[self.retry_after]
            headers["Retry-After"] = text
        return status, headers

    def _left(self, now: float) -> tuple[float, float]:
        w = self.window
        if self.kind == "fixed":
            index = math.floor((now - self.phase) / w)
            if index != self._index:
                self._index, self._used = index, 0
            return self.limit - self._used, self.phase + (index + 1) * w - now
        if self.kind == "anchored":
            if now >= self._start + w:
                self._start, self._used = now, 0
            return self.limit - self._used, self._start + w - now
        if self.kind == "sliding":
            while self._log and self._log[0] <= now - w:
                self._log.popleft()
            wait = self._log[0] + w - now if self._log else 0.0
            return self.limit - len(self._log), wait
        if self.kind == "counter":
            index = math.floor((now - self.phase) / w)
            if index != self._index:
                self._before = self._used if self._index == index - 1 else 0
                self._index, self._used = index, 0
            gone = (now - self.phase) / w - index
            estimate = self._before * (1 - gone) + self._used
            return self.limit - estimate, w / max(1, self.limit)
        if self.kind == "token":
            if math.isnan(self._tokens):
                self._tokens, self._at = self._full(), now
            rate = self.limit / w
            self._tokens = min(self._full(), self._tokens + max(0.0, now - self._at) * rate)
            self._at = max(self._at, now)
            return self._tokens + 1e-9, max(0.0, 1 - self._tokens) / rate
        raise ValueError(self.kind)

    def _take(self, now: float) -> None:
        if self.kind == "sliding":
            self._log.append(now)
        elif self.kind == "token":
            self._tokens = max(self._tokens - 1, -self._full())
        else:
            self._used += 1

    def _full(self) -> float:
        return float(self.limit if self.burst is None else self.burst)


@attrs.frozen(kw_only=True)
class Latency:
    """Seconds. ``up``: fixed way to the server; ``jitter``: mean of what is added to it at random; ``down``: the mean
    of the answer's random delay on top of ``least``. Stalls: every ``stall_every`` seconds answers stop for ``stall``.
    ``opening``: what one more connection takes; a client opens them one after the other, and keeps them.
    """

    up: float = 0.002
    jitter: float = 0.0
    least: float = 0.003
    down: float = 0.012
    stall_every: float = 0.0
    stall: float = 0.0
    opening: float = 0.0


@attrs.define
class Result:
    """What a run showed. ``late``: from the third window on; ``whole``: the time of the first ten windows;
    ``by_client``: what was let in of each once the last of them had started.
    """

    late: float
    whole: float
    refused: int
    sent: int
    shares: tuple[int, ...]
    by_client: tuple[int, ...] = ()

    @property
    def refused_share(self) -> float:
        return self.refused / max(1, self.sent)


def simulate(
    server: Server,
    *,
    windows: float = 12,
    latency: Latency = Latency(),
    concurrency: int | None = None,
    clients: int = 1,
    loss: float = 0.0,
    foreign: Callable[[float], float] | None = None,
    seed: int = 0,
    least_seconds: float = 0.0,
    start_gap: float = 0.0,
    connections: int | None = None,
    limiter: Callable[[], RateLimiter] = RateLimiter,
) -> Result:
    """Keep `clients` limiters busy for `windows` windows of `server`'s quota.

    ``foreign``: the requests per second of a blind neighbour at a time. ``connections`` of each client: as many as it
    has requests to send, if None.
    """
    from tests.virtual_time import run

    rng = random.Random(seed)
    duration = max(windows * server.window, least_seconds)
    if concurrency is None:
        round_trip = latency.up + latency.jitter + latency.least + latency.down
        concurrency = min(600, max(16, int(2.5 * server.limit / server.window * round_trip)))
    sent = [0] * clients
    good = [0] * clients

    async def main() -> None:
        loop = asyncio.get_running_loop()
        zero = loop.time()
        limiters = [limiter() for _ in range(clients)]
        slots = [None if connections is None else Slots(connections) for _ in range(clients)]
        idle = [0] * clients  # connections that are open and carry no request
        opened_at = [0.0] * clients  # when the last connection is open

        async def work(which: int) -> None:
            await asyncio.sleep(which * start_gap)
            while True:
                async with limiters[which].permit(ENDPOINT, slots=slots[which]) as permit:
                    if loop.time() - zero >= duration:
                        permit.unsent()
                        return
                    sent[which] += 1
                    if idle[which]:
                        idle[which] -= 1
                    else:
                        opened_at[which] = max(loop.time(), opened_at[which]) + latency.opening
                        await asyncio.sleep(opened_at[which] - loop.time())
                    await asyncio.sleep(latency.up + (rng.expovariate(1 / latency.jitter) if latency.jitter else 0.0))
                    status, headers = server.ask(loop.time() - zero)
                    good[which] += status == 200 and loop.time() - zero >= (clients - 1) * start_gap
                    down = latency.least + (rng.expovariate(1 / latency.down) if latency.down else 0.0)
                    if latency.stall_every:
                        at = (loop.time() - zero + down) % latency.stall_every
                        if at < latency.stall:
                            down += latency.stall - at
                    await asyncio.sleep(down)
                    idle[which] += 1
                    if rng.random() < loss:
                        continue
                    permit.observe(status, headers)

        async def neighbour() -> None:
            assert foreign is not None
            while loop.time() - zero < duration:
                rate = foreign(loop.time() - zero)
                if rate <= 0:
                    await asyncio.sleep(server.window / 10)
                    continue
                await asyncio.sleep(rng.expovariate(rate))
                server.ask(loop.time() - zero, foreign=True)

        tasks = [asyncio.create_task(work(which)) for which in range(clients) for _ in range(concurrency)]
        if foreign is not None:
            tasks.append(asyncio.create_task(neighbour()))
        await asyncio.sleep(duration + 1e-6)
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):  # a cancellation is no `Exception`
                raise ended

    limit_then = server.limit
    schedule = server.changes
    run(main())
    served = sorted(server.accepted + server.foreign_accepted)

    def quota(begin: float, end: float) -> float:
        """The requests that the server admits between two moments, the initial burst of a bucket left out."""
        total, at, limit = 0.0, begin, limit_then
        for when, new in schedule:
            if when <= begin:
                limit = new
            elif when < end:
                total += (when - at) * limit / server.window
                at, limit = when, new
        return total + (end - at) * limit / server.window

    def use(begin: float, end: float) -> float:
        return sum(begin <= at < end for at in served) / quota(begin, end)

    w = server.window
    first = 2 * w
    if server.kind in {"fixed", "counter"}:
        first += server.phase
        end = first + math.floor((duration - first) / w) * w
    else:
        end = duration
    return Result(use(first, end), use(0.0, 10 * w), len(server.refused), sum(sent), tuple(sent), tuple(good))
