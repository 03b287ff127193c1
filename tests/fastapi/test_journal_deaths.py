"""Which job is blamed when a process dies: the counters in the file, trials of suspects, and real processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest

from aelyst_async.fastapi import Jobs, JournalError
from aelyst_async.fastapi.database import Database
from aelyst_async.fastapi.store import ALONE, IN_TURN, Adopted, Outcome, Submission
from aelyst_async.fastapi.trials import alone_seconds, trial_seconds
from tests.fastapi.helpers import ended, until
from tests.fastapi.processes import Start, lines

pytestmark = pytest.mark.hostile


class Owner:
    """A database connection that owns jobs, as a process does."""

    opened: ClassVar[list[Owner]] = []

    def __init__(self, path: Path, max_starts: int = 3) -> None:
        self.db = Database(path, keep=60.0, max_starts=max_starts)
        self.opened.append(self)
        self.adopted: Adopted = self.do("adopt")

    def do(self, method: str, *arguments: object, **named: object) -> Any:
        self.db.connection.execute("BEGIN IMMEDIATE")
        result = getattr(self.db, method)(*arguments, **named)
        self.db.connection.execute("COMMIT")
        return result

    def run(self, *job_ids: str, trial: int = 0) -> None:
        for job_id in job_ids:
            assert self.do("start", job_id, trial) is not None

    def die(self) -> None:
        """Release the lock without an orderly close."""
        self.db.connection.close()
        self.db._locks.close()


@pytest.fixture(autouse=True)
def _end_owners() -> Iterator[None]:
    yield
    while Owner.opened:
        Owner.opened.pop().die()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    life = Owner(tmp_path / "jobs.db")
    for name in "abc":
        life.do("add", Submission(id=name, key=name, name="work", arguments={}, merge=None), "{}", 10)
    life.die()
    return tmp_path / "jobs.db"


def accounts(life: Owner) -> dict[str, tuple[int, int]]:
    return {head.id: (head.deaths, head.blame) for head in life.adopted.heads}


def test_death_makes_all_running_jobs_suspects_without_blame(path: Path) -> None:
    life = Owner(path)
    life.run("a", "b")
    life.die()
    assert accounts(Owner(path)) == {"a": (1, 0), "b": (1, 0), "c": (0, 0)}


def test_death_during_a_solo_trial_blames_only_that_job(path: Path) -> None:
    life = Owner(path)
    life.run("a")
    life.run("b", trial=ALONE)
    life.die()
    assert accounts(Owner(path)) == {"a": (0, 0), "b": (0, ALONE), "c": (0, 0)}


def test_death_during_a_shared_trial_blames_a_tenth(path: Path) -> None:
    life = Owner(path)
    life.run("a")
    life.run("b", trial=IN_TURN)
    life.die()
    assert accounts(Owner(path)) == {"a": (1, 0), "b": (1, IN_TURN), "c": (0, 0)}


@pytest.mark.parametrize("end", ["done", "failed", "temporary"])
def test_job_that_ends_is_no_longer_a_suspect(path: Path, end: str) -> None:
    life = Owner(path)
    life.run("a")
    life.die()
    life = Owner(path)
    life.run("a", trial=ALONE)
    if end == "temporary":
        life.do("put_back", "a", uncounted=False, waited=1.0)
        life.die()
        assert accounts(Owner(path))["a"] == (0, 0)
    else:
        life.do("finish", "a", Outcome("done" if end == "done" else "failed"))
        life.die()
        assert "a" not in accounts(Owner(path))


def test_orderly_exit_makes_no_suspects(path: Path) -> None:
    life = Owner(path)
    life.run("a", "b")
    life.db.close()
    after = Owner(path)
    assert accounts(after) == {"a": (0, 0), "b": (0, 0), "c": (0, 0)}
    assert "which ended" in after.adopted.owners[0]


def test_only_the_blamed_job_is_given_up_after_max_starts(path: Path) -> None:
    life = Owner(path)
    life.run("a", "b", "c")
    for _ in range(2):
        life.die()
        life = Owner(path)
        assert not life.adopted.given_up
        life.run("b", trial=ALONE)
        life.run("a", "c")
    life.die()
    life = Owner(path)
    assert [job_id for job_id, _, _ in life.adopted.given_up] == ["b"]
    assert f"process {os.getpid()}" in life.adopted.owners[0]
    assert "which died" in life.adopted.owners[0]
    assert set(accounts(life)) == {"a", "c"}


def test_forty_external_kills_give_up_no_job(path: Path) -> None:
    life = Owner(path, max_starts=10)
    for _ in range(40):
        life.run("a", trial=IN_TURN)
        life.run("b", "c")
        life.die()
        life = Owner(path, max_starts=10)
    assert set(accounts(life)) == {"a", "b", "c"}


def test_trial_durations_grow_and_are_bounded() -> None:
    assert [alone_seconds(deaths) for deaths in (1, 2, 3, 5, 9, 999)] == [0.25, 0.5, 1.0, 4.0, 4.0, 4.0]
    assert [trial_seconds(deaths) for deaths in (1, 5, 6, 999)] == [0.25, 4.0, 8.0, 3600.0]


async def test_suspects_start_one_at_a_time_least_blamed_first(path: Path) -> None:
    life = Owner(path)
    life.run("a", trial=ALONE)
    life.die()
    life = Owner(path)
    life.run("a", "b", "c")
    life.die()
    clock = asyncio.get_running_loop().time
    begun: list[float] = []
    jobs = Jobs(journal=path)

    @jobs.register
    async def work(seconds: float = 1.0) -> None:
        begun.append(clock())
        await asyncio.sleep(seconds)

    async with jobs:
        ordinary = await jobs.submit("other", work, seconds=0)
        states = []
        await until(lambda: len(begun) == 2)
        states = [(await jobs.status(name)).state for name in "abc"]  # type: ignore[union-attr]
        await ended(jobs, "a", "b", "c", ordinary.id)
    assert states[0] == "waiting", "it was blamed before"
    gaps = [later - earlier for earlier, later in pairwise(begun)]
    assert len(begun) == 4
    assert sum(gap > 0.2 for gap in gaps) >= 2, gaps
    assert begun[2] - begun[0] < 1.0, "the next suspect does not wait until a slow one ends"


async def live_until_quiet(start: Start, max_starts: int, lives: int) -> int:
    """Start processes until one stays alive for 4 seconds. Return how many died."""
    for number in range(lives):
        with contextlib.suppress(AssertionError):  # it may die before it reports that it is open
            process = await start(f"life{number}", max_starts)
            try:
                await asyncio.wait_for(process.process.wait(), 4)
            except asyncio.TimeoutError:
                return number
    raise AssertionError("all processes died")


def states(tmp_path: Path) -> dict[str, tuple[str, str | None]]:
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.db")) as db:
        return {job_id: (state, error) for job_id, state, error in db.execute("SELECT id, state, error FROM job")}


@pytest.mark.slow
@pytest.mark.parametrize("poison", ["exit", "segfault", "poison"])
async def test_job_that_kills_its_process_is_the_only_one_given_up(start: Start, tmp_path: Path, poison: str) -> None:
    first = await start("first", 3)
    others = [await first.submit(f"k{number}", number, 0.4) for number in range(10)]
    culprit = await first.submit("culprit", poison)
    await first.process.wait()
    assert await live_until_quiet(start, 3, 8) <= 3
    found = states(tmp_path)
    assert found[culprit] == ("failed", "ProcessDied")
    assert {found[job_id] for job_id in others} == {("done", None)}
    assert sum(f"{poison} begin" in line for line in lines(tmp_path)) <= 4


@pytest.mark.slow
async def test_kills_from_outside_fail_no_job(start: Start, tmp_path: Path) -> None:
    process = await start("first", 3)
    ids = [await process.submit(f"k{number}", number, 1.0) for number in range(11)]
    for number in range(4):
        await asyncio.sleep(0.1)
        await process.kill()
        process = await start(f"life{number}", 3)
    await until(lambda: sum(line.endswith("end") for line in lines(tmp_path)) >= 11, within=30)
    await process.quit()
    found = states(tmp_path)
    assert {found[job_id] for job_id in ids} == {("done", None)}


@pytest.mark.slow
async def test_slow_job_is_not_given_up_after_repeated_kills(start: Start, tmp_path: Path) -> None:
    process = await start("first", 2)
    slow = await process.submit("slow", "slow", 60)
    for number in range(3):
        quick = f"quick{number}"
        await process.submit(quick, quick)
        await until(lambda quick=quick: any(f"{quick} end" in line for line in lines(tmp_path)))  # type: ignore[misc]
        await process.kill()
        process = await start(f"life{number}", 2)
    await until(lambda: any("life2 slow slow begin" in line for line in lines(tmp_path)))
    assert states(tmp_path)[slow] == ("running", None)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
async def test_lock_inherited_by_a_fork_is_released_when_its_owner_dies(start: Start, tmp_path: Path) -> None:
    one = await start("one")
    await one.submit("k", "x", 30)
    await until(lambda: lines(tmp_path) == ["one k x begin"])
    child = await one.fork()
    try:
        await one.kill()
        os.kill(child, 0)  # the child is alive
        await start("two")
        await until(lambda: "two k x begin" in lines(tmp_path))
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="needs links")
async def test_symlink_is_the_same_journal_and_hard_link_is_rejected(tmp_path: Path) -> None:
    path, other = tmp_path / "jobs.db", tmp_path / "alias.db"
    begun: list[str] = []
    jobs = Jobs(journal=path, drain_timeout=0)

    @jobs.register
    async def work(name: str) -> None:
        begun.append(name)
        await asyncio.sleep(60)

    async with jobs:
        await jobs.submit("k", work, name="x")
        await until(lambda: begun)
        other.symlink_to(path)
        db = Database(other, keep=60.0, max_starts=3)
        try:
            db.connection.execute("BEGIN IMMEDIATE")
            adopted = db.adopt()
            db.connection.execute("ROLLBACK")
        finally:
            db.connection.close()
            db._locks.close()
        assert not adopted.owners, "its owner is alive"
        other.unlink()
        other.hardlink_to(path)
        with pytest.raises(JournalError, match=r"alias\.db.*more than one name"):
            async with Jobs(journal=other):
                pass
    assert begun == ["x"]
