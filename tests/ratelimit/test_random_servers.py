"""Random servers, latencies, losses and cancellations: no caller hangs, no permit or connection leaks, pauses hold."""

import asyncio
import random

import pytest

from aelyst_async.ratelimit import RateLimiter, Slots
from tests.ratelimit.simulator import ENDPOINT, Server
from tests.virtual_time import run


def one_run(seed: int) -> None:
    rng = random.Random(seed)
    window = 10 ** rng.uniform(-1.3, 1.3)
    server = Server(
        kind=rng.choice(["fixed", "anchored", "sliding", "counter", "token"]),
        limit=int(10 ** rng.uniform(0, 2.3)),
        window=window,
        phase=rng.uniform(0, window),
        headers=rng.choice(["all", "all", "429", "none"]),
        retry_after=rng.choice(["ceil", "exact", "absent"]),
        refused_count=rng.random() < 0.2,
    )
    if rng.random() < 0.3:
        server.changes = ((rng.uniform(0, 10 * window), int(10 ** rng.uniform(0, 2.3))),)
    jobs = min(400, max(20, 8 * server.limit))
    up, down, loss = rng.uniform(0, 0.05), rng.uniform(0.001, 0.2), rng.choice([0, 0.01, 0.1])
    # Two sessions with a few connections each, in half of the runs.
    sizes = [random.Random(-seed).randint(1, 12), random.Random(-seed).randint(1, 60)] if seed % 2 else []
    done: list[int] = []
    gave_up: list[int] = []

    async def main() -> None:
        loop, limiter = asyncio.get_running_loop(), RateLimiter()
        pools = [Slots(size) for size in sizes]
        zero = loop.time()
        paused = 0.0

        async def job(number: int) -> None:
            nonlocal paused
            slots = pools[number % 2] if pools else None
            while True:
                async with limiter.permit(ENDPOINT, retry=rng.random() < 0.2, slots=slots) as permit:
                    assert loop.time() >= paused - 1e-6
                    kind = rng.random()
                    if kind < 0.02:
                        permit.unsent()
                        continue
                    await asyncio.sleep(rng.uniform(0, up))
                    status, headers = server.ask(loop.time() - zero)
                    await asyncio.sleep(rng.expovariate(1 / down))
                    if rng.random() < loss:
                        continue
                    permit.observe(status, headers)
                    if status == 429:
                        paused = max(paused, loop.time() + float(headers.get("Retry-After", "0")))
                        continue
                done.append(number)
                return

        tasks = []
        for number in range(jobs):
            tasks.append(asyncio.create_task(job(number)))
            if rng.random() < 0.1:
                await asyncio.sleep(rng.expovariate(1 / window))
            if rng.random() < 0.05:
                victim = rng.randrange(len(tasks))
                if tasks[victim].cancel():
                    gave_up.append(victim)
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 3600 * 24)
        for result in results:
            if isinstance(result, Exception):
                raise result
        for bucket in limiter.snapshot():
            assert (bucket.waiting, bucket.in_flight) == (0, 0)
        assert [pool.free for pool in pools] == sizes

    run(main())
    assert set(done) | set(gave_up) == set(range(jobs))


@pytest.mark.parametrize("block", range(6))
def test_limiter_serves_every_caller_of_random_servers(block: int) -> None:
    for seed in range(block * 20, block * 20 + 20):
        one_run(seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(44))
def test_limiter_serves_every_caller_of_more_random_servers(block: int) -> None:
    for seed in range(120 + block * 20, 120 + block * 20 + 20):
        one_run(seed)
