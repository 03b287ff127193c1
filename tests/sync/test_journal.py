"""The journal file: durability, permissions, binding to its target, locking, and errors about damaged files."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aelyst_async.locks import LockFile
from aelyst_async.sync import ContactSync, JournalError, JournalLockedError
from aelyst_async.sync.journal import Attempt, Dead, Journal, Settled, sqlite
from aelyst_async.sync.journal.committer import Committer
from aelyst_async.sync.journal.database import VERSION
from aelyst_async.sync.journal.history import given_up, status
from tests.sync.fakes import FakeGateway

pytestmark = pytest.mark.hostile

ROWS = [{"email": f"p{number}@example.com", "first_name": f"P{number}"} for number in range(5)]


def done(key: str, contact_id: str | None = None) -> Settled:
    return Settled(key, "DONE", "create", b"hash", contact_id, 1, 200, 0)


def test_journal_keeps_applied_writes_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    journal = Journal.open(path)
    journal.begin(source="a.csv", fingerprint="x", arguments={})
    journal.apply([done("email:a", "7"), Settled("email:b", "INTENT", "create", None, None, 2, None, 0)])
    journal.close()
    journal = Journal.open(path)
    found = journal.look_up([f"email:{number}" for number in range(1200)] + ["email:a", "email:b"])
    assert {key: (entry.state, entry.hash, entry.contact_id) for key, entry in found.items()} == {
        "email:a": ("DONE", b"hash", "7"),
        "email:b": ("INTENT", None, None),
    }
    assert journal.begin(source="a.csv", fingerprint="x", arguments={}) is True, "the first run did not end"
    journal.end(0, {})
    assert journal.begin(source="a.csv", fingerprint="x", arguments={}) is False
    journal.close()


@pytest.mark.skipif(os.name == "nt", reason="modes are of POSIX")
def test_journal_files_are_private_regardless_of_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        journal = Journal.open(tmp_path / "state.db")
        journal.apply([done("email:a")])
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        journal.close()
    finally:
        os.umask(old)
    assert "state.db-wal" in modes
    assert set(modes.values()) == {0o600}


def test_journal_is_readable_with_plain_sqlite3(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    journal = Journal.open(path)
    journal.apply([done("email:a"), Attempt("email:a", 1, "write", 500, "ServerError"),
                   Dead("email:b", 2, 3, "http-400", "no", 400, 1, [("email", "b")])])  # fmt: skip
    journal.close()
    with sqlite3.connect(path) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert tables == {"meta", "run", "contact", "attempt", "dead"}
        assert connection.execute("SELECT outcome FROM attempt").fetchall() == [("ServerError",)]
        assert connection.execute("SELECT payload FROM dead").fetchall() == [('[["email", "b"]]',)]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_open_names_the_process_that_locks_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    journal = Journal.open(path)
    code = f"from aelyst_async.sync.journal import Journal\nJournal.open({str(path)!r})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert f"JournalLockedError: state.db is in use by process {os.getpid()} on" in run.stderr
    with pytest.raises(JournalLockedError):
        Journal.open(path)
    journal.close()
    journal.close()
    Journal.open(path).close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.db"], "nothing is left behind"


def test_open_ignores_the_lock_of_a_dead_process(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    code = f"import os\nfrom aelyst_async.sync.journal import Journal\nJournal.open({str(path)!r})\nos._exit(9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    Journal.open(path).close()


def test_open_does_not_name_a_dead_process_as_the_lock_holder(tmp_path: Path) -> None:
    """A new holder locks the file before it writes its process id."""
    path = tmp_path / "state.db"
    code = f"import os\nfrom aelyst_async.sync.journal import Journal\nJournal.open({str(path)!r})\nos._exit(9)"
    subprocess.run([sys.executable, "-c", code], check=False)
    with contextlib.closing(LockFile(path)) as lock:
        assert lock.try_lock()
        with pytest.raises(JournalLockedError, match=r"state\.db is in use by another process; wait for it"):
            Journal.open(path)


def alias(path: Path, kind: str) -> Path:
    """Return another name of the file."""
    other = path.parent / "elsewhere" / "other.db"
    other.parent.mkdir()
    if kind == "symlink":
        other.symlink_to(path)
    else:
        other.hardlink_to(path)
    return other


@pytest.mark.parametrize("kind", ["symlink", "hard link", "side files deleted"])
async def test_second_sync_of_a_journal_is_rejected_under_any_file_name(tmp_path: Path, kind: str) -> None:
    """In this process and in another one. The lock does not depend on the file name."""
    path = tmp_path / "state.db"
    gateway = FakeGateway()
    gateway.latency = 0.02
    rows = [{"email": f"p{number}@example.com", "first_name": "P"} for number in range(100)]
    running = asyncio.create_task(ContactSync(gateway, journal=path, concurrency=4).run(rows))
    while len(gateway.contacts) < 5:  # noqa: ASYNC110 - the fake has no event to wait for
        await asyncio.sleep(0.01)
    gateway.latency = 1.0  # the run must outlast the start of a process on a busy machine
    if kind == "side files deleted":
        other = path
        for side in ("state.db-lock", "state.db-shm"):
            (tmp_path / side).unlink(missing_ok=True)
    else:
        other = alias(path, kind)
    with pytest.raises(JournalLockedError, match=f"in use by process {os.getpid()} on") as refusal:
        await ContactSync(gateway, journal=other).run(rows)
    assert "\n" not in str(refusal.value)
    code = f"from aelyst_async.sync.journal import Journal\nJournal.open({str(other)!r})"
    run = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert f"in use by process {os.getpid()} on" in run.stderr
    gateway.latency = 0.0
    assert (await running).created == 100
    assert set(gateway.emails().values()) == {1}


@pytest.mark.parametrize("what", ["journal removed", "journal replaced", "-wal removed"])
async def test_run_ends_when_its_journal_is_removed_or_replaced(tmp_path: Path, what: str) -> None:
    path = tmp_path / "state.db"
    gateway = FakeGateway()
    gateway.latency = 0.005
    rows = [{"email": f"p{number}@example.com", "first_name": "P"} for number in range(3000)]
    running = asyncio.create_task(ContactSync(gateway, journal=path, concurrency=4).run(rows))
    while len(gateway.contacts) < 20:  # noqa: ASYNC110 - the fake has no event to wait for
        await asyncio.sleep(0.01)
    if what == "-wal removed":
        (tmp_path / "state.db-wal").unlink()
    else:
        path.unlink()
    if what == "journal replaced":
        path.write_bytes(b"something else")
    with pytest.raises(JournalError, match=r"state\.db or its -wal file was removed or replaced while the run"):
        await running
    assert len(gateway.contacts) < 200, "it was noticed at the next commit"
    if what == "journal replaced":
        assert path.read_bytes() == b"something else"


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOLCK, r"cannot be locked \(no locks available\): keep the journal on a local disk"),
     (errno.EINVAL, r"cannot be locked \(invalid argument\): keep the journal on a local disk")],
)  # fmt: skip
def test_open_reports_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("aelyst_async.locks._lock", refuse)
    with pytest.raises(JournalError, match=words) as refusal:
        Journal.open(tmp_path / "state.db")
    assert not isinstance(refusal.value, JournalLockedError)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_open_rejects_paths_that_are_not_regular_files(tmp_path: Path) -> None:
    for path in ("/dev/full", "/dev/null"):
        with pytest.raises(JournalError, match="is no regular file; name another one with --journal"):
            Journal.open(path)
    with pytest.raises(JournalError, match="is a directory"):
        Journal.open(tmp_path)
    with pytest.raises(JournalError, match="null"):
        Journal.open("state\0.db")


def test_open_reports_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("aelyst_async.locks.os.open", full)
        with pytest.raises(JournalError, match=r"cannot open .*state\.db: no space left on device; free some space"):
            Journal.open(tmp_path / "state.db")
    # The file could be created, but not written.
    connect = sqlite.connect

    def small(file: Path, **options: Any) -> sqlite3.Connection:
        connection = connect(file, **options)
        connection.execute("PRAGMA max_page_count = 2")
        return connection

    monkeypatch.setattr(sqlite, "connect", small)
    with pytest.raises(JournalError, match=r"state\.db: cannot be written \(database or disk is full\): free some"):
        Journal.open(tmp_path / "state.db")
    monkeypatch.undo()
    Journal.open(tmp_path / "state.db").close()


@pytest.mark.parametrize("application", [0, 0x61656C79, 0x61656C4A])
def test_open_rejects_another_programs_database_without_calling_it_damaged(tmp_path: Path, application: int) -> None:
    """Includes the database of jobs, whose removal would lose jobs."""
    path = tmp_path / "jobs.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            f"PRAGMA application_id = {application}; PRAGMA user_version = 2; CREATE TABLE job (id); "
            "CREATE TABLE meta (name, value)"
        )
    for busy in (False, True):
        with contextlib.closing(LockFile(path)) as lock:
            assert lock.try_lock() or not busy
            if not busy:
                lock.unlock()
            with pytest.raises(JournalError, match="but no journal of a sync; name another one with --journal") as no:
                Journal.open(path)
        assert "move" not in str(no.value)


KILLED = """
import os, sys
from aelyst_async.sync.journal import Journal, Settled
journal = Journal.open(sys.argv[1])
journal.begin(source="a", fingerprint=None, arguments={})
journal.apply([Settled("email:a", "INTENT", "create", None, None, 1, None, 0)])
os._exit(9)
"""


@pytest.mark.parametrize("kind", ["hard link", "moved alone", "moved together", "copy"])
def test_open_under_another_name_does_not_miss_rows_of_a_killed_run(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "state.db"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert (tmp_path / "state.db-wal").stat().st_size
    other = tmp_path / "other.db"
    if kind == "hard link":
        other.hardlink_to(path)
    elif kind == "copy":
        shutil.copy(path, other)
    else:
        path.rename(other)
    if kind == "moved together":
        (tmp_path / "state.db-wal").rename(tmp_path / "other.db-wal")
    if kind in {"hard link", "moved alone"}:
        with pytest.raises(
            JournalError, match=r"other\.db was last used as .*/state\.db, and its newest rows are still"
        ):
            Journal.open(other)
    else:
        with contextlib.closing(Journal.open(other)) as journal:
            assert len(journal.look_up(["email:a"])) == (kind == "moved together")
    if kind == "hard link":
        with contextlib.closing(Journal.open(path)) as journal:
            assert journal.look_up(["email:a"])["email:a"].state == "INTENT"


def test_open_rejects_a_journal_of_an_older_version_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "PRAGMA application_id = 0x61656C79; PRAGMA user_version = 1; CREATE TABLE meta (name, value); "
            "CREATE TABLE run (id); CREATE TABLE contact (key); CREATE TABLE attempt (id); CREATE TABLE dead (key)"
        )
    with pytest.raises(JournalError, match=r"written by an older version of aelyst-async.*name another one") as refusal:
        Journal.open(path)
    assert "\n" not in str(refusal.value)
    with pytest.raises(JournalError, match="written by an older version"):
        status(path)


def test_open_rejects_newer_foreign_and_damaged_files_unchanged(tmp_path: Path) -> None:
    newer = tmp_path / "newer.db"
    Journal.open(newer).close()
    with sqlite3.connect(newer) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE mine (a)")
    connection.close()
    text = tmp_path / "text.db"
    text.write_text("this is no database, it is a letter " * 50)
    damaged = tmp_path / "damaged.db"
    journal = Journal.open(damaged)
    journal.apply([done(f"email:{number:05}") for number in range(5000)])
    journal.close()
    content = bytearray(damaged.read_bytes())
    for start in range(4096 * 8, len(content) - 4096, 4096 * 3):
        content[start : start + 1500] = os.urandom(1500)
    damaged.write_bytes(content)
    for path, words in (
        (newer, f"version {VERSION + 1}, this program writes version {VERSION}: upgrade"),
        (foreign, "no journal of a sync"),
        (text, "damaged or no journal"),
        (damaged, "damaged or no journal"),
    ):
        before = path.read_bytes()
        with pytest.raises(JournalError, match=words) as refusal:
            Journal.open(path)
        assert "\n" not in str(refusal.value)
        assert path.read_bytes() == before, "a rejected file is not changed"


def test_open_initialises_a_database_that_has_no_tables_yet(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    assert path.stat().st_size > 0
    journal = Journal.open(path)
    assert len(journal.salt) == 16
    journal.close()


class Accounted(FakeGateway):
    """A gateway that can name its account, as the vendors' adapters do."""

    secret = "one"

    async def account(self, key: bytes = b"") -> str:
        return f"{self.secret}-{key.hex()}"


