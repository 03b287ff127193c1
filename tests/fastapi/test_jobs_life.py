"""The life cycle of jobs: opening, drain and closing, accepted and rejected input, and merge rules."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from aelyst_async.contacts import ContactFields
from aelyst_async.errors import ConfigurationError
from aelyst_async.fastapi import (
    InvalidJobError,
    Jobs,
    JobsClosedError,
    JobsStats,
    union,
)
from aelyst_providers.aelyst import AelystFields, CustomField
from tests.fastapi.helpers import MakeJobs, ended


async def test_drain_waits_for_running_jobs(make: MakeJobs) -> None:
    done: list[str] = []
    jobs = make(drain_timeout=5)

    @jobs.register
    async def work() -> None:
        await asyncio.sleep(0.05)
        done.append("done")

    async with jobs:
        await jobs.submit("k", work)
        await asyncio.sleep(0.02)
    assert done == ["done"]
    assert jobs.stats().done == 1


async def test_drain_is_bounded_for_a_job_that_ignores_cancellation(
    make: MakeJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aelyst_async.fastapi.runner._CANCEL_GRACE", 0.1)
    stubborn_may_end = asyncio.Event()
    jobs = make(drain_timeout=0.1)

    @jobs.register
    async def stubborn() -> None:
        while not stubborn_may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await stubborn_may_end.wait()

    clock = asyncio.get_running_loop().time
    async with jobs:
        await jobs.submit("k", stubborn)
        await asyncio.sleep(0.05)
        began = clock()
    assert 0.1 < clock() - began < 2
    stubborn_may_end.set()
    await asyncio.sleep(0.05)


async def test_submit_raises_outside_the_lifespan_and_while_draining(make: MakeJobs) -> None:
    refusals: list[Exception] = []
    jobs = make(drain_timeout=5)

    @jobs.register
    async def work(again: bool = False) -> None:
        await asyncio.sleep(0.05)
        if again:
            try:
                await jobs.submit("other", work)
            except JobsClosedError as error:
                refusals.append(error)

    with pytest.raises(JobsClosedError, match="mounted sub-app"):
        await jobs.submit("k", work)
    assert jobs.problem() == "jobs: not open"
    async with jobs:
        assert jobs.problem() is None
        with pytest.raises(ConfigurationError, match="already open"):
            await jobs.__aenter__()
        await jobs.submit("k", work, again=True)
        await asyncio.sleep(0.02)
    assert len(refusals) == 1
    assert "shutting down" in str(refusals[0])


async def test_stats_are_zero_before_the_opening_and_remain_after_the_end(make: MakeJobs) -> None:
    jobs = make(capacity=7)

    @jobs.register
    async def work() -> None: ...

    assert jobs.stats() == JobsStats(capacity=7)
    async with jobs:
        await ended(jobs, (await jobs.submit("k", work)).id)
    assert jobs.stats() == JobsStats(capacity=7, submitted=1, done=1)


async def test_jobs_can_be_reopened(make: MakeJobs) -> None:
    seen: list[int] = []
    jobs = make()

    @jobs.register
    async def work(value: int) -> None:
        seen.append(value)

    for value in range(3):
        async with jobs:
            await ended(jobs, (await jobs.submit("k", work, value=value)).id)
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("key", ["", "x" * 513, "\ud800", 7, None])
async def test_submit_rejects_invalid_keys(make: MakeJobs, key: Any) -> None:
    jobs = make()

    @jobs.register
    async def work() -> None: ...

    async with jobs:
        with pytest.raises(InvalidJobError):
            await jobs.submit(key, work)
        assert jobs.stats().submitted == 0


@pytest.mark.parametrize("key", ["\x00", "'; DROP TABLE job; --", "é" * 512, "🤦" * 100, "k\nk"])
async def test_submit_accepts_keys_with_special_characters(make: MakeJobs, key: str) -> None:
    seen: list[str] = []
    jobs = make()

    @jobs.register
    async def work(value: str) -> None:
        seen.append(value)

    async with jobs:
        await ended(jobs, (await jobs.submit(key, work, value=key)).id)
    assert seen == [key]


async def test_register_rejects_non_coroutine_functions_and_used_names(make: MakeJobs) -> None:
    jobs = make()

    @jobs.register
    async def work() -> None: ...

    with pytest.raises(ConfigurationError, match="not a coroutine function"):
        jobs.register(lambda: None)  # type: ignore[type-var]

    async def other() -> None: ...

    with pytest.raises(ConfigurationError, match="already"):
        jobs.register(name="work")(other)
    async with jobs:
        with pytest.raises(ConfigurationError, match="not a coroutine function"):
            await jobs.submit("k", print)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "settings",
    [{"concurrency": 0}, {"capacity": True}, {"max_starts": 1.5}, {"drain_timeout": -1}, {"keep": float("nan")}],
)
def test_jobs_reject_invalid_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        Jobs(**settings)


async def test_drain_without_journal_runs_waiting_jobs_and_logs_lost_ones(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[int] = []

    async def work(value: int) -> None:
        await asyncio.sleep(0.01)
        seen.append(value)

    async def forever() -> None:
        await asyncio.sleep(3600)

    async with Jobs(concurrency=1, drain_timeout=5) as jobs:
        for value in range(10):
            await jobs.submit(str(value), work, value=value)
    assert seen == list(range(10))
    assert not caplog.records

    async with Jobs(concurrency=1, drain_timeout=0.05) as jobs:
        for value in range(3):
            await jobs.submit(str(value), forever)
    assert "3 jobs are lost, 1 of them were cut off" in caplog.text


async def test_jobs_without_journal_accept_any_coroutine_function_and_arguments() -> None:
    seen: list[ContactFields] = []
    gate = asyncio.Event()

    class Service:
        async def save(self, fields: ContactFields) -> None:
            await gate.wait()
            seen.append(fields)

    service = Service()
    async with Jobs(drain_timeout=5) as jobs:
        await jobs.submit("k", service.save, fields=AelystFields(first_name="A"))
        await asyncio.sleep(0.01)
        await jobs.submit("k", service.save, fields=AelystFields(first_name="B", phone=None))
        await jobs.submit("k", service.save, fields=AelystFields(first_name="C", email="c@d.e"))
        gate.set()
    assert seen == [AelystFields(first_name="A"), AelystFields(first_name="C", phone=None, email="c@d.e")]


def test_union_keeps_values_that_only_the_older_has_at_every_depth() -> None:
    assert union({"a": {"x": 1, "y": 2}, "b": [1]}, {"a": {"y": None}, "b": [2], "c": 3}) == {
        "a": {"x": 1, "y": None},
        "b": [2],
        "c": 3,
    }
    older = AelystFields(first_name="Ann", custom_fields=(CustomField("a", 1), CustomField("b", 2)))
    newer = AelystFields(last_name="Lee", custom_fields=(CustomField("b", 3), CustomField("c", 4)))
    assert union(older, newer) == AelystFields(
        first_name="Ann",
        last_name="Lee",
        custom_fields=(CustomField("a", 1), CustomField("b", 3), CustomField("c", 4)),
    )
    assert union(older, AelystFields(custom_fields=None)).custom_fields is None
    assert union(ContactFields(first_name="x"), AelystFields(last_name="y")) == AelystFields(last_name="y")
    assert union((1, 2), (3,)) == (3,)


async def test_custom_merge_function_is_used_and_its_errors_reach_submit(make: MakeJobs) -> None:
    seen: list[list[int]] = []
    gate = asyncio.Event()
    jobs = make(drain_timeout=5)

    def collect(older: dict[str, Any], newer: dict[str, Any]) -> dict[str, Any]:
        if newer["items"] == ["bad"]:
            raise ValueError("cannot be merged")
        return {"items": older["items"] + newer["items"]}

    @jobs.register(merge=collect)
    async def work(items: list[int]) -> None:
        await gate.wait()
        seen.append(items)

    async with jobs:
        await jobs.submit("k", work, items=[0])
        await asyncio.sleep(0.02)
        job = await jobs.submit("k", work, items=[1])
        await jobs.submit("k", work, items=[2])
        with pytest.raises(InvalidJobError):
            await jobs.submit("k", work, items=["bad"])
        gate.set()
        await ended(jobs, job.id)
    assert seen == [[0], [1, 2]]
