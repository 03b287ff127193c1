"""Members of a shared quota: limiters with one Redis connection each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from aelyst_async.ratelimit import Demand, Quota, RateLimiter, RedisQuota

E = "GET /contact/{identifier}"
TEN, FIFTY = Quota(10, per=1.0), Quota(50, per=0.5)
PATIENT = 2.0
"""Seconds for a call: on a busy machine a process may be stopped for longer than the usual time-out."""


def demand(member: str = "a", *, quota: Quota | None = TEN, source: str | None = "user", **facts: Any) -> Demand:
    return Demand(**{"bucket": "account\nGET /x\n", "share": 1.0, "sent": 0, **facts}, member=member, quota=quota,
                  source=source)  # fmt: skip


def most_in(times: Sequence[float], seconds: float) -> int:
    """Return the most times in any half-open span of so many seconds."""
    ordered = sorted(times)
    return max(sum(1 for one in ordered if at <= one < at + seconds) for at in ordered)


async def take(limiter: RateLimiter, times: list[float], count: int = 1, headers: dict[str, str] | None = None) -> None:
    async def one() -> None:
        async with limiter.permit(E, account="acme") as permit:
            times.append(permit.at)
            permit.observe(200, headers or {})

    await asyncio.gather(*[one() for _ in range(count)])


@contextlib.asynccontextmanager
async def limiters(url: str, count: int, told: Quota = FIFTY, **how: Any) -> AsyncIterator[list[RateLimiter]]:
    """Yield limiters that share a quota as processes do: each has its own connection."""
    async with contextlib.AsyncExitStack() as stack:
        shared = [await stack.enter_async_context(RedisQuota(url, **{"timeout": PATIENT, **how})) for _ in range(count)]
        yield [RateLimiter(quotas={"*": told}, shared=one) for one in shared]
