"""The journal: durable, private, bound to its target, held by one process, and clear about what is wrong with it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from aelyst_async.sync import ContactSync, JournalError, JournalLockedError
from aelyst_async.sync.committer import Committer
from aelyst_async.sync.history import given_up, status
from aelyst_async.sync.journal import VERSION, Attempt, Dead, Journal, Settled
from tests.sync.fakes import FakeGateway

ROWS = [{"email": f"p{number}@example.com", "first_name": f"P{number}"} for number in range(5)]


def done(key: str, contact_id: str | None = None) -> Settled:
    return Settled(key, "DONE", "create", b"hash", contact_id, 1, 200, 0)


def test_what_is_applied_is_found_after_reopening(tmp_path: Path) -> None:
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
def test_mode_is_private_whatever_the_umask(tmp_path: Path) -> None:
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


def test_sql_tools_can_read_it(tmp_path: Path) -> None:
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


def test_a_second_process_is_told_who_holds_it(tmp_path: Path) -> None:
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


def test_the_lock_of_a_dead_process_is_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    code = f"import os\nfrom aelyst_async.sync.journal import Journal\nJournal.open({str(path)!r})\nos._exit(9)"
    subprocess.run([sys.executable, "-c", code], check=False)
    assert (tmp_path / "state.db-lock").exists()
    Journal.open(path).close()


def test_newer_foreign_damaged(tmp_path: Path) -> None:
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
        assert path.read_bytes() == before, "what cannot be read is left as it is"


def test_a_file_that_was_never_finished_is_begun_again(tmp_path: Path) -> None:
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


async def test_bound_to_provider_account_and_key(tmp_path: Path) -> None:
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
    assert b"P1" not in content, "what went in leaves no payload behind"


async def test_a_full_disk_stops_the_run_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.db"
    rows = [{"email": f"p{number}@example.com", "first_name": "P"} for number in range(3000)]
    opened = Journal.open

    def small(target: Path) -> Journal:
        journal = opened(target)
        pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
        journal._connection.execute(f"PRAGMA max_page_count = {pages + 12}")
        return journal

    gateway = FakeGateway()
    monkeypatch.setattr("aelyst_async.sync.contact_sync.Journal.open", small)
    with pytest.raises(JournalError, match=r"state\.db: cannot be written .*free some space"):
        await ContactSync(gateway, journal=path).run(rows)
    assert 0 < len(gateway.contacts) < 3000
    monkeypatch.undo()
    from aelyst_async.sync import Pauses

    report = await ContactSync(gateway, journal=path, pauses=Pauses(settle=0.05)).run(rows)
    assert report.failed == report.pending == 0
    assert max(gateway.emails().values()) == 1
    assert len(gateway.contacts) == 3000


async def test_writes_share_commits(tmp_path: Path) -> None:
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
    assert journal.look_up(["email:last"]), "what nobody waited for is written at the end"
    journal.close()


async def test_status_and_given_up(tmp_path: Path) -> None:
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