async def test_journal_is_bound_to_provider_account_and_key(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    gateway = Accounted()
    await ContactSync(gateway, journal=path).run(ROWS)
    other = Accounted()
    other.secret = "two"
    with pytest.raises(JournalError, match=r"another account of fake .*--rebind"):
        await ContactSync(other, journal=path).run(ROWS)
    assert other.calls == []
    assert (await ContactSync(other, journal=path, rebind=True).run(ROWS)).unchanged == 5
    with pytest.raises(JournalError, match="by email, not by phone"):
        await ContactSync(other, journal=path, key="phone").run([{"phone": "+60123456789"}])
    elsewhere = Accounted()
    elsewhere.provider = "elsewhere"
    with pytest.raises(JournalError, match="belongs to fake, not to elsewhere"):
        await ContactSync(elsewhere, journal=path).run(ROWS)
    content = b"".join(file.read_bytes() for file in tmp_path.iterdir())  # noqa: ASYNC240
    assert b"P1" not in content, "the payload of an applied row is deleted"


async def test_run_stopped_by_a_full_disk_resumes_without_loss_or_duplicates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.db"
    rows = [{"email": f"p{number}@example.com", "first_name": "P"} for number in range(3000)]
    opened = Journal.open

    def small(target: Path) -> Journal:
        journal = opened(target)
        assert isinstance(journal.database, sqlite.SqliteFile)
        pages = journal.database.connection.execute("PRAGMA page_count").fetchone()[0]
        journal.database.connection.execute(f"PRAGMA max_page_count = {pages + 12}")
        return journal

    gateway = FakeGateway()
    monkeypatch.setattr("aelyst_async.sync.contact_sync.Journal.open", small)
    with pytest.raises(JournalError, match=r"state\.db: cannot be written .*free some space"):
        await ContactSync(gateway, journal=path).run(rows)
    assert 0 < len(gateway.contacts) < 3000
    monkeypatch.undo()
    from aelyst_async.sync import RetrySettings

    report = await ContactSync(gateway, journal=path, retry=RetrySettings(settle=0.05)).run(rows)
    assert report.failed == report.pending == 0
    assert max(gateway.emails().values()) == 1
    assert len(gateway.contacts) == 3000


async def test_committer_writes_many_rows_per_commit(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "state.db")
    sizes: list[int] = []
    apply = journal.apply

    def counted(writes: list[Settled], progress: object = None) -> None:
        sizes.append(len(writes))
        apply(writes)

    journal.apply = counted  # type: ignore[method-assign, assignment]

    async def row(committer: Committer, number: int) -> None:
        committer.put(done(f"email:{number}"))
        await committer.durable()
        assert journal.look_up([f"email:{number}"]), "durable() returned before the commit"

    async with Committer(journal) as committer:
        await asyncio.gather(*(row(committer, number) for number in range(200)))
        committer.put(done("email:last"))
    assert sum(sizes) == 201
    assert len(sizes) < 20
    assert journal.look_up(["email:last"]), "rows without a waiter are written at exit"
    journal.close()


async def test_status_and_given_up_show_failed_rows_until_a_retry_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    from aelyst_async import errors

    gateway = FakeGateway(
        lambda method, key, _: errors.BadRequestError(status=400, message="bad", method=method) if "p3" in key else None
    )
    report = await ContactSync(gateway, journal=path).run(ROWS)
    assert (report.created, report.failed) == (4, 1)
    found = status(path)
    assert found["contacts"] == {"DEAD": 1, "DONE": 4}
    assert found["run"]["state"] == "ended"
    assert found["reasons"] == [{"reason": "400 bad", "rows": 1}]
    assert given_up(path) == ("fake", "email", [{"email": "p3@example.com", "first_name": "P3"}])
    gateway.fault = None
    again = await ContactSync(gateway, journal=path).run(given_up(path)[2])
    assert again.created == 1
    assert given_up(path)[2] == []
    assert (await ContactSync(gateway, journal=path).run(ROWS)).unchanged == 5, "a retried row counts as sent"
    with pytest.raises(JournalError, match="no such journal"):
        status(tmp_path / "nope.db")
