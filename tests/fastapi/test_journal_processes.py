"""The journal across processes, killed, stopped and in parallel: no job is lost and each key keeps its order."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from pathlib import Path

import pytest

from tests.fastapi.helpers import until
from tests.fastapi.processes import Start, lines


def owners(tmp_path: Path) -> list[int]:
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.db")) as db:
        return [slot for (slot,) in db.execute("SELECT slot FROM owner")]


async def test_accepted_jobs_survive_sigkill_in_order_at_least_once(start: Start, tmp_path: Path) -> None:
    first = await start("one")
    for value in range(5):
        await first.submit("a", value, 0.15)
        await first.submit(f"k{value}", value, 30)
    await until(lambda: "one a 1 begin" in lines(tmp_path))
    await first.kill()
    before = lines(tmp_path)

    second = await start("two")
    await until(lambda: "two a 4 end" in lines(tmp_path))
    values = [line.split()[2] for line in lines(tmp_path) if " a " in line and line.endswith("end")]
    assert values == ["0", "1", "2", "3", "4"]
    # The job that was running at the kill was started twice, the finished ones were not.
    assert "one a 1 begin" in before
    assert "two a 1 begin" in lines(tmp_path)
    assert "two a 0 begin" not in lines(tmp_path)
    await second.kill()


@pytest.mark.slow
async def test_process_takes_over_jobs_of_a_dead_owner_only(start: Start, tmp_path: Path) -> None:
    one, two = await start("one"), await start("two")
    await one.submit("long", "x", 30)
    await until(lambda: lines(tmp_path) == ["one long x begin"])
    await asyncio.sleep(2.5)  # longer than the interval of the check for dead owners
    assert lines(tmp_path) == ["one long x begin"]
    await one.kill()
    await until(lambda: "two long x begin" in lines(tmp_path))
    assert len(owners(tmp_path)) == 1, "the dead owner is removed"
    await two.kill()


async def test_jobs_of_one_key_keep_their_order_across_two_processes(start: Start, tmp_path: Path) -> None:
    one, two = await start("one"), await start("two")
    for value in range(12):
        await (one, two)[value % 2].submit("k", value, 0.03)
    await until(lambda: sum(line.endswith("end") for line in lines(tmp_path)) == 12)
    records = [line.split()[2:] for line in lines(tmp_path)]
    assert records == [[str(value), what] for value in range(12) for what in ("begin", "end")]
    await one.quit()
    await two.quit()


@pytest.mark.slow
async def test_clean_exit_finishes_running_jobs_and_leaves_waiting_ones(start: Start, tmp_path: Path) -> None:
    one = await start("one")
    for value in range(6):
        await one.submit("k", value, 0.2)
    await one.quit()
    done = [line for line in lines(tmp_path) if line.endswith("end")]
    assert 1 <= len(done) < 6
    assert len([line for line in lines(tmp_path) if line.endswith("begin")]) == len(done), "running jobs were finished"
    two = await start("two")
    await until(lambda: "two k 5 end" in lines(tmp_path))
    assert [line.split()[2] for line in lines(tmp_path) if line.endswith("end")] == [str(n) for n in range(6)]
    await two.quit()
    assert not owners(tmp_path)


@pytest.mark.slow
async def test_job_that_kills_its_process_is_given_up(start: Start, tmp_path: Path) -> None:
    one = await start("one")
    job_id = await one.submit("k", "poison")
    await one.process.wait()
    for name in ("two", "three"):
        with contextlib.suppress(AssertionError):  # it may die before it reports that it is open
            await (await start(name)).process.wait()
    await until(lambda: sum("poison begin" in line for line in lines(tmp_path)) == 3)
    four = await start("four")
    await four.submit("k", "after")
    await until(lambda: "four k after end" in lines(tmp_path))
    assert sum("poison begin" in line for line in lines(tmp_path)) == 3
    await four.quit()
    with sqlite3.connect(tmp_path / "jobs.db") as db:
        assert db.execute("SELECT state, error FROM job WHERE id = ?", (job_id,)).fetchone() == (
            "failed", "ProcessDied",
        )  # fmt: skip
    db.close()


async def kill_at_random(start: Start, tmp_path: Path, rounds: int) -> None:
    """Submit to five keys through two processes. After each round, kill and replace one of them at random."""
    dice = random.Random(7)
    accepted: dict[str, list[int]] = {f"k{n}": [] for n in range(5)}
    running = [await start("p0", 50), await start("p1", 50)]
    value = 0
    for number in range(rounds):
        for _ in range(dice.randrange(20)):
            value += 1
            key = f"k{value % 5}"
            # Submissions are sequential and acknowledged, so the order of each key is known.
            assert await running[value % 2].submit(key, value, dice.choice([0, 0, 0.01, 0.05]))
            accepted[key].append(value)
        await asyncio.sleep(dice.uniform(0.0, 0.1))
        victim = running.pop(dice.randrange(2))
        await victim.kill()
        running.append(await start(f"p{number + 2}", 50))
    total = sum(map(len, accepted.values()))
    await until(lambda: len(ends(tmp_path)) >= total, within=60)
    for process in running:
        await process.quit()
    for key, values in accepted.items():
        first_ends = list(dict.fromkeys(done for where, done in ends(tmp_path) if where == key))
        assert first_ends == values, key


def ends(tmp_path: Path) -> list[tuple[str, int]]:
    """Return (key, value) of each ended job once, in the order of first ends."""
    records = [line.split() for line in lines(tmp_path)]
    return list(dict.fromkeys((key, int(value)) for _, key, value, what in records if what == "end"))


@pytest.mark.slow
async def test_random_kills_lose_no_job_and_keep_the_order_of_each_key(start: Start, tmp_path: Path) -> None:
    await kill_at_random(start, tmp_path, rounds=20)
