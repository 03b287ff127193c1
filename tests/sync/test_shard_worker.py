"""`ShardWorker` and the brokers in this process: registration, gateways, messages it refuses, and lost connections."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from aelyst_async import errors
from aelyst_async.errors import ConfigurationError
from aelyst_async.sync import JournalError, RetrySettings
from tests.servers_external import PostgresServer, RedisServer, postgres
from tests.sync.fakes import FakeGateway

pytest.importorskip("taskiq")
pytest.importorskip("asyncpg")

from taskiq import InMemoryBroker

from aelyst_async.sync import distributed
from aelyst_async.sync.distributed import ShardWorker, make_broker, register
from aelyst_async.sync.distributed.shard import ShardSpec, run_shard
from aelyst_async.sync.distributed.submitting import SubmittedSync
from aelyst_async.sync.journal.history import status
from aelyst_providers.aelyst import AelystGateway

__all__ = ["postgres"]

_number = itertools.count()


class ClosingGateway(FakeGateway):
    closed = False

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.url(f"workers_{next(_number)}", lease=3)


def schema_in(url: str) -> str:
    return url.partition("schema=")[2].partition("&")[0]


def spec(schema: str, provider: str = "fake") -> dict[str, Any]:
    return ShardSpec(schema=schema, run=1, number=1, provider=provider).to_dict()


async def test_registered_worker_sends_all_rows_and_closes_its_gateway(url: str) -> None:
    gateway = ClosingGateway()
    opened: list[str] = []

    def open_gateway(found: ShardSpec) -> FakeGateway:
        opened.append(found.schema)
        return gateway

    broker = InMemoryBroker()
    submit = register(broker, ShardWorker(url, open_gateway=open_gateway, seconds=5, concurrency=8))
    await broker.startup()
    rows = [{"email": f"p{number}@example.com"} for number in range(210)]
    sync = SubmittedSync(gateway, journal=url, submit=submit, retry=RetrySettings(settle=0, base=0.01))
    report = await sync.run(rows)
    await broker.wait_all()
    await broker.shutdown()
    assert (report.created, report.pending, report.exit_code) == (210, 0, 0)
    assert set(gateway.emails().values()) == {1}
    assert opened == [schema_in(url)], "one gateway for all shards"
    assert gateway.closed


async def test_patience_with_a_row_lasts_from_shard_to_shard(url: str) -> None:
    def fault(method: str, key: str, _: int) -> BaseException | None:
        return errors.QueuedError(status=449, message="queued", method=method) if "p1@" in key else None

    gateway = FakeGateway(fault)
    times: list[float] = []
    tasks: set[asyncio.Task[Any]] = set()

    async def submit(found: ShardSpec) -> None:
        times.append(asyncio.get_running_loop().time())
        tasks.add(asyncio.create_task(run_shard(found, gateway=gateway, journal=url, seconds=0.3)))

    retry = RetrySettings(settle=0, base=0.01, queued=0.05, queued_cap=0.1, patience=0.6)
    rows = [{"email": f"p{number}@example.com"} for number in range(3)]
    report = await asyncio.wait_for(SubmittedSync(gateway, journal=url, submit=submit, retry=retry).run(rows), 60)
    await asyncio.gather(*tasks)
    assert (report.created, report.failed) == (2, 1)
    assert report.reasons == (("put off for over 0.6 s: 449 queued", 1),)
    assert len(times) > 1, "the shard was sent again for the rest"


async def test_status_follows_a_run_whose_rows_are_sent_elsewhere(url: str) -> None:
    states: list[str] = []
    gateway = FakeGateway()

    async def submit(found: ShardSpec) -> None:
        states.append((await asyncio.to_thread(status, url))["run"]["state"])
        await run_shard(found, gateway=gateway, journal=url, seconds=5)

    report = await SubmittedSync(gateway, journal=url, submit=submit).run([{"email": "a@example.com"}])
    ended = (await asyncio.to_thread(status, url))["run"]
    assert states == ["running"]
    assert (report.created, ended["state"], ended["sent"]) == (1, "ended", 1)


async def test_register_without_a_worker_leaves_the_message_to_others(url: str) -> None:
    broker = InMemoryBroker(await_inplace=True)
    submit = register(broker)
    await broker.startup()
    await submit(ShardSpec(schema=schema_in(url), run=1, number=1, provider="fake"))
    await broker.shutdown()


async def test_worker_that_was_not_started_says_so(url: str) -> None:
    worker = ShardWorker(url)
    with pytest.raises(ConfigurationError, match="the worker was not started: run it with taskiq worker"):
        await worker.work(spec("any"))
    await worker.close()


async def test_worker_logs_messages_that_it_cannot_use_and_goes_on(url: str, caplog: pytest.LogCaptureFixture) -> None:
    worker = ShardWorker(url)
    submitted: list[ShardSpec] = []
    await worker.start(submitted.append)
    try:
        await worker.work({"schema": "x"})
        await worker.work(spec("another"))
        assert "a shard was not done: the message names no shard of this version" in caplog.text
        assert "a shard was not done: the message is for another, not for the schema of AELYST_JOURNAL" in caplog.text
    finally:
        await worker.close()
    assert submitted == []


@pytest.mark.parametrize(
    ("open_gateway", "kind"),
    [(None, AelystGateway), (lambda _: FakeGateway(), FakeGateway)],
    ids=["of the environment", "of the caller, without aclose"],
)
async def test_worker_keeps_the_gateway_that_it_opened(
    url: str, open_gateway: Any, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AELYST_TOKEN", "token")
    seen: list[Any] = []

    async def run_shard(found: ShardSpec, *, gateway: Any, **_: Any) -> Any:
        seen.append(gateway)
        raise JournalError("no such run")

    monkeypatch.setattr(distributed, "run_shard", run_shard)
    worker = ShardWorker(url, open_gateway=open_gateway)
    await worker.start(lambda _: None)
    try:
        await worker.work(spec(schema_in(url), "aelyst"))
        await worker.work(spec(schema_in(url), "aelyst"))
    finally:
        await worker.close()
    assert isinstance(seen[0], kind)
    assert seen[1] is seen[0]


async def test_worker_logs_once_that_it_cannot_look_for_shards(
    url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    several = asyncio.Event()

    def fail(_: object) -> list[str]:
        nonlocal looks
        looks += 1
        if looks == 3:
            loop.call_soon_threadsafe(several.set)
        raise JournalError("the database does not answer")

    loop = asyncio.get_running_loop()
    monkeypatch.setattr("aelyst_async.sync.journal.postgres.journals", fail)
    worker = ShardWorker(url)
    await worker.start(lambda _: None)
    assert worker._server is not None
    worker._server.lease = 0.03  # a third of it is the pause between two looks
    try:
        await asyncio.wait_for(several.wait(), 30)
    finally:
        await worker.close()
    assert caplog.text.count("cannot look for shards: the database does not answer") == 1


def test_module_makes_its_broker_from_the_environment_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AELYST_BROKER", "nats://127.0.0.1:1")
    monkeypatch.setenv("AELYST_JOURNAL", "postgresql+asyncpg://127.0.0.1/postgres?schema=one")
    try:
        broker = distributed.broker
        assert broker.find_task(distributed.TASK) is not None
        assert distributed.broker is broker
    finally:
        distributed.__dict__.pop("broker", None)
    with pytest.raises(AttributeError, match="has no attribute 'brokers'"):
        _ = distributed.brokers


async def test_lost_connection_to_nats_is_logged_without_its_address(caplog: pytest.LogCaptureFixture) -> None:
    broker: Any = make_broker("nats://user:secret@127.0.0.1:1", "one")
    assert broker.subject == "aelyst.shards.one"
    await distributed._nats_error(OSError("nats://user:secret@127.0.0.1:1"))
    assert "the connection to NATS has failed (OSError)" in caplog.text
    assert "secret" not in caplog.text


async def test_listening_goes_on_after_redis_was_lost(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = RedisServer()
    started = asyncio.Event()

    async def start(_: float) -> None:
        if not server.is_ready():
            await asyncio.to_thread(server.start)
        started.set()

    broker = make_broker(server.url, "one")
    submit = register(broker)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(asyncio, "sleep", start)  # Redis is there after the first pause
            messages = broker.listen()
            first = asyncio.ensure_future(anext(messages))
            await asyncio.wait_for(started.wait(), 30)
        await submit(ShardSpec(schema="one", run=1, number=1, provider="fake"))
        message: Any = await asyncio.wait_for(first, 30)
        assert b"aelyst_async:shard" in message.data
        server.kill()
        await message.ack()  # cannot arrive, and the message comes again
        await messages.aclose()
    finally:
        await broker.shutdown()
        server.kill()
    assert caplog.text.count("the connection to Redis has failed") == 1
