"""The journal in one process: merging, broken files and disks, and which data it keeps."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from aelyst_async.errors import ConfigurationError
from aelyst_async.fastapi import InvalidJobError, Jobs, JournalError
from aelyst_async.fastapi.database import Database
from aelyst_async.fastapi.journal import Journal
from aelyst_async.fastapi.store import Adopted, Outcome, Submission
from tests.fastapi.helpers import ended, until


def modes(tmp_path: Path) -> list[tuple[str, int]]:
    return [(path.name, stat.S_IMODE(path.stat().st_mode)) for path in tmp_path.iterdir()]


async def test_submit_merges_into_a_waiting_job_of_another_process(tmp_path: Path) -> None:
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


async def test_job_of_an_unregistered_function_fails_and_can_be_resubmitted(
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


async def test_job_cancelled_by_the_drain_does_not_count_as_a_start(tmp_path: Path) -> None:
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


async def test_journal_rejects_non_json_arguments_and_unregistered_functions(tmp_path: Path) -> None:
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
    # Freeing a deep list must not overflow the stack.
    while deep:
        deep = deep.pop()  # type: ignore[assignment]


async def test_done_job_keeps_no_personal_data_and_the_file_is_private(tmp_path: Path) -> None:
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
    assert "bob@example.com" in rows[failed.id][1], "kept for a resubmit"


async def test_finished_jobs_are_removed_after_keep(tmp_path: Path) -> None:
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
async def test_journal_rejects_a_foreign_file_without_changing_it(tmp_path: Path, content: bytes | None) -> None:
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
    assert path.read_bytes() == content
    assert [name for name, _ in modes(tmp_path)] == ["jobs.db"]


async def test_journal_raises_for_an_impossible_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot open"):
        async with Jobs(journal=tmp_path / "file" / "jobs.db"):
            pass


async def test_journal_raises_for_an_invalid_path() -> None:
    with pytest.raises(JournalError, match="cannot open"):
        async with Jobs(journal="\0"):
            pass


async def test_failed_check_for_dead_workers_is_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("aelyst_async.fastapi.runner._ADOPT_EVERY", 0.01)
    looks = 0

    def failing(self: Database) -> Adopted:
        nonlocal looks
        looks += 1
        if looks > 1:
            raise PermissionError("the lock file")
        return Adopted()

    monkeypatch.setattr(Database, "adopt", failing)
    async with Jobs(journal=tmp_path / "jobs.db"):
        await until(lambda: looks > 4)
    assert "cannot check for jobs of dead workers: the lock file" in caplog.text


async def test_damaged_row_fails_its_job_only_and_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
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
        statuses = await ended(jobs, first.id, last.id, broken.id)
    assert [status.state for status in statuses] == ["done", "done", "failed"]
    assert "damaged in the journal" in caplog.text


async def test_write_failure_rejects_new_jobs_and_loses_no_finished_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aelyst_async.fastapi.runner._JOURNAL_PAUSE", 0.02)
    broken = False
    commit = Journal._commit

    def failing(self: Journal, works: Any) -> Any:
        assert self._db is not None
        if broken:
            self._db.connection.execute("PRAGMA query_only = 1")
        try:
            return commit(self, works)
        finally:
            self._db.connection.execute("PRAGMA query_only = 0")

    monkeypatch.setattr(Journal, "_commit", failing)
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


async def test_concurrent_submissions_share_transactions_in_the_writer_thread(tmp_path: Path) -> None:
    jobs = Jobs(journal=tmp_path / "jobs.db", capacity=5000, concurrency=1, drain_timeout=0)

    @jobs.register
    async def work(value: int) -> None:
        await asyncio.sleep(3600)

    async with jobs:
        syncs = 0
        threads = set()
        journal = jobs._life.store  # type: ignore[union-attr]
        assert isinstance(journal, Journal)
        commit = journal._commit

        def counted(works: Any) -> Any:
            nonlocal syncs
            syncs += 1
            threads.add(threading.current_thread())
            return commit(works)

        journal._commit = counted  # type: ignore[method-assign]
        for _ in range(10):
            await asyncio.gather(*[jobs.submit(f"k{n}-{_}", work, value=n) for n in range(100)])
        assert jobs.stats().submitted == 1000
    assert syncs < 200
    assert threads
    assert threading.current_thread() not in threads, "a sync to disk would block the event loop"


async def test_journal_ignores_or_rejects_calls_in_the_wrong_state(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "jobs.db", keep=60, max_starts=3)
    with pytest.raises(JournalError, match="not open"):
        await journal.ask(lambda jobs: jobs.status("x"))
    await journal.open()
    job = Submission(id="a", key="k", name="n", arguments={}, merge=None)
    added = await journal.add(job, capacity=10)
    assert added is not None
    assert added.head
    assert await journal.ask(lambda jobs: jobs.start("unknown")) is None
    assert await journal.ask(lambda jobs: jobs.finish("unknown", Outcome("done"))) is None
    assert await journal.ask(lambda jobs: jobs.start("a")) is not None
    assert await journal.ask(lambda jobs: jobs.start("a")) is None, "it is already running"
    assert await journal.ask(lambda jobs: jobs.status("unknown")) is None
    assert await journal.ask(lambda jobs: jobs.adopt()) == Adopted()
    with pytest.raises(JournalError):
        await journal.add(job, capacity=10)
    assert journal.open_count == 1, "the rejected job is not counted"
    await journal.close()
    await journal.close()
