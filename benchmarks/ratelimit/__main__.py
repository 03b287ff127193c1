"""`python -m benchmarks.ratelimit [goodput] [acquire] [waiters]`: the limiter beside others, measured in one run.

goodput: requests to a real server in another process, one quota of each kind; plots go to docs/.
acquire: an uncontended acquire, and acquire with what is learned from an answer. waiters: 100,000 of them, queued and
let go, cancelled, refused or moved: time, memory, and how long the loop is kept.
"""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from multidict import CIMultiDict, CIMultiDictProxy

from aelyst_async.ratelimit import RateLimiter

QUOTAS = [("fixed", 200, 1.0), ("sliding", 200, 1.0), ("token", 200, 1.0), ("fixed", 20, 0.2)]
SECONDS = 8.0
"""What the quota alone would need."""
DOCS = Path(__file__).resolve().parents[2] / "docs"


def goodput() -> None:
    from benchmarks.ratelimit.clients import CLIENTS, drive

    print("| quota | client | seconds (quota alone: 8) | refused | done |\n|---|---|---|---|---|")
    for kind, limit, window in QUOTAS:
        rate = limit / window
        count = int(rate * SECONDS)
        curves = {}
        for name in CLIENTS:
            command = [sys.executable, "-m", "benchmarks.ratelimit.server", kind, str(limit), str(window)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            try:
                assert process.stdout is not None
                url = f"http://127.0.0.1:{int(process.stdout.readline())}"
                seconds, done = asyncio.run(drive(name, url, count, rate))
                with urllib.request.urlopen(f"{url}/stats") as answer:
                    stats = json.load(answer)
            finally:
                process.terminate()
                process.wait()
                assert process.stdout is not None
                process.stdout.close()
            curves[name] = stats["accepted"]
            whole = f"{done}" if done == count else f"{done} of {count}"
            print(
                f"| {kind} {limit} per {window:g} s | {name} | {seconds:.1f} | {stats['refused']} | {whole} |",
                flush=True,
            )
        plot(kind, limit, window, curves)


def plot(kind: str, limit: int, window: float, curves: dict[str, list[float]]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    shown = [name for name in curves if name.startswith(("aelyst", "backoff, Retry", "aiolimiter, set by"))]
    figure, axes = plt.subplots(len(shown), 1, figsize=(8, 5), sharex=True, sharey=True, layout="constrained")
    for axis, name in zip(axes, shown, strict=True):
        bins = [0] * 200
        for at in curves[name]:
            if at < 20:
                bins[int(at * 10)] += 1
        last = max((i for i, value in enumerate(bins) if value), default=0)
        axis.bar([i / 10 for i in range(last + 1)], bins[: last + 1], width=0.09, align="edge", color="#2b6cb0")
        axis.axhline(limit / window / 10, color="#c53030", linewidth=1)
        axis.set_title(name, fontsize=9, loc="left")
    axes[-1].set_xlabel("seconds")
    figure.suptitle(
        f"{kind} quota, {limit} per {window:g} s: requests let in per 100 ms (line: the quota)", fontsize=10
    )
    figure.savefig(DOCS / f"rate-limiter-{kind}-{limit}-{window:g}s.svg", metadata={"Date": None})
    plt.close(figure)


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


def main() -> None:
    parts = {"goodput": goodput, "acquire": acquire, "waiters": waiters}
    for name in sys.argv[1:] or ["acquire", "waiters", "goodput"]:
        parts[name]()
        print()


if __name__ == "__main__":
    main()
