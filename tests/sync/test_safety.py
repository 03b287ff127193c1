"""Causes of duplicates, mix-ups and hangs: clock changes, damaged rows, invalid ids, 403, long waits."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from aelyst_async import errors
from aelyst_async.contacts import Contact, ContactFields, WriteReceipt
from aelyst_async.identifiers import Identifier
from aelyst_async.sync import ContactSync, JournalError, Progress, RetrySettings, SyncError
from aelyst_async.sync.journal import Journal
from aelyst_async.sync.journal.history import given_up, status
from tests.sync.fakes import FakeGateway, Stored

pytestmark = pytest.mark.hostile


def people(count: int, **extra: Any) -> list[dict[str, Any]]:
    return [{"email": f"p{number}@example.com", "first_name": f"P{number}", **extra} for number in range(count)]


def api_error(status: int, method: str = "PUT", **facts: Any) -> errors.ApiError:
    return errors.error_class_for(status)(status=status, message="no", method=method, **facts)


def change(path: Path, statement: str) -> int:
    """Change the journal with plain SQL; return the number of rows."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        number = connection.execute(statement).rowcount
        connection.commit()
        return number


# Clocks


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 1e9])
@pytest.mark.parametrize("boot", ["this", "another"])
async def test_clock_change_between_two_runs_creates_no_duplicates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float, boot: str
) -> None:
    gateway = FakeGateway()
    gateway.visible_after = 0.3
    pauses = RetrySettings(settle=0.4, base=0.01, cap=0.02)
    sync = ContactSync(gateway, journal=tmp_path / "state.db", retry=pauses)
    assert (await sync.run(people(10))).created == 10
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    if boot == "another":
        monkeypatch.setattr("aelyst_async.sync.journal.state.BOOT", "another boot")
        monkeypatch.setattr("aelyst_async.sync.journal.state.uptime", lambda: 5.0)
    report = await sync.run(people(10, last_name="New"))
    assert (report.updated, report.created) == (10, 0)
    assert set(gateway.emails().values()) == {1}


async def test_create_in_doubt_from_another_boot_waits_from_the_start_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = FakeGateway(lambda method, _, __: "lost" if method == "POST" else None)
    pauses = RetrySettings(settle=0.3, base=0.01, cap=0.02)
    sync = ContactSync(gateway, journal=tmp_path / "state.db", retry=pauses, max_attempts=1)
    assert (await sync.run(people(3))).failed == 3
    gateway.fault = None
    monkeypatch.setattr("aelyst_async.sync.journal.state.BOOT", "another boot")
    loop = asyncio.get_running_loop()
    began = loop.time()
    report = await sync.run(people(3))
    assert loop.time() - began >= 0.3
    assert (report.created, set(gateway.emails().values())) == (3, {1})


async def test_contact_older_than_settle_is_updated_without_waiting(tmp_path: Path) -> None:
    sync = ContactSync(FakeGateway(), journal=tmp_path / "state.db", retry=RetrySettings(settle=0.5))
    await sync.run(people(3))
    await asyncio.sleep(0.5)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert (await sync.run(people(3, last_name="New"))).updated == 3
    assert loop.time() - began < 0.4


class Dated(FakeGateway):
    """Returns creation and change times from a clock that is years behind."""

    changed_after = timedelta(0)

    async def get(self, identifier: Identifier | str) -> Contact:
        contact = await super().get(identifier)
        created = datetime(2020, 1, 1, tzinfo=timezone.utc)
        return Contact(
            id=contact.id, email=contact.email, first_name=contact.first_name, created_at=created,
            updated_at=created + self.changed_after,
        )  # fmt: skip


@pytest.mark.parametrize(("changed_after", "created"), [(0, 1), (86400, 0)])
async def test_create_in_doubt_is_classified_by_the_vendors_timestamps_only(
    tmp_path: Path, pauses: RetrySettings, changed_after: float, created: int
) -> None:
    gateway = Dated(lambda method, _, __: "lost" if method == "POST" else None)
    gateway.changed_after = timedelta(seconds=changed_after)
    sync = ContactSync(gateway, journal=tmp_path / "state.db", retry=pauses, max_attempts=1)
    await sync.run(people(1))
    report = await ContactSync(gateway, journal=tmp_path / "state.db", retry=pauses).run(people(1))
    assert (report.created, report.updated) == (created, 1 - created)


