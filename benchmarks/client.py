"""One call of a gateway beside the same request by hand: plain aiohttp, httpx, and requests in threads.

Each contestant does what its users would write: one session, the credential in a header, the body decoded from JSON.
Ours does the rest of its work too: rate limiter with quota headers to learn from, retries, redaction, a typed contact.
``get`` reads the contact of the vendor's page; ``upsert`` writes six fields of it, which is one PUT.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aelyst_providers.aelyst import AelystFields, AelystGateway, CustomField
from benchmarks.rounds import Job, Row, middle, ratio, take_turns, workers
from benchmarks.server import serving

IN_FLIGHT = (1, 8, 64, 256)
FIELDS = {
    "firstName": "Muhammad ", "lastName": "Mahin", "phone": "+60123456789", "language": "ms", "countryCode": "MY",
    "custom_fields": [{"name": "Company Website", "value": "https://example.com"}],
}  # fmt: skip
OURS = AelystFields(
    first_name="Muhammad ", last_name="Mahin", phone="+60123456789", language="ms", country_code="MY",
    custom_fields=(CustomField("Company Website", "https://example.com"),),
)  # fmt: skip
WHO = "email:test@example.com"
HEADERS = {"Authorization": "Bearer benchmark-token"}

Calls = dict[str, Callable[[], Awaitable[Any]]]


async def _gateway(base: str) -> Calls:
    gateway = AelystGateway("benchmark-token", base_url=base)
    return {"get": lambda: gateway.get(WHO), "upsert": lambda: gateway.upsert(WHO, OURS)}


async def _aiohttp(base: str) -> Calls:
    import aiohttp

    session = aiohttp.ClientSession()

    async def get() -> Any:
        async with session.get(f"{base}/contact/{WHO}", headers=HEADERS) as response:
            return await response.json()

    async def upsert() -> Any:
        async with session.put(f"{base}/contact/{WHO}", headers=HEADERS, json=FIELDS) as response:
            return await response.json()

    return {"get": get, "upsert": upsert}


async def _httpx(base: str) -> Calls:
    import httpx

    client = httpx.AsyncClient(limits=httpx.Limits(max_connections=100))

    async def get() -> Any:
        return (await client.get(f"{base}/contact/{WHO}", headers=HEADERS)).json()

    async def upsert() -> Any:
        return (await client.put(f"{base}/contact/{WHO}", headers=HEADERS, json=FIELDS)).json()

    return {"get": get, "upsert": upsert}


def in_loop(start: Callable[[str], Awaitable[Calls]], base: str, loop_name: str) -> Job:
    """Return a job that keeps `in_flight` calls under way for some seconds."""
    import uvloop

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop() if loop_name == "uvloop" else asyncio.new_event_loop()

    async def begin() -> Calls:
        return await start(base)

    calls = loop.run_until_complete(begin())

    async def one_after_the_other(call: Callable[[], Awaitable[Any]], until: float, taken: list[float]) -> None:
        now = time.perf_counter()
        while now < until:
            await call()
            begun, now = now, time.perf_counter()
            taken.append(now - begun)

    async def slice_of(operation: str, in_flight: int, seconds: float) -> dict[str, float]:
        call = calls[operation]
        for _ in range(2):  # connections are made, and what is imported or compiled at a first call
            await asyncio.gather(*(call() for _ in range(in_flight)))
        taken: list[float] = []
        computing, begun = time.process_time(), time.perf_counter()
        await asyncio.gather(*(one_after_the_other(call, begun + seconds, taken) for _ in range(in_flight)))
        return _figures(taken, time.perf_counter() - begun, time.process_time() - computing)

    return lambda *job: loop.run_until_complete(slice_of(*job))


def in_threads(base: str) -> Job:
    """Return a job that keeps a thread with a session for each request in flight."""
    import requests

    def calls() -> dict[str, Callable[[], Any]]:
        session = requests.Session()
        session.headers.update(HEADERS)
        url = f"{base}/contact/{WHO}"
        return {
            "get": lambda: session.get(url, timeout=30).json(),
            "upsert": lambda: session.put(url, json=FIELDS, timeout=30).json(),
        }

    mine = [calls() for _ in range(max(IN_FLIGHT))]

    def slice_of(operation: str, in_flight: int, seconds: float) -> dict[str, float]:
        for some in mine[:in_flight]:
            some[operation]()
        taken: list[float] = []

        def one_after_the_other(call: Callable[[], Any], until: float) -> None:
            now = time.perf_counter()
            while now < until:
                call()
                begun, now = now, time.perf_counter()
                taken.append(now - begun)

        computing, begun = time.process_time(), time.perf_counter()
        threads = [
            threading.Thread(target=one_after_the_other, args=(some[operation], begun + seconds))
            for some in mine[:in_flight]
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return _figures(taken, time.perf_counter() - begun, time.process_time() - computing)

    return slice_of


def _figures(taken: list[float], seconds: float, computing: float) -> dict[str, float]:
    count = len(taken)
    percentiles = statistics.quantiles(taken, n=100) if count > 1 else taken * 99
    return {
        "rate": count / seconds,
        "cpu": computing / count * 1e6,
        "p50": percentiles[49] * 1e3,
        "p99": percentiles[98] * 1e3,
    }


def measure(*, quick: bool) -> list[Row]:
    rounds, seconds = (5, 0.25) if quick else (7, 0.4)
    in_flight = (1, 64) if quick else IN_FLIGHT
    loops = ("asyncio",) if quick else ("asyncio", "uvloop")
    rows: list[Row] = []
    with serving() as base:
        makers: dict[str, Callable[[], Job]] = {
            f"{name}, {loop}": partial(in_loop, start, base, loop)
            for loop in loops
            for name, start in (("aiohttp", _aiohttp), ("ours", _gateway), ("httpx", _httpx))
        }
        makers["requests, threads"] = partial(in_threads, base)
        with workers(makers) as ask:
            for operation in ("get", "upsert"):
                for level in in_flight:
                    found = take_turns(ask, rounds, operation, level, seconds)
                    for name, figures in found.items():
                        who, _, loop = name.partition(", ")
                        plain = found.get(f"aiohttp, {loop}", found["aiohttp, asyncio"])
                        by_cpu, low, high = ratio(plain, figures, "cpu")
                        rows.append(
                            {
                                "operation": operation, "client": who, "loop": loop, "in flight": level,
                                "requests/s": middle(figures, "rate"), "CPU µs": middle(figures, "cpu"),
                                "p50 ms": middle(figures, "p50"), "p99 ms": middle(figures, "p99"),
                                "of aiohttp by CPU": by_cpu, "from": low, "to": high,
                                "of aiohttp by clock": ratio(figures, plain, "rate")[0],
                                "p50 × aiohttp": ratio(figures, plain, "p50")[0],
                            }
                        )  # fmt: skip
    return rows
