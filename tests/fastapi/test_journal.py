"""The journal: what survives a kill, several processes on one file, broken files and disks, and what it keeps."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import stat
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from aelyst_async.errors import ConfigurationError
from aelyst_async.fastapi import InvalidJobError, Jobs, JournalError
from aelyst_async.fastapi.journal import Journal
from aelyst_async.fastapi.store import Outcome, Submission
from tests.fastapi.helpers import ended, until

PROGRAM = Path(__file__).with_name("journal_process.py")


class Process:
    """A running journal_process.py."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def submit(self, key: str, value: object, seconds: float = 0.0) -> str:
        return await self._say(f"submit {key} {value} {seconds}")

    async def _say(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line.encode() + b"\n")
        return (await asyncio.wait_for(self.process.stdout.readline(), 20)).decode().strip()

    async def quit(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"quit\n")
        assert await asyncio.wait_for(self.process.wait(), 20) == 0

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


Start = Callable[..., Awaitable[Process]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    started: list[Process] = []

    async def start_process(name: str, max_starts: int = 3) -> Process:
        child = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAM), str(tmp_path / "jobs.db"), str(tmp_path / "log"), name, str(max_starts),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        process = Process(child)
        started.append(process)
        assert child.stdout is not None
        assert (await asyncio.wait_for(child.stdout.readline(), 20)) == b"open\n"
        return process

    yield start_process
    for process in started:
        await process.kill()
        # The transport of a killed child's pipes closes on later turns of the loop.
        process.process._transport.close()  # type: ignore[attr-defined]
    await asyncio.sleep(0.01)


def owners(tmp_path: Path) -> list[str]:
    return [path.name for path in tmp_path.glob("*.owner-*")]


def modes(tmp_path: Path) -> list[tuple[str, int]]:
    return [(path.name, stat.S_IMODE(path.stat().st_mode)) for path in tmp_path.iterdir()]


def lines(tmp_path: Path) -> list[str]:
    log = tmp_path / "log"
    return log.read_text().splitlines() if log.exists() else []


async def test_what_was_accepted_survives_kill_9_in_order_and_at_least_once(start: Start, tmp_path: Path) -> None:
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
    # The one that was running when the process was killed has been begun twice, those that were done have not.
    assert "one a 1 begin" in before
    assert "two a 1 begin" in lines(tmp_path)
    assert "two a 0 begin" not in lines(tmp_path)
    await second.kill()


async def test_a_second_process_leaves_the_jobs_of_one_that_lives_and_takes_those_of_one_that_died(
    start: Start, tmp_path: Path
) -> None:
    one, two = await start("one"), await start("two")
    await one.submit("long", "x", 30)
    await until(lambda: lines(tmp_path) == ["one long x begin"])
    await asyncio.sleep(2.5)  # longer than the look for the dead takes
    assert lines(tmp_path) == ["one long x begin"]
    await one.kill()
    await until(lambda: "two long x begin" in lines(tmp_path))
    assert len(owners(tmp_path)) == 1, "the dead one's lock file is removed"
    await two.kill()


async def test_a_key_keeps_its_order_across_two_living_processes(start: Start, tmp_path: Path) -> None:
    one, two = await start("one"), await start("two")
    for value in range(12):
        await (one, two)[value % 2].submit("k", value, 0.03)
    await until(lambda: sum(line.endswith("end") for line in lines(tmp_path)) == 12)
    told = [line.split()[2:] for line in lines(tmp_path)]
    assert told == [[str(value), what] for value in range(12) for what in ("begin", "end")]
    await one.quit()
    await two.quit()


async def test_a_clean_exit_hands_over_what_waits(start: Start, tmp_path: Path) -> None:
    one = await start("one")
    for value in range(6):
        await one.submit("k", value, 0.2)
    await one.quit()
    done = [line for line in lines(tmp_path) if line.endswith("end")]
    assert 1 <= len(done) < 6
    assert len([line for line in lines(tmp_path) if line.endswith("begin")]) == len(done), "what ran was finished"
    two = await start("two")
    await until(lambda: "two k 5 end" in lines(tmp_path))
    assert [line.split()[2] for line in lines(tmp_path) if line.endswith("end")] == [str(n) for n in range(6)]
    await two.quit()
    assert not owners(tmp_path)


