"""The sync through the real client against the sandbox: each row is created once for all vendor behaviours."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from aelyst_async.sandbox import Sandbox
from aelyst_async.sync import ContactSync, RetrySettings, SyncReport
from aelyst_providers.aelyst import AelystGateway
from aelyst_providers.dmchamp import DmChampGateway

PAUSES = RetrySettings(settle=0.15, base=0.02, cap=0.1, queued=0.1, queued_cap=0.2)


def people(count: int, **extra: Any) -> list[dict[str, Any]]:
    return [{"email": f"p{number}@example.com", "first_name": f"P{number}", **extra} for number in range(count)]


async def sync(sandbox: Sandbox, rows: Any, journal: Path, **options: Any) -> SyncReport:
    async with AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"), settle=0) as gateway:
        return await ContactSync(gateway, journal=journal, retry=PAUSES, **options).run(rows)


def contacts(sandbox: Sandbox, vendor: str = "aelyst") -> list[dict[str, Any]]:
    _, found = sandbox.store.page(sandbox.name, vendor, search="", only_duplicates=False, limit=10_000, offset=0)
    return [record.document for record, _ in found]


SWITCHES: list[dict[str, object]] = [
    {"aelyst.put_missing": 404, "aelyst.create_or_update": 404},
    {"aelyst.put_missing": 400, "aelyst.create_or_update": 405},
    {"aelyst.put_missing": 200, "aelyst.create_or_update": 404},
    {"aelyst.create_existing": 409, "aelyst.create_or_update": 404},
    {"aelyst.create_existing": 400, "aelyst.create_or_update": 404},
    {"aelyst.visible_after": 0.1, "aelyst.create_or_update": 404},
    {"aelyst.visible_after": 0.1, "aelyst.invisible_as": 449, "aelyst.create_or_update": 404},
    {"aelyst.visible_after": 0.1},
    {"aelyst.visible_after": 0.1, "aelyst.invisible_as": 449},
    {"aelyst.quota_scope": "path", "aelyst.quota": "5/s"},
    {"aelyst.quota_headers": "429", "aelyst.quota": "60/s"},
    {"aelyst.quota_headers": "none", "aelyst.retry_after": "absent", "aelyst.quota": "100/s"},
]


@pytest.mark.parametrize(
    "switches", SWITCHES, ids=lambda switches: " ".join(f"{k[7:]}={v}" for k, v in switches.items())
)
async def test_sync_creates_each_row_once_for_every_vendor_behaviour(
    switches: dict[str, object], tmp_path: Path
) -> None:
    async with Sandbox(switches={"aelyst.quota": "none", **switches}) as sandbox:
        first = await sync(sandbox, people(25), tmp_path / "state.db")
        # If PUT creates contacts, its response does not show whether it did.
        assert (first.created + first.updated, first.failed) == (25, 0)
        assert first.created == (0 if switches.get("aelyst.put_missing") == 200 else 25)
        changed = await sync(sandbox, people(25, last_name="New"), tmp_path / "state.db")
        assert (changed.updated, changed.created, changed.failed) == (25, 0, 0)
        again = await sync(sandbox, people(25, last_name="New"), tmp_path / "state.db")
        assert (again.unchanged, again.requests) == (25, {})
        found = contacts(sandbox)
        assert Counter(contact["email"] for contact in found) == {f"p{number}@example.com": 1 for number in range(25)}
        assert {contact["lastName"] for contact in found} == {"New"}


@pytest.mark.parametrize(
    "fault",
    ["reset-after=0.3", "reset=0.3", "status,code:500=0.3", "truncate=0.3", "garbage=0.3", "html=0.3",
     "queued,seconds:0.2=0.3", "status,code:429,retry_after:0.05=nth:7", "content-type=0.3"],
)  # fmt: skip
@pytest.mark.parametrize("route", [200, 404])
async def test_sync_creates_each_row_once_despite_faults(fault: str, route: int, tmp_path: Path) -> None:
    switches = {"aelyst.quota": "none", "aelyst.create_or_update": route}
    async with Sandbox(switches=switches, faults=[fault], seed=3) as sandbox:
        report = await sync(sandbox, people(40), tmp_path / "state.db", max_attempts=30)
        sandbox.clear_faults()
        assert report.failed == 0, report.reasons
        found = contacts(sandbox)
        assert Counter(contact["email"] for contact in found) == {f"p{number}@example.com": 1 for number in range(40)}
        assert (await sync(sandbox, people(40), tmp_path / "state.db")).unchanged == 40


async def test_report_counts_the_same_requests_as_the_sandbox(tmp_path: Path) -> None:
    async with Sandbox(switches={"aelyst.quota": "200/s"}) as sandbox:
        report = await sync(sandbox, people(150), tmp_path / "state.db")
        assert sum(report.requests.values()) == sandbox.counters.as_json()["requests"]
        assert report.requests == {"POST 200": 150}
        [note] = report.notes
        assert note.startswith("150 of the created contacts may have been there before")


async def test_missing_create_or_update_route_is_detected_with_one_request(tmp_path: Path) -> None:
    async with Sandbox(switches={"aelyst.quota": "none", "aelyst.create_or_update": 404}) as sandbox:
        report = await sync(sandbox, people(50), tmp_path / "state.db")
        assert report.requests == {"POST 200": 50, "POST 404": 1, "PUT 404": 50}
        assert (report.created, report.notes) == (50, ())


async def test_upsert_with_a_lost_response_is_repeated_without_a_look_up(tmp_path: Path) -> None:
    faults = ["reset-after=nth:2", "status,code:502,applied:yes=nth:5"]
    async with Sandbox(switches={"aelyst.quota": "none", "aelyst.visible_after": 0.2}, faults=faults) as sandbox:
        report = await sync(sandbox, people(20), tmp_path / "state.db")
        assert (report.created, report.failed) == (20, 0)
        assert not [name for name in report.requests if name.startswith("GET")]
        assert Counter(one["email"] for one in contacts(sandbox)).most_common(1)[0][1] == 1
        again = await sync(sandbox, people(20), tmp_path / "state.db")
        assert (again.unchanged, again.requests) == (20, {})


async def test_dmchamp_update_by_phone_uses_the_contact_id_in_the_journal(tmp_path: Path) -> None:
    rows = [{"phone": f"+6012345678{number}", "first_name": "A"} for number in range(5)]
    async with (
        Sandbox() as sandbox,
        DmChampGateway(sandbox.token("dmchamp"), base_url=sandbox.base_url("dmchamp")) as gateway,
    ):
        run = ContactSync(gateway, journal=tmp_path / "state.db", key="phone", retry=PAUSES)
        first = await run.run(rows)
        assert (first.created, first.failed) == (5, 0)
        changed = await run.run([{**row, "first_name": "B"} for row in rows])
        assert changed.updated == 5
        assert changed.requests == {"PUT 200": 5}, "no look-up: the journal knows the ids"
        assert {contact["firstName"] for contact in contacts(sandbox, "dmchamp")} == {"B"}


async def test_concurrent_syncs_of_one_gateway_count_only_their_own_requests(tmp_path: Path) -> None:
    tables = [[{"email": f"{who}{number}@example.com", "first_name": "A"} for number in range(20)] for who in "ab"]
    async with (
        Sandbox(quota="none") as sandbox,
        AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst")) as gateway,
    ):
        reports = await asyncio.gather(
            *(ContactSync(gateway, journal=tmp_path / f"{number}.db").run(rows) for number, rows in enumerate(tables))
        )
    assert [sum(report.requests.values()) for report in reports] == [20, 20]