# Damaged journal rows

DAMAGES = [
    "UPDATE contact SET contact_id = '2' WHERE contact_id = '1'",
    "UPDATE contact SET contact_id = x'31' WHERE contact_id = '1'",
    "UPDATE contact SET contact_id = cast(x'b1' AS TEXT) WHERE contact_id = '1'",  # not UTF-8
    "UPDATE contact SET key = 'email:p1@example.con' WHERE key = 'email:p0@example.com'",
    "UPDATE contact SET state = 'DONF' WHERE contact_id = '1'",
    "UPDATE contact SET state = 'DEAD' WHERE contact_id = '1'",
    "UPDATE contact SET operation = 'create' WHERE contact_id = '1'",
    "UPDATE contact SET uptime = uptime - 1e6 WHERE contact_id = '1'",
    "UPDATE contact SET uptime = 'x' WHERE contact_id = '1'",
    "UPDATE contact SET run = run + 64 WHERE contact_id = '1'",
    "UPDATE contact SET seal = x'00' WHERE contact_id = '1'",
    "UPDATE contact SET hash = (SELECT hash FROM contact WHERE contact_id = '2') WHERE contact_id = '1'",
    "UPDATE contact SET (hash, seal) = (SELECT hash, seal FROM contact WHERE contact_id = '2') WHERE contact_id = '1'",
]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("changed", [False, True])
async def test_row_with_a_wrong_seal_is_looked_up_again_and_reported(
    tmp_path: Path, pauses: RetrySettings, damage: str, changed: bool
) -> None:
    path = tmp_path / "state.db"
    gateway = FakeGateway()
    sync = ContactSync(gateway, journal=path, retry=pauses)
    for name in ("A", "B"):  # the second run learns the ids
        await sync.run(people(4, last_name=name))
    assert change(path, damage) == 1
    gateway.calls.clear()
    rows = people(4, last_name="C" if changed else "B")
    report = await sync.run(rows)
    assert {row["email"]: row for row in rows} == gateway.by_email(), "no contact got another contact's data"
    assert set(gateway.emails().values()) == {1}
    assert report.failed == 0
    if "SET key" not in damage:  # a row with an unknown key is never read
        (note,) = report.notes
        assert note.startswith("1 rows of state.db do not fit their checksum (is the disk failing?); nothing in them")
        assert ("GET", "email:p0@example.com") in gateway.calls
    again = await sync.run(rows)
    assert (again.unchanged, again.notes) == (4, ()), "the row was rewritten"


async def test_row_whose_damaged_key_is_another_contacts_is_not_used(tmp_path: Path, pauses: RetrySettings) -> None:
    """``p0`` and ``p1`` differ in one bit."""
    path = tmp_path / "state.db"
    gateway = FakeGateway()
    sync = ContactSync(gateway, journal=path, retry=pauses)
    for name in ("A", "B"):
        await sync.run(people(1, last_name=name))
    change(path, "UPDATE contact SET key = 'email:p1@example.com'")
    gateway.contacts.append(Stored("2", {"email": "p1@example.com", "first_name": "Other"}))
    report = await sync.run([{"email": "p1@example.com", "first_name": "P1"}])
    assert (report.updated, len(report.notes)) == (1, 1)
    assert gateway.by_email()["p0@example.com"]["first_name"] == "P0"
    assert gateway.by_email()["p1@example.com"]["first_name"] == "P1"


async def test_rows_copied_from_another_journal_are_reported(tmp_path: Path, pauses: RetrySettings) -> None:
    gateway = FakeGateway()
    for name in ("one.db", "two.db"):
        await ContactSync(gateway, journal=tmp_path / name, retry=pauses).run(people(1))
    with contextlib.closing(sqlite3.connect(tmp_path / "two.db")) as connection:
        connection.execute("ATTACH ? AS other", (str(tmp_path / "one.db"),))
        connection.execute("DELETE FROM contact")
        connection.execute("INSERT INTO contact SELECT * FROM other.contact")
        connection.commit()
    report = await ContactSync(gateway, journal=tmp_path / "two.db", retry=pauses).run(people(1))
    assert len(report.notes) == 1


