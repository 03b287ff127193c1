"""How fast a run can go: the quota and the latency (`Traffic`), and how many rows it sends at once (`Sizer`).

The ETA is computed from the quota, not from how fast the last minute went: a run that has just begun, or is waiting
for a window, knows as well when it will end. For each endpoint: the requests that the rows to come will need (as many
per row as the rows so far) divided by the learned rate; the slowest endpoint decides. Without a quota the rate of the
last seconds does.

A run has as many requests in flight as keep the API busy, and no more.
Little's law: a rate of λ requests a second, each taking W seconds, has λ·W in flight. More of them do not go faster;
they wait in the queue, and a crash leaves more rows in doubt. Where the limiter has learned a rate, that is the
bound: at 10 requests a second a crash leaves 4 rows in doubt, not 64. Where there is no quota, the number grows while
the latency does not (additive increase), and shrinks when the latency shows a queue at the server (multiplicative
decrease): a server that serves ten at a time, and slows down under load, takes 2.4 times as many rows as with 64 always
in flight.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

from aelyst_async.sync.report import Tally

__all__ = ["Sizer", "Traffic", "patient", "shared_limiter"]


_START = 8
_LEAST = 4
_SLOWER = 2.0
"""A smoothed latency of this many times the best one says that requests queue at the server."""


class Sizer:
    """The concurrency of a run, up to `ceiling`. Latencies in seconds, rates in requests per second."""

    def __init__(self, ceiling: int) -> None:
        self._ceiling = ceiling
        self._limit = float(min(_START, ceiling))
        self._best = math.inf
        self._smooth = 0.0
        self._since_cut = 0
        self._was_cut = False
        self.rate: float | None = None
        self.saturated = False

    @property
    def limit(self) -> int:
        """How many rows may be in flight now."""
        limit = self._limit
        if self.rate is not None and self._smooth:
            # Twice the law's number: latency varies, and a row may need more than one request.
            limit = min(limit, max(_LEAST, 2 * self.rate * self._smooth + 2))
        return max(1, min(self._ceiling, int(limit)))

    def observe(self, latency: float) -> None:
        """Take the duration of one request into account."""
        # The best latency slowly rises, so that a slower route is not mistaken for a queue for ever.
        self._best = min(latency, self._best * 1.00002)
        self._smooth = latency if not self._smooth else self._smooth + 0.05 * (latency - self._smooth)
        self._since_cut += 1
        if self._smooth > max(_SLOWER * self._best, self._best + 0.01):
            # Only after a full round of requests at the last size, or one slow moment would be cut many times.
            if self._since_cut >= 2 * self._limit:
                self._limit = max(float(_LEAST), self._limit * 0.85)
                self._since_cut = 0
                self._was_cut = True
        elif self.saturated:
            # Before the first cut the number doubles with each round, as TCP's does; then it grows by two a round.
            step = 2.0 / self._limit if self._was_cut else 1.0
            self._limit = min(float(self._ceiling), self._limit + step)


_LISTENER: ContextVar[Traffic] = ContextVar("aelyst_async.sync.pace")
"""The listener of the run that a task belongs to."""


class Traffic:
    """Listens to a run's requests, if the gateway tells of them, and to the gateway's limiter, if it has one.

    Only requests of tasks that were started in the context of the constructor's caller are heard, since other runs may
    use the same gateway at the same time.
    """

    def __init__(self, gateway: Any, tally: Tally, concurrency: int) -> None:
        self.sizer: Sizer = Sizer(concurrency)
        self._limiter = getattr(gateway, "limiter", None)
        self._tally = tally
        self._by_endpoint: Counter[str] = Counter()
        self.answers: int = 0
        self.told: bool = hasattr(gateway, "subscribe")
        _LISTENER.set(self)
        self._unsubscribe: Callable[[], None] | None = gateway.subscribe(self._heard) if self.told else None

    def close(self) -> None:
        """Listen no more. Idempotent."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    def _heard(self, exchange: Any) -> None:
        if _LISTENER.get(None) is not self:
            return
        outcome = exchange.error if exchange.status is None else exchange.status
        self._tally.requests[f"{exchange.method} {outcome}"] += 1
        self._tally.waited += exchange.waited
        self._tally.network += exchange.duration
        self._by_endpoint[f"{exchange.method} {exchange.endpoint}"] += 1
        if exchange.status is not None:
            self.answers += 1
            self.sizer.observe(exchange.duration)

    def rates(self) -> dict[str, tuple[float, int]]:
        """Return endpoint → (learned requests per second, waiting) of the endpoints this run uses."""
        if self._limiter is None or not hasattr(self._limiter, "snapshot"):
            return {}
        return {
            bucket.endpoint: (bucket.rate, bucket.waiting)
            for bucket in self._limiter.snapshot()
            if bucket.rate and bucket.path is None and self._by_endpoint[bucket.endpoint]
        }

    def refresh(self, rates: dict[str, tuple[float, int]]) -> None:
        """Tell the sizer the rate of the endpoint that is used most."""
        used = {endpoint: rate for endpoint, (rate, _) in rates.items()}
        self.sizer.rate = sum(used.values()) if used else None

    def eta(self, rates: dict[str, tuple[float, int]], *, sent: int, left: float, pace: float) -> float | None:
        """Return the seconds until `left` rows more are in, after `sent` rows; `pace` is the rows per second now."""
        if left <= 0:
            return 0.0
        slowest = left / pace if pace > 0 else None
        if rates and sent:
            by_quota = max(left * self._by_endpoint[endpoint] / sent / rate for endpoint, (rate, _) in rates.items())
            # A quota says how fast it can go at best; what lies beyond is the network's or the server's slowness.
            return max(by_quota, slowest or 0.0) if slowest is not None and slowest < 4 * by_quota else by_quota
        return slowest

    def used(self, rates: dict[str, tuple[float, int]]) -> float | None:
        """Return the share of the busiest endpoint's quota that the run has used, or None without a quota."""
        elapsed = self._tally.elapsed
        if not rates or elapsed <= 0:
            return None
        return max(min(1.0, self._by_endpoint[endpoint] / (rate * elapsed)) for endpoint, (rate, _) in rates.items())


def patient(gateway: Any) -> Any:
    """Return the gateway without retries of its own: the engine has better ones, which hold no slot."""
    with_retry = getattr(gateway, "with_retry", None)
    if not callable(with_retry):
        return gateway
    from aelyst_async.transport.retry import RetryPolicy

    return with_retry(RetryPolicy(max_attempts=1, queued=False))


@asynccontextmanager
async def shared_limiter(url: str | None) -> AsyncIterator[Any]:
    """Yield a `RateLimiter`, which shares its quota through the Redis at `url`, if one is given.

    Raises `ConfigurationError`.
    """
    from aelyst_async import RateLimiter

    if url is None:
        yield RateLimiter()
        return
    from aelyst_async.ratelimit import RedisQuota

    async with RedisQuota(url) as shared:
        yield RateLimiter(shared=shared)
