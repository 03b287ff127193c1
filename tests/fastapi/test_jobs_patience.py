"""Retries of jobs after temporary errors: outages, Retry-After of all sizes, `give_up_after`. In virtual time."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from aelyst_async.errors import RateLimitedError, ServerError
from aelyst_async.fastapi import Jobs, JobStatus
from tests.fastapi.helpers import ended, until
from tests.virtual_time import virtual

pytestmark = pytest.mark.hostile

DAY = 86400.0


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture(autouse=True)
def _assert_no_other_tasks() -> None:
    """Override the fixture of conftest.py, which needs a loop in real time."""


async def over(jobs: Jobs, *ids: str, within: float, every: float = 0.5) -> list[JobStatus]:
    """Return the statuses of these jobs once all jobs have ended. Check every `every` seconds."""
    deadline = now() + within
    while (stats := jobs.stats()).waiting + stats.running:
        assert now() < deadline, f"not ended within {within} s"
        await asyncio.sleep(every)
    return await ended(jobs, *ids)


class Vendor:
    """Rejects every request until the time `well`, and records the times of the requests."""

    def __init__(self, seconds: float, retry_after: float | None = None) -> None:
        self.well = now() + seconds
        self.retry_after = retry_after
        self.asked: list[float] = []

    async def write(self) -> None:
        self.asked.append(now())
        if now() < self.well:
            if self.retry_after is None:
                raise ServerError(status=503)
            raise RateLimitedError(status=429, retry_after=self.retry_after)


@pytest.mark.parametrize("outage", [60.0, 120.0, 7200.0, 23 * 3600.0])
@virtual
async def test_outage_fails_no_accepted_job_by_default(outage: float) -> None:
    vendor = Vendor(outage)
    async with Jobs(capacity=100) as jobs:
        ids = [(await jobs.submit(f"k{n}", vendor.write)).id for n in range(5)]
        statuses = await over(jobs, *ids, within=2 * DAY, every=60.0)
    assert {status.state for status in statuses} == {"done"}
    assert max(vendor.asked) < vendor.well + 61, "the backoff never exceeds a minute"


@virtual
async def test_retry_pauses_grow_with_jitter_up_to_the_cap() -> None:
    vendor = Vendor(3600.0)
    async with Jobs(retry_cap=30.0) as jobs:
        await over(jobs, (await jobs.submit("k", vendor.write)).id, within=DAY)
    pauses = [later - earlier for earlier, later in pairwise(vendor.asked)]
    assert max(pauses) <= 30.0
    assert max(pauses[20:]) > 20.0
    assert min(pauses[20:]) < 10.0, "full jitter"
    assert pauses[0] <= 2.0


@virtual
async def test_job_fails_after_give_up_after_with_a_message() -> None:
    vendor = Vendor(DAY)
    async with Jobs(give_up_after=600.0) as jobs:
        began = now()
        (status,) = await over(jobs, (await jobs.submit("k", vendor.write)).id, within=DAY)
        assert 600.0 <= now() - began < 602.0
    assert (status.state, status.error, status.error_status) == ("failed", "ServerError", 503)
    assert status.message is not None
    assert "given up after" in status.message
    assert "600 s (give_up_after)" in status.message


@virtual
async def test_jobs_wait_for_retry_after() -> None:
    vendor = Vendor(1500.0, retry_after=700.0)
    async with Jobs() as jobs:
        await over(jobs, (await jobs.submit("k", vendor.write)).id, within=DAY)
    assert [round(moment - vendor.asked[0]) // 100 for moment in vendor.asked] == [0, 7, 14, 21]


@virtual
async def test_tiny_rest_of_give_up_after_counts_as_none() -> None:
    """Rounding may leave 1e-13 s of give_up_after. A pause of that length would end at once, again and again."""
    vendor = Vendor(2000 * DAY)

    async def ask() -> None:
        if len(vendor.asked) > 50_000:
            raise ValueError("retried without end")
        await vendor.write()

    async with Jobs(capacity=1000, give_up_after=600.1) as jobs:
        ids = [(await jobs.submit(str(number), ask)).id for number in range(300)]
        ended = await over(jobs, *ids, within=700.0, every=10.0)
    assert {job.error for job in ended} == {"ServerError"}


@virtual
async def test_retry_after_beyond_give_up_after_fails_immediately() -> None:
    vendor = Vendor(DAY, retry_after=900.0)
    async with Jobs(give_up_after=600.0) as jobs:
        (status,) = await over(jobs, (await jobs.submit("k", vendor.write)).id, within=DAY)
    assert len(vendor.asked) == 1
    assert status.message is not None
    assert "asks for a pause of 900 s, but only 600 s of give_up_after are left" in status.message


@pytest.mark.parametrize("nonsense", [1.8e9, 1.8e12, 1e300, 7200.0])
@virtual
async def test_long_retry_after_is_probed_hourly_by_one_job(nonsense: float) -> None:
    vendor = Vendor(2.5 * 3600.0, retry_after=nonsense)
    async with Jobs() as jobs:
        ids = [(await jobs.submit(f"k{n}", vendor.write)).id for n in range(10)]
        statuses = await over(jobs, *ids, within=2 * DAY)
    assert {status.state for status in statuses} == {"done"}
    hours = [round((moment - vendor.asked[0]) / 3600.0, 1) for moment in vendor.asked]
    if nonsense > DAY:
        assert hours == [0.0] * 10 + [1.0, 2.0] + [3.0] * 10
    else:
        assert hours.count(1.0) == 1, "the other jobs wait for Retry-After"
        assert hours[-1] <= 4.0


@virtual
async def test_vendor_that_never_recovers_is_probed_hourly_until_give_up_after() -> None:
    vendor = Vendor(90 * DAY, retry_after=1.8e9)
    async with Jobs() as jobs:
        ids = [(await jobs.submit(f"k{n}", vendor.write)).id for n in range(5)]
        statuses = await over(jobs, *ids, within=5 * DAY, every=60.0)
    assert {status.state for status in statuses} == {"failed"}
    assert all(status.message is not None and "give_up_after" in status.message for status in statuses)
    assert len(vendor.asked) <= 5 + 24 + 5
    assert max(vendor.asked) - min(vendor.asked) <= DAY + 3601


@virtual
async def test_merged_submission_restarts_give_up_after() -> None:
    vendor = Vendor(30 * DAY)
    async with Jobs(give_up_after=600.0) as jobs:
        job = await jobs.submit("k", vendor.write)
        await asyncio.sleep(500.0)
        await until(lambda: not jobs.stats().running)
        newer = await jobs.submit("k", vendor.write)
        assert newer.merged
        merged_at = now()
        (status,) = await over(jobs, job.id, within=DAY)
        assert 600.0 <= now() - merged_at <= 670.0
    assert status.submissions == 2


async def test_give_up_after_does_not_count_time_without_a_process(tmp_path: Path) -> None:
    fails = 0

    def make() -> tuple[Jobs, Any]:
        jobs = Jobs(journal=tmp_path / "jobs.db", give_up_after=0.5, retry_base=0.05, retry_cap=0.05, drain_timeout=0)

        @jobs.register
        async def write() -> None:
            nonlocal fails
            if fails < 4:
                fails += 1
                raise ServerError(status=503)

        return jobs, write

    jobs, write = make()
    async with jobs:
        job = await jobs.submit("k", write)
        await until(lambda: fails == 2)
    await asyncio.sleep(0.6)
    jobs, write = make()
    async with jobs:
        (status,) = await ended(jobs, job.id)
    assert status.state == "done"