async def test_a_job_that_kills_its_process_is_given_up(start: Start, tmp_path: Path) -> None:
    one = await start("one")
    job_id = await one.submit("k", "poison")
    await one.process.wait()
    for name in ("two", "three"):
        with contextlib.suppress(AssertionError):  # it may be dead before it has said that it is open
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


async def test_merging_reaches_a_job_that_waits_in_another_process(tmp_path: Path) -> None:
    seen: list[tuple[str, dict[str, int]]] = []
    begun, gate = asyncio.Event(), asyncio.Event()
    both: list[Jobs] = []
    for name in ("one", "two"):
        jobs = Jobs(journal=tmp_path / "jobs.db", drain_timeout=5)

        async def save(fields: dict[str, int], name: str = name) -> None:
            begun.set()
            await gate.wait()
            seen.append((name, fields))

        jobs.register(name="save")(save)
        both.append(jobs)
    one, two = both
    save_one, save_two = (jobs._registered["save"].function for jobs in both)
    async with one, two:
        first = await one.submit("k", save_one, fields={"a": 1})
        await begun.wait()
        second = await two.submit("k", save_two, fields={"b": 2})
        third = await two.submit("k", save_two, fields={"c": 3})
        assert (second.merged, third.merged, third.id) == (False, True, second.id)
        assert one.stats().running == 1
        assert two.stats().running == 0
        gate.set()
        await ended(two, first.id, second.id)
    assert seen == [("one", {"a": 1}), ("one", {"b": 2, "c": 3})]


async def test_a_function_that_is_gone_fails_its_job_and_can_come_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []
    gate = asyncio.Event()
    old = Jobs(journal=tmp_path / "jobs.db", drain_timeout=0)

    @old.register(name="save")
    async def slow(value: int) -> None:
        await gate.wait()

    async with old:
        job = await old.submit("k", slow, value=3)
    async with Jobs(journal=tmp_path / "jobs.db") as without:
        (status,) = await ended(without, job.id)
        with pytest.raises(ConfigurationError, match="save"):
            await without.resubmit(job.id)
    assert (status.state, status.error) == ("failed", "LookupError")
    assert "'save'" in caplog.text

    new = Jobs(journal=tmp_path / "jobs.db")

    @new.register(name="save")
    async def quick(value: int) -> None:
        seen.append(value)

    async with new:
        await ended(new, (await new.resubmit(job.id)).id)
    assert seen == [3]


async def test_a_drain_cut_off_does_not_count_as_a_start(tmp_path: Path) -> None:
    jobs = Jobs(journal=tmp_path / "jobs.db", drain_timeout=0, max_starts=2)

    @jobs.register
    async def work(seconds: float) -> None:
        await asyncio.sleep(seconds)

    async with jobs:
        job = await jobs.submit("k", work, seconds=3600)
        await until(lambda: jobs.stats().running)
    for _ in range(4):
        async with jobs:
            await until(lambda: jobs.stats().running)
            await asyncio.sleep(0.02)
            status = await jobs.status(job.id)
            assert status is not None
            assert (status.state, status.starts) == ("running", 1)


async def test_arguments_that_are_not_json_and_functions_that_are_not_registered_are_refused(tmp_path: Path) -> None:
    jobs = Jobs(journal=tmp_path / "jobs.db")

    @jobs.register
    async def work(value: object) -> None: ...

    async def stranger() -> None: ...

    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    async with jobs:
        for value in (object(), float("nan"), b"bytes", {1, 2}, deep):
            with pytest.raises(InvalidJobError, match="JSON"):
                await jobs.submit("k", work, value=value)
        with pytest.raises(ConfigurationError, match="register"):
            await jobs.submit("k", stranger)
        (status,) = await ended(jobs, (await jobs.submit("k", work, value="\ud800 é \x00")).id)
        assert status.state == "done"
        assert jobs.stats().submitted == 1
    # Taking a deep list apart must not overflow the stack either.
    while deep:
        deep = deep.pop()  # type: ignore[assignment]


