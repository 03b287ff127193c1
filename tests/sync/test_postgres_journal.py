"""The journal in PostgreSQL: the same state machine as in a file, shared by claims with a lease."""

from __future__ import annotations

import contextlib
import itertools
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aelyst_async.sync import ContactSync, JournalError, RetrySettings
from aelyst_async.sync.journal import Attempt, Dead, Journal, Settled
from aelyst_async.sync.journal.history import given_up_source, origin_of, status
from tests.servers_external import PASSWORD, PostgresServer, postgres
from tests.sync.fakes import FakeGateway
from tests.sync.other_sandbox import OtherSandbox

__all__ = ["postgres"]

ROWS = [{"email": f"p{number}@example.com", "first_name": f"P{number}"} for number in range(5)]
_number = itertools.count()


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.url(f"journal_{next(_number)}", lease=2)


@pytest.fixture
def journal(url: str) -> Iterator[Journal]:
    with contextlib.closing(Journal.open(url)) as opened:
        yield opened


def test_postgres_journal_keeps_applied_writes_after_reopening(url: str) -> None:
    journal = Journal.open(url)
    journal.begin(source="a.csv", fingerprint="x", arguments={})
    journal.apply([
        Settled("email:a", "INTENT", "create", None, None, 1, None, 0),
        Settled("email:a", "DONE", "create", b"hash", "7", 1, 200, 0),
        Settled("email:b", "INTENT", "create", None, None, 2, None, 0),
        Attempt("email:b", 1, "write", 500, "a\0b"),
        Dead("email:c", 3, 4, "http-400", "no", 400, 1, [("email", "c\0")]),
    ])  # fmt: skip
    journal.close()
    journal.close()
    journal = Journal.open(url)
    found = journal.look_up([f"email:{number}" for number in range(1200)] + ["email:a", "email:b"])
    assert {key: (entry.state, entry.hash, entry.contact_id) for key, entry in found.items()} == {
        "email:a": ("DONE", b"hash", "7"),
        "email:b": ("INTENT", None, None),
    }
    assert journal.begin(source="a.csv", fingerprint="x", arguments={}) is True, "the first run did not end"
    journal.end(0, {})
    assert journal.begin(source="a.csv", fingerprint="x", arguments={}) is False
    journal.close()


async def test_sync_with_postgres_journal_reports_and_binds_as_with_a_file(url: str, tmp_path: Path) -> None:
    reports = []
    for place in (url, tmp_path / "state.db"):
        gateway = FakeGateway(
            lambda method, key, count: ValueError() if count < 0 else "lost" if "p3" in key and count == 1 else None
        )
        sync = ContactSync(gateway, journal=place, retry=RetrySettings(settle=0.05, base=0.01))
        first = await sync.run(ROWS)
        again = await sync.run(ROWS)
        assert set(gateway.emails().values()) == {1}
        reports.append(
            [
                (one.created, one.updated, one.unchanged, one.failed, one.rows, one.run, one.resumed)
                for one in (first, again)
            ]
        )
        gateway.provider = "elsewhere"
        with pytest.raises(JournalError, match="belongs to fake, not to elsewhere"):
            await ContactSync(gateway, journal=place).run(ROWS)
    assert reports[0] == reports[1]
    assert reports[0][1][2] == len(ROWS)


async def test_history_of_a_postgres_journal_shows_no_password(url: str) -> None:
    from aelyst_async import errors

    gateway = FakeGateway(
        lambda method, key, _: errors.BadRequestError(status=400, message="no") if "p1" in key else None
    )
    report = await ContactSync(gateway, journal=url, target={"target": "fake"}).run(ROWS)
    assert (report.created, report.failed) == (4, 1)
    found = status(url)
    assert found["counts"] == {"sent": 4, "waiting": 0, "in_doubt": 0, "failed": 1}
    assert found["run"]["state"] == "ended"
    assert [record for _, record in given_up_source(url).open()] == [ROWS[1]]
    assert origin_of(url).target == "fake"
    assert PASSWORD not in f"{report} {report.to_dict()} {found}"
    assert str(report.journal).startswith("postgresql+asyncpg://aelyst:***@127.0.0.1:")


