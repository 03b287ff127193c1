"""`ContactSync` with a gateway in memory: outcomes, creates in doubt, deferred rows, stopping, number of requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from aelyst_async import errors
from aelyst_async.sync import (
    ContactSync,
    MappingError,
    Progress,
    RetrySettings,
    SourceError,
    SyncError,
    SyncStoppedError,
)
from tests.sync.fakes import FakeGateway, Stored


def people(count: int, **extra: Any) -> list[dict[str, Any]]:
    return [{"email": f"p{number}@example.com", "first_name": f"P{number}", **extra} for number in range(count)]


def server_error(status: int = 500, method: str = "POST", **facts: Any) -> errors.ApiError:
    kind = errors.error_class_for(status)
    return kind(status=status, message="no", method=method, may_have_been_applied=method == "POST", **facts)


async def test_repeated_run_sends_only_changed_rows(tmp_path: Path) -> None:
    gateway = FakeGateway()
    gateway.contacts.append(Stored("99", {"email": "p3@example.com", "first_name": "Old", "last_name": "Kept"}))
    pauses = RetrySettings(settle=0.05)
    sync = ContactSync(gateway, journal=tmp_path / "state.db", failures=tmp_path / "f.jsonl", retry=pauses)
    first = await sync.run(people(10))
    assert (first.created, first.updated, first.rows, first.exit_code) == (9, 1, 10, 0)
    assert gateway.by_email()["p3@example.com"] == {"email": "p3@example.com", "first_name": "P3", "last_name": "Kept"}
    gateway.calls.clear()
    second = await sync.run(people(10))
    assert (second.unchanged, gateway.calls) == (10, [])
    rows = people(10)
    rows[4]["first_name"] = "New"
    third = await sync.run(rows)
    assert (third.updated, third.unchanged) == (1, 9)
    assert gateway.calls == [("PUT", "email:p4@example.com")], "one PUT, and no look-up"
    refreshed = await ContactSync(gateway, journal=tmp_path / "state.db", refresh=True, retry=pauses).run(rows)
    assert refreshed.updated == 10
    assert not (tmp_path / "f.jsonl").exists()


async def test_update_uses_the_known_id_and_recreates_a_deleted_contact(tmp_path: Path) -> None:
    gateway = FakeGateway()
    sync = ContactSync(gateway, journal=tmp_path / "state.db", retry=RetrySettings(settle=0.05))
    for name in ("A", "B", "C"):
        await sync.run([{"email": "a@b.co", "first_name": name}])
    assert gateway.calls[-1] == ("PUT", "id:1")
    gateway.contacts.clear()  # somebody deleted it at the vendor's
    report = await sync.run([{"email": "a@b.co", "first_name": "D"}])
    assert (report.created, gateway.emails()) == (1, {"a@b.co": 1})


async def test_report_and_failures_file_account_for_every_row(tmp_path: Path) -> None:
    source = tmp_path / "people.csv"
    source.write_text("email,first_name,phone\na@b.co,A,\nbad,B,12\nA@B.co,A2,\nc@b.co,C,too,many\nrefused@b.co,D,\n")

    def fault(method: str, key: str, _: int) -> BaseException | None:
        return server_error(400, method) if "refused" in key else None

    failures = tmp_path / "f.jsonl"
    gateway = FakeGateway(fault)
    report = await ContactSync(gateway, journal=tmp_path / "state.db", failures=failures).run(source)
    assert (report.created, report.skipped, report.failed, report.rows) == (1, 1, 3, 5)
    assert gateway.by_email().keys() == {"A@B.co"}, "the last row of a key counts"
    assert report.exit_code == 1
    assert report.failures == failures
    lines = {line["row"]: line for line in map(json.loads, failures.read_text().splitlines())}
    assert lines[2] == {
        "row": 2, "line": 3, "key": None, "status": None, "attempts": 0,
        "errors": [
            {"column": "email", "rule": "email", "message": "'bad' is not an e-mail address such as name@example.com"},
            {"column": "phone", "rule": "phone", "message": "'12' is not a phone number such as +60123456789; begin it "
             "with + and the country code (or see --region)"},
        ],
        "data": {"email": "bad", "first_name": "B", "phone": "12"},
    }  # fmt: skip
    assert lines[4]["data"] == {"email": "c@b.co", "first_name": "C", "phone": "too", "": ["many"]}
    assert (lines[5]["status"], lines[5]["attempts"], lines[5]["errors"][0]["rule"]) == (400, 1, "http-400")
    # A failed row never counts as seen; the others are not sent again.
    gateway.fault = None
    gateway.calls.clear()
    again = await ContactSync(gateway, journal=tmp_path / "state.db", failures=failures).run(source)
    assert (again.created, again.unchanged, again.failed) == (1, 1, 2)
    assert {key for _, key in gateway.calls} == {"email:refused@b.co"}


@pytest.mark.parametrize(("policy", "name", "failed"), [("last", "P3", 0), ("first", "P1", 0), ("error", None, 3)])
async def test_duplicates_setting_chooses_the_row_of_a_key(policy: Any, name: str | None, failed: int) -> None:
    rows = [{"email": "a@b.co", "first_name": f"P{number}"} for number in (1, 2, 3)]
    gateway = FakeGateway()
    report = await ContactSync(gateway, duplicates=policy).run([*rows, {"email": "z@b.co", "first_name": "Z"}])
    assert (report.failed, report.skipped, report.created) == (failed, 0 if failed else 2, 1 if failed else 2)
    assert gateway.by_email().get("a@b.co", {}).get("first_name") == name


async def test_invalid_duplicate_row_does_not_replace_a_valid_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("email,first_name,phone\na@b.co,Good,\na@b.co,Bad,12\n")
    gateway = FakeGateway()
    report = await ContactSync(gateway).run(path)
    assert (report.created, report.failed) == (1, 1)
    assert gateway.by_email()["a@b.co"]["first_name"] == "Good"


async def test_create_with_a_lost_response_makes_no_second_contact(tmp_path: Path, pauses: RetrySettings) -> None:
    gateway = FakeGateway(lambda method, _, count: "lost" if method == "POST" and count == 1 else None)
    report = await ContactSync(gateway, journal=tmp_path / "state.db", retry=pauses).run(people(8))
    assert (report.created, report.failed) == (8, 0)
    assert set(gateway.emails().values()) == {1}
    assert sum(method == "POST" for method, _ in gateway.calls) == 8, "none was sent twice"


async def test_failed_create_is_repeated_after_two_look_ups(tmp_path: Path, pauses: RetrySettings) -> None:
    def fault(method: str, _: str, count: int) -> BaseException | None:
        return server_error(500, "POST") if method == "POST" and count == 1 else None

    gateway = FakeGateway(fault)
    report = await ContactSync(gateway, journal=tmp_path / "state.db", retry=pauses).run(people(10))
    assert report.created == 10
    assert set(gateway.emails().values()) == {1}
    looks = sum(method == "GET" for method, _ in gateway.calls)
    assert looks == 20, "two look-ups have to miss a contact before it is created again"


async def test_contacts_that_appear_late_are_not_created_twice(tmp_path: Path) -> None:
    gateway = FakeGateway(lambda method, _, count: "lost" if method == "POST" and count == 1 else None)
    gateway.visible_after = 0.15
    sync = ContactSync(gateway, journal=tmp_path / "state.db", retry=RetrySettings(settle=0.2, base=0.01, cap=0.02))
    await sync.run(people(10))
    assert set(gateway.emails().values()) == {1}
    # A change that follows at once waits as well, in the next run: the journal knows when it was created.
    report = await sync.run(people(10, last_name="New"))
    assert (report.updated, report.created) == (10, 0)
    assert set(gateway.emails().values()) == {1}


async def test_changed_row_with_a_create_in_doubt_is_looked_up_and_updated(
    tmp_path: Path, pauses: RetrySettings
) -> None:
    gateway = FakeGateway(lambda method, _, count: "lost" if method == "POST" and count == 1 else None)
    path = tmp_path / "state.db"
    with pytest.raises(AssertionError, match="stop here"):
        await _die_after_the_first_post(gateway, path, pauses)
    gateway.fault = None
    gateway.calls.clear()
    report = await ContactSync(gateway, journal=path, retry=pauses).run([{"email": "a@b.co", "first_name": "New"}])
    assert report.resumed
    assert [method for method, _ in gateway.calls] == ["GET", "PUT"]
    assert gateway.by_email() == {"a@b.co": {"email": "a@b.co", "first_name": "New"}}


async def _die_after_the_first_post(gateway: FakeGateway, path: Path, pauses: RetrySettings) -> None:
    sync = ContactSync(gateway, journal=path, retry=pauses)
    create = gateway.create

    async def dying(*arguments: Any, **options: Any) -> Any:
        with contextlib.suppress(errors.TransportError):
            await create(*arguments, **options)
        raise AssertionError("stop here")

    gateway.create = dying  # type: ignore[method-assign]
    try:
        await sync.run([{"email": "a@b.co", "first_name": "Old"}])
    finally:
        gateway.create = create  # type: ignore[method-assign]


@pytest.mark.parametrize("status", [429, 449, 503])
async def test_busy_response_defers_the_row_and_counts_no_attempt(
    status: int, tmp_path: Path, pauses: RetrySettings
) -> None:
    def fault(method: str, key: str, count: int) -> BaseException | None:
        return server_error(status, "PUT") if "p0@" in key and method == "PUT" and count <= 8 else None

    gateway = FakeGateway(fault)
    report = await ContactSync(gateway, journal=tmp_path / "state.db", retry=pauses, concurrency=1, max_attempts=2).run(
        people(6)
    )
    assert (report.created, report.failed) == (6, 0)
    finished = [key for method, key in gateway.calls if method == "POST"]
    assert finished[-1] == "email:p0@example.com", "the others did not wait for it"


async def test_row_deferred_longer_than_the_patience_fails(tmp_path: Path) -> None:
    gateway = FakeGateway(lambda method, _, __: server_error(449, method))
    pauses = RetrySettings(queued=0.02, queued_cap=0.05, patience=0.3)
    report = await ContactSync(gateway, journal=tmp_path / "state.db", retry=pauses).run(people(2))
    assert report.failed == 2
    assert "put off for over 0.3 s" in report.reasons[0][0]


async def test_row_fails_after_max_attempts(tmp_path: Path, pauses: RetrySettings) -> None:
    gateway = FakeGateway(lambda method, _, __: server_error(500, method) if method == "PUT" else None)
    failures = tmp_path / "f.jsonl"
    sync = ContactSync(gateway, journal=tmp_path / "state.db", failures=failures, retry=pauses, max_attempts=3)
    report = await sync.run(people(1))
    assert report.failed == 1
    assert len(gateway.calls) == 3
    assert json.loads(failures.read_text())["attempts"] == 3


async def test_rejected_credential_ends_the_run_after_one_request(tmp_path: Path) -> None:
    gateway = FakeGateway(lambda method, _, __: server_error(401, method))
    with pytest.raises(errors.AuthenticationError) as refusal:
        await ContactSync(gateway, journal=tmp_path / "state.db").run(people(500))
    assert len(gateway.calls) == 1
    report = refusal.value.report  # type: ignore[attr-defined]
    assert report.pending == report.rows
    gateway.fault = None
    assert (await ContactSync(gateway, journal=tmp_path / "state.db").run(people(500))).created == 500
    assert not [key for method, key in gateway.calls if method == "GET"], "nothing was in doubt"


async def test_run_resumes_after_its_credential_expired(tmp_path: Path) -> None:
    gateway = FakeGateway()
    gateway.fault = lambda method, _, __: server_error(401, method) if len(gateway.contacts) > 50 else None
    with pytest.raises(errors.AuthenticationError):
        await ContactSync(gateway, journal=tmp_path / "state.db", concurrency=8).run(people(200))
    gateway.fault = None
    report = await ContactSync(gateway, journal=tmp_path / "state.db").run(people(200))
    assert report.created + report.unchanged == 200
    assert set(gateway.emails().values()) == {1}


async def test_unreachable_host_ends_the_run(
    tmp_path: Path, pauses: RetrySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aelyst_async.sync.engine._HOPELESS_START", 0.2)
    gateway = FakeGateway(lambda *_: errors.TransportError(message="cannot connect to host", method="PUT"))
    with pytest.raises(SyncStoppedError, match=r"no answer for .* cannot connect to host"):
        await ContactSync(gateway, journal=tmp_path / "state.db", retry=pauses).run(people(500))
    assert len(gateway.calls) < 50
    gateway.fault = None
    assert (await ContactSync(gateway, journal=tmp_path / "state.db").run(people(500))).created == 500


async def test_short_outage_fails_no_row(tmp_path: Path, pauses: RetrySettings) -> None:
    gateway = FakeGateway()
    gateway.latency = 0.002
    loop = asyncio.get_running_loop()
    until: list[float] = []

    def fault(*_: object) -> BaseException | None:
        if len(gateway.calls) == 100:
            until.append(loop.time() + 0.4)
        away = bool(until) and loop.time() < until[0]
        return errors.TransportError(message="away", method="PUT") if away else None

    gateway.fault = fault
    report = await ContactSync(gateway, journal=tmp_path / "state.db", retry=pauses, max_attempts=2).run(people(300))
    assert (report.created, report.failed) == (300, 0)


async def test_stop_finishes_requests_in_flight_and_the_next_run_continues(tmp_path: Path) -> None:
    gateway = FakeGateway()
    gateway.latency = 0.01
    seen: list[Progress] = []

    def watch(progress: Progress) -> None:
        seen.append(progress)
        if progress.done >= 30:
            sync.stop("enough")

    sync = ContactSync(gateway, journal=tmp_path / "state.db", progress=watch, concurrency=8)
    report = await sync.run(people(1000))
    assert report.stopped == "enough"
    assert not report.complete
    assert report.created + report.pending == report.rows
    assert report.created == len(gateway.contacts), "what was in flight was finished"
    rest = await ContactSync(gateway, journal=tmp_path / "state.db").run(people(1000))
    assert (rest.unchanged, rest.created) == (report.created, 1000 - report.created)
    assert set(gateway.emails().values()) == {1}
    assert not rest.resumed, "the first run ended by itself"


async def test_stop_applies_to_one_run_even_if_that_fails(tmp_path: Path) -> None:
    sync = ContactSync(FakeGateway(), journal=tmp_path / "state.db")
    sync.stop("before it began")
    assert (await sync.run(people(3))).stopped == "before it began"
    sync.stop()
    with pytest.raises(SyncError):
        await sync.run(tmp_path / "state.db")  # the journal itself
    assert (await sync.run(people(3))).created == 3


async def test_abort_ends_the_drain_and_the_next_run_makes_no_duplicates(tmp_path: Path, pauses: RetrySettings) -> None:
    gateway = FakeGateway()
    gateway.latency = 0.3
    sync = ContactSync(gateway, journal=tmp_path / "state.db", concurrency=8, drain=30)
    task = asyncio.create_task(sync.run(people(50)))
    while gateway.in_flight < 4:  # noqa: ASYNC110 - the fake has no event to wait for
        await asyncio.sleep(0.01)
    loop = asyncio.get_running_loop()
    sync.stop()
    await asyncio.sleep(0.05)
    began = loop.time()
    sync.abort()
    report = await task
    assert loop.time() - began < 0.2
    assert report.pending
    gateway.latency = 0
    rest = await ContactSync(gateway, journal=tmp_path / "state.db", retry=pauses).run(people(50))
    assert rest.created + rest.unchanged + rest.updated == 50
    assert set(gateway.emails().values()) == {1}


async def test_cancelled_run_is_resumed_without_duplicates(tmp_path: Path, pauses: RetrySettings) -> None:
    gateway = FakeGateway()
    gateway.latency = 0.02
    task = asyncio.create_task(ContactSync(gateway, journal=tmp_path / "state.db").run(people(500)))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gateway.latency = 0
    rest = await ContactSync(gateway, journal=tmp_path / "state.db", retry=pauses).run(people(500))
    assert rest.created + rest.unchanged + rest.updated == 500
    assert rest.resumed
    assert set(gateway.emails().values()) == {1}


@pytest.mark.parametrize(("limit", "stops"), [(10, True), (0.05, True), (0.5, False), (150, False)])
async def test_max_errors_ends_the_run_above_a_count_or_share(limit: float, stops: bool) -> None:
    gateway = FakeGateway(lambda method, key, _: server_error(400, method) if "5@" in key else None)
    report = await ContactSync(gateway, max_errors=limit, concurrency=4).run(people(1400))
    assert (report.stopped is not None) is stops
    if stops:
        assert report.failed < 140
        assert report.stopped is not None
        assert "--max-errors" in report.stopped


async def test_requests_in_flight_stay_within_concurrency_and_one_per_key() -> None:
    gateway = FakeGateway()
    gateway.latency = 0.001
    report = await ContactSync(gateway, concurrency=7).run([person for person in people(200) for _ in range(3)])
    assert report.created == 200
    assert gateway.overlaps == 0
    assert 4 <= gateway.peak <= 7


async def test_dry_run_sends_nothing(tmp_path: Path) -> None:
    gateway = FakeGateway()
    path = tmp_path / "state.db"
    plan = await ContactSync(gateway, journal=path).run(people(5), dry_run=True)
    assert (plan.created, plan.dry_run, gateway.calls, path.exists()) == (5, True, [], False)
    await ContactSync(gateway, journal=path).run(people(3))
    gateway.calls.clear()
    rows = people(5)
    rows[0]["first_name"] = "New"
    plan = await ContactSync(gateway, journal=path).run([*rows, {"email": "bad", "first_name": "x"}], dry_run=True)
    assert (plan.updated, plan.unchanged, plan.created, plan.failed, gateway.calls) == (1, 2, 2, 1, [])
    assert (await ContactSync(gateway, journal=path).run(people(3))).unchanged == 3


async def test_remote_dry_run_looks_up_each_undecided_row_once(tmp_path: Path) -> None:
    gateway = FakeGateway()
    await ContactSync(gateway).run(people(4))
    gateway.calls.clear()
    rows = people(6)
    rows[0]["first_name"] = "New"
    plan = await ContactSync(gateway).run(rows, dry_run=True, remote=True)
    assert (plan.created, plan.updated, plan.unchanged) == (2, 1, 3)
    assert sorted(method for method, _ in gateway.calls) == ["GET"] * 6


async def test_verify_repairs_contacts_changed_at_the_vendor(tmp_path: Path) -> None:
    gateway = FakeGateway()
    path = tmp_path / "state.db"
    await ContactSync(gateway, journal=path).run(people(10))
    gateway.contacts[4].fields["first_name"] = "Edited"
    gateway.contacts[7].fields["last_name"] = "Not ours"
    del gateway.contacts[9]
    pauses = RetrySettings(settle=0.05)
    report = await ContactSync(gateway, journal=path, verify=1.0, retry=pauses).run(people(10))
    assert (report.updated, report.created, report.unchanged) == (1, 1, 8)
    assert gateway.by_email()["p4@example.com"]["first_name"] == "P4"
    sampled = await ContactSync(gateway, journal=path, verify=0.3, retry=pauses).run(people(10))
    assert sampled.unchanged == 10


async def test_source_changed_during_the_run_raises_source_error(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("email,first_name\n" + "".join(f"p{number}@b.co,x\n" for number in range(3000)))
    gateway = FakeGateway()

    def grow(*_: object) -> None:
        if len(gateway.calls) == 2:
            with path.open("a") as file:
                file.write("late@b.co,x\n")

    gateway.fault = grow
    with pytest.raises(SourceError, match="was changed while it was read"):
        await ContactSync(gateway, journal=tmp_path / "state.db").run(path)
    gateway.fault = None
    report = await ContactSync(gateway, journal=tmp_path / "state.db", retry=RetrySettings(settle=0.02)).run(path)
    assert report.rows == 3001
    assert report.failed == 0
    assert set(gateway.emails().values()) == {1}


async def test_run_accepts_a_generator_and_no_journal() -> None:
    gateway = FakeGateway()
    report = await ContactSync(gateway).run(row for row in people(20))
    assert (report.created, report.journal, report.run) == (20, None, None)


async def test_progress_ends_at_the_total_and_report_is_json_serialisable(tmp_path: Path) -> None:
    seen: list[Progress] = []
    gateway = FakeGateway()
    gateway.latency = 0.02
    report = await ContactSync(gateway, journal=tmp_path / "state.db", concurrency=16, progress=seen.append).run(
        people(600)
    )
    assert seen[-1].done == seen[-1].total == 600
    assert any(progress.eta is not None and progress.in_flight for progress in seen)
    values = json.loads(json.dumps(report.to_dict()))
    assert values["version"] == 1
    assert values["created"] == 600


async def test_run_raises_unexpected_errors_of_the_gateway(tmp_path: Path) -> None:
    gateway = FakeGateway(lambda *_: ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        await ContactSync(gateway, journal=tmp_path / "state.db").run(people(5))


@pytest.mark.parametrize(
    "options",
    [{"concurrency": 0}, {"concurrency": True}, {"duplicates": "both"}, {"verify": 2}, {"max_errors": 1.5},
     {"max_errors": -1}, {"key": "id"}, {"empty": "x"}],
)  # fmt: skip
def test_contact_sync_rejects_invalid_settings(options: dict[str, Any]) -> None:
    with pytest.raises(MappingError):
        ContactSync(FakeGateway(), **options)


def test_contact_sync_settings_are_frozen_and_its_repr_shows_no_password() -> None:
    sync = ContactSync(FakeGateway(), journal="postgresql+asyncpg://user:pa55word@db.internal/contacts")
    with pytest.raises(attrs.exceptions.FrozenAttributeError):
        sync.key = "phone"
    assert sync.mapper.key == sync.key == "email"
    assert "pa55word" not in f"{sync!r} {sync}"


def test_contact_sync_rejects_a_read_only_gateway() -> None:
    from aelyst_providers.callab import CallabGateway

    with pytest.raises(MappingError, match="callab only reads"):
        ContactSync(CallabGateway("token"))  # type: ignore[arg-type]


async def test_run_rejects_a_failures_path_in_a_missing_folder(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("email\na@b.co\n")
    with pytest.raises(SyncError):
        await ContactSync(FakeGateway(), failures=tmp_path / "no" / "f.jsonl").run(path)
