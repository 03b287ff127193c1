"""Export in four formats: a sync of the file sends nothing, and a failed export leaves no file."""

from __future__ import annotations

import asyncio
import csv
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aelyst_async import errors
from aelyst_async.export import ExportError, ExportProgress, export_contacts
from aelyst_async.listing import Listing, Page
from aelyst_async.sync import ContactSync, SyncReport, read_contacts
from aelyst_providers.aelyst import AelystContact, CustomField
from tests.export.fakes import Account, Definition, aelyst_contact

FORMATS = ["csv", "jsonl", "parquet", "xlsx"]
EVERY = pytest.mark.parametrize("kind", FORMATS)

HOSTILE = [
    "007", "0", "a\nb", "a\r\nb", "a\rb", "\rx", 'say "hi"', '"', "a,b;c\td|e", "=cmd|'/c calc'!A0", "+1+1", "-x", "@x",
    "'quoted", "😀 é ß", "  blanks  ", "true", "1e5", "null", "None", "_x000D_", "<b>&amp;</b>", "\u2028line",
    "x" * 3000, "sep=;", "2025-04-03", "12:30", "{}", "[1]", "C:\\path", "a\\", "\\N", "ﬁ", "e\u0301",
]  # fmt: skip


async def round_trip(account: Account, file: Path) -> SyncReport:
    """Export the account, then sync the file with the journal of the export."""
    journal = file.with_name(f"{file.name}.db")
    await export_contacts(account, file, journal=journal, force=True)
    account.calls.clear()
    sync = ContactSync(account, journal=journal, key="email,phone", progress=None)
    return await sync.run(read_contacts(file))


@EVERY
async def test_sync_of_an_export_with_hostile_values_sends_nothing(tmp_path: Path, kind: str) -> None:
    contacts = [
        aelyst_contact(
            number, last_name=value if not {"\n", "\r"} & set(value) else None,
            custom_fields=(CustomField("Note", value), CustomField("Seats", number), CustomField("Vip", number > 9)),
        )
        for number, value in enumerate(HOSTILE, 1)
    ]  # fmt: skip
    account = Account(contacts)
    report = await round_trip(account, tmp_path / f"people.{kind}")
    assert account.calls == {}
    assert (report.unchanged, report.failed, report.rows) == (len(HOSTILE), 0, len(HOSTILE))


@EVERY
async def test_export_keeps_every_value_of_the_account(tmp_path: Path, kind: str) -> None:
    """Without the journal, a sync of the file sends exactly the values of the account."""
    contacts = [
        aelyst_contact(
            number, language="ms", country_code="MY", phone=f"+601234567{number:02}",
            custom_fields=(
                CustomField("Note", value), CustomField("Whole", number), CustomField("Part", number + 0.1),
                CustomField("Any number", number if number % 2 else number / 3), CustomField("Vip", number % 2 == 0),
                CustomField("Text, with: colon", "x"), CustomField("Blank at the end ", "y"),
                CustomField('Quote "', "z"),
            ),
        )
        for number, value in enumerate(HOSTILE, 1)
    ]  # fmt: skip
    account, copy = Account(contacts), Account()
    file = tmp_path / f"people.{kind}"
    exported = await export_contacts(account, file)
    assert (exported.rows, exported.refused, exported.changed) == (len(HOSTILE), 0, 0)
    report = await ContactSync(copy, key="email", assume_new=True).run(read_contacts(file))
    assert report.created == len(HOSTILE)
    assert by_email(copy) == by_email(account)


def file_names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def by_email(account: Account) -> dict[str | None, Any]:
    return {
        one.email: (
            one.first_name, one.last_name, one.phone, one.language, one.country_code,
            {item.name: item.value for item in one.custom_fields},
        )
        for one in account.contacts_by_id.values()
    }  # fmt: skip


text = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp"]) | st.sampled_from("\n\r\t,;\"'=+-@"), max_size=12
)
value = (
    text | st.none() | st.booleans() | st.integers(-(10**14), 10**14) | st.floats(allow_nan=False, allow_infinity=False)
)


@pytest.mark.slow
@EVERY
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(text | st.none(), value, value), min_size=1, max_size=4))
def test_sync_of_an_export_of_any_account_sends_nothing(tmp_path: Path, kind: str, rows: list[tuple[Any, ...]]) -> None:
    contacts = [
        aelyst_contact(number, last_name=last, custom_fields=(CustomField("A", one), CustomField("B:b", two)))
        for number, (last, one, two) in enumerate(rows, 1)
    ]
    account = Account(contacts)
    file = tmp_path / f"people.{kind}"
    file.with_name(f"{file.name}.db").unlink(missing_ok=True)
    report = asyncio.run(round_trip(account, file))
    assert account.writes == 0
    assert report.created + report.updated == 0
    assert report.rows == len(rows)