async def test_peoples_data_leaves_with_the_job_and_the_file_is_the_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    jobs = Jobs(journal=path)

    @jobs.register
    async def save(email: str, fail: bool = False) -> None:
        if fail:
            raise ValueError("no")

    async with jobs:
        done = await jobs.submit("email:ann@example.com", save, email="ann@example.com")
        failed = await jobs.submit("email:bob@example.com", save, email="bob@example.com", fail=True)
        await ended(jobs, done.id, failed.id)
        assert {mode for _, mode in modes(tmp_path)} == {0o600}, modes(tmp_path)
    with sqlite3.connect(path) as db:
        rows = {row[0]: row[1:] for row in db.execute("SELECT id, key, arguments FROM job")}
    db.close()
    assert rows[done.id] == ("", "{}")
    assert "bob@example.com" in rows[failed.id][1], "kept, to be submitted again"


async def test_finished_jobs_are_forgotten_after_a_while(tmp_path: Path) -> None:
    jobs = Jobs(journal=tmp_path / "jobs.db", keep=0)

    @jobs.register
    async def work() -> None: ...

    async with jobs:
        job = await jobs.submit("k", work)
        await until(lambda: jobs.stats().done)
    async with jobs:
        await until(lambda: not jobs.stats().running)
        await asyncio.sleep(0.01)
        assert await jobs.status(job.id) is None


@pytest.mark.parametrize("content", [b"this is not a database, " * 100, None])
async def test_a_file_of_something_else_is_left_alone_and_said_so(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "jobs.db"
    if content is None:
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE mine (x)")
        db.close()
        content = path.read_bytes()
    else:
        path.write_bytes(content)
    with pytest.raises(JournalError, match=r"cannot open the journal jobs\.db"):
        async with Jobs(journal=path):
            pass
    if content.startswith(b"this"):
        assert path.read_bytes() == content
    assert not owners(tmp_path)


async def test_a_directory_that_cannot_be_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot open"):
        async with Jobs(journal=tmp_path / "file" / "jobs.db"):
            pass


async def test_a_path_that_cannot_be_is_an_error_not_a_hang() -> None:
    with pytest.raises(JournalError, match="cannot open"):
        async with Jobs(journal="\0"):
            pass


async def test_a_look_for_the_dead_that_fails_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("aelyst_async.fastapi.runner._ADOPT_EVERY", 0.01)
    looks = 0

    def failing(self: Journal, db: sqlite3.Connection) -> list[str]:
        nonlocal looks
        looks += 1
        if looks > 1:
            raise PermissionError("the lock file")
        return []

    monkeypatch.setattr(Journal, "_adopt", failing)
    async with Jobs(journal=tmp_path / "jobs.db"):
        await until(lambda: looks > 4)
    assert "cannot look for jobs of workers that died: the lock file" in caplog.text


async def test_a_row_that_cannot_be_read_is_logged_and_stops_no_other_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = asyncio.Event()
    jobs = Jobs(journal=tmp_path / "jobs.db", concurrency=1, drain_timeout=5)

    @jobs.register(merge=None)
    async def work() -> None:
        await gate.wait()

    async with jobs:
        first = await jobs.submit("a", work)
        broken = await jobs.submit("b", work)
        db = sqlite3.connect(tmp_path / "jobs.db", timeout=10)
        with db:
            db.execute("UPDATE job SET arguments = 'not json' WHERE id = ?", (broken.id,))
        db.close()
        last = await jobs.submit("c", work)
        gate.set()
        await ended(jobs, first.id, last.id)
    assert "JSONDecodeError" in caplog.text


async def test_a_disk_that_fails_refuses_new_jobs_and_loses_no_finished_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aelyst_async.fastapi.runner._JOURNAL_PAUSE", 0.02)
    broken = False
    carry_out = Journal._carry_out

    def failing(self: Journal, db: sqlite3.Connection, batch: list[object]) -> object:
        if broken:
            db.execute("PRAGMA query_only = 1")
        try:
            return carry_out(self, db, batch)  # type: ignore[arg-type]
        finally:
            db.execute("PRAGMA query_only = 0")

    monkeypatch.setattr(Journal, "_carry_out", failing)
    runs = 0
    gate = asyncio.Event()
    jobs = Jobs(journal=tmp_path / "jobs.db", drain_timeout=5)

    @jobs.register
    async def work() -> None:
        nonlocal runs
        runs += 1
        await gate.wait()

    async with jobs:
        job = await jobs.submit("k", work)
        await until(lambda: runs)
        broken = True
        with pytest.raises(JournalError, match="journal failed"):
            await jobs.submit("other", work)
        gate.set()
        await asyncio.sleep(0.1)
        broken = False
        (status,) = await ended(jobs, job.id)
    assert (status.state, runs) == ("done", 1)


async def test_a_burst_shares_transactions_and_does_not_hold_up_the_loop(tmp_path: Path) -> None:
    jobs = Jobs(journal=tmp_path / "jobs.db", capacity=5000, concurrency=1, drain_timeout=0)

    @jobs.register
    async def work(value: int) -> None:
        await asyncio.sleep(3600)

    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - began)

    async with jobs:
        syncs = 0
        journal = jobs._life.store  # type: ignore[union-attr]
        assert isinstance(journal, Journal)
        carry_out = journal._carry_out

        def counted(db: sqlite3.Connection, batch: list[object]) -> object:
            nonlocal syncs
            syncs += 1
            return carry_out(db, batch)  # type: ignore[arg-type]

        journal._carry_out = counted  # type: ignore[method-assign,assignment]
        watcher = asyncio.create_task(watch())
        for _ in range(10):
            await asyncio.gather(*[jobs.submit(f"k{n}-{_}", work, value=n) for n in range(100)])
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
        assert jobs.stats().submitted == 1000
    assert syncs < 200
    # A hundred submissions a turn are work of their own; a sync to disk in the loop would show on top of it.
    assert longest < 0.25, f"{longest * 1000:.0f} ms"


