"""Export and sync against the sandbox: an edit of 1 % of 10,000 contacts causes 100 writes; and a mirror."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from aelyst_async.export import export_contacts
from aelyst_async.sandbox import Sandbox
from aelyst_async.sync import ContactSync, read_contacts
from aelyst_providers.aelyst import AelystGateway

COUNT = 10_000
KEY = "email,phone"


def contact(number: int) -> dict[str, Any]:
    return {
        "firstName": f"P{number}", "lastName": "=cmd" if number % 7 == 0 else "van Lee",
        "email": f"p{number}@example.com",
        "phone": f"+6012{number:07}" if number % 2 else None,
        "custom_fields": [{"name": "Note", "value": f'{number:05}\n"é"'}, {"name": "Seats", "value": number}],
    }  # fmt: skip


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(quota="100000/s") as made:
        yield made


def gateway_of(sandbox: Sandbox) -> AelystGateway:
    return AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"))


def emails(sandbox: Sandbox) -> set[str]:
    return {one["email"] for one in sandbox.contacts("aelyst")}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "xlsx"])
async def test_sync_of_a_sandbox_export_sends_nothing(sandbox: Sandbox, tmp_path: Path, kind: str) -> None:
    sandbox.add_contacts("aelyst", [contact(number) for number in range(250)])
    file, journal = tmp_path / f"people.{kind}", tmp_path / "j.db"
    async with gateway_of(sandbox) as gateway:
        exported = await export_contacts(gateway, file, journal=journal, key=KEY)
        assert (exported.rows, exported.refused, exported.changed) == (250, 0, 0)
        report = await ContactSync(gateway, journal=journal, key=KEY).run(read_contacts(file))
    assert (report.unchanged, report.requests, report.exit_code) == (250, {}, 0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "xlsx"])
async def test_sync_of_a_large_edited_export_sends_only_the_edited_rows(
    sandbox: Sandbox, tmp_path: Path, kind: str
) -> None:
    sandbox.add_contacts("aelyst", [contact(number) for number in range(COUNT)])
    file, journal = tmp_path / f"people.{kind}", tmp_path / "j.db"
    async with gateway_of(sandbox) as gateway:
        exported = await export_contacts(gateway, file, journal=journal, key=KEY)
        assert (exported.rows, exported.refused, exported.changed) == (COUNT, 0, 0)
        rows = list(read_contacts(file))
        for row in rows[::100]:
            row["last_name"] = "Edited"
        report = await ContactSync(gateway, journal=journal, key=KEY).run(rows)
        assert (report.updated, report.unchanged, report.failed) == (COUNT // 100, COUNT - COUNT // 100, 0)
        assert report.requests == {"PUT 200": COUNT // 100}
    edited = [one for one in sandbox.contacts("aelyst") if one["lastName"] == "Edited"]
    assert len(edited) == COUNT // 100


@pytest.mark.slow
async def test_mirror_of_an_edited_export_deletes_exactly_the_missing_contacts(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.add_contacts("aelyst", [contact(number) for number in range(COUNT)])
    file, journal = tmp_path / "people.csv", tmp_path / "j.db"
    async with gateway_of(sandbox) as gateway:
        await export_contacts(gateway, file, journal=journal, key=KEY)
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        cut = await ContactSync(gateway, journal=journal, key=KEY, delete_missing=True).run(read_contacts(file))
        assert (cut.deleted, len(emails(sandbox))) == (0, COUNT)
        assert cut.exit_code == 1
        file.write_bytes(whole)
        gone = {f"p{number}@example.com" for number in range(3, COUNT, 20)}
        rows = [row for row in read_contacts(file) if row["email"] not in gone]
        sync = ContactSync(gateway, journal=journal, key=KEY, delete_missing=True)
        report = await sync.run(rows)
    assert (report.missing, report.deleted, report.not_deleted) == (len(gone), len(gone), None)
    assert emails(sandbox) == {f"p{number}@example.com" for number in range(COUNT)} - gone
    assert report.requests["DELETE 200"] == len(gone)
