"""A crowd that waits for one bucket: bytes each, the time to let it go, and how long it keeps the event loop.

Two things are told apart. *Longest step*: the longest that a method of the limiter's ran without giving the loop back,
whoever called it; by the thread's processor time, and by the clock, which counts other processes too. *Lag*: by how
much a 1 ms timer was late, which counts the woken tasks' own work as well. "bare" is the same number of plain tasks and
futures, woken in the same portions. Tasks are made a portion at a time, and the garbage collector is off, since its
pause over so many tasks is nobody's step.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import time
import tracemalloc
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from multidict import CIMultiDict, CIMultiDictProxy

from aelyst_async.errors import RateLimitedError
from aelyst_async.ratelimit import Permit, RateLimiter
from aelyst_async.ratelimit.queue import Lane

E = "GET /contact/{identifier}"
LIMIT = 10_000_000
STEPS: list[tuple[type, tuple[str, ...]]] = [
    (
        RateLimiter,
        ("_enqueue", "_pump", "_give_up", "_answered", "_changed", "_rescope", "_dismiss"),
    ),
    (Lane, ("leave",)),
]
PORTION = 32
"""Tasks made, or cancelled, in one step of the loop."""


class Watch:
    """The loop's worst lag and the limiter's longest step."""

    def __init__(self) -> None:
        self.lag = 0.0
        self.step = 0.0
        self.worked = 0.0
        self.step_name = ""

    def timed(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def wrapper(*args: Any) -> Any:
            began, worked = time.perf_counter(), time.thread_time()
            try:
                return method(*args)
            finally:
                took, cost = time.perf_counter() - began, time.thread_time() - worked
                self.worked = max(self.worked, cost)
                if took > self.step:
                    self.step, self.step_name = took, name

        return wrapper

    async def lags(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            self.lag = max(self.lag, time.perf_counter() - before - 0.001)

    def __str__(self) -> str:
        return f"{self.worked * 1e3:.2f} | {self.step * 1e3:.2f} {self.step_name} | {self.lag * 1e3:.1f}"


@contextmanager
def watching() -> Iterator[Watch]:
    watch = Watch()
    originals = [(kind, name, getattr(kind, name)) for kind, names in STEPS for name in names]
    for kind, name, method in originals:
        setattr(kind, name, watch.timed(name, method))
    task = asyncio.create_task(watch.lags())
    gc.collect()
    gc.disable()
    try:
        yield watch
    finally:
        gc.enable()
        task.cancel()
        for kind, name, method in originals:
            setattr(kind, name, method)


class Crowd:
    """`count` tasks that wait for a paused bucket of a server with quota for all of them."""

    def __init__(self, count: int, **how: Any) -> None:
        self.limiter = RateLimiter()
        self.count = count
        self.how = how
        self.asked = self.done = self.refused = 0
        self.tasks: list[asyncio.Task[None]] = []

    def answer(self) -> CIMultiDictProxy[str]:
        self.asked += 1
        counts = {"X-RateLimit-Limit": str(LIMIT), "X-RateLimit-Remaining": str(LIMIT - self.asked)}
        return CIMultiDictProxy(CIMultiDict(counts))

    async def one(self, number: int) -> None:
        try:
            async with self.limiter.permit(E, path=f"/contact/{number % 1000}", **self.how) as permit:
                permit.observe(200, self.answer())
        except RateLimitedError:
            self.refused += 1
        self.done += 1

    async def pause(self, seconds: float) -> None:
        async with self.limiter.permit(E) as permit:
            permit.observe(429, {"Retry-After": f"{seconds}"})

    async def queue(self) -> None:
        for first in range(0, self.count, PORTION):
            self.tasks += [asyncio.create_task(self.one(n)) for n in range(first, min(first + PORTION, self.count))]
            await asyncio.sleep(0)

    async def end(self) -> None:
        while self.done < self.count:  # noqa: ASYNC110 - watched from outside on purpose
            await asyncio.sleep(0.005)

    def waiting(self) -> int:
        return sum(bucket.waiting for bucket in self.limiter.snapshot())


async def _bytes() -> float:
    """Return the bytes of one waiter: coroutine frame, permit, waiter and future."""
    crowd = Crowd(0)
    await crowd.pause(600)
    count = 10_000
    tracemalloc.start()
    bare = [crowd.limiter.permit(E).__aenter__() for _ in range(count)]
    for waiting in bare:
        waiting.send(None)
    size = tracemalloc.get_traced_memory()[0] / count
    tracemalloc.stop()
    for waiting in bare:
        waiting.close()
    return size


async def _let_go(count: int) -> None:
    crowd = Crowd(count)
    pause = 3.0 + 12.0 * count / 100_000
    began = time.perf_counter()
    await crowd.pause(pause)
    with watching() as queued:
        await crowd.queue()
        in_line, took = crowd.waiting(), time.perf_counter() - began
    while crowd.asked == 0:  # noqa: ASYNC110 - watched from outside on purpose
        await asyncio.sleep(0.001)
    with watching() as gone:
        began = time.perf_counter()
        await crowd.end()
        seconds = time.perf_counter() - began
    assert in_line == count, "the pause was too short for this machine"
    print(f"| {count:,} queued | {took:.2f} | {took / count * 1e6:.1f} | {queued} |")
    print(f"| {count:,} let go | {seconds:.2f} | {seconds / count * 1e6:.1f} | {gone} |", flush=True)


async def _bare(count: int) -> None:
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[None]] = []
    done = 0

    async def one() -> None:
        nonlocal done
        future = loop.create_future()
        futures.append(future)
        await future
        done += 1

    tasks = []
    for _ in range(0, count, PORTION):
        tasks += [asyncio.create_task(one()) for _ in range(PORTION)]
        await asyncio.sleep(0)

    def turn(first: int) -> None:
        for future in futures[first : first + PORTION]:
            future.set_result(None)
        if first + PORTION < len(futures):
            loop.call_soon(turn, first + PORTION)

    with watching() as watch:
        await asyncio.sleep(0.01)
        began = time.perf_counter()
        loop.call_soon(turn, 0)
        while done < len(futures):  # noqa: ASYNC110 - watched from outside on purpose
            await asyncio.sleep(0.005)
        seconds = time.perf_counter() - began
    print(f"| {count:,} bare | {seconds:.2f} | {seconds / count * 1e6:.1f} | {watch} |", flush=True)


async def _cancelled(crowd: Crowd, held: Permit) -> None:
    held.unsent()
    for first in range(0, crowd.count, PORTION):
        for task in crowd.tasks[first : first + PORTION]:
            task.cancel()
        await asyncio.sleep(0)


async def _refused(crowd: Crowd, held: Permit) -> None:
    held.observe(429, {"Retry-After": "600"})
    await crowd.end()


async def _moved(crowd: Crowd, held: Permit) -> None:
    held.unsent()
    (lane,) = crowd.limiter._lanes.values()
    lane.scope.per_path = True
    crowd.limiter._rescope(lane, "/contact/0")
    await crowd.end()


async def _case(
    name: str, count: int, act: Callable[[Crowd, Permit], Coroutine[Any, Any, None]], pause: float, **how: float
) -> None:
    crowd = Crowd(count, **how)
    async with crowd.limiter.permit(E) as permit:
        permit.observe(200, crowd.answer())
    held = await crowd.limiter.permit(E).__aenter__()
    await crowd.pause(pause)
    await crowd.queue()
    assert crowd.waiting() == count, "the pause was too short for this machine"
    with watching() as watch:
        await asyncio.sleep(0.01)
        began = time.perf_counter()
        await act(crowd, held)
        seconds = time.perf_counter() - began
    await asyncio.gather(*crowd.tasks, return_exceptions=True)
    assert crowd.waiting() == 0
    print(f"| {count:,} {name} | {seconds:.2f} | {seconds / count * 1e6:.1f} | {watch} |", flush=True)


async def waiters() -> None:
    print(f"{await _bytes():.0f} bytes for each waiter\n")
    print("| waiters | seconds | µs each | longest step, ms of CPU | ms by the clock | lag, ms |")
    print("|---|---|---|---|---|---|")
    for count in (25_000, 50_000, 100_000):
        await _let_go(count)
        await _bare(count)
    count, now = 100_000, asyncio.get_running_loop().time
    await _case("cancelled", count, _cancelled, 600)
    await _case("refused: a pause beyond their deadlines", count, _refused, 30, deadline=now() + 300)
    await _case("out of patience (10 s)", count, _refused, 8, max_wait=10)
    await _case("moved to 1,000 buckets and let go", count, _moved, 600)
