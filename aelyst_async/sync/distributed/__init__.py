"""Syncs on several processes and hosts through taskiq (extra `taskiq`): NATS JetStream or Redis Streams.

On each host that is to send::

    export AELYST_BROKER=nats://… AELYST_JOURNAL=postgresql+asyncpg://… AELYST_QUOTA=redis://… AELYST_TOKEN=…
    taskiq worker aelyst_async.sync.distributed:broker

and anywhere ``aelyst sync FILE --to aelyst --broker … --journal …``. Credentials are in the workers' environment; a
message names a shard (`ShardSpec`) and holds neither a credential nor a row nor an address.

`broker` is made from ``AELYST_BROKER`` when it is first asked for. A program with a broker of its own, or with several
accounts, calls `register` instead.

The database decides who does what (`aelyst_async.sync.journal.stored`); the queue only wakes workers up. So each
worker also looks into the database three times per lease (`ShardWorker`) and sends messages for the shards without
a worker: those of a worker that died, those whose message the queue lost, those that were to wait. That is also the
traffic without which taskiq-redis does not look for the messages of a dead worker.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aelyst_async.errors import ConfigurationError, ContactsError
from aelyst_async.sync.distributed.shard import SECONDS, ShardSpec, run_shard
from aelyst_async.sync.distributed.submitting import send_due
from aelyst_async.sync.journal import postgres, stored
from aelyst_async.sync.pace import shared_limiter

if TYPE_CHECKING:
    from taskiq import AsyncBroker

__all__ = ["ShardWorker", "broker", "make_broker", "register"]

logger: logging.Logger = logging.getLogger("aelyst_async.sync")

TASK = "aelyst_async:shard"
"""The name of the task."""

_ACKNOWLEDGE = 3 * SECONDS
"""Seconds after which the queue gives the message of a worker that was not heard of to another one."""

broker: AsyncBroker
"""The broker of ``AELYST_BROKER``, for ``taskiq worker aelyst_async.sync.distributed:broker``."""


def __getattr__(name: str) -> Any:
    if name != "broker":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    url = _variable("AELYST_BROKER", "nats://HOST or redis://HOST")
    journal = _variable("AELYST_JOURNAL", "postgresql+asyncpg://HOST/DATABASE")
    made = make_broker(url, postgres.schema_of(journal))
    register(made, ShardWorker(journal, quota=os.environ.get("AELYST_QUOTA")))
    globals()["broker"] = made
    return made


def _variable(name: str, example: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ConfigurationError(f"set {name} in the environment, such as {example}")
    return value


def make_broker(url: str, queue: str) -> AsyncBroker:
    """Return a broker for ``nats://``, ``tls://`` (NATS) or ``redis://``, ``rediss://``. Connects to nothing.

    `queue`: who gets whose messages; by ``aelyst sync`` and `broker`, the schema of the journal. Raises
    `ConfigurationError`.
    """
    problem = "give a URL of the form nats://HOST:PORT (recommended) or redis://HOST:PORT"
    with suppress(ValueError):  # whose words quote the URL
        parts = urlsplit(url)
        if parts.scheme in {"nats", "tls", "redis", "rediss"} and parts.hostname and parts.port != 0:
            problem = "needs: pip install 'aelyst-async[taskiq]'"
            with suppress(ImportError):
                return (_jetstream if parts.scheme in {"nats", "tls"} else _streams)(url, queue)
    raise ConfigurationError(f"--broker: {problem}")


def _jetstream(url: str, queue: str) -> AsyncBroker:
    from nats.js.api import ConsumerConfig
    from taskiq_nats import PullBasedJetStreamBroker

    return PullBasedJetStreamBroker(
        servers=url,
        subject=f"aelyst.shards.{queue}",
        stream_name=f"aelyst_shards_{queue}",
        durable="aelyst_workers",
        consumer_config=ConsumerConfig(durable_name="aelyst_workers", ack_wait=_ACKNOWLEDGE, max_ack_pending=10_000),
        pull_consume_timeout=1.0,
        connect_timeout=5,
        max_reconnect_attempts=-1,
        error_cb=_nats_error,
    )


async def _nats_error(error: Exception) -> None:
    logger.warning("the connection to NATS has failed (%s); it is made again", type(error).__name__)


def _streams(url: str, queue: str) -> AsyncBroker:
    from redis.exceptions import RedisError
    from taskiq import AckableMessage
    from taskiq.utils import maybe_awaitable
    from taskiq_redis import RedisStreamBroker

    def quietly(ack: Callable[[], Any]) -> Callable[[], Any]:
        async def acknowledge() -> None:
            with suppress(RedisError, OSError):  # then the message comes again, which does no harm
                await maybe_awaitable(ack())

        return acknowledge

    class Streams(RedisStreamBroker):
        """A `RedisStreamBroker` that survives a restart of Redis, also one that loses its data."""

        async def listen(self) -> AsyncGenerator[AckableMessage, None]:
            while True:
                try:
                    await self._declare_consumer_group()
                    async for message in super().listen():
                        yield AckableMessage(data=message.data, ack=quietly(message.ack))
                except (RedisError, OSError) as error:  # noqa: PERF203 - once per lost connection
                    logger.warning("the connection to Redis has failed (%s); it is made again", type(error).__name__)
                    await asyncio.sleep(1.0)

    return Streams(
        url,
        queue_name=f"aelyst-shards-{queue}",
        consumer_group_name="aelyst-workers",
        consumer_id="0",
        xread_block=1_000,
        xread_count=1,
        idle_timeout=int(_ACKNOWLEDGE * 1_000),
        unacknowledged_lock_timeout=10.0,
        maxlen=100_000,
    )


def register(broker: AsyncBroker, worker: ShardWorker | None = None) -> Callable[[ShardSpec], Any]:
    """Add the task to a broker, and return a function that sends a message for a shard.

    `worker`: what does the task in a worker process; None in a process that only submits.
    """
    from taskiq import TaskiqEvents

    @broker.task(task_name=TASK)
    async def shard(spec: dict[str, Any]) -> None:
        if worker is not None:
            await worker.work(spec)

    async def submit(spec: ShardSpec) -> None:
        await shard.kiq(spec.to_dict())

    if worker is not None:
        running = worker

        async def started(_: Any) -> None:
            await running.start(submit)

        async def ended(_: Any) -> None:
            await running.close()

        broker.add_event_handler(TaskiqEvents.WORKER_STARTUP, started)
        broker.add_event_handler(TaskiqEvents.WORKER_SHUTDOWN, ended)
    return submit


class ShardWorker:
    """One worker process: sends shards as messages arrive, and looks for shards without a worker.

    `journal`: the URL of the journal. `quota`: the URL of a Redis through which all workers share the account's quota.
    By default the worker serves the account of that one journal, with the credential from the environment.
    `open_gateway` makes it serve every journal in the database: it returns the gateway for a shard, of the account that
    the journal in ``spec.schema`` belongs to. The worker keeps the gateway for as long as it runs, and closes it.
    `seconds`, `concurrency`: as `run_shard` says.
    """

    def __init__(
        self,
        journal: str,
        *,
        quota: str | None = None,
        open_gateway: Callable[[ShardSpec], Any] | None = None,
        seconds: float = SECONDS,
        concurrency: int = 64,
    ) -> None:
        self._journal = journal
        self._quota = quota
        self._open = open_gateway or self._from_environment
        self._all = open_gateway is not None
        self._seconds = seconds
        self._concurrency = concurrency
        self._gateways: dict[tuple[str, str], Any] = {}
        self._limiter: Any = None
        self._resources = AsyncExitStack()
        self._server: postgres.Server | None = None
        self._looking: asyncio.Task[None] | None = None
        self._warned = False

    async def start(self, submit: Callable[[ShardSpec], Any]) -> None:
        """Begin to look for shards. Raises `JournalError`."""
        self._limiter = await self._resources.enter_async_context(shared_limiter(self._quota))
        self._server = await asyncio.to_thread(postgres.Server, self._journal)
        self._submit = submit
        self._looking = asyncio.create_task(self._look_on(self._server))

    async def close(self) -> None:
        """Close everything. Idempotent."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
            self._looking = None
        while self._gateways:
            _, gateway = self._gateways.popitem()
            if hasattr(gateway, "aclose"):
                await gateway.aclose()
        await self._resources.aclose()
        if self._server is not None:
            await asyncio.to_thread(self._server.close)
            self._server = None

    async def work(self, message: Mapping[str, Any]) -> None:
        """Do the shard that a message names; send messages for what is due next in its run."""
        server = self._server
        if server is None:
            raise ConfigurationError("the worker was not started: run it with taskiq worker")
        try:
            spec = ShardSpec.from_dict(message)
            gateway = self._gateway(spec)
            report = await run_shard(
                spec, gateway=gateway, journal=server, seconds=self._seconds, concurrency=self._concurrency
            )
            if report.stopped is not None:
                logger.error("run %d of %s was ended: %s", spec.run, spec.schema, report.stopped)
            if report.taken:
                await self._send(server, spec.schema, spec.run, spec.provider)
        except ContactsError as error:
            # The shard is free again when this process' lease on it ends; then another message is sent.
            logger.warning("a shard was not done: %s", error)

    def _gateway(self, spec: ShardSpec) -> Any:
        if not self._all and self._server is not None and spec.schema != self._server.schema:
            raise ConfigurationError(f"the message is for {spec.schema}, not for the schema of AELYST_JOURNAL")
        name = spec.schema, spec.provider
        if name not in self._gateways:
            self._gateways[name] = self._open(spec)
        return self._gateways[name]

    def _from_environment(self, spec: ShardSpec) -> Any:
        from aelyst_async import open_gateway

        return open_gateway(spec.provider, limiter=self._limiter)

    async def _look_on(self, server: postgres.Server) -> None:
        while True:
            try:
                for schema in await asyncio.to_thread(postgres.journals, server):
                    if not self._all and schema != server.schema:
                        continue
                    for run, provider in await asyncio.to_thread(server.write, stored.unfinished, schema=schema):
                        await self._send(server, schema, run, provider)
                self._warned = False
            except ContactsError as error:
                if not self._warned:
                    logger.warning("cannot look for shards: %s", error)
                self._warned = True
            await asyncio.sleep(server.lease / 3)

    async def _send(self, server: postgres.Server, schema: str, run: int, provider: str) -> None:
        await send_due(
            lambda work: asyncio.to_thread(server.write, work, schema=schema), self._submit, run=run,
            lease=server.lease, schema=schema, provider=provider,
        )  # fmt: skip
        await asyncio.to_thread(server.write, lambda found: stored.close_run(found, run), schema=schema)
