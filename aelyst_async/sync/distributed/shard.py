"""One shard of a stored source: what a worker does with one message. It knows no queue.

`run_shard` may be called at any time, from any process, any number of times, also for one shard at once: it takes the
shard, claims its rows one by one in the journal, and delivers them with the `Engine` and the `RowSender` of a sync. So
it is safe with every queue that delivers at least once.

It ends within ``seconds``, so that every queue's time-out for an acknowledgement can be longer, and so that one source
of many rows leaves its worker to others in between. What is left is in the database: `ShardReport.left` and ``delay``
say when to call it again for the same shard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import attrs

from aelyst_async.errors import AuthenticationError, ConfigurationError
from aelyst_async.gateway import ContactGateway
from aelyst_async.sync.delivery import Kind, RowResult, RowSender
from aelyst_async.sync.engine import Engine
from aelyst_async.sync.errors import JournalError, SyncError, SyncStoppedError
from aelyst_async.sync.failures import FailuresFile
from aelyst_async.sync.journal import Decided, Journal, stored
from aelyst_async.sync.journal.committer import Committer
from aelyst_async.sync.journal.postgres import Postgres, Server
from aelyst_async.sync.pace import Traffic, patient
from aelyst_async.sync.reading import Chunk, Work
from aelyst_async.sync.report import Tally
from aelyst_async.sync.settings import RetrySettings, SyncSettings
from aelyst_async.tables.mapping import Mapper, schema_of
from aelyst_async.waiting import Worker

__all__ = ["ShardReport", "ShardSpec", "run_shard"]

SECONDS = 20.0
"""The longest that a shard is worked on at once."""

_WORKING = 0.6
"""The part of that time in which new requests are sent; the rest is for those in flight."""

_WATCH = 1.0
"""Seconds between two looks whether the submission was stopped."""

_UNREACHABLE = 5.0
"""Seconds before a shard is tried again whose API does not answer."""

_TIME_IS_UP = "the time of this shard is up"
_OUTCOMES = frozenset({Kind.CREATED, Kind.UPDATED, Kind.UNCHANGED, Kind.FAILED})


@attrs.frozen(kw_only=True)
class ShardSpec:
    """Names a shard: the schema of its journal, the number of the run, its number in the run, and the API.

    Made by ``aelyst sync --broker``; `to_dict` gives it as a message carries it.
    """

    schema: str
    run: int
    number: int
    provider: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return attrs.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ShardSpec:
        """Return what `to_dict` gave. Raises `SyncError` for anything else."""
        kinds = {"schema": str, "run": int, "number": int, "provider": str}
        if set(values) != set(kinds) or any(type(values[name]) is not kind for name, kind in kinds.items()):
            raise SyncError("the message names no shard of this version of aelyst-async")
        return cls(**values)


@attrs.frozen(kw_only=True)
class ShardReport:
    """What one call of `run_shard` has done.

    ``left`` rows of the shard have no outcome yet; call it again in ``delay`` seconds. ``taken``: False if there was
    nothing to do: the shard is done, its run was stopped, or another worker has it. ``stopped``: why the run as a whole
    ended, such as a refused credential.
    """

    taken: bool
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: int = 0
    left: int = 0
    delay: float = 0.0
    stopped: str | None = None


class _Rows:
    """The rows of a shard that may be tried now, for the `Engine`."""

    def __init__(self, journal: Journal, first: int, last: int) -> None:
        self.total = 0
        self.repaired: list[Decided] = []
        self._journal = journal
        self._range = first, last

    def next_chunk(self) -> Chunk:
        """Claim the rows and return those that this process got."""
        journal, run = self._journal, self._journal.run
        works, given_up = journal.database.read(lambda found: stored.open_rows(found, run, *self._range))
        held = journal.claim([work.key for work in works])
        chunk = Chunk(last=True)
        for work in works:
            if work.key not in held:
                continue
            entry = work.entry = held[work.key]
            # A worker that died may have written what became of a row, and not that this is the row's outcome.
            if work.row in given_up:
                self.repaired.append(Decided(work.row, Kind.FAILED.value))
            elif entry is not None and work.is_done:
                sent = Kind.CREATED if entry.operation == "create" else Kind.UPDATED
                kind = sent if entry.run == run else Kind.UNCHANGED
                self.repaired.append(Decided(work.row, kind.value))
            else:
                chunk.work.append(work)
        if self.repaired:
            journal.apply(self.repaired)
        chunk.read = self.total = len(chunk.work)
        return chunk


class _Recorder:
    """A `Deliverer` that has the outcome of each row written, and remembers which are to be tried again, and when."""

    def __init__(self, sender: RowSender, committer: Committer) -> None:
        self._sender = sender
        self._committer = committer
        self._later: dict[int, tuple[Work, float]] = {}

    def first_delay(self, work: Work) -> float:
        delay = self._sender.first_delay(work)
        if delay > 0:
            self._put_off(work, delay)
        return delay

    async def attempt(self, work: Work) -> RowResult:
        result = await self._sender.attempt(work)
        if result.kind in _OUTCOMES:
            self._later.pop(work.row, None)
            self._committer.put(Decided(work.row, result.kind.value))
        elif result.kind is Kind.LATER:
            self._put_off(work, result.delay)
        return result

    def _put_off(self, work: Work, delay: float) -> None:
        self._later[work.row] = work, asyncio.get_running_loop().time() + delay

    def later(self) -> list[tuple[Work, float]]:
        """Return the rows that are to be tried again, and the seconds until then."""
        now = asyncio.get_running_loop().time()
        return [(work, max(0.0, due - now)) for work, due in self._later.values()]


async def run_shard(
    spec: ShardSpec,
    *,
    gateway: ContactGateway,
    journal: str | Server,
    seconds: float = SECONDS,
    concurrency: int = 64,
) -> ShardReport:
    """Send the rows of a shard that may be sent now, and give the rest back. Ends within `seconds`.

    `journal`: the URL of the journal's database (its ``schema`` is the spec's), or connections to it that several
    calls share. The `gateway` must be of the account that the journal belongs to. Retries are as the run was
    submitted with.

    Raises `JournalError`, and `MappingError` for a wrong `concurrency` or `seconds`; whatever it raises, call it again
    for the same shard.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    with ExitStack() as resources, Worker("aelyst-shard") as worker:

        def opened() -> Journal:
            server = journal
            if not isinstance(server, Server):
                server = Server(server)
                resources.callback(server.close)
            database = Postgres(server, schema=spec.schema, create=False)
            resources.callback(database.close)
            return Journal(database)

        book = await worker.run(opened)
        book.run = spec.run
        submission = await worker.run(book.database.read, lambda found: stored.submission(found, spec.run))
        if submission is None or submission.stopped is not None:
            return ShardReport(taken=False)
        given = dict(submission.settings)
        retry = RetrySettings(**given.pop("retry"))
        settings = SyncSettings(**given, retry=retry, concurrency=concurrency, drain=seconds * (1 - _WORKING))
        named: Any = gateway
        account = await named.account(book.salt) if hasattr(named, "account") else None
        try:
            key = await worker.run(book.check_bound, gateway.provider, account)
        except JournalError as error:
            # Shown to the process that follows the run: perhaps no worker has the right credential.
            words = str(error)
            await worker.run(
                book.database.write, lambda found: stored.note_trouble(found, spec.run, spec.number, words)
            )
            raise
        taken = await worker.run(
            book.database.write, lambda found: stored.take(found, book.database.owner, spec.run, spec.number)
        )
        if taken is None:
            return ShardReport(taken=False)
        mapper = Mapper(schema_of(gateway), key=key)
        return await _Call(spec, gateway, book, worker, mapper, settings, deadline).run(_Rows(book, *taken))


