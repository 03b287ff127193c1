"""What background jobs and watching a call cost.

Submissions a second and the longest time for which the loop was held up, in memory and with a journal (synced to disk),
one after another and in bursts; and the time that a call of the transport takes with nobody watching, with a hook, with
OpenTelemetry.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aelyst_async.errors import ContactNotFoundError
from aelyst_async.fastapi import Jobs
from aelyst_async.sandbox import Sandbox
from aelyst_async.telemetry import instrument
from aelyst_providers.aelyst import AelystGateway
from benchmarks.rounds import Row

SUBMISSIONS = 5_000
BURST = 100
CALLS = 1_500


async def measure_jobs(path: Path | None, burst: int) -> tuple[float, float, float, float]:
    """Return submissions a second, the median and 99th percentile of one (ms), and the longest hold-up (ms)."""
    jobs = Jobs(journal=path, capacity=SUBMISSIONS + 1, concurrency=16, drain_timeout=60)

    @jobs.register(merge=None)
    async def work(value: int) -> None: ...

    held_up = 0.0
    took: list[float] = []

    async def watch() -> None:
        nonlocal held_up
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0)
            held_up = max(held_up, time.perf_counter() - began)
            await asyncio.sleep(0.0005)

    async def submit(number: int) -> None:
        began = time.perf_counter()
        await jobs.submit(f"key {number % 1000}", work, value=number)
        took.append(time.perf_counter() - began)

    async with jobs:
        watcher = asyncio.create_task(watch())
        began = time.perf_counter()
        for first in range(0, SUBMISSIONS if burst > 1 else SUBMISSIONS // 10, burst):
            await asyncio.gather(*[submit(first + n) for n in range(burst)])
        seconds = time.perf_counter() - began
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher
        while jobs.stats().done < len(took):  # noqa: ASYNC110 - nothing tells the end
            await asyncio.sleep(0.01)
    took.sort()
    return len(took) / seconds, statistics.median(took) * 1e3, took[len(took) * 99 // 100] * 1e3, held_up * 1e3


async def measure_call(watch: Callable[[AelystGateway], Any]) -> float:
    """Return the microseconds of a call, the best of some rounds."""
    async with (
        Sandbox(quota="none") as sandbox,
        AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst")) as gateway,
    ):
        watch(gateway)
        best = float("inf")
        for _ in range(5):
            began = time.perf_counter()
            for _ in range(CALLS // 5):
                with contextlib.suppress(ContactNotFoundError):
                    await gateway.get("id:1")
            best = min(best, (time.perf_counter() - began) / (CALLS // 5))
    return best * 1e6


def with_sdk(gateway: AelystGateway) -> None:
    """Instrument with OpenTelemetry's SDK, spans exported to nowhere."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider

    instrument(gateway, tracer_provider=TracerProvider(), meter_provider=MeterProvider())


async def _rows() -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, path in (("memory", None), ("journal", Path(folder) / "jobs.db")):
            for burst in (1, BURST):
                where = None if path is None else path.with_name(f"{burst}.db")
                rate, median, high, held_up = await measure_jobs(where, burst)
                label = f"jobs in {name}, {'one by one' if burst == 1 else f'{burst} at a time'}"
                rows.append({"what": label, "a second": rate, "p50 ms": median, "p99 ms": high, "hold-up ms": held_up})
    rows += [
        {"what": f"a call, {name}", "µs": await measure_call(watch)}
        for name, watch in (
            ("nobody watches", lambda _: None),
            ("one hook", lambda gateway: gateway.subscribe(lambda _: None)),
            ("all hooks", lambda gateway: gateway.subscribe(
                *[lambda _: None], on_call=lambda _: None, on_request=lambda _: None, on_done=lambda _: None)),
            ("OpenTelemetry, API without SDK", instrument),
            ("OpenTelemetry with SDK", with_sdk),
        )
    ]  # fmt: skip
    return rows


def measure(*, quick: bool) -> list[Row]:  # noqa: ARG001 - it is quick
    return asyncio.run(_rows())
