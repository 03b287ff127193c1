"""What a quota in Redis costs and does: the cost of a permit, and several processes on one account.

Needs ``redis-server``; a private one is started. The cost of a permit is processor time and wall time of one permit
without contention (local, alone, one round trip) and with many waiters (leased). Then 1, 2 and 4 processes send to a
sandbox as fast as they may, with one shared quota and with a limiter each: the use of the quota and the 429s after the
first windows, and the most requests that arrived in any second.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Callable
from typing import Any

from aelyst_async import Quota, RateLimiter
from aelyst_async.contacts import ContactFields
from aelyst_async.errors import ContactsError
from aelyst_async.ratelimit import RedisQuota
from aelyst_async.sandbox import Sandbox
from aelyst_async.sandbox.quota import parse_quota
from aelyst_async.transport import RetryPolicy
from aelyst_providers.aelyst import AelystGateway
from benchmarks.rounds import Row
from tests.servers_external import RedisServer

PERMITS = 2_000
SETTLE, LEARN = 3.0, 20.0
"""Seconds of a run that are left out: the start of the processes and the first windows; learning a window, too."""


async def cost(limiter: RateLimiter, waiters: int) -> tuple[float, float]:
    """Return wall and processor time of one permit, in microseconds."""
    headers = {"X-RateLimit-Limit": "900000", "X-RateLimit-Remaining": "800000"}

    async def take(count: int) -> None:
        for _ in range(count):
            async with limiter.permit("GET /x") as permit:
                permit.observe(200, headers)

    await take(50)
    wall, processor = time.perf_counter(), time.process_time()
    await asyncio.gather(*[take(PERMITS // waiters) for _ in range(waiters)])
    return (time.perf_counter() - wall) / PERMITS * 1e6, (time.process_time() - processor) / PERMITS * 1e6


async def costs(url: str) -> list[Row]:
    rows: list[Row] = []
    told = {"*": Quota(900_000, per=1.0)}
    async with RedisQuota(url, timeout=1.0) as shared:
        limiters: dict[str, tuple[Callable[[], RateLimiter], int]] = {
            "local": (lambda: RateLimiter(quotas=told), 1),
            "local, 500 waiters": (lambda: RateLimiter(quotas=told), 500),
            "one round trip": (lambda: RateLimiter(quotas=told, shared=shared), 1),
            "leased, 500 waiters": (lambda: RateLimiter(quotas=told, shared=shared), 500),
        }
        figures: dict[str, list[tuple[float, float]]] = {name: [] for name in limiters}
        for _ in range(5):
            for name, (make, waiters) in limiters.items():
                figures[name].append(await cost(make(), waiters))
    for name, found in figures.items():
        wall, processor = (statistics.median(column) for column in zip(*found, strict=True))
        rows.append({"table": "a permit", "what": name, "wall µs": round(wall, 1), "cpu µs": round(processor, 1)})
    return rows


def work(base_url: str, token: str, url: str | None, seconds: float, told: Quota | None, concurrency: int) -> None:
    """Send requests for so many seconds: one process of several."""
    asyncio.run(_work(base_url, token, url, seconds, told, concurrency))


async def _work(
    base_url: str, token: str, url: str | None, seconds: float, told: Quota | None, concurrency: int
) -> None:
    shared = None if url is None else RedisQuota(url)
    limiter = RateLimiter(shared=shared, quotas={"*": told} if told else None)
    async with AelystGateway(token, base_url=base_url, limiter=limiter, retry=RetryPolicy(max_attempts=1)) as gateway:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds

        async def send() -> None:
            while loop.time() < until:
                with contextlib.suppress(ContactsError, asyncio.TimeoutError):
                    await asyncio.wait_for(gateway.get("email:ann@example.com"), until - loop.time())

        await asyncio.gather(*[send() for _ in range(concurrency)])
    if shared is not None:
        await shared.aclose()


async def run_processes(
    url: str | None, processes: int, quota: str, window: str, seconds: float, *, told: bool, concurrency: int = 64
) -> Row:
    """Let so many processes send to one account of a sandbox; return the figures after the first windows."""
    counted = parse_quota(quota)
    assert counted is not None
    limit, per = counted.limit, counted.window
    async with Sandbox(quota=quota, switches={"aelyst.quota_window": window}) as sandbox:
        async with AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst")) as gateway:
            await gateway.upsert("email:ann@example.com", ContactFields(first_name="Ann", email="ann@example.com"))
        context = multiprocessing.get_context("spawn")
        known = Quota(limit, per=per) if told else None
        arguments = (sandbox.base_url("aelyst"), sandbox.token("aelyst"), url, seconds, known, concurrency)
        workers = [context.Process(target=work, args=arguments, daemon=True) for _ in range(processes)]
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):  # noqa: ASYNC110 - nothing tells the end
            await asyncio.sleep(0.1)
        requests = [one for one in sandbox.requests if one.method == "GET"]
    row = {
        "table": "processes", "processes": processes, "quota": quota, "server counts by": window,
        "limiter": "one each" if url is None else "one quota, window told" if told else "one quota, window learned",
    }  # fmt: skip
    return row | figures(requests, limit, per, SETTLE + 1.1 * per if told or url is None else LEARN)


def figures(requests: list[Any], limit: int, per: float, settle: float) -> Row:
    times = sorted(one.at for one in requests)
    began, ended = times[0] + settle, times[-1] - 0.5
    late = [one for one in requests if began <= one.at < ended]
    good = sum(one.status != 429 for one in late)
    peak = first = 0
    ours = sorted(one.at for one in late)
    for place, at in enumerate(ours):
        while ours[first] <= at - per:
            first += 1
        peak = max(peak, place - first + 1)
    return {
        "use": round(good * per / (limit * (ended - began)), 3),
        "429s": len(late) - good, "429s at first": sum(one.status == 429 for one in requests if one.at < began),
        "most in a window": peak,
    }  # fmt: skip


def measure(*, quick: bool) -> list[Row]:
    with RedisServer() as server:
        rows = asyncio.run(costs(server.url))
    runs: list[tuple[int, str, str, bool, bool]] = []  # processes, quota, window, shared, told
    for quota in ("10/s", "200/s"):
        for processes in (4,) if quick else (1, 2, 4):
            runs += [(processes, quota, "sliding", True, True), (processes, quota, "sliding", False, False)]
    runs += [(4, "100/10s", "sliding", True, True), (4, "100/10s", "sliding", False, False)]
    if not quick:
        runs += [(4, "200/s", window, True, True) for window in ("fixed", "token")]
        runs += [(4, quota, "sliding", True, False) for quota in ("10/s", "200/s")]
    for processes, quota, window, shared, told in runs:
        seconds = 35.0 if quota == "100/10s" or (shared and not told) else 15.0
        with RedisServer() as server:
            url = server.url if shared else None
            rows.append(asyncio.run(run_processes(url, processes, quota, window, seconds, told=told)))
    return rows