async def test_dry_run_creates_no_schema(url: str) -> None:
    report = await ContactSync(FakeGateway(), journal=url).run(ROWS, dry_run=True)
    assert report.created == len(ROWS)
    with pytest.raises(JournalError, match="no such journal"):
        status(url)


def test_key_has_one_owner_until_it_is_settled_or_the_owner_closes(url: str, journal: Journal) -> None:
    other = Journal.open(url)
    assert journal.claim(["email:a", "email:b"]) == {"email:a": None, "email:b": None}
    assert set(other.claim(["email:a", "email:b", "email:c"])) == {"email:c"}
    journal.apply([Settled("email:a", "DONE", "create", b"h", "1", 1, 200, 0)])
    taken = other.claim(["email:a", "email:b"])
    assert set(taken) == {"email:a"}
    assert taken["email:a"] is not None
    assert taken["email:a"].state == "DONE", "the newest state comes with the claim"
    other.close()
    assert set(journal.claim(["email:a", "email:b", "email:c"])) == {"email:a", "email:b", "email:c"}


def test_claims_of_a_dead_owner_expire_and_its_writes_fail(url: str, journal: Journal) -> None:
    other = Journal.open(url)
    other.claim(["email:a"])
    database = other.database
    database._server._loop.call_soon_threadsafe(database._heart.cancel)  # type: ignore[attr-defined]
    assert "email:a" not in journal.claim(["email:a"])
    deadline = time.monotonic() + 10
    while "email:a" not in journal.claim(["email:a"]):
        assert time.monotonic() < deadline, "the lease is 2 s"
        time.sleep(0.05)
    with pytest.raises(JournalError, match="not heard of for 2 s"):
        other.apply([Settled("email:a", "DONE", "create", b"h", "1", 1, 200, 0)])
    assert journal.look_up(["email:a"]) == {}
    other.close()


@pytest.mark.slow
def test_idle_owner_keeps_its_claims_by_heartbeats(url: str, journal: Journal) -> None:
    other = Journal.open(url)
    other.claim(["email:a"])
    deadline = time.monotonic() + 4
    while time.monotonic() < deadline:
        assert "email:a" not in journal.claim(["email:a"])
        time.sleep(0.2)
    other.close()


async def test_concurrent_syncs_of_one_table_send_each_row_once(url: str) -> None:
    import asyncio

    gateway = FakeGateway()
    gateway.latency = 0.002
    rows = [{"email": f"p{number}@example.com", "first_name": "P"} for number in range(300)]
    pauses = RetrySettings(settle=0.05, base=0.01)
    reports = await asyncio.gather(
        *(ContactSync(gateway, journal=url, concurrency=8, retry=pauses).run(rows) for _ in range(2))
    )
    assert set(gateway.emails().values()) == {1}
    assert len(gateway.contacts) == 300
    assert gateway.overlaps == 0
    assert sum(report.created for report in reports) == 300
    assert sum(report.unchanged for report in reports) == 300


