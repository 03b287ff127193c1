"""`python -m benchmarks.ratelimit [acquire] [waiters] [goodput [WORD …]] [quotas [WORD …]]`: the limiter, measured.

acquire: an uncontended acquire, and acquire with what is learned from an answer, beside aiolimiter's. waiters: 100,000
of them, queued and let go, cancelled, refused or moved: time, memory, and how long the loop is kept. goodput (about
12 minutes): requests to a real server in another process, beside what else Python programs do; one table, and plots in
docs/. quotas: many quotas and conditions in virtual time, against the bars. Words after the last two choose the cases
whose name has one of them.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Sequence

from multidict import CIMultiDict, CIMultiDictProxy

from aelyst_async.ratelimit import RateLimiter


class _Nothing:
    """What any `async with` costs that is asked for as a permit is."""

    __slots__ = ()

    def permit(self, endpoint: str) -> _Nothing:  # noqa: ARG002
        return self

    async def __aenter__(self) -> _Nothing:  # noqa: PYI034 - typing has no Self on 3.10
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def unsent(self) -> None:
        pass


async def _acquire() -> None:
    from aiolimiter import AsyncLimiter

    count, turns = 1_000, 100
    # A quota that never runs out, nor looks fresh: that would make it each path's own.
    headers = CIMultiDictProxy(CIMultiDict({"X-RateLimit-Limit": "900000000", "X-RateLimit-Remaining": "899999000"}))
    paths = [f"/x/{number % 1000}" for number in range(count)]
    loop = asyncio.get_running_loop()
    their_limiter = AsyncLimiter(1e9, 1)
    deadline = loop.time() + 3600.0

    async def warm() -> RateLimiter:
        limiter = RateLimiter()
        for _ in range(16):
            async with limiter.permit("GET /x") as permit:
                permit.observe(200, {})
            async with limiter.permit("GET /x/{id}", account="3f2a") as permit:
                permit.observe(200, {})
        return limiter

    limiter, told, nothing = await warm(), RateLimiter(), _Nothing()

    async def future() -> None:
        for _ in range(count):
            one = loop.create_future()
            one.set_result(None)
            await one

    async def theirs() -> None:
        for _ in range(count):
            await their_limiter.acquire()

    async def theirs_with() -> None:
        for _ in range(count):
            async with their_limiter:
                pass

    async def floor() -> None:
        for _ in range(count):
            async with nothing.permit("GET /x") as permit:
                permit.unsent()

    async def ours() -> None:
        for _ in range(count):
            async with limiter.permit("GET /x") as permit:
                permit.unsent()

    async def as_the_transport() -> None:
        for _ in range(count):
            async with limiter.permit("GET /x/{id}", account="3f2a", path="/x/1", deadline=deadline) as permit:
                permit.unsent()

    async def silent() -> None:
        for _ in range(count):
            async with limiter.permit("GET /x"):
                pass

    async def learning() -> None:
        for _ in range(count):
            async with told.permit("GET /x") as permit:
                permit.observe(200, headers)

    async def learning_as_the_transport() -> None:
        for path in paths:
            async with told.permit("GET /x/{id}", account="3f2a", path=path, deadline=deadline) as permit:
                permit.observe(200, headers)

    runs = {
        "a future, set and awaited": future,
        "aiolimiter, acquire()": theirs,
        "aiolimiter, async with": theirs_with,
        "a class that does nothing, asked and left as ours": floor,
        "ours, permit and give back": ours,
        "ours, as the transport asks (account, path, deadline)": as_the_transport,
        "ours, permit and no word of an answer": silent,
        "ours, permit and learn from an answer": learning,
        "ours, as the transport asks, and learn": learning_as_the_transport,
    }
    # One after the other in each turn, and the least of each: what else the machine does only ever adds.
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(turns):
        gc.collect()
        for name, run in runs.items():
            began = time.perf_counter()
            await run()
            times[name].append((time.perf_counter() - began) / count * 1e6)
    yard = min(times["aiolimiter, async with"])
    for name, taken in times.items():
        print(f"| {name} | {min(taken):.2f} | {min(taken) / yard:.2f} |", flush=True)


def acquire() -> None:
    import uvloop

    for label, start in (("asyncio", asyncio.run), ("uvloop", uvloop.run)):
        print(f"| {label}: uncontended | µs, least of 100 × 1,000 | times aiolimiter's async with |\n|---|---|---|")
        start(_acquire())


def waiters() -> None:
    from benchmarks.ratelimit.waiters import waiters as measure

    asyncio.run(measure())


def goodput(words: Sequence[str]) -> None:
    from benchmarks.ratelimit.goodput import goodput as measure

    measure(words)


def quotas(words: Sequence[str]) -> None:
    from benchmarks.ratelimit.quotas import quotas as measure

    measure(words)


def main() -> None:
    plain = {"acquire": acquire, "waiters": waiters}
    filtered = {"goodput": goodput, "quotas": quotas}
    asked: list[tuple[str, list[str]]] = []
    for word in sys.argv[1:] or ["acquire", "waiters", "goodput"]:
        if word in plain or word in filtered:
            asked.append((word, []))
        elif asked and asked[-1][0] in filtered:
            asked[-1][1].append(word)
        else:
            sys.exit(f"{word}: not one of {', '.join([*plain, *filtered])}")
    for name, words in asked:
        if name in plain:
            plain[name]()
        else:
            filtered[name](words)
        print()


if __name__ == "__main__":
    main()