@EVERY
async def test_jsonl_export_distinguishes_empty_and_absent_values(tmp_path: Path, kind: str) -> None:
    account = Account([aelyst_contact(1, last_name=""), aelyst_contact(2)])
    file = tmp_path / f"people.{kind}"
    report = await round_trip(account, file)
    assert (report.unchanged, account.calls) == (2, {})
    if kind == "jsonl":
        first, second = (json.loads(line) for line in file.read_text().splitlines())
        assert first["last_name"] == ""
        assert "last_name" not in second


@EVERY
async def test_sync_of_an_edited_export_sends_only_the_edited_row(tmp_path: Path, kind: str) -> None:
    account = Account([aelyst_contact(number) for number in range(1, 8)])
    file = tmp_path / f"people.{kind}"
    journal = tmp_path / "j.db"
    await export_contacts(account, file, journal=journal)
    account.calls.clear()
    rows = [
        {**row, "first_name": "Changed"} if row["email"] == "p4@example.com" else row for row in read_contacts(file)
    ]
    report = await ContactSync(account, journal=journal, key="email,phone").run(rows)
    assert (report.updated, report.unchanged, account.calls) == (1, 6, {"PUT": 1})
    assert account.contacts_by_id["4"].first_name == "Changed"


@EVERY
async def test_sync_of_an_export_updates_contacts_by_id(tmp_path: Path, kind: str) -> None:
    """Two contacts have the same address: an edited row updates the contact that it was exported from."""
    account = Account([aelyst_contact(1, email="same@example.com"), aelyst_contact(2, email="same@example.com")])
    file = tmp_path / f"people.{kind}"
    await export_contacts(account, file, journal=tmp_path / "j.db")
    rows = [{**row, "last_name": "New"} for row in read_contacts(file)]
    report = await ContactSync(account, journal=tmp_path / "j.db", key="email,phone").run(rows)
    assert (report.updated, report.skipped) == (1, 1)
    assert account.contacts_by_id["2"].last_name == "New"
    assert account.contacts_by_id["1"].last_name is None


async def test_export_names_columns_with_the_types_that_sync_reads(tmp_path: Path) -> None:
    account = Account([aelyst_contact(1, custom_fields=(CustomField("Seats", 3), CustomField("Note", "x")))])
    account.definitions = [Definition("Born", "date"), Definition("Note", "text"), Definition("Vip", "checkbox")]
    report = await export_contacts(account, tmp_path / "people.csv")
    assert report.columns == (
        "first_name", "last_name", "phone", "email", "language", "profile_pic", "country_code",
        "custom_fields.Born:date", "custom_fields.Note", "custom_fields.Vip:checkbox", "custom_fields.Seats:number",
    )  # fmt: skip
    data = (tmp_path / "people.csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")
    [header, row] = csv.reader(data.decode("utf-8-sig").splitlines())
    assert tuple(header) == report.columns
    assert row[:4] == ["P1", "", "", "p1@example.com"]


async def test_export_report_counts_rows_that_sync_would_reject_or_change(tmp_path: Path) -> None:
    account = Account([
        aelyst_contact(1, phone="012"), aelyst_contact(2, email=None), aelyst_contact(3, phone="+60 12-3456789"),
        AelystContact(id="4"), aelyst_contact(5, custom_fields=(CustomField("Mixed", 1),)),
        aelyst_contact(6, custom_fields=(CustomField("Mixed", "1"),), last_name="=1+1", phone="+60123456788"),
    ])  # fmt: skip
    report = await export_contacts(account, tmp_path / "people.csv")
    assert (report.rows, report.empty, report.refused, report.changed, report.formulas) == (5, 1, 2, 2, 1)
    assert dict(report.reasons) == {"phone: phone": 1, "email: required": 1}
    assert (await export_contacts(account, tmp_path / "people.xlsx")).changed == 1


async def test_export_passes_search_and_where_and_reports_progress(tmp_path: Path) -> None:
    account = Account([aelyst_contact(number) for number in range(1, 8)])
    seen: list[ExportProgress] = []
    await export_contacts(account, tmp_path / "p.jsonl", search="ann", where="w", progress=seen.append)
    assert account.asked == [("ann", "w")]
    assert [(one.done, one.total) for one in seen] == [(3, 0), (6, 0), (7, 0), (7, 7)]


async def test_export_file_has_mode_0600(tmp_path: Path) -> None:
    await export_contacts(Account([aelyst_contact(1)]), tmp_path / "p.csv")
    assert stat.S_IMODE((tmp_path / "p.csv").stat().st_mode) == 0o600