async def test_the_store_keeps_to_its_rules_when_asked_out_of_turn(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "jobs.db", keep=60, max_starts=3)
    with pytest.raises(JournalError, match="not open"):
        await journal.status("x")
    await journal.open()
    job = Submission(id="a", key="k", name="n", arguments={}, merge=None)
    added = await journal.add(job, capacity=10)
    assert added is not None
    assert added.head
    assert await journal.start("unknown") is None
    assert await journal.finish("unknown", Outcome("done")) is None
    assert await journal.start("a") is not None
    assert await journal.start("a") is None, "it runs already"
    assert await journal.status("unknown") is None
    assert await journal.adopt() == []
    with pytest.raises(JournalError):
        await journal.add(job, capacity=10)
    assert journal.open_count == 1, "the refused one took nothing with it"
    await journal.close()
    await journal.close()


async def torture(start: Start, tmp_path: Path, rounds: int) -> None:
    """Two processes at a time, submitting to five keys; one is killed at a random moment, and replaced."""
    dice = random.Random(7)
    accepted: dict[str, list[int]] = {f"k{n}": [] for n in range(5)}
    running = [await start("p0", 50), await start("p1", 50)]
    value = 0
    for number in range(rounds):
        for _ in range(dice.randrange(20)):
            value += 1
            key = f"k{value % 5}"
            # One after another and acknowledged, so that the order of a key is known whoever took it.
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
    """Return (key, value) of each job that ended, each once, in the order of their first ends."""
    told = [line.split() for line in lines(tmp_path)]
    return list(dict.fromkeys((key, int(value)) for _, key, value, what in told if what == "end"))


@pytest.mark.parametrize("rounds", [4, pytest.param(40, marks=pytest.mark.slow)])
async def test_random_kills_lose_no_job_and_keep_every_keys_order(start: Start, tmp_path: Path, rounds: int) -> None:
    await torture(start, tmp_path, rounds)
