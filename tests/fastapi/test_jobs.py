"""Jobs, in memory and with a journal: order, merging, limits, contexts, failures."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import Any

import pytest

from aelyst_async.errors import ServerError, TransportError
from aelyst_async.fastapi import (
    InvalidJobError,
    JobQueueFullError,
)
from tests.fastapi.helpers import MakeJobs, ended, until


async def test_job_runs_with_its_arguments_and_reports_done(make: MakeJobs) -> None:
    seen: list[tuple[str, Any]] = []
    jobs = make()

    @jobs.register
    async def note(name: str, fields: Any) -> None:
        seen.append((name, fields))

    async with jobs:
        job = await jobs.submit("a", note, name="ann", fields={"x": [1, None, "é"]})
        (status,) = await ended(jobs, job.id)
    assert seen == [("ann", {"x": [1, None, "é"]})]
    assert (status.name, status.state, status.submissions, status.starts) == ("note", "done", 1, 1)
    assert status.finished_at is not None
    assert status.submitted_at <= status.finished_at
    assert not job.merged


async def test_jobs_of_one_key_run_in_order_and_keys_run_concurrently(make: MakeJobs) -> None:
    order: dict[str, list[int]] = {"a": [], "b": []}
    now: set[str] = set()
    most = 0
    jobs = make()

    @jobs.register(merge=None)
    async def work(key: str, number: int) -> None:
        nonlocal most
        assert key not in now, "two jobs of one key run at once"
        now.add(key)
        most = max(most, len(now))
        await asyncio.sleep(0.002)
        order[key].append(number)
        now.remove(key)

    async with jobs:
        ids = []
        for number in range(20):
            for key in ("a", "b"):
                ids.append((await jobs.submit(key, work, key=key, number=number)).id)
        statuses = await ended(jobs, *ids)
    assert [status.state for status in statuses] == ["done"] * 40
    assert order == {"a": list(range(20)), "b": list(range(20))}
    assert most == 2


async def test_submissions_merge_into_a_waiting_job_but_not_a_running_one(make: MakeJobs) -> None:
    runs: list[dict[str, Any]] = []
    gate = asyncio.Event()
    jobs = make()

    @jobs.register
    async def save(fields: dict[str, Any]) -> None:
        runs.append(fields)
        await gate.wait()

    async with jobs:
        first = await jobs.submit("ann", save, fields={"first": "Ann", "phone": "1"})
        await until(lambda: runs)
        rest = [await jobs.submit("ann", save, fields={"phone": str(n), f"f{n}": n}) for n in range(10)]
        gate.set()
        statuses = await ended(jobs, first.id, rest[0].id)
        stats = jobs.stats()
    assert runs == [{"first": "Ann", "phone": "1"}, {"phone": "9", **{f"f{n}": n for n in range(10)}}]
    assert len({job.id for job in rest}) == 1
    assert rest[0].id != first.id
    assert [job.merged for job in rest] == [False] + [True] * 9
    assert [status.submissions for status in statuses] == [1, 10]
    assert (stats.submitted, stats.merged, stats.done, stats.waiting, stats.running) == (11, 9, 2, 0, 0)


async def test_job_of_another_function_is_not_merged_and_keeps_its_turn(make: MakeJobs) -> None:
    runs: list[str] = []
    gate = asyncio.Event()
    jobs = make()

    @jobs.register
    async def hold() -> None:
        await gate.wait()

    @jobs.register
    async def save(value: int) -> None:
        runs.append(f"save {value}")

    @jobs.register
    async def tag(value: int) -> None:
        runs.append(f"tag {value}")

    async with jobs:
        await jobs.submit("k", hold)
        ids = [(await jobs.submit("k", function, value=n)).id for n, function in enumerate([save, save, tag, save])]
        gate.set()
        await ended(jobs, *ids)
    assert runs == ["save 1", "tag 2", "save 3"]


async def test_full_queue_rejects_new_keys_but_still_merges(make: MakeJobs) -> None:
    gate = asyncio.Event()
    jobs = make(capacity=3, concurrency=1, drain_timeout=5)

    @jobs.register
    async def hold(value: int = 0) -> None:
        await gate.wait()

    async with jobs:
        accepted = [await jobs.submit(str(n), hold, value=n) for n in range(3)]
        assert jobs.problem() == "jobs: the queue is full"
        with pytest.raises(JobQueueFullError) as refusal:
            await jobs.submit("3", hold)
        assert 1 <= refusal.value.retry_after <= 60
        assert (await jobs.submit("2", hold, value=7)).merged
        assert jobs.stats().refused == 1
        gate.set()
        await ended(jobs, *[job.id for job in accepted])
        assert jobs.problem() is None
        await jobs.submit("3", hold)


async def test_concurrent_submissions_never_exceed_the_capacity(make: MakeJobs) -> None:
    gate = asyncio.Event()
    jobs = make(capacity=50, concurrency=4, drain_timeout=5)

    @jobs.register
    async def hold() -> None:
        await gate.wait()

    async with jobs:
        results = await asyncio.gather(*[jobs.submit(f"k{n}", hold) for n in range(200)], return_exceptions=True)
        assert sum(isinstance(result, JobQueueFullError) for result in results) == 150
        assert sum(not isinstance(result, BaseException) for result in results) == 50
        gate.set()


async def test_jobs_reach_but_never_exceed_the_concurrency(make: MakeJobs) -> None:
    running = most = 0
    gate = asyncio.Event()
    jobs = make(concurrency=7)

    @jobs.register
    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        await asyncio.sleep(0.001)
        running -= 1

    async with jobs:
        ids = [(await jobs.submit(str(n), work)).id for n in range(40)]
        await until(lambda: running == 7)
        gate.set()
        await ended(jobs, *ids)
    assert most == 7


async def test_job_runs_in_the_context_of_its_latest_submission(make: MakeJobs) -> None:
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")
    seen: list[str] = []
    gate = asyncio.Event()
    jobs = make()

    @jobs.register
    async def look(key: str) -> None:
        seen.append(request.get())
        await gate.wait()

    async with jobs:
        for value in ("first", "second", "third"):
            request.set(value)
            await jobs.submit("k", look, key="k")
            await until(lambda: seen)
        request.set("outside")
        gate.set()
        await until(lambda: len(seen) == 2)
    assert seen == ["first", "third"]


async def test_concurrent_submissions_keep_their_context_and_order(make: MakeJobs) -> None:
    number: contextvars.ContextVar[int] = contextvars.ContextVar("number")
    seen: dict[str, list[tuple[int, int]]] = {}
    jobs = make(capacity=2000, concurrency=5)

    @jobs.register(merge=None)
    async def look(key: str, value: int) -> None:
        seen.setdefault(key, []).append((value, number.get()))

    async def submit(value: int) -> str:
        number.set(value)
        return (await jobs.submit(f"k{value % 7}", look, key=f"k{value % 7}", value=value)).id

    async with jobs:
        ids = await asyncio.gather(*[submit(value) for value in range(1000)])
        await ended(jobs, *ids, within=60)
        assert jobs._life is not None
        assert not jobs._life._contexts
    assert {key: [value for value, _ in pairs] for key, pairs in seen.items()} == {
        f"k{rest}": list(range(rest, 1000, 7)) for rest in range(7)
    }
    assert all(value == own for pairs in seen.values() for value, own in pairs)


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="eager tasks came with Python 3.12")
async def test_jobs_work_with_eager_tasks(make: MakeJobs) -> None:
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    order: list[int] = []
    running = most = 0
    gate = asyncio.Event()
    jobs = make(capacity=5000, concurrency=3)

    @jobs.register(merge=None)
    async def work(value: int) -> None:
        order.append(value)

    @jobs.register
    async def hold() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1

    async with jobs:
        for number in range(10):
            await jobs.submit(f"hold {number}", hold)
        await until(lambda: running == 3)
        ids = [(await jobs.submit("k", work, value=value)).id for value in range(1500)]
        gate.set()
        await ended(jobs, ids[-1], within=60)
    assert order == list(range(1500))
    assert most == 3


async def test_failing_job_is_logged_and_does_not_affect_others(
    make: MakeJobs, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = make()

    @jobs.register(merge=None)
    async def fail(kind: str) -> None:
        if kind == "bug":
            raise ZeroDivisionError("a bug")
        if kind == "cancel":
            raise asyncio.CancelledError
        if kind == "api":
            raise ServerError(status=501, message="secret-contact", url="http://x/contact/ann@example.com")

    async with jobs:
        kinds = ["bug", "cancel", "fine"]
        ids = [(await jobs.submit("same key", fail, kind=kind)).id for kind in kinds]
        statuses = await ended(jobs, *ids)
        stats = jobs.stats()
    assert [(status.state, status.error) for status in statuses] == [
        ("failed", "ZeroDivisionError"), ("failed", "CancelledError"), ("done", None),
    ]  # fmt: skip
    assert (stats.failed, stats.done) == (2, 1)
    assert f"job {ids[0]} (fail) failed" in caplog.text
    assert "a bug" in caplog.text, "the log has the traceback of a bug"


async def test_temporary_failure_is_retried_and_blocks_only_its_key(make: MakeJobs) -> None:
    log: list[str] = []
    jobs = make(retry_base=0.05, retry_cap=0.05, give_up_after=0.5, max_starts=1)

    @jobs.register(merge=None)
    async def work(name: str, fails: int) -> None:
        tries = sum(entry == name for entry in log)
        log.append(name)
        if tries < fails:
            raise TransportError("down")

    async with jobs:
        ids = [
            (await jobs.submit("a", work, name="a1", fails=2)).id,
            (await jobs.submit("a", work, name="a2", fails=0)).id,
            (await jobs.submit("b", work, name="b1", fails=99)).id,
        ]
        statuses = await ended(jobs, *ids)
        stats = jobs.stats()
    assert [(status.state, status.starts) for status in statuses[:2]] == [("done", 3), ("done", 1)]
    assert [entry for entry in log if entry.startswith("a")] == ["a1", "a1", "a1", "a2"]
    given_up = statuses[2]
    assert (given_up.state, given_up.error) == ("failed", "TransportError")
    assert given_up.starts > 4
    assert given_up.message is not None
    assert "give_up_after" in given_up.message
    assert stats.retried == 2 + given_up.starts - 1


async def test_failed_job_reports_api_status_but_not_the_api_message(
    make: MakeJobs, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = make(give_up_after=0)

    @jobs.register
    async def fail() -> None:
        raise ServerError(status=503, message="no, ann@example.com", url="http://x/contact/ann@example.com")

    with caplog.at_level(logging.DEBUG):
        async with jobs:
            (status,) = await ended(jobs, (await jobs.submit("k", fail)).id)
    assert (status.error, status.error_status) == ("ServerError", 503)
    assert "ServerError" in caplog.text
    assert "ann@example.com" not in caplog.text


async def test_message_of_a_failed_job_masks_arguments_at_every_depth(make: MakeJobs) -> None:
    jobs = make()

    @jobs.register
    async def fail(people: list[object], **more: object) -> None:
        raise LookupError(f"neither {people} nor {more}")

    async with jobs:
        job = await jobs.submit("k", fail, people=[{"name": "Annabel"}, ["Bertram", 60123456]], flag=True)
        (status,) = await ended(jobs, job.id)
    assert status.message == "neither [{'name': '[…]'}, ['[…]', […]]] nor {'flag': True}"


async def test_resubmit_runs_a_failed_job_with_its_arguments(make: MakeJobs) -> None:
    works = False
    seen: list[int] = []
    jobs = make()

    @jobs.register
    async def work(value: int) -> None:
        if not works:
            raise ValueError("not yet")
        seen.append(value)

    async with jobs:
        job = await jobs.submit("k", work, value=7)
        await ended(jobs, job.id)
        works = True
        again = await jobs.resubmit(job.id)
        await ended(jobs, again.id)
        with pytest.raises(InvalidJobError):
            await jobs.resubmit(again.id)
        with pytest.raises(InvalidJobError):
            await jobs.resubmit("no such job")
    assert seen == [7]


async def test_cancelled_submit_keeps_accepted_jobs_in_order(make: MakeJobs) -> None:
    seen: list[int] = []
    jobs = make()

    @jobs.register(merge=None)
    async def work(value: int) -> None:
        seen.append(value)

    async with jobs:
        for value in range(20):
            task = asyncio.create_task(jobs.submit("k", work, value=value))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        last = await jobs.submit("k", work, value=99)
        await ended(jobs, last.id)
    # All accepted jobs ran in order, and none blocked the last one.
    assert seen[-1] == 99
    assert seen == sorted(seen)
