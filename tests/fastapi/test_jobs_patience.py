"""How long temporary errors are tried again, in virtual time: outages, Retry-After of all sizes, patience that ends."""

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
def _nothing_left_running() -> None:
    """The package's fixture needs the ordinary loop."""


async def over(jobs: Jobs, *ids: str, within: float, every: float = 0.5) -> list[JobStatus]:
    """Return the statuses of these jobs once all jobs have ended, looking `every` so many seconds."""
    deadline = now() + within
    while (stats := jobs.stats()).waiting + stats.running:
        assert now() < deadline, f"not ended within {within} s"
        await asyncio.sleep(every)
    return await ended(jobs, *ids)


class Vendor:
    """Refuses everything until `well`, and notes when it was asked."""

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
async def test_an_outage_fails_no_accepted_job_by_default(outage: float) -> None:
    vendor = Vendor(outage)
    async with Jobs(capacity=100) as jobs:
        ids = [(await jobs.submit(f"k{n}", vendor.write)).id for n in range(5)]
        statuses = await over(jobs, *ids, within=2 * DAY, every=60.0)
    assert {status.state for status in statuses} == {"done"}
    assert max(vendor.asked) < vendor.well + 61, "no pause of our own making is longer than a minute"


@virtual
async def test_pauses_grow_are_drawn_with_jitter_and_have_a_ceiling() -> None:
    vendor = Vendor(3600.0)
    async with Jobs(retry_cap=30.0) as jobs:
        await over(jobs, (await jobs.submit("k", vendor.write)).id, within=DAY)
    pauses = [later - earlier for earlier, later in pairwise(vendor.asked)]
    assert max(pauses) <= 30.0
    assert max(pauses[20:]) > 20.0
    assert min(pauses[20:]) < 10.0, "full jitter"
    assert pauses[0] <= 2.0


@virtual
async def test_what_outlasts_the_patience_fails_and_says_so() -> None:
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
async def test_retry_after_is_obeyed() -> None:
    vendor = Vendor(1500.0, retry_after=700.0)
    async with Jobs() as jobs:
        await over(jobs, (await jobs.submit("k", vendor.write)).id, within=DAY)
    assert [round(moment - vendor.asked[0]) // 100 for moment in vendor.asked] == [0, 7, 14, 21]


@virtual
async def test_a_rest_of_patience_that_no_clock_can_measure_is_none() -> None:
    """Sums of pauses may leave 1e-13 s: a pause that ends in the same instant, again and again."""
    vendor = Vendor(2000 * DAY)

    async def ask() -> None:
        if len(vendor.asked) > 50_000:
            raise ValueError("asked without end")
        await vendor.write()

    async with Jobs(capacity=1000, give_up_after=600.1) as jobs:
        ids = [(await jobs.submit(str(number), ask)).id for number in range(300)]
        ended = await over(jobs, *ids, within=700.0, every=10.0)
    assert {job.error for job in ended} == {"ServerError"}


@virtual
async def test_a_retry_after_beyond_the_patience_fails_at_once_and_says_so() -> None:
    vendor = Vendor(DAY, retry_after=900.0)
    async with Jobs(give_up_after=600.0) as jobs:
        (status,) = await over(jobs, (await jobs.submit("k", vendor.write)).id, within=DAY)
    assert len(vendor.asked) == 1
    assert status.message is not None
    assert "asks for a pause of 900 s, but only 600 s of give_up_after are left" in status.message


@pytest.mark.parametrize("nonsense", [1.8e9, 1.8e12, 1e300, 7200.0])
@virtual
async def test_a_long_retry_after_is_probed_once_an_hour_by_one_job_and_a_success_frees_all(nonsense: float) -> None:
    vendor = Vendor(2.5 * 3600.0, retry_after=nonsense)
    async with Jobs() as jobs:
        ids = [(await jobs.submit(f"k{n}", vendor.write)).id for n in range(10)]
        statuses = await over(jobs, *ids, within=2 * DAY)
    assert {status.state for status in statuses} == {"done"}
    hours = [round((moment - vendor.asked[0]) / 3600.0, 1) for moment in vendor.asked]
    if nonsense > DAY:
        assert hours == [0.0] * 10 + [1.0, 2.0] + [3.0] * 10
    else:
        assert hours.count(1.0) == 1, "the others wait as they were told"
        assert hours[-1] <= 4.0


@virtual
async def test_a_vendor_that_never_recovers_is_probed_hourly_and_given_up() -> None:
    vendor = Vendor(90 * DAY, retry_after=1.8e9)
    async with Jobs() as jobs:
        ids = [(await jobs.submit(f"k{n}", vendor.write)).id for n in range(5)]
        statuses = await over(jobs, *ids, within=5 * DAY, every=60.0)
    assert {status.state for status in statuses} == {"failed"}
    assert all(status.message is not None and "give_up_after" in status.message for status in statuses)
    assert len(vendor.asked) <= 5 + 24 + 5
    assert max(vendor.asked) - min(vendor.asked) <= DAY + 3601


@virtual
async def test_a_newer_submission_starts_fresh() -> None:
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


async def test_the_patience_of_a_job_does_not_run_while_no_process_does(tmp_path: Path) -> None:
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