async def test_row_sent_by_another_process_before_the_claim_is_unchanged(
    url: str, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = FakeGateway()
    assert (await ContactSync(gateway, journal=url).run(ROWS)).created == len(ROWS)
    sent = len(gateway.calls)
    monkeypatch.setattr(Journal, "look_up", lambda *_: {})  # as it was before the other process sent them
    report = await ContactSync(gateway, journal=url).run(ROWS)
    assert (report.unchanged, report.created, report.updated) == (len(ROWS), 0, 0)
    assert len(gateway.calls) == sent


def refused(place: str) -> str:
    with pytest.raises(JournalError) as refusal:
        Journal.open(place)
    error: BaseException | None = refusal.value
    shown = "".join(traceback.format_exception(error)) + repr(error)
    assert "\n" not in str(refusal.value)
    assert PASSWORD not in shown
    assert "other-secret" not in shown
    while error is not None:
        assert PASSWORD not in str(error)
        assert isinstance(error, (JournalError, ImportError)), f"{type(error)} hangs on the error"
        error = error.__cause__ or error.__context__
    return str(refusal.value)


def test_open_rejects_unusable_urls_in_one_line_without_the_password(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = postgres.url("refused")
    assert "the user name or the password was refused" in refused(good.replace(PASSWORD, "other-secret"))
    assert "there is no such database" in refused(good.replace("/postgres?", "/nowhere?"))
    assert "no server answers there" in refused(good.replace(str(postgres.port), "1"))
    assert "mysql is not supported; give a path, or postgresql+asyncpg://" in refused(f"mysql://u:{PASSWORD}@h/db")
    assert "is not of the form postgresql+asyncpg://" in refused(f"postgresql+asyncpg://u:{PASSWORD}@h")
    assert "is not of the form" in refused(f"postgresql+asyncpg://u:{PASSWORD}@h:port/db")
    assert "schema= takes lower-case letters" in refused(postgres.url("a-b"))
    assert "lease= takes a number of seconds" in refused(postgres.url("refused", lease="soon"))
    assert "unknown parameter 'colour'" in refused(postgres.url("refused", colour="red"))
    monkeypatch.setattr("aelyst_async.sync.journal.postgres.OLDEST", (99,))
    assert "which is not supported; use version 99 or newer" in refused(good)


def test_open_rejects_a_foreign_schema_and_one_of_another_version(url: str, journal: Journal) -> None:
    def comment(text: str | None) -> None:
        schema = journal.database.schema  # type: ignore[attr-defined]
        said = "NULL" if text is None else f"'{text}'"
        journal.database.write(lambda found: found.execute(f"COMMENT ON SCHEMA {schema} IS {said}"))

    comment(None)
    assert "holds tables of something else, no journal of a sync; name another one with ?schema=NAME" in refused(url)
    comment("journal of a sync of aelyst-async, version 99")
    assert "has version 99, this program writes version 2" in refused(url)


@pytest.mark.slow
def test_write_succeeds_after_a_restart_of_the_server(postgres: PostgresServer) -> None:
    with contextlib.closing(Journal.open(postgres.url("restart", lease=15))) as journal:
        journal.claim(["email:a"])
        postgres.kill()
        postgres.start()
        journal.apply([Settled("email:a", "DONE", "create", b"h", "1", 1, 200, 0)])
        assert journal.look_up(["email:a"])["email:a"].state == "DONE"


@pytest.mark.slow
def test_cli_sync_status_and_retry_accept_a_postgres_url(
    postgres: PostgresServer, start_sandbox: Callable[..., OtherSandbox], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from aelyst_async.cli import main

    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text("email,first_name\na@example.com,A\nb@example.com,B\n")
    sandbox, url = start_sandbox("--quota", "none"), postgres.url("cli_journal")
    sync = ["sync", "people.csv", "--to", "sandbox", "--base-url", sandbox.url, "--journal", url, "--progress", "none"]
    assert main(sync) == 0
    assert main(sync) == 0
    assert main(["sync", "status", url]) == 0
    assert main(["sync", "retry", url]) == 0
    shown = capsys.readouterr()
    assert "2 sent" in shown.out
    assert "2 unchanged" in shown.out
    assert PASSWORD not in shown.out + shown.err
    sandbox.ask("faults", {"fault": "status,code:400=100%"})
    Path("people.csv").write_text("email,first_name\nc@example.com,C\n")
    assert main(sync) == 1
    assert main(["sync", "status", url]) == 0
    shown = capsys.readouterr()
    assert "1 given up" in shown.out
    assert PASSWORD not in shown.out + shown.err
    sandbox.ask("faults", method="DELETE")
    assert main(["sync", "retry", url, "--progress", "none"]) == 0
    assert {contact["email"] for contact in sandbox.contacts()} == {f"{one}@example.com" for one in "abc"}
