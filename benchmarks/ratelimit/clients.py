"""The same job, N requests at one server, by each of the ways that Python programs do it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import aiohttp
import aiohttp_retry
import backoff
from aiolimiter import AsyncLimiter

from aelyst_async.ratelimit import RateLimiter

CONCURRENCY = 100
CAP = 40.0
"""Seconds after which a run is cut off."""


class RefusedError(Exception):
    def __init__(self, retry_after: float) -> None:
        super().__init__()
        self.retry_after = retry_after


Job = Callable[[str], Awaitable[None]]


async def ask(session: aiohttp.ClientSession, url: str) -> None:
    async with session.get(url) as answer:
        await answer.read()
        if answer.status == 429:
            raise RefusedError(float(answer.headers["Retry-After"]))


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


CLIENTS: dict[str, Callable[[aiohttp.ClientSession, float], Job]] = {
    "aelyst-async, nothing configured": with_ours,
    "backoff, full jitter, at most 8 s": with_backoff,
    "backoff, Retry-After": with_retry_after,
    "aiohttp-retry, JitterRetry": with_aiohttp_retry,
    "aiolimiter, set by hand to the right rate": with_aiolimiter,
    "aiolimiter, set 20 % too high": with_aiolimiter_wrong,
}


async def drive(name: str, url: str, count: int, rate: float) -> tuple[float, int]:
    """Return the seconds taken and the jobs done before the cap."""
    done = 0
    connector = aiohttp.TCPConnector(limit=CONCURRENCY)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        job = CLIENTS[name](session, rate)
        numbers = iter(range(count))

        async def worker() -> None:
            nonlocal done
            for number in numbers:
                await job(f"{url}/contact/id:{number}")
                done += 1

        began = time.perf_counter()
        workers = asyncio.gather(*[worker() for _ in range(CONCURRENCY)])
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(workers, CAP)
        return time.perf_counter() - began, done