async def test_given_up_row_with_a_wrong_seal_is_left_out_and_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.db"
    gateway = FakeGateway(lambda method, _, __: api_error(400, method))
    assert (await ContactSync(gateway, journal=path).run(people(3))).failed == 3
    change(path, "UPDATE dead SET payload = replace(payload, 'P1', 'P9') WHERE row = 2")
    assert [row["first_name"] for row in given_up(path)[2]] == ["P0", "P2"]
    assert "1 given-up rows do not fit their checksum and are left out" in caplog.text


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 12))])
async def test_flipped_bit_in_a_journal_is_rejected_or_harmless(tmp_path: Path, seed: int) -> None:
    pauses = RetrySettings(settle=0.01, base=0.005, cap=0.01)
    base = tmp_path / "base.db"
    gateway = FakeGateway()
    for name in ("A", "B"):
        await ContactSync(gateway, journal=base, retry=pauses).run(people(40, last_name=name))
    content = base.read_bytes()
    dice = random.Random(seed)
    schema = content.index(b"CREATE TABLE") * 8
    bits = [*dice.sample(range(len(content) * 8), 60), *(schema - 8 * dice.randrange(1200) + 7 for _ in range(12))]
    refused = 0
    for number, bit in enumerate(bits):
        path = tmp_path / f"{number}.db"
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(damaged)
        target = FakeGateway()
        target.contacts = [Stored(stored.id, dict(stored.fields)) for stored in gateway.contacts]
        rows = people(40, last_name="C")
        try:
            report = await asyncio.wait_for(ContactSync(target, journal=path, retry=pauses).run(rows), 20)
        except JournalError as refusal:
            assert str(refusal).isprintable(), bit  # noqa: PT017 - most bits do no harm
            refused += 1
            continue
        assert report.failed == 0, bit
        assert target.by_email() == {row["email"]: row for row in rows}, bit
        assert [stored.id for stored in target.contacts] == [str(number + 1) for number in range(40)], bit
    assert 0 < refused < len(bits) / 2


def test_journal_with_damaged_meta_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    journal = Journal.open(path)
    journal.bind("fake", "account", key="email")
    journal.close()
    change(path, "UPDATE meta SET value = 'phone' WHERE name = 'key'")
    for read in (Journal.open, status, given_up):
        with pytest.raises(JournalError, match=r"state\.db is damaged or no journal \(its table meta does not fit"):
            read(path)


# Values in vendor responses


class OddIds(FakeGateway):
    """Returns contact ids that cannot be stored, such as a lone surrogate."""

    odd: Any = "\ud800"

    async def get(self, identifier: Identifier | str) -> Contact:
        contact = await super().get(identifier)
        return Contact(id=self.odd, email=contact.email, first_name="Old")

    async def create(self, fields: ContactFields, *, identifier: Identifier | str | None = None) -> WriteReceipt:
        receipt = await super().create(fields, identifier=identifier)
        return WriteReceipt(identifier=receipt.identifier, contact_id=self.odd, created=True)


@pytest.mark.parametrize("odd", ["\ud800", "a\udfff", "", 5, b"1", 1 << 70])
async def test_contact_id_that_cannot_be_stored_is_not_remembered(
    tmp_path: Path, pauses: RetrySettings, odd: Any
) -> None:
    gateway = OddIds()
    gateway.odd = odd
    sync = ContactSync(gateway, journal=tmp_path / "state.db", retry=pauses)
    report = await asyncio.wait_for(sync.run(people(3)), 10)
    assert report.created == 3
    change(tmp_path / "state.db", "UPDATE contact SET state = 'AMBIGUOUS'")
    report = await asyncio.wait_for(sync.run(people(3, last_name="N")), 10)
    assert (report.updated, set(gateway.emails().values())) == (3, {1})


