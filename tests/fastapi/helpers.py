"""Helpers that wait for jobs, with a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aelyst_async.fastapi import Jobs, JobStatus

__all__ = ["MakeJobs", "ended", "until"]

MakeJobs = Callable[..., Jobs]


async def until(true: Callable[[], object], within: float = 10.0) -> None:
    """Return once `true()` is true. Fail the test after `within` seconds."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + within
    while not true():
        assert clock() < deadline, f"not true within {within} s"
        await asyncio.sleep(0.002)


async def ended(jobs: Jobs, *ids: str, within: float = 10.0) -> list[JobStatus]:
    """Return the statuses of these jobs once all have ended."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + within
    while True:
        found = [await jobs.status(job_id) for job_id in ids]
        statuses = [status for status in found if status is not None]
        assert len(statuses) == len(ids), "unknown job id"
        if all(status.state in {"done", "failed"} for status in statuses):
            return statuses
        assert clock() < deadline, f"not ended within {within} s: {statuses}"
        await asyncio.sleep(0.005)
