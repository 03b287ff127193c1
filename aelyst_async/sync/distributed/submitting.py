"""A sync whose rows are sent by workers: read and stored here, followed here, sent elsewhere.

`SubmittedSync` is a `ContactSync` with another second half. It reads the source and decides what needs a request, as
ever; what does is stored in the journal's database and cut into shards (`aelyst_async.sync.journal.stored`). Then it
has messages sent for the shards that are due, and shows how far the workers are.

If this process dies, the workers go on: they send messages for due shards, too. The same command follows again, from
what is not sent yet. `stop` ends the run: the workers finish what is in flight.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from aelyst_async.sync.contact_sync import ContactSync, Prepared, Sending
from aelyst_async.sync.distributed.shard import ShardSpec
from aelyst_async.sync.engine import count, too_many_failed
from aelyst_async.sync.errors import MappingError, SyncStoppedError
from aelyst_async.sync.failures import Failure
from aelyst_async.sync.journal import Journal, stored
from aelyst_async.sync.journal.database import Statements, is_url
from aelyst_async.sync.reading import Work
from aelyst_async.sync.report import Progress, SyncReport, Tally
from aelyst_async.sync.settings import check_count
from aelyst_async.tables.model import Problem

__all__ = ["SubmittedSync", "send_due"]

logger: logging.Logger = logging.getLogger("aelyst_async.sync")

_OUTCOMES = ("created", "updated", "unchanged", "failed", "skipped")

ROWS = 200
"""Rows in a shard."""

WIDTH = 4
"""Shards of one run that are queued or worked on at once."""

_POLL = 0.5
_IDLE = 15.0
"""Seconds without any worker after which the log says so."""

_HOPELESS = 120.0
"""Seconds without an outcome, while the API does not answer, after which the run ends."""


@attrs.define(eq=False, repr=False, on_setattr=attrs.setters.frozen)
class SubmittedSync(ContactSync):
    """A `ContactSync` whose rows are sent by workers that call `run_shard`.

    `submit`: sends a message that names a shard; what it raises is logged, and the message is sent again later.
    `width`: shards that are queued or worked on at once. The journal is the URL of a PostgreSQL database.
    ``concurrency`` and ``drain`` are the workers' own.
    """

    submit: Callable[[ShardSpec], Awaitable[None]] = attrs.field(kw_only=True)
    width: int = attrs.field(default=WIDTH, kw_only=True, validator=check_count)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if not (isinstance(self.journal, str) and is_url(self.journal)):
            raise MappingError("workers need a journal that they share: --journal postgresql+asyncpg://HOST/DATABASE")
        if self.verify:
            raise MappingError("--verify is not for rows that workers send; leave out --broker")

    def _send(self, prepared: Prepared) -> Sending:
        if prepared.dry_run:
            return super()._send(prepared)
        assert prepared.journal is not None
        prepared.reader.claim = None  # the workers claim
        database: Any = prepared.journal.database
        database.fenced = False
        return _Follower(
            prepared=prepared, journal=prepared.journal, provider=self.mapper.schema.provider, width=self.width,
            submit=self.submit,
        )  # fmt: skip


@attrs.define(kw_only=True, repr=False)
class _Follower:
    """The second half of a run whose rows workers send: it stores them, has them sent, and counts the outcomes."""

    prepared: Prepared
    journal: Journal
    provider: str
    width: int
    submit: Callable[[ShardSpec], Awaitable[None]]
    tally: Tally = attrs.Factory(Tally)
    asked: str | None = None
    aborted: bool = False
    stopped: str | None = None
    trouble: str | None = None
    base: Counter[str] = attrs.Factory(Counter)
    """Outcomes of rows that needed no worker."""

    def stop(self, reason: str) -> None:
        """Have the workers finish what is in flight."""
        self.asked = reason

    def abort(self) -> None:
        """Do not wait for the workers."""
        self.aborted = True

    async def run(self) -> SyncReport:
        """Store the rows, follow the workers, report."""
        run, tally, journal = self.prepared, self.tally, self.journal
        complete = False
        try:
            await self._store()
            await self._follow()
            await self._collect_failures()
            complete = self.stopped is None
        finally:
            path = run.failures.close(complete=complete)
        await run.worker.run(run.failures.write_table)
        report = tally.report(
            pending=tally.read - tally.decided, run=journal.run, source=run.source.name, target=self.provider,
            total=run.reader.total, failures=path, journal=journal.path, stopped=self.stopped, resumed=run.resumed,
            changes=run.reader.notes,
        )  # fmt: skip
        await run.worker.run(journal.end, 2 if self.trouble else report.exit_code, report.to_dict())
        if self.trouble is not None:
            error = SyncStoppedError(self.trouble)
            error.report = report  # type: ignore[attr-defined]
            raise error
        return report

    async def _read(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await self.prepared.worker.run(self.journal.database.read, lambda found: work(found, *arguments))

    async def _write(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await self.prepared.worker.run(self.journal.database.write, lambda found: work(found, *arguments))

    async def _store(self) -> None:
        """Read the source; store what needs a request. The workers begin meanwhile."""
        run, number, last = self.journal.run, 0, False
        given = self.prepared.sync
        settings = {
            "max_attempts": given.max_attempts, "assume_new": given.assume_new, "retry": attrs.asdict(given.retry),
        }  # fmt: skip
        await self._write(stored.submit, run, self.provider, settings, self.width)
        waiting: list[Work] = []
        while not last and self.asked is None:
            chunk = await self.prepared.worker.run(self.prepared.reader.next_chunk)
            before = Counter({name: getattr(self.tally, name) for name in _OUTCOMES})
            count(chunk, self.tally, self.prepared.failures)
            self.base.update({name: getattr(self.tally, name) - before[name] for name in _OUTCOMES})
            waiting += chunk.work
            last = chunk.last
            shards = []
            while len(waiting) >= ROWS or (last and waiting):
                number += 1
                shards.append((number, waiting[:ROWS]))
                waiting = waiting[ROWS:]
            if shards:
                await self._write(stored.store, run, shards)
            await self._look()
        if last:
            facts = {**self.base, "rows": self.tally.read, "total": self.prepared.reader.total}
            await self._write(stored.finish_reading, run, facts)
        else:
            self.stopped = self.asked
            await self._write(stored.stop, run, self.stopped)

    async def _follow(self) -> None:
        """Have messages sent and look, until every row has an outcome or the run ends early."""
        loop = asyncio.get_running_loop()
        idle_since = changed = loop.time()
        decided = -1
        while True:
            began = loop.time()
            state = await self._look()
            now = loop.time()
            if state.working or self.tally.decided != decided:
                idle_since = now
            elif now - idle_since >= _IDLE:
                idle_since = now + 600.0
                why = state.trouble or "start one: taskiq worker aelyst_async.sync.distributed:broker"
                logger.warning("no worker takes a shard; %s", why)
            if self.tally.decided != decided or state.trouble is None:
                decided, changed = self.tally.decided, now
            if state.stopped is not None:
                if self.stopped is None:
                    self.stopped = self.trouble = state.stopped
                if not state.working or self.aborted:
                    return
            elif not state.left:
                return
            elif (reason := self._reason(state, now - changed)) is not None:
                self.stopped = reason
                await self._write(stored.stop, self.journal.run, reason)
                continue
            await asyncio.sleep(max(_POLL, 5 * (now - began)))

    def _reason(self, state: stored.State, stalled: float) -> str | None:
        """Return why the run is to end now, if it is."""
        reason = self.asked or too_many_failed(self.prepared.sync.max_errors, self.tally)
        if reason is not None:
            return reason
        if state.trouble is not None and stalled >= _HOPELESS:
            self.trouble = state.trouble
            return state.trouble
        return None

    async def _look(self) -> stored.State:
        """Have due shards sent, and count the outcomes so far."""
        run, tally = self.journal.run, self.tally
        if self.asked is None:
            database: Any = self.journal.database
            await send_due(
                lambda work: self.prepared.worker.run(database.write, work), self.submit, run=run, lease=database.lease,
                schema=database.schema, provider=self.provider,
            )  # fmt: skip
        state: stored.State = await self._read(stored.state, run)
        for name in _OUTCOMES:
            setattr(tally, name, self.base[name] + state.outcomes[name])
        tally.requests.clear()
        tally.requests.update(state.requests.requests)
        tally.waited, tally.network = state.requests.waited, state.requests.network
        if self.prepared.sync.progress is not None:
            self.prepared.sync.progress(self._snapshot(state))
        return state

    def _snapshot(self, state: stored.State) -> Progress:
        tally = self.tally
        rate = sum(state.outcomes.values()) / tally.elapsed if tally.elapsed > 0 else 0.0
        left = self.prepared.reader.total - tally.decided
        return Progress(
            total=self.prepared.reader.total, read=tally.read, created=tally.created, updated=tally.updated,
            unchanged=tally.unchanged, failed=tally.failed, skipped=tally.skipped, in_flight=state.working,
            waiting=state.waiting, concurrency=self.width, rate=rate, eta=left / rate if rate else None,
            quota=None, requests=sum(tally.requests.values()), elapsed=tally.elapsed,
        )  # fmt: skip

    async def _collect_failures(self) -> None:
        """Write what the workers gave up to the failures file, in the order of the source."""
        for row, line, key, rule, message, status, attempts, data in await self._read(
            stored.failures, self.journal.run
        ):
            self.tally.reason(message)
            self.tally.problems(row, line, [Problem(None, f"{rule}: {message}"[:200], message, key)])
            self.prepared.failures.add(
                Failure(
                    row=row, line=line, key=key, problems=[Problem(None, rule, message)], status=status,
                    attempts=attempts, data=data,
                )
            )  # fmt: skip


async def send_due(
    write: Callable[[Callable[[Statements], Any]], Awaitable[Any]],
    submit: Callable[[ShardSpec], Awaitable[None]],
    *,
    run: int,
    lease: float,
    schema: str,
    provider: str,
) -> None:
    """Send messages for the shards of a run that are due. `write` does its argument as a transaction of the journal."""
    numbers = await write(lambda found: stored.schedule(found, run, lease))
    try:
        while numbers:
            await submit(ShardSpec(schema=schema, run=run, number=numbers[0], provider=provider))
            numbers.pop(0)
    except Exception as error:  # noqa: BLE001 - the queue's own errors, whatever they are
        # Its words may quote an address with a password.
        logger.warning("a message for a shard could not be sent (%s); it is sent again", type(error).__name__)
        await write(lambda found: stored.unqueue(found, run, numbers))
