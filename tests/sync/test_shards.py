"""Shards of a stored source: each row is sent once, shards have a time limit, and accounts share workers fairly."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from aelyst_async import errors
from aelyst_async.sync import JournalError, MappingError, RetrySettings, SyncError, SyncStoppedError
from aelyst_async.sync.distributed.shard import ShardReport, ShardSpec, run_shard
from aelyst_async.sync.distributed.submitting import SubmittedSync
from aelyst_async.sync.journal import Journal, stored
from aelyst_async.sync.journal.postgres import Server
from aelyst_async.sync.journal.state import Entry
from tests.servers_external import PostgresServer, postgres
from tests.sync.fakes import FakeGateway

__all__ = ["postgres"]

_number = itertools.count()
PAUSES = RetrySettings(settle=0.05, base=0.01, cap=0.05, queued=0.05, queued_cap=0.1)


def people(count: int) -> list[dict[str, str]]:
    return [{"email": f"p{number}@example.com", "first_name": f"P{number}"} for number in range(count)]


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.url(f"shards_{next(_number)}", lease=3)


class Workers:
    """Workers in this process: each message becomes a task that calls `run_shard`."""

    def __init__(self, url: str, gateway: FakeGateway, *, seconds: float = 5.0, times: int = 1) -> None:
        self.url = url
        self.gateway = gateway
        self.seconds = seconds
        self.times = times
        self.specs: list[ShardSpec] = []
        self.reports: list[ShardReport] = []
        self.tasks: set[asyncio.Task[ShardReport]] = set()

    async def submit(self, spec: ShardSpec) -> None:
        self.specs.append(spec)
        for _ in range(self.times):
            task = asyncio.create_task(
                run_shard(spec, gateway=self.gateway, journal=self.url, seconds=self.seconds, concurrency=8)
            )
            self.tasks.add(task)
            task.add_done_callback(self.ended)

    def ended(self, task: asyncio.Task[ShardReport]) -> None:
        self.tasks.discard(task)
        self.reports.append(task.result())

    def sync(self, **settings: Any) -> SubmittedSync:
        return SubmittedSync(self.gateway, journal=self.url, submit=self.submit, retry=PAUSES, **settings)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aelyst_async.sync.distributed.submitting.ROWS", 20)
    monkeypatch.setattr("aelyst_async.sync.distributed.submitting._POLL", 0.05)


async def test_submitted_sync_reports_all_rows_and_sends_none_twice(url: str) -> None:
    def fault(method: str, key: str, count: int) -> BaseException | str | None:
        if "p7@" in key:
            return errors.BadRequestError(status=400, message="no", method=method)
        return "lost" if "p1" in key and count == 1 and method == "POST" else None

    gateway = FakeGateway(fault)
    workers = Workers(url, gateway, times=2)
    rows = [*people(50), {"email": "no address"}, {"email": "p3@example.com", "first_name": "P3"}]
    report = await workers.sync().run(rows)
    assert (report.rows, report.total, report.pending) == (52, 52, 0)
    assert (report.created, report.failed, report.skipped, report.updated) == (49, 2, 1, 0)
    assert set(gateway.emails().values()) == {1}
    assert gateway.overlaps == 0
    assert not report.complete or report.exit_code == 1
    assert any("400 no" in reason for reason, _ in report.reasons)
    assert {report.taken for report in workers.reports} == {True, False}, "each message was delivered twice"
    calls = len(gateway.calls)
    again = await workers.sync().run(rows[:40])
    assert (again.unchanged, again.failed, again.created) == (39, 1, 0)
    assert len(gateway.calls) == calls + 1, "only the row that failed was sent again"


@pytest.mark.parametrize("claims", [True, False])
async def test_two_workers_on_one_shard_create_each_contact_once_only_with_claims(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, claims: bool
) -> None:
    """Both workers have read the shard before either sends; without claims, each creates the contacts."""
    url = postgres.url(f"shards_{next(_number)}", lease=300)  # no third message is sent meanwhile
    both_have_read = threading.Barrier(2)
    claim = Journal.claim

    def claim_or_read(journal: Journal, keys: Sequence[str]) -> dict[str, Entry | None]:
        found = claim(journal, keys) if claims else {**dict.fromkeys(keys), **journal.look_up(keys)}
        both_have_read.wait(30)
        return found

    monkeypatch.setattr(Journal, "claim", claim_or_read)
    monkeypatch.setattr(stored, "_FREE", "NOT done")  # a shard that one worker has taken is free for the other one
    gateway = FakeGateway()
    gateway.visible_after = 60.0  # an upsert does not find what the other worker has created
    await asyncio.wait_for(Workers(url, gateway, times=2).sync().run(people(10)), 60)
    assert set(gateway.emails().values()) == ({1} if claims else {2})


async def test_applied_row_keeps_no_payload_in_the_journal(url: str) -> None:
    workers = Workers(url, FakeGateway())
    await workers.sync().run(people(5))
    with_journal = Journal.open(url)
    found = with_journal.database.read(lambda one: one.fetch("SELECT payload, data, progress, outcome FROM pending"))
    with_journal.close()
    assert found == [(None, None, None, "created")] * 5


@pytest.mark.slow
async def test_shard_that_runs_out_of_time_returns_its_remaining_rows(url: str) -> None:
    gateway = FakeGateway()
    gateway.latency = 0.1
    workers = Workers(url, gateway, seconds=0.5)
    report = await workers.sync().run(people(60))
    assert report.created == 60
    assert set(gateway.emails().values()) == {1}
    assert any(one.left for one in workers.reports)
    assert len(workers.specs) > 3, "three shards were sent more than once"


async def test_failing_row_of_a_shard_is_sent_max_attempts_times(url: str) -> None:
    def fault(method: str, key: str, count: int) -> BaseException | str | None:
        return errors.ServerError(status=500, message="oops", method="PUT") if "p1@" in key else None

    gateway = FakeGateway(fault)
    workers = Workers(url, gateway, seconds=0.3)
    report = await workers.sync(max_attempts=4).run(people(3))
    assert (report.created, report.failed) == (2, 1)
    assert Counter(key for _, key in gateway.calls)["email:p1@example.com"] == 4


async def test_rejected_credential_ends_a_submitted_sync(url: str) -> None:
    refusal = errors.AuthenticationError(status=401, message="UN_AUTHORIZED")
    workers = Workers(url, FakeGateway(lambda *_: refusal))
    with pytest.raises(SyncStoppedError, match="the credential was refused"):
        await workers.sync().run(people(100))
    assert len(workers.gateway.calls) <= 8, "no further shard was sent"


async def test_submitted_sync_resumes_after_stop(url: str) -> None:
    gateway = FakeGateway()
    gateway.latency = 0.05
    workers = Workers(url, gateway)
    sync = workers.sync()
    running = asyncio.create_task(sync.run(people(200)))
    while len(gateway.contacts) < 10:  # noqa: ASYNC110 - the fake has no event to wait for
        await asyncio.sleep(0.01)
    sync.stop("interrupted")
    report = await running
    assert report.stopped == "interrupted"
    assert report.pending > 0
    assert report.created + report.pending == 200
    gateway.latency = 0.0
    again = await workers.sync().run(people(200))
    assert again.created + again.unchanged + again.updated == 200
    assert set(gateway.emails().values()) == {1}


async def test_max_errors_ends_a_submitted_sync(url: str) -> None:
    gateway = FakeGateway(lambda method, *_: errors.BadRequestError(status=400, message="no", method=method))
    report = await Workers(url, gateway).sync(max_errors=5).run(people(200))
    assert report.stopped is not None
    assert "more than --max-errors allows" in report.stopped
    assert report.failed < 200


async def test_failed_submissions_are_repeated_and_logged_without_credentials(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    workers = Workers(url, FakeGateway())
    broken = 3

    async def submit(spec: ShardSpec) -> None:
        nonlocal broken
        broken -= 1
        if broken >= 0:
            raise ConnectionError("redis://user:secret@host")
        await workers.submit(spec)

    sync = SubmittedSync(workers.gateway, journal=url, submit=submit, retry=PAUSES)
    assert (await sync.run(people(30))).created == 30
    assert "could not be sent (ConnectionError)" in caplog.text
    assert "secret" not in caplog.text


async def test_run_shard_rejects_the_gateway_of_another_provider(url: str) -> None:
    workers = Workers(url, FakeGateway())
    await workers.sync().run(people(3))
    other = FakeGateway()
    other.provider = "other"
    with pytest.raises(JournalError, match="belongs to fake, not to other"):
        await run_shard(
            ShardSpec(schema=url.partition("schema=")[2].partition("&")[0], run=1, number=1, provider="other"),
            gateway=other, journal=url,
        )  # fmt: skip


async def test_missing_or_local_journals_and_invalid_specs_are_rejected(url: str) -> None:
    spec = ShardSpec(schema="nowhere", run=1, number=1, provider="fake")
    with pytest.raises(JournalError, match=r"nowhere in postgres at 127\.0\.0\.1: no such journal"):
        await run_shard(spec, gateway=FakeGateway(), journal=url)
    with pytest.raises(SyncError, match="names no shard"):
        ShardSpec.from_dict({"schema": "x", "run": True, "number": 1, "provider": "fake"})
    with pytest.raises(MappingError, match="need a journal that they share"):
        SubmittedSync(FakeGateway(), journal="people.db", submit=Workers(url, FakeGateway()).submit)


@pytest.mark.slow
async def test_account_with_many_rows_does_not_starve_accounts_with_few(url: str) -> None:
    """One worker that does one shard at a time, in the order of the messages."""
    queue: asyncio.Queue[tuple[FakeGateway, ShardSpec]] = asyncio.Queue()
    order: list[str] = []
    server = Server(url)

    async def work() -> None:
        while True:
            gateway, spec = await queue.get()
            report = await run_shard(spec, gateway=gateway, journal=server, seconds=0.5, concurrency=4)
            if report.taken:
                order.append(spec.schema)

    async def sync(schema: str, rows: int) -> None:
        gateway = FakeGateway()
        gateway.latency = 0.005

        async def submit(spec: ShardSpec) -> None:
            await queue.put((gateway, spec))

        place = url.replace("schema=", f"schema={schema}_")
        report = await SubmittedSync(gateway, journal=place, submit=submit, retry=PAUSES).run(people(rows))
        assert report.created == rows

    worker = asyncio.create_task(work())
    try:
        big = asyncio.create_task(sync("big", 600))
        while not order:  # noqa: ASYNC110 - the big one is first
            await asyncio.sleep(0.01)
        await asyncio.gather(*(sync(f"small{number}", 5) for number in range(5)))
        before = len(order)
        assert not big.done()
        await big
    finally:
        worker.cancel()
        await asyncio.wait([worker])
        server.close()
    assert before <= 20, f"the small ones waited for {before} of {len(order)} shards"
    assert len(order) >= 35