async def test_vendor_message_with_a_lone_surrogate_is_stored_escaped(tmp_path: Path, pauses: RetrySettings) -> None:
    gateway = FakeGateway(lambda method, _, __: errors.BadRequestError(status=400, message="bad \ud800", method=method))
    report = await asyncio.wait_for(
        ContactSync(gateway, journal=tmp_path / "state.db", retry=pauses).run(people(2)), 10
    )
    assert report.failed == 2
    assert status(tmp_path / "state.db")["reasons"] == [{"reason": "400 bad \\ud800", "rows": 2}]


async def test_run_raises_the_failure_of_its_journal_with_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def apply(*_: object) -> None:
        raise MemoryError("none left")

    monkeypatch.setattr(Journal, "apply", apply)
    with pytest.raises(JournalError, match="the journal's writer failed: MemoryError: none left") as failure:
        await asyncio.wait_for(ContactSync(FakeGateway(), journal=tmp_path / "state.db").run(people(500)), 10)
    assert isinstance(failure.value.__cause__, MemoryError)
    report = failure.value.report  # type: ignore[attr-defined]
    # On a busy machine the writer may fail at its first report of progress, before all rows are read.
    assert (report.pending, report.created, report.failed) == (report.rows, 0, 0)


# 403


def forbid(*rows: int) -> Any:
    return lambda method, key, _: api_error(403, method) if any(f"p{row}@" in key for row in rows) else None


async def test_403_for_single_rows_fails_only_those_rows(tmp_path: Path) -> None:
    gateway = FakeGateway(forbid(3, 5, 50))
    report = await ContactSync(gateway, journal=tmp_path / "state.db", concurrency=1).run(people(60))
    assert (report.created, report.failed, report.stopped) == (57, 3, None)
    assert report.reasons == (("403 no", 3),)


async def test_403_for_the_first_request_ends_the_run_and_names_the_row(tmp_path: Path) -> None:
    gateway = FakeGateway(forbid(0))
    with pytest.raises(errors.AuthenticationError, match="403 no; row 1") as refusal:
        await ContactSync(gateway, journal=tmp_path / "state.db").run(people(60))
    assert len(gateway.calls) == 1
    assert "row 1" in refusal.value.report.stopped  # type: ignore[attr-defined]


async def test_five_consecutive_403_end_the_run(tmp_path: Path) -> None:
    gateway = FakeGateway(forbid(*range(10, 60)))
    with pytest.raises(errors.AuthenticationError, match="403 no; row 15") as refusal:
        await ContactSync(gateway, journal=tmp_path / "state.db", concurrency=1).run(people(60))
    report = refusal.value.report  # type: ignore[attr-defined]
    assert (report.created, report.failed) == (10, 4)
    gateway.fault = None
    assert (await ContactSync(gateway, journal=tmp_path / "state.db").run(people(60))).created == 50


async def test_401_after_a_success_ends_the_run_at_once(tmp_path: Path) -> None:
    gateway = FakeGateway(lambda method, key, _: api_error(401, method) if "p3@" in key else None)
    with pytest.raises(errors.AuthenticationError):
        await ContactSync(gateway, journal=tmp_path / "state.db", concurrency=1).run(people(60))
    assert len(gateway.contacts) == 3


# Waits


async def test_retry_after_beyond_the_patience_fails_the_row_at_once(tmp_path: Path) -> None:
    for wait in (3601.0, 1.8e9, float("inf")):

        def fault(method: str, key: str, _: int, wait: float = wait) -> BaseException | None:
            return api_error(429, method, retry_after=wait) if "p1@" in key else None

        gateway = FakeGateway(fault)
        report = await asyncio.wait_for(ContactSync(gateway).run(people(5)), 10)
        assert (report.created, report.failed) == (4, 1)
        assert report.reasons[0][0].startswith(f"asked to wait {wait:g} s, longer than the patience of 3600 s: 429 no")
        assert gateway.calls.count(("PUT", "email:p1@example.com")) == 1


async def test_row_that_never_gets_a_connection_fails_after_the_patience(tmp_path: Path) -> None:
    def fault(method: str, key: str, _: int) -> BaseException | None:
        return errors.TransportError(message="cannot connect", method=method) if "p1@" in key else None

    gateway = FakeGateway(fault)
    gateway.latency = 0.01
    pauses = RetrySettings(base=0.01, cap=0.02, patience=0.3)
    sync = ContactSync(gateway, journal=tmp_path / "state.db", retry=pauses, concurrency=4)
    report = await asyncio.wait_for(sync.run(people(200)), 20)
    assert (report.created, report.failed) == (199, 1)
    assert report.reasons == (("put off for over 0.3 s: cannot connect", 1),)


