"""Failures of the journal's file, disk or thread: a one-line error, and never a hang."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import sqlite3
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest

from aelyst_async.fastapi import Jobs, JournalError
from aelyst_async.fastapi.database import Database, explain
from aelyst_async.fastapi.journal import Journal
from aelyst_async.locks import LockFile
from tests.fastapi.helpers import ended, until

pytestmark = pytest.mark.hostile


def make_database(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


async def opening(path: Path) -> str:
    with pytest.raises(JournalError) as refusal:
        async with Jobs(journal=path):
            pass
    line = str(refusal.value)
    assert "\n" not in line
    assert "delete" not in line
    assert "move" not in line.replace("remove the others", "")
    return line


async def test_journal_of_jobs_has_its_own_application_id(tmp_path: Path) -> None:
    async with Jobs(journal=tmp_path / "jobs.db"):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.db")) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (0x61656C6A,)


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (["PRAGMA application_id = 0x61656C53", "CREATE TABLE contact (x)"], "it is the journal of `aelyst sync`"),
        (["PRAGMA application_id = 0x61656C6A", "PRAGMA user_version = 9"], "it has format 9"),
        (["CREATE TABLE mine (x)"], "it is the database of another program"),
        (["PRAGMA application_id = 7"], "it is the database of another program"),
    ],
)
async def test_foreign_file_is_identified_and_not_changed(tmp_path: Path, statements: list[str], expected: str) -> None:
    path = tmp_path / "other.db"
    make_database(path, *statements)
    before = path.read_bytes()
    line = await opening(path)
    assert line.startswith("cannot open the journal other.db: ")
    assert expected in line
    assert path.read_bytes() == before


async def test_journal_of_a_sync_is_identified(tmp_path: Path) -> None:
    from aelyst_async.sync.journal import Journal as SyncJournal

    SyncJournal.open(tmp_path / "sync.db").close()
    assert "`aelyst sync`" in await opening(tmp_path / "sync.db")


async def test_sync_rejects_a_jobs_journal_without_advice_to_delete_it(tmp_path: Path) -> None:
    from aelyst_async.sync.errors import JournalError as SyncJournalError
    from aelyst_async.sync.journal import Journal as SyncJournal

    async with Jobs(journal=tmp_path / "jobs.db"):
        with pytest.raises(SyncJournalError) as refusal:
            SyncJournal.open(tmp_path / "jobs.db")
    assert "move" not in str(refusal.value)
    assert "delete" not in str(refusal.value)
    assert "--journal" in str(refusal.value)


async def test_damaged_file_error_names_the_recover_command(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    jobs = Jobs(journal=path, drain_timeout=0)

    @jobs.register
    async def work(text: str) -> None:
        await asyncio.sleep(60)

    async with jobs:
        for number in range(40):
            await jobs.submit(f"k{number}", work, text="x" * 500)
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 6] = b"\xff" * 4096 * 3
    path.write_bytes(content)
    line = await opening(path)
    assert "it is damaged" in line
    assert ".recover" in line


async def test_missing_file_locks_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: LockFile, slot: int = 0) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(LockFile, "try_lock", refuse)
    assert "its file system has no file locks" in await opening(tmp_path / "jobs.db")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (sqlite3.OperationalError("database or disk is full"), "free some space"),
        (sqlite3.OperationalError("disk I/O error"), "cannot be written"),
        (sqlite3.OperationalError("database is locked"), "another program locks it"),
        (sqlite3.DatabaseError("file is not a database"), "not an SQLite file"),
        (sqlite3.DatabaseError("database disk image is malformed"), "damaged"),
        (sqlite3.OperationalError("no such table: job"), "damaged"),
        (PermissionError(errno.EACCES, "Permission denied"), "permission denied"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_explain_describes_each_failure_in_one_line(error: Exception, expected: str) -> None:
    assert expected in explain(error)
    assert "\n" not in explain(error)


async def test_full_disk_rejects_new_jobs_until_there_is_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = asyncio.Event()
    jobs = Jobs(journal=tmp_path / "jobs.db", drain_timeout=5)

    @jobs.register
    async def work(text: str = "") -> None:
        await gate.wait()

    limit = "PRAGMA max_page_count = {}"
    pages: list[str] = [limit.format(1)]
    original = Database.add

    def add(self: Database, *arguments: Any) -> Any:
        self.connection.execute(pages[0])
        return original(self, *arguments)

    async with jobs:
        first = await jobs.submit("k", work)
        monkeypatch.setattr(Database, "add", add)
        with pytest.raises(JournalError, match=r"failed \(jobs\.db\): it cannot be written .*free some space"):
            await jobs.submit("big", work, text="x" * 100_000)
        assert (await jobs.submit("small", work)).id, "there is space for this job"
        pages[0] = limit.format(1_000_000)
        second = await jobs.submit("big", work, text="x" * 100_000)
        gate.set()
        statuses = await ended(jobs, first.id, second.id)
    assert [status.state for status in statuses] == ["done", "done"]


async def test_locked_file_is_logged_once_and_jobs_continue_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("aelyst_async.fastapi.runner._JOURNAL_PAUSE", 0.02)
    monkeypatch.setattr("aelyst_async.fastapi.database._BUSY_SECONDS", 0.05)
    gate = asyncio.Event()
    jobs = Jobs(journal=tmp_path / "jobs.db", drain_timeout=5)

    @jobs.register
    async def work() -> None:
        await gate.wait()

    async with jobs:
        job = await jobs.submit("k", work)
        await until(lambda: jobs.stats().running)
        other = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="another program locks it"):
            await jobs.submit("other", work)
        gate.set()
        await until(lambda: "trying again" in caplog.text)
        await asyncio.sleep(0.3)
        assert jobs.problem() is not None
        assert "another program locks it" in str(jobs.problem())
        other.execute("ROLLBACK")
        other.close()
        (status,) = await ended(jobs, job.id)
    assert status.state == "done"
    assert caplog.text.count("another program locks it") == 1, "logged once, not every second"
    assert "the journal works again" in caplog.text


@pytest.mark.parametrize("error", [SystemExit(1), RuntimeError("a bug"), MemoryError()])
async def test_dead_writer_thread_fails_all_waiters_with_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    monkeypatch.setattr("aelyst_async.fastapi.runner._CANCEL_GRACE", 0.1)
    jobs = Jobs(journal=tmp_path / "jobs.db", drain_timeout=0)

    @jobs.register
    async def work() -> None:
        await asyncio.sleep(60)

    def die(self: Journal, works: object) -> None:
        raise error

    async with jobs:
        job = await jobs.submit("k", work)
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "_commit", die)
            results = await asyncio.wait_for(
                asyncio.gather(*(jobs.submit(f"k{n}", work) for n in range(20)), return_exceptions=True), 5
            )
        assert all(isinstance(result, JournalError) for result in results)
        assert all(f"the journal failed (jobs.db): {type(error).__name__}" in str(result) for result in results)
        with pytest.raises(JournalError, match=type(error).__name__):
            await asyncio.wait_for(jobs.status(job.id), 5)
    assert "jobs continue when the app is restarted" in caplog.text
    jobs = Jobs(journal=tmp_path / "jobs.db")
    jobs.register(name="work")(_quick)
    async with jobs:
        assert (await ended(jobs, job.id))[0].state == "done"


async def _quick() -> None: ...


async def test_close_waits_for_pending_requests(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "jobs.db", keep=60, max_starts=3)
    await journal.open()
    asked = [asyncio.create_task(journal.ask(methodcaller("status", str(number)))) for number in range(2000)]
    await asyncio.sleep(0)
    await journal.close()
    assert await asyncio.gather(*asked) == [None] * 2000
    with pytest.raises(JournalError, match="not open"):
        await journal.ask(lambda jobs: jobs.status("x"))
