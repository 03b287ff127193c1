"""Jobs used from other loops, threads and forked children, and from loops that are closed."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import multiprocessing
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import pytest

from aelyst_async.errors import ConfigurationError
from aelyst_async.fastapi import InvalidJobError, JobQueueFullError, Jobs, JobsClosedError
from tests.fastapi.helpers import MakeJobs, ended, until

pytestmark = pytest.mark.hostile

T = TypeVar("T")

CALLER: contextvars.ContextVar[str] = contextvars.ContextVar("caller", default="none")


def in_thread(work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
    """Run a coroutine in a new loop in a new thread."""
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(asyncio.run(work))
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return asyncio.wrap_future(answer)


async def test_submit_from_another_loop_keeps_the_callers_context(make: MakeJobs) -> None:
    jobs = make()
    seen: list[tuple[int, str, int]] = []
    loop_thread = threading.get_ident()

    @jobs.register(merge=None)
    async def work(value: int) -> None:
        seen.append((value, CALLER.get(), threading.get_ident()))
        if value == 1:
            raise ValueError("x")

    async def elsewhere() -> tuple[str, str, int]:
        CALLER.set("thread")
        first = await jobs.submit("k", work, value=1)
        while (await jobs.status(first.id)).state != "failed":  # type: ignore[union-attr]  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        again = await jobs.resubmit(first.id)
        return first.id, again.id, len(await jobs.failed())

    async with jobs:
        first, again, count = await asyncio.wait_for(in_thread(elsewhere()), 10)
        own = await jobs.submit("k", work, value=2)
        statuses = await ended(jobs, first, again, own.id)
    assert [status.state for status in statuses] == ["failed", "failed", "done"]
    assert count >= 1
    assert [(value, caller) for value, caller, _ in seen] == [(1, "thread"), (1, "thread"), (2, "none")]
    assert {thread for _, _, thread in seen} == {loop_thread}, "jobs run in the loop that opened them"


async def test_errors_are_raised_in_another_loop(make: MakeJobs) -> None:
    gate = asyncio.Event()
    jobs = make(capacity=1, drain_timeout=5)

    @jobs.register
    async def work() -> None:
        await gate.wait()

    async with jobs:
        await jobs.submit("k", work)
        with pytest.raises(JobQueueFullError):
            await in_thread(jobs.submit("other", work))
        with pytest.raises(InvalidJobError):
            await in_thread(jobs.submit("", work))
        with pytest.raises(InvalidJobError):
            await in_thread(jobs.resubmit("unknown"))
        assert await in_thread(jobs.status("unknown")) is None
        gate.set()
    with pytest.raises(JobsClosedError):
        await in_thread(jobs.submit("k", work))


async def test_submissions_from_threads_during_closing_are_accepted_or_rejected(make: MakeJobs) -> None:
    jobs = make(capacity=100_000, drain_timeout=5)
    ran: list[int] = []

    @jobs.register(merge=None)
    async def work(value: int) -> None:
        ran.append(value)

    async def flood(thread: int) -> int:
        for number in range(10_000):
            try:
                await jobs.submit(f"k{thread}", work, value=number)
            except JobsClosedError:
                return number
        return 10_000

    async with jobs:
        threads = [in_thread(flood(number)) for number in range(4)]
        await until(lambda: len(ran) > 50)
    accepted = await asyncio.wait_for(asyncio.gather(*threads), 10)
    assert sum(accepted) == jobs.stats().submitted
    if not jobs.durable:
        assert len(ran) == sum(accepted)


async def test_cancelled_submit_in_another_loop_keeps_jobs_in_order(make: MakeJobs) -> None:
    jobs = make()
    ran: list[int] = []

    @jobs.register(merge=None)
    async def work(value: int) -> None:
        ran.append(value)

    async def hasty(value: int) -> None:
        task = asyncio.create_task(jobs.submit("k", work, value=value))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async with jobs:
        for value in range(20):
            await in_thread(hasty(value))
        last = await jobs.submit("k", work, value=99)
        await ended(jobs, last.id)
    assert ran == sorted(ran)
    assert ran[-1] == 99


def test_jobs_of_a_closed_loop_raise_and_can_be_reopened(tmp_path: Path) -> None:
    for journal in (None, tmp_path / "jobs.db"):
        jobs = Jobs(journal=journal)

        @jobs.register
        async def work() -> None: ...

        loop = asyncio.new_event_loop()
        loop.run_until_complete(jobs.__aenter__())
        with pytest.raises(JobsClosedError, match="is not running"):
            asyncio.run(asyncio.wait_for(jobs.submit("k", work), 5))

        async def close(jobs: Jobs = jobs) -> None:
            await jobs.__aexit__(None, None, None)

        with pytest.raises(ConfigurationError, match="another event loop"):
            asyncio.run(close())
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

        async def anew(jobs: Jobs = jobs, work: Any = work) -> str:
            async with jobs:
                return (await ended(jobs, (await jobs.submit("k", work)).id))[0].state

        assert asyncio.run(anew()) == "done"
        gc.collect()
    assert "aelyst-journal" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
async def test_forked_child_must_open_its_own_jobs(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    jobs = Jobs(journal=tmp_path / "jobs.db")

    @jobs.register
    async def work(text: str) -> None:
        ran.write_text(text)

    async def in_child() -> str:
        with pytest.raises(ConfigurationError) as refusal:
            await asyncio.wait_for(jobs.submit("k", work, text="no"), 5)
        async with jobs:
            await ended(jobs, (await jobs.submit("k", work, text="child")).id)
        return str(refusal.value)

    def child(pipe: Any) -> None:
        asyncio.set_event_loop(None)
        asyncio._set_running_loop(None)
        pipe.send(asyncio.run(in_child()))

    async with jobs:
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(target=child, args=(there,))
        process.start()
        there.close()
        await asyncio.to_thread(process.join, 20)
        assert process.exitcode == 0
        assert "before this process was forked" in here.recv()
        here.close()
        assert (await ended(jobs, (await jobs.submit("k", work, text="parent")).id))[0].state == "done"
    assert ran.read_text() == "parent"
