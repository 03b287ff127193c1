"""Fixtures of the jobs tests: jobs in memory and with a journal, and a check that no task is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aelyst_async.fastapi import Jobs
from tests.fastapi.helpers import MakeJobs
from tests.fastapi.processes import start

__all__ = ["make", "start"]


@pytest.fixture(params=["memory", "journal"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> MakeJobs:
    def make_jobs(**settings: Any) -> Jobs:
        if request.param == "journal":
            settings["journal"] = tmp_path / "jobs.db"
        return Jobs(**settings)

    return make_jobs


@pytest.fixture(autouse=True)
async def _assert_no_other_tasks() -> AsyncIterator[None]:
    yield
    await asyncio.sleep(0)
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not others
