"""Rare outcomes of a sync: differences to the vendor, errors in doubt, stops of a mirror, damaged failures files."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aelyst_async import errors
from aelyst_async.identifiers import Identifier, parse_identifier
from aelyst_async.sync import ContactSync, JournalError, RetrySettings, SourceError, SyncError
from aelyst_async.sync.failures import FailedRows
from aelyst_async.sync.journal import Journal
from aelyst_async.sync.journal.committer import Committer
from aelyst_async.sync.journal.history import given_up, origin_of, status
from aelyst_async.sync.journal.process import identity, lives
from aelyst_providers.aelyst import AelystContact, AelystGateway, CustomField
from tests.export.fakes import Account, aelyst_contact
from tests.sync.fakes import FakeGateway

PAUSES = RetrySettings(settle=0.0, base=0.001, cap=0.002, queued=0.01, queued_cap=0.01, patience=1.0)


class WithCustomFields(FakeGateway):
    schema = AelystGateway.schema

    async def get(self, identifier: Identifier | str) -> AelystContact:
        stored = self._find(parse_identifier(identifier))
        return AelystContact(id=stored.id, **stored.fields)


@pytest.mark.parametrize(
    ("row", "change", "outcome"),
    [
        ({"custom_fields": {"Seats": 3}}, {}, "unchanged"),
        ({"custom_fields": {"Seats": 3}}, {"last_name": "Lee"}, "unchanged"),
        ({"custom_fields": {"Seats": 3}}, {"custom_fields": ()}, "updated"),
        ({"custom_fields": {"Seats": 3}}, {"custom_fields": (CustomField("Rows", 3),)}, "updated"),
        ({"custom_fields": {"Seats": 3}}, {"custom_fields": (CustomField("Seats", 4),)}, "updated"),
        ({"custom_fields": {"Vip": True}}, {"custom_fields": (CustomField("Vip", 1),)}, "updated"),
        ({"last_name": None}, {}, "unchanged"),
        ({"last_name": None}, {"last_name": ""}, "unchanged"),
        ({"last_name": None}, {"last_name": "Lee"}, "updated"),
        ({"first_name": "Ann"}, {"first_name": "Anne"}, "updated"),
    ],
)
async def test_verify_compares_custom_fields_and_cleared_fields(
    tmp_path: Path, row: dict[str, Any], change: dict[str, Any], outcome: str
) -> None:
    gateway = WithCustomFields()
    rows = [{"email": "a@example.com", **row}]
    settings: dict[str, Any] = {"journal": tmp_path / "j.db", "retry": PAUSES}
    assert (await ContactSync(gateway, **settings).run(rows)).created == 1
    gateway.contacts[0].fields |= change
    report = await ContactSync(gateway, verify=1.0, **settings).run(rows)
    assert {name: getattr(report, name) for name in ("unchanged", "updated")} == {
        "unchanged": int(outcome == "unchanged"), "updated": int(outcome == "updated"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "error",
    [errors.AuthenticationError(status=401, message="no"), errors.ConfigurationError("the quota cannot be shared")],
    ids=["credential", "configuration"],
)
@pytest.mark.parametrize("lost", [False, True])
async def test_error_of_the_whole_run_keeps_a_row_in_doubt(
    tmp_path: Path, error: errors.ContactsError, lost: bool
) -> None:
    def fault(method: str, _: str, count: int) -> BaseException | str | None:
        return "lost" if lost and method == "POST" and count == 1 else None if lost and method == "PUT" else error

    gateway = FakeGateway(fault)
    settings: dict[str, Any] = {"journal": tmp_path / "j.db", "retry": PAUSES}
    rows = [{"email": "a@example.com", "first_name": "Ann"}]
    with pytest.raises(type(error)):
        await ContactSync(gateway, **settings).run(rows)
    assert len(gateway.contacts) == int(lost)
    gateway.fault = None
    report = await ContactSync(gateway, **settings).run(rows)
    assert (report.created, report.failed, report.pending) == (1, 0, 0)
    assert gateway.emails() == {"a@example.com": 1}


async def test_different_reasons_are_counted_up_to_a_bound() -> None:
    gateway = FakeGateway(lambda method, key, _: errors.BadRequestError(status=400, message=key, method=method))
    rows = [{"email": f"p{number}@example.com"} for number in range(1_010)]
    report = await ContactSync(gateway).run(rows)
    assert report.failed == 1_010
    assert report.reasons[0] == ("other reasons", 10)


# --- mirror ----------------------------------------------------------------------------------------------------------


def account(count: int) -> Account:
    return Account([aelyst_contact(number) for number in range(1, count + 1)])


def mirror(gateway: Account, folder: Path, **settings: Any) -> ContactSync:
    return ContactSync(gateway, journal=folder / "j.db", retry=PAUSES, delete_missing=True, max_deletes=1.0, **settings)


FIRST = [{"email": "p1@example.com", "first_name": "P1"}]


async def test_mirror_that_is_stopped_while_it_lists_deletes_nothing(tmp_path: Path) -> None:
    gateway = account(30)
    sync = mirror(gateway, tmp_path)
    gateway.fault = lambda method, at: sync.stop() if (method, at) == ("LIST", "6") else None
    report = await sync.run(FIRST)
    assert (report.not_deleted, report.deleted, gateway.calls["DELETE"]) == ("interrupted", 0, 0)
    assert gateway.calls["LIST"] < 10


async def test_mirror_dry_run_counts_more_missing_contacts_than_it_names(tmp_path: Path) -> None:
    report = await mirror(account(1_010), tmp_path).run(FIRST, dry_run=True)
    assert report.missing == 1_009
    assert 0 < len(report.missing_contacts) < 1_009
    assert report.missing_contacts[0] == "id:2 email:p2@example.com"


async def test_mirror_keeps_an_unconfirmed_delete_open_until_it_can_be_looked_up(tmp_path: Path) -> None:
    gateway = account(2)

    def fault(method: str, _: str) -> str | BaseException | None:
        reset = errors.TransportError(message="reset", may_have_been_applied=True, method="DELETE")
        if method == "DELETE":
            return "lost" if gateway.calls["DELETE"] == 1 else reset
        return look_up if method == "GET" else None

    look_up: BaseException | None = errors.ServerError(status=500)
    gateway.fault = fault
    report = await mirror(gateway, tmp_path).run(FIRST)
    assert report.deleted == 0
    assert "in doubt" in str(report.not_deleted)
    assert (await mirror(gateway, tmp_path).run(FIRST)).missing == 0
    look_up = errors.AuthenticationError(status=401)
    with pytest.raises(errors.AuthenticationError):
        await mirror(gateway, tmp_path).run(FIRST)
    look_up = None
    report = await mirror(gateway, tmp_path).run(FIRST)
    assert (report.missing, report.deleted, report.not_deleted) == (1, 1, None)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.TransportError(message="no route", may_have_been_applied=False, method="DELETE"), "no route"),
        (errors.ResponseDecodeError("secret"), "the answer cannot be understood"),
        (errors.UnsupportedOperationError("not here"), "UnsupportedOperationError"),
    ],
)
async def test_mirror_says_why_a_contact_was_not_deleted(
    tmp_path: Path, error: errors.ContactsError, words: str
) -> None:
    gateway = account(2)
    gateway.fault = lambda method, _: error if method == "DELETE" else None
    report = await mirror(gateway, tmp_path).run(FIRST)
    assert report.not_deleted == f"1 could not be deleted ({words})"


# --- failures files --------------------------------------------------------------------------------------------------


def record(row: int, data: Any, **more: Any) -> str:
    return json.dumps({"row": row, "line": row + 1, "errors": [], "attempts": 1, "data": data, **more})


async def test_failures_of_json_lines_that_cannot_be_used_fail_alone(tmp_path: Path) -> None:
    path = tmp_path / "p.failures.jsonl"
    people = [{"email": f"p{number}@example.com", "first_name": "P"} for number in range(3)]
    lines = [
        record(4, people[0]), "{not json", record(7, "a line without cells"), record(9, {**people[1], "": ["extra"]}),
        record(True, people[2]),
    ]  # fmt: skip
    path.write_text("\n".join(lines) + "\n")
    failures = tmp_path / "again.jsonl"
    report = await ContactSync(FakeGateway(), failures=failures).run(FailedRows(path, "jsonl"))
    assert (report.created, report.failed) == (2, 3)
    failed = [json.loads(line) for line in failures.read_text().splitlines()]
    assert [one["row"] for one in failed] == [2, 7, 9]
    assert failed[1]["errors"][0]["message"] == "the row could not be read; correct it in the source"
    assert failed[2]["errors"][0]["message"] == "3 cells, more than the 2 columns"


async def test_failures_table_with_a_wrong_quote_fails_one_row(tmp_path: Path) -> None:
    path = tmp_path / "p.failures.csv"
    path.write_text('email,first_name,error\na@example.com,Ann,x\nb@example.com,"Bo"b,x\nc@example.com,Cy,x\n')
    gateway = FakeGateway()
    report = await ContactSync(gateway).run(FailedRows(path, "csv"))
    assert (report.created, report.failed) == (2, 1)
    assert sorted(gateway.emails()) == ["a@example.com", "c@example.com"]


async def test_failures_table_must_have_the_column_of_errors(tmp_path: Path) -> None:
    path = tmp_path / "p.failures.csv"
    path.write_text("email,first_name\na@example.com,Ann\n")
    with pytest.raises(SourceError, match=r"p\.failures\.csv has no last column 'error'"):
        await ContactSync(FakeGateway()).run(FailedRows(path, "csv"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full on this system")
@pytest.mark.parametrize("bad", [1, 400], ids=["one row", "more than a buffer"])
@pytest.mark.parametrize("refused_by", ["rule", "vendor"])
async def test_disk_that_is_full_for_failed_rows_ends_the_run_and_loses_nothing(
    tmp_path: Path, bad: int, refused_by: str
) -> None:
    def fault(method: str, key: str, _: int) -> BaseException | None:
        refusal = errors.BadRequestError(status=400, message="no", method=method)
        return refusal if refused_by == "vendor" and "bad" in key else None

    gateway = FakeGateway(fault)
    address = "bad{}@example.com" if refused_by == "vendor" else "bad{}"
    rows = [{"email": f"p{number}@example.com"} for number in range(20)]
    rows += [{"email": address.format(number), "last_name": "x" * 50} for number in range(bad)]
    failures = tmp_path / "f.jsonl"
    failures.symlink_to("/dev/full")
    settings: dict[str, Any] = {"journal": tmp_path / "j.db", "failures": failures, "retry": PAUSES}
    with pytest.raises(SyncError, match=r"cannot write the failures file .*f\.jsonl: no space left on device; name an"):
        await ContactSync(gateway, **settings).run(rows)
    failures.unlink()
    report = await ContactSync(gateway, **settings).run(rows)
    assert (report.failed, report.pending) == (bad, 0)
    assert len(failures.read_text().splitlines()) == bad
    assert sorted(gateway.emails().values()) == [1] * 20


# --- journals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", [given_up, origin_of])
def test_journal_without_a_run_has_nothing_to_repeat(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    path = tmp_path / "j.db"
    Journal.open(path).close()
    with pytest.raises(JournalError, match=r"j\.db: no run has been made with this journal"):
        read(path)


def test_status_of_a_journal_without_a_run(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    Journal.open(path).close()
    found = status(path)
    assert (found["run"], found["target"], found["given_up"]) == (None, None, 0)
    assert set(found["counts"].values()) == {0}


async def test_durable_returns_without_writes_and_raises_after_the_end(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "j.db")
    async with Committer(journal) as committer:
        await committer.durable()
    with pytest.raises(JournalError, match="the journal is being closed"):
        await committer.durable()
    journal.close()


@pytest.mark.parametrize(
    ("change", "alive"),
    [
        ({}, True),
        ({"started": None}, True),
        ({"started": "another boot 1"}, False),
        ({"started": None, "pid": "1"}, False),
        ({"started": None, "pid": True}, False),
        ({"started": None, "pid": 0}, False),
        ({"started": None, "pid": 1 << 30}, False),
        ({"host": "elsewhere"}, None),
    ],
)
def test_lives_tells_whether_a_process_still_runs(change: dict[str, Any], alive: bool | None) -> None:
    assert identity()["pid"] == os.getpid()
    assert lives({"host": socket.gethostname(), **identity(), **change}) is alive