@EVERY
async def test_export_leaves_no_file_when_the_listing_fails(tmp_path: Path, kind: str) -> None:
    account = Account([aelyst_contact(number) for number in range(1, 9)])
    account.fault = lambda method, who: errors.ServerError(status=500) if (method, who) == ("LIST", "6") else None
    with pytest.raises(errors.ServerError):
        await export_contacts(account, tmp_path / f"p.{kind}")
    assert file_names(tmp_path) == []


@EVERY
async def test_export_leaves_no_file_when_cancelled(tmp_path: Path, kind: str) -> None:
    account = Account([aelyst_contact(number) for number in range(1, 30)])
    for turns in (3, 20, 40, 60):
        task = asyncio.ensure_future(export_contacts(account, tmp_path / f"p.{kind}"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            assert file_names(tmp_path) == []
        else:
            (tmp_path / f"p.{kind}").unlink()


async def test_export_keeps_the_old_file_when_it_fails(tmp_path: Path) -> None:
    file = tmp_path / "p.xlsx"
    file.write_text("old")
    account = Account([aelyst_contact(1, custom_fields=(CustomField("Note", "x" * 40_000),))])
    with pytest.raises(ExportError, match="32,767"):
        await export_contacts(account, file, force=True)
    assert file.read_text() == "old"
    assert file_names(tmp_path) == ["p.xlsx"]


async def test_export_replaces_an_existing_file_only_with_force(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("old")
    account = Account([aelyst_contact(1)])
    with pytest.raises(ExportError, match="--force"):
        await export_contacts(account, file)
    assert account.calls == {}
    await export_contacts(account, file, force=True)
    assert "p1@example.com" in file.read_text()


@pytest.mark.parametrize(
    ("name", "words"),
    [("p.txt", "must end in"), ("p", "must end in"), ("no/p.csv", "no such directory"), ("d.csv", "is a directory")],
)
async def test_export_rejects_invalid_paths_before_listing(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "d.csv").mkdir()
    account = Account([aelyst_contact(1)])
    with pytest.raises(ExportError, match=words):
        await export_contacts(account, tmp_path / name)
    assert account.calls == {}


async def test_export_rejects_a_gateway_without_listing(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cannot list contacts"):
        await export_contacts(object(), tmp_path / "p.csv")  # type: ignore[arg-type]


@EVERY
async def test_export_writes_an_empty_account(tmp_path: Path, kind: str) -> None:
    report = await export_contacts(Account(), tmp_path / f"p.{kind}")
    assert report.rows == 0
    assert (tmp_path / f"p.{kind}").exists()


async def test_export_rejects_an_incomplete_listing(tmp_path: Path) -> None:
    account = Account([aelyst_contact(number) for number in range(1, 9)])

    async def fetch(cursor: str | None) -> Page[AelystContact]:
        return Page((aelyst_contact(1),), "again")

    account.contacts = lambda *_, **__: Listing(fetch)  # type: ignore[method-assign]
    with pytest.raises(ExportError, match="repeated a cursor"):
        await export_contacts(account, tmp_path / "p.csv")
    assert file_names(tmp_path) == []


async def test_failed_export_ends_its_run_in_the_journal(tmp_path: Path) -> None:
    account = Account([aelyst_contact(1, custom_fields=(CustomField("Note", "x" * 40_000),))])
    with pytest.raises(ExportError):
        await export_contacts(account, tmp_path / "p.xlsx", journal=tmp_path / "j.db")
    report = await ContactSync(account, journal=tmp_path / "j.db", key="email,phone").run([])
    assert not report.resumed


async def test_second_export_replaces_the_values_in_the_journal(tmp_path: Path) -> None:
    account = Account([aelyst_contact(1), aelyst_contact(2)])
    file, journal = tmp_path / "p.csv", tmp_path / "j.db"
    await export_contacts(account, file, journal=journal)
    account.contacts_by_id["1"] = aelyst_contact(1, first_name="Changed there")
    await export_contacts(account, file, journal=journal, force=True)
    account.calls.clear()
    report = await ContactSync(account, journal=journal, key="email,phone").run(read_contacts(file))
    assert (report.unchanged, account.calls) == (2, {})


async def test_export_works_without_access_to_the_definitions(tmp_path: Path) -> None:
    account = Account([aelyst_contact(1)])

    async def refused() -> list[Definition]:
        raise errors.AuthenticationError(status=403)

    account.custom_fields = refused  # type: ignore[method-assign]
    assert (await export_contacts(account, tmp_path / "p.csv")).rows == 1
