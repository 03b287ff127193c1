"""The same job, N requests at one server, by each of the ways that Python programs do it.

All keep `CONCURRENCY` requests going and differ only in when they send. A client runs in a process of its own, so that
two of them share nothing but the server (`drive`); so does a neighbour, who sends at random and never looks at an
answer (`neighbour`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import Awaitable, Callable

import aiohttp
import aiohttp_retry
import backoff
from aiolimiter import AsyncLimiter

from aelyst_async.ratelimit import RateLimiter

CONCURRENCY = 100
WHO = "X-Client"
"""The header by which the server tells clients apart in what it counts. The quota does not know it."""


class RefusedError(Exception):
    def __init__(self, retry_after: float) -> None:
        super().__init__()
        self.retry_after = retry_after


Job = Callable[[str], Awaitable[None]]


async def ask(session: aiohttp.ClientSession, url: str) -> None:
    async with session.get(url) as answer:
        await answer.read()
        if answer.status == 429:
            raise RefusedError(float(answer.headers.get("Retry-After", "1")))


def with_ours(session: aiohttp.ClientSession, _: float) -> Job:
    limiter = RateLimiter()

    async def job(url: str) -> None:
        retry = False
        while True:
            async with limiter.permit("GET /contact/{identifier}", retry=retry) as permit, session.get(url) as answer:
                permit.observe(answer.status, answer.headers)
                await answer.read()
            if answer.status != 429:
                return
            retry = True

    return job


def with_backoff(session: aiohttp.ClientSession, _: float) -> Job:
    @backoff.on_exception(backoff.expo, RefusedError, jitter=backoff.full_jitter, max_value=8)
    async def job(url: str) -> None:
        await ask(session, url)

    return job


def with_retry_after(session: aiohttp.ClientSession, _: float) -> Job:
    @backoff.on_exception(backoff.runtime, RefusedError, value=lambda error: error.retry_after, jitter=None)
    async def job(url: str) -> None:
        await ask(session, url)

    return job


def with_aiohttp_retry(session: aiohttp.ClientSession, _: float) -> Job:
    options = aiohttp_retry.JitterRetry(attempts=1000, statuses={429}, start_timeout=0.1, max_timeout=8)
    client = aiohttp_retry.RetryClient(client_session=session, retry_options=options)

    async def job(url: str) -> None:
        async with client.get(url) as answer:
            await answer.read()

    return job


def _aiolimiter(session: aiohttp.ClientSession, limiter: AsyncLimiter) -> Job:
    async def job(url: str) -> None:
        while True:
            async with limiter:
                try:
                    await ask(session, url)
                    return
                except RefusedError as error:
                    wait = error.retry_after
            await asyncio.sleep(wait)

    return job


def with_aiolimiter(session: aiohttp.ClientSession, rate: float) -> Job:
    return _aiolimiter(session, AsyncLimiter(max(1.0, rate / 20), 0.05 if rate >= 20 else 1 / rate))


def with_aiolimiter_wrong(session: aiohttp.ClientSession, rate: float) -> Job:
    return with_aiolimiter(session, 1.2 * rate)


OURS = "aelyst-async, nothing configured"
RETRY_AFTER = "backoff, Retry-After"
BY_HAND = "aiolimiter, set by hand to the right rate"

CLIENTS: dict[str, Callable[[aiohttp.ClientSession, float], Job]] = {
    OURS: with_ours,
    "backoff, full jitter, at most 8 s": with_backoff,
    RETRY_AFTER: with_retry_after,
    "aiohttp-retry, JitterRetry": with_aiohttp_retry,
    BY_HAND: with_aiolimiter,
    "aiolimiter, set 20 % too high": with_aiolimiter_wrong,
}


def ready() -> None:
    """Do nothing, in a process that has now imported all of this."""


def drive(name: str, url: str, who: str, count: int | None, rate: float, begin: float, cap: float) -> tuple[float, int]:
    """Send `count` requests, or as many as it can, from `begin` (`time.time`) for at most `cap` seconds.

    ``rate`` is for those that must be told one. Return the seconds taken and the requests done.
    """
    return asyncio.run(_drive(name, url, who, count, rate, begin, cap))


async def _drive(
    name: str, url: str, who: str, count: int | None, rate: float, begin: float, cap: float
) -> tuple[float, int]:
    done = 0
    async with _session(who) as session:
        job = CLIENTS[name](session, rate)
        numbers = iter(itertools.count() if count is None else range(count))

        async def worker() -> None:
            nonlocal done
            for number in numbers:
                await job(f"{url}/contact/id:{number}")
                done += 1

        await asyncio.sleep(begin - time.time())
        began = time.perf_counter()
        workers = asyncio.gather(*[worker() for _ in range(CONCURRENCY)])
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(workers, cap)
        return time.perf_counter() - began, done


def _session(who: str) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=CONCURRENCY)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), headers={WHO: who})


def neighbour(url: str, who: str, rate: float, begin: float) -> None:
    """Send at random, `rate` a second, from `begin` until the server is gone."""
    asyncio.run(_neighbour(url, who, rate, begin))


async def _neighbour(url: str, who: str, rate: float, begin: float) -> None:
    rng = random.Random(2)
    gone = asyncio.Event()
    tasks: set[asyncio.Task[None]] = set()
    async with _session(who) as session:

        async def one() -> None:
            try:
                async with session.get(f"{url}/contact/id:0") as answer:
                    await answer.read()
            except aiohttp.ClientError:
                gone.set()

        await asyncio.sleep(begin - time.time())
        at = time.time()
        while not gone.is_set():
            # From plan to plan, not from now: a late timer must not make it slower.
            at += rng.expovariate(rate)
            await asyncio.sleep(at - time.time())
            task = asyncio.create_task(one())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