# The progress callback


@pytest.mark.parametrize(
    "failure", [ZeroDivisionError("oh"), BrokenPipeError("gone"), SystemExit(3), KeyboardInterrupt(),
                asyncio.CancelledError(), GeneratorExit()],
    ids=lambda failure: type(failure).__name__,
)  # fmt: skip
async def test_run_ends_at_once_when_its_progress_callback_raises(tmp_path: Path, failure: BaseException) -> None:
    gateway = FakeGateway()
    gateway.latency = 0.01

    def progress(progress: Progress) -> None:
        if progress.created:
            raise failure

    sync = ContactSync(gateway, journal=tmp_path / "state.db", progress=progress, concurrency=4)
    as_it_is = isinstance(failure, (SystemExit, KeyboardInterrupt))
    caught: BaseException | None = None
    try:
        await sync.run(people(600))
    except BaseException as error:  # noqa: BLE001 - SystemExit among them, which must not leave the test's task
        caught = error
    assert 0 < len(gateway.contacts) < 300
    if as_it_is:
        assert caught is failure
    else:
        assert isinstance(caught, SyncError)
        assert f"the progress callback raised {type(failure).__name__}" in str(caught)
        assert caught.__cause__ is failure
    assert caught.report.stopped  # type: ignore[attr-defined]
    last = status(tmp_path / "state.db")["run"]
    assert (last["state"], last["exit"]) == ("ended", 2)
    gateway.latency = 0
    rest = await ContactSync(gateway, journal=tmp_path / "state.db", retry=RetrySettings(settle=0.05)).run(people(600))
    assert rest.complete
    assert set(gateway.emails().values()) == {1}


async def test_run_reports_a_progress_callback_that_raises_at_the_end(tmp_path: Path) -> None:
    def progress(_: Progress) -> None:
        raise ZeroDivisionError

    with pytest.raises(SyncError, match="the progress callback raised ZeroDivisionError") as stop:
        await ContactSync(FakeGateway(), journal=tmp_path / "state.db", progress=progress).run(people(3))
    assert stop.value.report.created == 3  # type: ignore[attr-defined]


# Gateway calls that raise base exceptions or are cancelled


@pytest.mark.parametrize("failure", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr)
async def test_gateway_that_raises_base_exceptions_ends_the_run(tmp_path: Path, failure: BaseException) -> None:
    gateway = FakeGateway(lambda _, key, __: failure if "p7@" in key else None)
    gateway.latency = 0.005
    try:
        await asyncio.wait_for(_caught(ContactSync(gateway, journal=tmp_path / "state.db").run(people(500))), 10)
    except RuntimeError as error:
        assert error.__cause__ is failure  # noqa: PT017 - it is wrapped below
    assert gateway.in_flight == 0
    gateway.fault, gateway.latency = None, 0
    report = await ContactSync(gateway, journal=tmp_path / "state.db", retry=RetrySettings(settle=0.05)).run(
        people(500)
    )
    assert report.complete
    assert set(gateway.emails().values()) == {1}


async def test_gateway_call_cancelled_from_outside_ends_the_run(tmp_path: Path, pauses: RetrySettings) -> None:
    gateway = FakeGateway(lambda _, key, __: asyncio.CancelledError() if "p7@" in key else None)
    with pytest.raises(SyncError, match="a call of the gateway was cancelled, and not by this run") as stop:
        await asyncio.wait_for(ContactSync(gateway, journal=tmp_path / "state.db").run(people(50)), 10)
    assert stop.value.report.pending  # type: ignore[attr-defined]
    gateway.fault = None
    report = await ContactSync(gateway, journal=tmp_path / "state.db", retry=pauses).run(people(50))
    assert (report.complete, set(gateway.emails().values())) == (True, {1})


async def _caught(run: Any) -> None:
    try:
        await run
    except BaseException as error:
        raise RuntimeError from error