class _Call:
    """One call of `run_shard` that has taken its shard."""

    def __init__(
        self,
        spec: ShardSpec,
        gateway: ContactGateway,
        journal: Journal,
        worker: Worker,
        mapper: Mapper,
        settings: SyncSettings,
        deadline: float,
    ) -> None:
        self._spec = spec
        self._gateway = gateway
        self._journal = journal
        self._worker = worker
        self._mapper = mapper
        self._settings = settings
        self._deadline = deadline

    async def run(self, rows: _Rows) -> ShardReport:
        """Deliver the rows until none is left or the time is up, and hand the shard back."""
        loop = asyncio.get_running_loop()
        gateway = patient(self._gateway)
        tally = Tally()
        traffic = Traffic(gateway, tally, self._settings.concurrency)
        trouble = stopped = None
        rest = 0.0
        try:
            async with Committer(self._journal) as committer:
                recorder = _Recorder(RowSender(gateway, self._mapper, committer, self._settings), committer)
                engine = Engine(
                    rows, recorder, self._settings, worker=self._worker, committer=committer,
                    failures=FailuresFile(None), tally=tally, traffic=traffic,
                )  # fmt: skip
                timer = loop.call_at(self._deadline - self._settings.drain, engine.stop, _TIME_IS_UP)
                watch = asyncio.create_task(self._watch(engine.stop))
                try:
                    await engine.run()
                except AuthenticationError as error:
                    trouble = stopped = f"the credential was refused ({error.status} {error.message})"
                except (SyncStoppedError, ConfigurationError) as error:
                    trouble, rest = str(error), _UNREACHABLE
                finally:
                    timer.cancel()
                    watch.cancel()
                    await asyncio.wait([watch])
            if committer.error is not None:
                raise committer.error
        finally:
            traffic.close()
        counts = stored.Counts(dict(tally.requests), tally.waited, tally.network)
        later = recorder.later()
        owner, run, number = self._journal.database.owner, self._spec.run, self._spec.number

        def hand_back(found: Any) -> tuple[int, float]:
            if stopped is not None:
                stored.stop(found, run, stopped)
            return stored.hand_back(
                found, owner, run, number, later=later, rest=rest, trouble=trouble, requests=counts
            )  # fmt: skip

        rows_left, delay = await self._worker.run(self._journal.database.write, hand_back)
        return _report(tally, rows.repaired, left=rows_left, delay=delay, stopped=stopped)

    async def _watch(self, stop: Callable[[str], None]) -> None:
        """Stop when the submission is stopped. The journal's own errors end the run elsewhere."""
        while True:
            await asyncio.sleep(_WATCH)
            with suppress(SyncError):
                found = await asyncio.to_thread(
                    self._journal.database.read, lambda found: stored.submission(found, self._spec.run)
                )
                if found is None or found.stopped is not None:
                    stop("the run was stopped")


def _report(tally: Tally, repaired: Sequence[Decided], **facts: Any) -> ShardReport:
    counts = {kind.value: getattr(tally, kind.value) for kind in _OUTCOMES}
    for one in repaired:
        counts[one.outcome] += 1
    return ShardReport(taken=True, **counts, **facts)
