"""Mirror: deletes exactly the missing contacts, and none if the source may be incomplete."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path
from typing import Any

import pytest

from aelyst_async import errors
from aelyst_async.export import export_contacts
from aelyst_async.sync import (
    ContactSync,
    MappingError,
    MirrorPlan,
    RetrySettings,
    SourceError,
    SyncReport,
    read_contacts,
)
from aelyst_async.sync.journal import Journal, Settled
from tests.export.fakes import Account, aelyst_contact

pytestmark = pytest.mark.hostile

PAUSES = RetrySettings(settle=0.0, base=0.001, cap=0.002, queued=0.01, queued_cap=0.01, patience=1.0)


def account(count: int = 10, **options: Any) -> Account:
    return Account([aelyst_contact(number) for number in range(1, count + 1)], **options)


def table(numbers: Any, path: Path, end: str = "\n") -> Path:
    lines = ["email,first_name", *(f"p{number}@example.com,P{number}" for number in numbers)]
    path.write_text("\n".join(lines) + end)
    return path


async def mirror(gateway: Account, rows: Any, tmp_path: Path, **options: Any) -> SyncReport:
    run = {name: options.pop(name) for name in ("dry_run", "remote") if name in options}
    options = {"journal": tmp_path / "j.db", "retry": PAUSES, "max_deletes": 1.0, "delete_missing": True, **options}
    return await ContactSync(gateway, **options).run(rows, **run)


def ids(gateway: Account) -> set[int]:
    return {int(one) for one in gateway.contacts_by_id}


async def test_mirror_deletes_exactly_the_missing_contacts(tmp_path: Path) -> None:
    gateway = account(10)
    report = await mirror(gateway, table([1, 3, 5, 11, 12], tmp_path / "p.csv"), tmp_path)
    assert (report.updated, report.created) == (3, 2)
    assert (report.missing, report.deleted, report.not_deleted, report.exit_code) == (7, 7, None, 0)
    assert ids(gateway) == {1, 3, 5, 11, 12}
    again = await mirror(gateway, table([1, 3, 5, 11, 12], tmp_path / "p.csv"), tmp_path)
    assert (again.unchanged, again.missing, again.deleted, again.exit_code) == (5, 0, 0, 0)


async def test_mirror_is_off_by_default(tmp_path: Path) -> None:
    gateway = account(10)
    report = await mirror(gateway, table([1], tmp_path / "p.csv"), tmp_path, delete_missing=False)
    assert (report.missing, report.exit_code, gateway.calls["LIST"], gateway.calls["DELETE"]) == (0, 0, 0, 0)


async def test_mirror_recreates_a_contact_whose_row_returns(tmp_path: Path) -> None:
    gateway = account(3)
    file = tmp_path / "p.csv"
    await mirror(gateway, table([1, 2, 3], file), tmp_path)
    await mirror(gateway, table([1, 2], file), tmp_path)
    assert ids(gateway) == {1, 2}
    report = await mirror(gateway, table([1, 2, 3], file), tmp_path)
    assert (report.unchanged, report.created, len(ids(gateway))) == (2, 1, 3)


async def test_mirror_recreates_a_contact_whose_row_returns_with_an_old_address(tmp_path: Path) -> None:
    """The journal knows the contact by the address of its row; the account has another one since."""
    gateway = account(2)
    file = tmp_path / "p.csv"
    await mirror(gateway, table([1, 2], file), tmp_path)
    gateway.contacts_by_id["2"] = aelyst_contact(2, email="renamed@example.com")
    await mirror(gateway, table([1], file), tmp_path)
    assert ids(gateway) == {1}
    assert (await mirror(gateway, table([1, 2], file), tmp_path)).created == 1


async def test_mirror_dry_run_lists_missing_contacts_and_deletes_none(tmp_path: Path) -> None:
    gateway = account(4)
    report = await mirror(gateway, table([1, 2], tmp_path / "p.csv"), tmp_path, dry_run=True)
    assert report.missing_contacts == ("id:3 email:p3@example.com", "id:4 email:p4@example.com")
    assert (report.missing, report.deleted, gateway.writes) == (2, 0, 0)
    assert not (tmp_path / "j.db").exists()


@pytest.mark.parametrize(("limit", "deleted"), [(0.29, 0), (0.3, 3), (0, 0), (2, 0), (3, 3), (0.0, 0)])
async def test_mirror_deletes_all_or_nothing_by_max_deletes(tmp_path: Path, limit: float, deleted: int) -> None:
    gateway = account(10)
    report = await mirror(gateway, table(range(1, 8), tmp_path / "p.csv"), tmp_path, max_deletes=limit)
    assert (report.missing, report.deleted, len(ids(gateway))) == (3, deleted, 10 - deleted)
    assert report.exit_code == (0 if deleted else 1)
    if not deleted:
        assert "3 of 10 contacts are not in the source" in str(report.not_deleted)
        assert "--max-deletes 3" in str(report.not_deleted)


async def test_mirror_deletes_at_most_a_tenth_by_default(tmp_path: Path) -> None:
    for present, deleted in ((18, 2), (17, 0)):
        gateway = account(20)
        sync = ContactSync(gateway, journal=tmp_path / f"{present}.db", retry=PAUSES, delete_missing=True)
        report = await sync.run(table(range(1, present + 1), tmp_path / "p.csv"))
        assert report.deleted == deleted


async def test_mirror_deletes_nothing_when_a_row_is_invalid(tmp_path: Path) -> None:
    gateway = account(4)
    file = table([1, 2], tmp_path / "p.csv")
    file.write_text(file.read_text() + "no address,Max\n")
    report = await mirror(gateway, file, tmp_path)
    assert (report.failed, report.deleted, len(ids(gateway))) == (1, 0, 4)
    assert "1 rows failed" in str(report.not_deleted)
    assert gateway.calls["LIST"] == 0


async def test_mirror_deletes_nothing_when_the_vendor_rejects_a_row(tmp_path: Path) -> None:
    gateway = account(4)
    gateway.fault = lambda method, who: errors.BadRequestError(status=400) if who == "email:p2@example.com" else None
    report = await mirror(gateway, table([1, 2], tmp_path / "p.csv"), tmp_path)
    assert (report.failed, report.deleted, gateway.calls["DELETE"]) == (1, 0, 0)


@pytest.mark.parametrize("cut", [1, 2, 4, 6, 17, 18, 19])
async def test_mirror_deletes_nothing_when_the_last_line_is_truncated(tmp_path: Path, cut: int) -> None:
    """A truncation between two lines cannot be detected."""
    gateway = account(4)
    file = table([1, 2, 3], tmp_path / "p.csv")
    file.write_bytes(file.read_bytes()[:-cut])
    report = await mirror(gateway, file, tmp_path)
    if file.read_bytes().endswith(b"\n"):
        assert report.deleted == 2
        return
    assert gateway.calls["DELETE"] == 0
    assert report.not_deleted is not None
    assert "cut short" in report.not_deleted or "failed" in report.not_deleted


@pytest.mark.parametrize(
    ("encoding", "end"), [("utf-8", "\r"), ("utf-8", "\n\x1a"), ("utf-16", "\r\n"), ("utf-16-be", "\n")]
)
async def test_mirror_accepts_complete_files_in_every_encoding(tmp_path: Path, encoding: str, end: str) -> None:
    gateway = account(3)
    file = tmp_path / "p.csv"
    lines = ["email,first_name", "p1@example.com,P1", "p2@example.com,P2"]
    file.write_bytes((end.rstrip("\x1a").join(lines) + end).encode(encoding))
    report = await mirror(gateway, read_contacts(file, encoding=encoding), tmp_path)
    assert (report.not_deleted, report.deleted) == (None, 1)


async def test_mirror_deletes_nothing_when_a_compressed_file_is_truncated(tmp_path: Path) -> None:
    gateway = account(4)
    file = tmp_path / "p.csv.gz"
    file.write_bytes(gzip.compress(table([1, 2], tmp_path / "p.csv").read_bytes())[:-9])
    with pytest.raises(SourceError, match="cut off"):
        await mirror(gateway, file, tmp_path)
    assert gateway.calls == {}


@pytest.mark.parametrize("rows", [[], "header"])
async def test_mirror_deletes_nothing_when_the_source_is_empty(tmp_path: Path, rows: Any) -> None:
    gateway = account(4)
    source = rows if rows == [] else table([], tmp_path / "p.csv")
    report = await mirror(gateway, source, tmp_path)
    assert (report.not_deleted, gateway.calls["DELETE"]) == ("the source has no rows", 0)


async def test_mirror_deletes_nothing_for_a_file_of_failed_rows(tmp_path: Path) -> None:
    from aelyst_async.sync.failures import FailedRows

    gateway = account(4)
    file = table([1], tmp_path / "p.failures.csv")
    file.write_text(file.read_text().replace("first_name", "first_name,error").replace("P1", "P1,was wrong"))
    report = await mirror(gateway, FailedRows(file, "csv"), tmp_path)
    assert "failed before" in str(report.not_deleted)
    assert gateway.calls["DELETE"] == 0


async def test_mirror_deletes_nothing_when_the_run_is_stopped(tmp_path: Path) -> None:
    gateway = account(4)
    sync = ContactSync(gateway, journal=tmp_path / "j.db", retry=PAUSES, delete_missing=True, max_deletes=1.0)
    gateway.fault = lambda method, who: sync.stop("interrupted") if who == "email:p1@example.com" else None
    report = await sync.run(table([1, 2], tmp_path / "p.csv"))
    assert report.stopped == "interrupted"
    assert report.not_deleted == "the run ended early"
    assert gateway.calls["DELETE"] == 0


async def test_mirror_deletes_nothing_when_the_listing_fails(tmp_path: Path) -> None:
    gateway = account(10)
    gateway.fault = lambda method, who: errors.ServerError(status=500) if (method, who) == ("LIST", "6") else None
    with pytest.raises(errors.ServerError) as caught:
        await mirror(gateway, table([1, 2], tmp_path / "p.csv"), tmp_path)
    assert gateway.calls["DELETE"] == 0
    assert caught.value.report.updated == 2  # type: ignore[attr-defined]


async def test_mirror_deletes_nothing_for_an_exported_selection(tmp_path: Path) -> None:
    gateway = account(10)
    await export_contacts(gateway, tmp_path / "p.csv", search="x", journal=tmp_path / "j.db", key="email")
    gateway.contacts_by_id["11"] = aelyst_contact(11)
    report = await mirror(gateway, tmp_path / "p.csv", tmp_path)
    assert "selection" in str(report.not_deleted)
    await export_contacts(gateway, tmp_path / "p.csv", journal=tmp_path / "j.db", key="email", force=True)
    gateway.contacts_by_id["12"] = aelyst_contact(12)
    assert (await mirror(gateway, tmp_path / "p.csv", tmp_path)).deleted == 1
    assert ids(gateway) == set(range(1, 12))


@pytest.mark.parametrize(("answer", "asynchronous"), [(False, False), (False, True), (True, True)])
async def test_mirror_asks_for_confirmation_before_it_deletes(tmp_path: Path, answer: bool, asynchronous: bool) -> None:
    gateway = account(4)
    asked: list[MirrorPlan] = []

    def plainly(plan: MirrorPlan) -> bool:
        assert gateway.calls["DELETE"] == 0
        asked.append(plan)
        return answer

    async def later(plan: MirrorPlan) -> bool:
        await asyncio.sleep(0)
        return plainly(plan)

    report = await mirror(
        gateway, table([1, 2], tmp_path / "p.csv"), tmp_path, confirm=later if asynchronous else plainly
    )
    assert [(plan.missing, plan.listed, len(plan.names)) for plan in asked] == [(2, 4, 2)]
    assert report.deleted == (2 if answer else 0)
    assert report.not_deleted == (None if answer else "the deletion was not confirmed")


async def test_mirror_can_be_stopped_during_the_confirmation(tmp_path: Path) -> None:
    gateway = account(4)

    async def never(plan: MirrorPlan) -> bool:
        asyncio.get_running_loop().call_soon(sync.stop)
        await asyncio.Event().wait()
        return True

    sync = ContactSync(
        gateway, journal=tmp_path / "j.db", retry=PAUSES, delete_missing=True, max_deletes=1.0, confirm=never
    )
    report = await sync.run(table([1, 2], tmp_path / "p.csv"))
    assert (report.not_deleted, gateway.calls["DELETE"]) == ("interrupted", 0)


@pytest.mark.parametrize("how", ["stop", "abort"])
async def test_mirror_stopped_between_deletes_is_resumed_by_the_next_run(tmp_path: Path, how: str) -> None:
    gateway = account(60)
    file = table([1], tmp_path / "p.csv")
    options: dict[str, Any] = {"journal": tmp_path / "j.db", "retry": PAUSES, "delete_missing": True}
    sync = ContactSync(gateway, max_deletes=1.0, concurrency=2, **options)
    gateway.fault = lambda method, who: getattr(sync, how)() if gateway.calls["DELETE"] == 10 else None
    report = await sync.run(file)
    assert report.not_deleted == "interrupted"
    assert 0 < len(gateway.deleted) < 20
    gateway.fault = lambda method, who: None
    report = await mirror(gateway, file, tmp_path)
    assert ids(gateway) == {1}
    assert sorted(gateway.deleted) == sorted(set(gateway.deleted))


async def test_mirror_looks_up_a_contact_after_a_lost_delete_response(tmp_path: Path) -> None:
    gateway = account(6)
    gateway.fault = lambda method, who: "lost" if method == "DELETE" and who in {"id:3", "id:4"} else None
    report = await mirror(gateway, table([1, 2], tmp_path / "p.csv"), tmp_path)
    assert (report.deleted, report.not_deleted, ids(gateway)) == (4, None, {1, 2})
    assert (gateway.calls["DELETE"], gateway.calls["GET"]) == (4, 2)


async def test_mirror_repeats_a_delete_when_the_look_up_finds_the_contact(tmp_path: Path) -> None:
    gateway = account(3)
    reset = errors.TransportError(message="reset", may_have_been_applied=True, method="DELETE")
    gateway.fault = lambda method, who: reset if method == "DELETE" and gateway.calls["DELETE"] == 1 else None
    report = await mirror(gateway, table([1, 2], tmp_path / "p.csv"), tmp_path)
    assert (report.deleted, ids(gateway), gateway.calls["DELETE"], gateway.calls["GET"]) == (1, {1, 2}, 2, 1)


async def test_mirror_leaves_a_delete_in_doubt_to_the_next_run(tmp_path: Path) -> None:
    gateway = account(3)

    def lose(method: str, who: str) -> str | BaseException | None:
        if method == "DELETE":
            reset = errors.TransportError(message="reset", may_have_been_applied=True, method="DELETE")
            return "lost" if gateway.calls["DELETE"] == 1 else reset
        return errors.ServerError(status=500) if method == "GET" else None

    gateway.fault = lose
    file = table([1, 2], tmp_path / "p.csv")
    report = await mirror(gateway, file, tmp_path)
    assert report.deleted == 0
    assert "in doubt" in str(report.not_deleted)
    assert ids(gateway) == {1, 2}
    gateway.fault = lambda method, who: None
    report = await mirror(gateway, file, tmp_path)
    assert (report.missing, report.deleted, report.not_deleted) == (1, 1, None)
    assert (await mirror(gateway, file, tmp_path)).missing == 0


async def test_mirror_counts_a_contact_that_is_already_gone_as_deleted(tmp_path: Path) -> None:
    gateway = account(3)
    gateway.fault = lambda method, who: errors.ContactNotFoundError(status=404) if method == "DELETE" else None
    report = await mirror(gateway, table([1, 2], tmp_path / "p.csv"), tmp_path)
    assert (report.deleted, report.not_deleted) == (1, None)


async def test_mirror_reports_contacts_that_cannot_be_deleted(tmp_path: Path) -> None:
    gateway = account(6)
    gateway.fault = lambda method, who: (
        errors.BadRequestError(status=400) if (method, who) == ("DELETE", "id:4") else None
    )
    report = await mirror(gateway, table([1, 2], tmp_path / "p.csv"), tmp_path)
    assert (report.missing, report.deleted, ids(gateway)) == (4, 3, {1, 2, 4})
    assert report.not_deleted == "1 could not be deleted (400)"
    assert report.exit_code == 1


async def test_mirror_gives_up_when_every_delete_is_answered_with_403(tmp_path: Path) -> None:
    gateway = account(500)
    gateway.fault = lambda method, who: errors.AuthenticationError(status=403) if method == "DELETE" else None
    report = await mirror(gateway, table([1], tmp_path / "p.csv"), tmp_path, concurrency=4)
    assert report.deleted == 0
    assert gateway.calls["DELETE"] < 30


async def test_mirror_ends_when_a_delete_is_answered_with_401(tmp_path: Path) -> None:
    gateway = account(50)
    gateway.fault = lambda method, who: errors.AuthenticationError(status=401) if method == "DELETE" else None
    with pytest.raises(errors.AuthenticationError):
        await mirror(gateway, table([1], tmp_path / "p.csv"), tmp_path, concurrency=2)
    assert gateway.calls["DELETE"] <= 4


async def test_mirror_keeps_contacts_without_a_key(tmp_path: Path) -> None:
    gateway = account(2)
    gateway.contacts_by_id["3"] = aelyst_contact(3, email=None, phone="+60123456789")
    report = await mirror(gateway, table([1], tmp_path / "p.csv"), tmp_path, key="email")
    assert (report.deleted, ids(gateway)) == (1, {1, 3})


@pytest.mark.parametrize("shown", ["60123456789", "+60 12-345 6789", "0060123456789"])
async def test_mirror_compares_phone_numbers_by_digits(tmp_path: Path, shown: str) -> None:
    gateway = Account([aelyst_contact(1, phone=shown)])
    gateway.fault = lambda method, who: None
    await mirror(gateway, [{"phone": "+60123456789", "first_name": "Ann"}], tmp_path, key="phone")
    assert "1" in gateway.contacts_by_id


async def test_mirror_compares_addresses_case_insensitively(tmp_path: Path) -> None:
    gateway = Account([aelyst_contact(1, email="Ann@Example.com"), aelyst_contact(2)])
    await mirror(gateway, [{"email": "ann@example.com", "first_name": "Ann"}], tmp_path)
    assert "1" in gateway.contacts_by_id
    assert "2" not in gateway.contacts_by_id


async def test_mirror_keeps_written_contacts_listed_with_another_address(tmp_path: Path) -> None:
    """A listing that is older than the last write shows the old address."""
    gateway = account(3)
    file = table([1, 2, 3], tmp_path / "p.csv")
    await mirror(gateway, file, tmp_path)
    stale = aelyst_contact(2, email="old@example.com")
    gateway.contacts_by_id["2"] = stale
    report = await mirror(gateway, file, tmp_path)
    assert (report.unchanged, report.deleted, len(ids(gateway))) == (3, 0, 3)


async def test_mirror_keeps_the_contacts_of_duplicate_rows(tmp_path: Path) -> None:
    gateway = Account([
        aelyst_contact(1, phone="+60123456781"), aelyst_contact(2, email="b@example.com", phone="+60123456782"),
    ])  # fmt: skip
    rows = [
        {"email": "p1@example.com", "phone": "+60123456782", "first_name": "A"},
        {"email": "p1@example.com", "phone": "+60123456781", "first_name": "B"},
    ]
    report = await mirror(gateway, rows, tmp_path, key="email,phone")
    assert (report.skipped, report.deleted, ids(gateway)) == (1, 0, {1, 2})


@pytest.mark.parametrize("limit", [-1, 1.5, -0.1, float("nan"), True, "5%", None])
def test_mirror_rejects_invalid_max_deletes(tmp_path: Path, limit: Any) -> None:
    with pytest.raises(MappingError, match="max_deletes"):
        ContactSync(account(), journal=tmp_path / "j.db", delete_missing=True, max_deletes=limit)


def test_mirror_without_a_journal_raises_mapping_error() -> None:
    with pytest.raises(MappingError, match="journal"):
        ContactSync(account(), delete_missing=True)


def test_mirror_rejects_a_gateway_that_cannot_list_contacts(tmp_path: Path) -> None:
    from aelyst_providers.dmchamp import DmChampGateway

    with pytest.raises(MappingError, match="dmchamp cannot list"):
        ContactSync(DmChampGateway("k"), journal=tmp_path / "j.db", delete_missing=True)


def test_journal_forgets_deleted_contacts_and_lists_open_deletes(tmp_path: Path) -> None:
    from aelyst_async.sync.journal import Dead, Forgotten

    journal = Journal.open(tmp_path / "j.db")
    try:
        journal.apply([
            Settled("email:a", "DONE", "create", b"h", "7", 1, 200, 0),
            Settled("email:b", "DONE", "create", b"h", "8", 2, 200, 0),
            Dead("email:a", 1, 1, "x", "y", None, 1, []),
        ])  # fmt: skip
        assert sorted(journal.contact_ids()) == [("email:a", "7"), ("email:b", "8")]
        journal.apply([Forgotten(("email:a",)), Settled("id:7", "INTENT", "delete", None, "7", None, None, 0)])
        assert journal.look_up(["email:a", "email:b"]).keys() == {"email:b"}
        assert journal.open_deletes() == ["7"]
        assert list(journal.contact_ids()) == [("email:b", "8")]
    finally:
        journal.close()
