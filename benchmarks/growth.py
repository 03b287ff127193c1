"""Whether a request costs more when the limiter knows many buckets, or when many calls wait.

*Buckets*: each account has one, asked in a random order. The limiter keeps 10,000; beyond that each request may make
one and drop another. *Waiting*: that many calls of a gateway are begun at once; 100 connections carry them, so all but
100 wait. The figure is the processor time from the first call to the last answer, by the number of calls.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Callable
from functools import partial

from multidict import CIMultiDict, CIMultiDictProxy

from aelyst_async.ratelimit import RateLimiter
from aelyst_providers.aelyst import AelystGateway
from benchmarks.rounds import Job, Row, middle, take_turns, workers
from benchmarks.server import LIMIT, serving

E = "GET /contact/{identifier}"
ASKED = 2_000


def buckets() -> Job:
    """Return a job that asks a limiter which knows so many buckets."""
    loop = asyncio.new_event_loop()
    known: dict[int, RateLimiter] = {}
    headers = CIMultiDictProxy(CIMultiDict({"X-RateLimit-Limit": str(LIMIT), "X-RateLimit-Remaining": str(LIMIT - 1)}))

    async def ask(limiter: RateLimiter, accounts: list[str]) -> None:
        for account in accounts:
            async with limiter.permit(E, account=account, path="/contact/id:1") as permit:
                permit.observe(200, headers)

    def run(count: int) -> dict[str, float]:
        if count not in known:
            known[count] = RateLimiter()
            for _ in range(2):
                loop.run_until_complete(ask(known[count], [f"account {number}" for number in range(count)]))
        accounts = random.Random(count).choices([f"account {number}" for number in range(count)], k=ASKED)
        gc.collect()
        computing = time.process_time()
        loop.run_until_complete(ask(known[count], accounts))
        return {"cpu": (time.process_time() - computing) / ASKED * 1e6}

    return run


def waiting(base: str) -> Job:
    """Return a job that begins so many calls of a gateway at once."""
    loop = asyncio.new_event_loop()
    gateway = AelystGateway("benchmark-token", base_url=base)

    async def run(count: int) -> dict[str, float]:
        await asyncio.gather(*(gateway.get("id:12345") for _ in range(100)))
        computing = time.process_time()
        await asyncio.gather(*(gateway.get("id:12345") for _ in range(count)))
        return {"cpu": (time.process_time() - computing) / count * 1e6}

    return lambda count: loop.run_until_complete(run(count))


def measure(*, quick: bool) -> list[Row]:
    rounds, most = (1, 10_000) if quick else (3, 100_000)
    rows: list[Row] = []
    with serving() as base:
        makers: dict[str, Callable[[], Job]] = {"buckets": buckets, "waiting": partial(waiting, base)}
        with workers(makers) as ask:
            for name, least in (("buckets", 1), ("waiting", 10)):
                counts = [count for count in (1, 10, 100, 1_000, 10_000, 100_000) if least <= count <= most]
                figures = {count: take_turns({name: ask[name]}, rounds, count)[name] for count in counts}
                rows += [
                    {"what": name, "how many": count, "CPU µs a request": middle(found, "cpu")}
                    for count, found in figures.items()
                ]
    return rows
