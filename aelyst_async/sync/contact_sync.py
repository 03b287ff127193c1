"""`ContactSync`: opens what a run works with, has the rows sent, and closes everything again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import attrs

from aelyst_async.errors import ContactsError
from aelyst_async.gateway import ContactGateway
from aelyst_async.sync.delivery import LocalDryRun, RemoteDryRun, RowSender
from aelyst_async.sync.engine import Deliverer, Engine
from aelyst_async.sync.errors import JournalError, MappingError, SourceError, SyncError
from aelyst_async.sync.failures import FailuresFile, beside, table_of
from aelyst_async.sync.journal import Journal
from aelyst_async.sync.journal.committer import Committer
from aelyst_async.sync.journal.process import identity
from aelyst_async.sync.mirror import Mirror, Mirrored
from aelyst_async.sync.pace import Traffic, patient
from aelyst_async.sync.reading import Reader
from aelyst_async.sync.report import SyncReport, Tally
from aelyst_async.sync.settings import SyncSettings
from aelyst_async.tables.mapping import Mapper, schema_of
from aelyst_async.tables.sources import ContactSource, as_source
from aelyst_async.waiting import Worker, uninterrupted

__all__ = ["ContactSync", "Prepared", "Sending"]

_CHANGES = attrs.setters.NO_OP  # for fields that are no settings


@attrs.frozen(kw_only=True, repr=False)
class Prepared:
    """What one run works with, opened and read once."""

    sync: ContactSync
    """The gateway, the mapper and the settings."""
    source: ContactSource
    reader: Reader
    worker: Worker
    journal: Journal | None
    failures: FailuresFile
    mirror: Mirror | None
    dry_run: bool
    remote: bool
    resumed: bool


class Sending(Protocol):
    """The second half of a run: the rows that need a request are sent, here (`_Local`) or by workers."""

    async def run(self) -> SyncReport:
        """Send the rows."""
        ...

    def stop(self, reason: str) -> None:
        """Finish what is in flight and leave the rest."""
        ...

    def abort(self) -> None:
        """Leave what is in flight, too."""
        ...


def _can_write(_: object, __: object, gateway: ContactGateway) -> None:
    if not isinstance(gateway, ContactGateway):
        name = getattr(gateway, "provider", type(gateway).__name__)
        raise MappingError(f"{name} only reads contacts, so it cannot be the target of a sync")


@attrs.define(eq=False, repr=False, on_setattr=attrs.setters.frozen)
class ContactSync(SyncSettings):
    """Sends a table of contacts to an API: ``ContactSync(gateway, journal=…, key=…)``, with the fields of
    `SyncSettings` as keyword arguments. `run` returns a `SyncReport`.

    Raises `MappingError` for a setting that cannot work.
    """

    gateway: ContactGateway = attrs.field(validator=_can_write)
    mapper: Mapper = attrs.field(init=False, on_setattr=_CHANGES)
    """Maps the rows, as the settings say."""
    _asked: str | None = attrs.field(init=False, default=None, on_setattr=_CHANGES)
    _collecting: asyncio.Task[ContactSource] | None = attrs.field(init=False, default=None, on_setattr=_CHANGES)
    _sending: Sending | None = attrs.field(init=False, default=None, on_setattr=_CHANGES)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.mapper = self.mapper_for(schema_of(self.gateway))
        self._new_mirror()  # raises for a gateway that cannot do it

    def stop(self, reason: str = "interrupted") -> None:
        """End the run: finish what is in flight, save, report. To be called in the loop's thread."""
        self._asked = reason
        if self._collecting is not None:
            self._collecting.cancel()
        if self._sending is not None:
            self._sending.stop(reason)

    def abort(self) -> None:
        """End the run now: what is in flight is cancelled; the journal knows what may have happened."""
        self.stop()
        if self._sending is not None:
            self._sending.abort()

    async def run(self, rows: Any, *, dry_run: bool = False, remote: bool = False) -> SyncReport:
        """Sync `rows`: a path, a `ContactSource`, a data frame, or an (async) iterable of mappings.

        `dry_run`: decide only, send nothing; with `remote`, one get for each row that the journal cannot decide.
        Raises `SyncError`, `AuthenticationError`; the error's ``report`` attribute is the report so far.
        """
        # The thread ends first; only then is closed what it works on.
        with ExitStack() as resources, Worker("aelyst-sync") as worker:
            resources.callback(self._ended)
            source = await self._collect(rows)
            resources.callback(source.close)
            source.stopped = lambda: worker.closing or self._asked is not None
            failures = self.failures
            if failures is None and not dry_run:
                home = source.path or (self.journal if isinstance(self.journal, Path) else None)
                failures = None if home is None else beside(home, "failures.jsonl")
            self._check_paths(source, failures)
            # One that exists is opened before the source is read, since it may be in use; a new one is made after it,
            # so that a refused source leaves none behind.
            exists = self.journal is not None and await worker.run(_exists, self.journal)
            journal = await self._open_journal(worker, resources) if exists else None
            reader = Reader(source, self.mapper, self, verify=0.0 if dry_run else self.verify)
            resources.callback(reader.close)
            mirror = self._new_mirror()
            if mirror is not None:
                reader.saw = mirror.saw
            try:
                await worker.run(reader.survey)
            except SourceError:
                # Ctrl-C ends both programs of a pipe: what looks like a bad file may be one whose writer has ended.
                await asyncio.sleep(0)  # the signal may be a turn of the loop behind the end of the pipe
                if self._asked is None:
                    raise
            if not exists and not dry_run:
                journal = await self._open_journal(worker, resources)
            if journal is not None:
                reader.look_up = journal.look_up
            resumed = False
            if journal is not None and not dry_run:
                if journal.database.shared:
                    reader.claim = journal.claim
                resumed = await worker.run(
                    journal.begin,
                    source=source.name,
                    fingerprint=reader.fingerprint,
                    arguments={
                        "key": self.mapper.key,
                        "rows": reader.total,
                        "duplicates": self.duplicates,
                        "process": identity(),
                        "settings": self.settings,
                    },
                )
            prepared = Prepared(
                sync=self, source=source, reader=reader, worker=worker, journal=journal,
                failures=FailuresFile(failures, source), mirror=mirror, dry_run=dry_run, remote=remote, resumed=resumed,
            )  # fmt: skip
            self._sending = sending = self._send(prepared)
            if self._asked is not None:
                sending.stop(self._asked)
            return await sending.run()

    def _send(self, prepared: Prepared) -> Sending:
        return _Local(prepared)

    def _ended(self) -> None:
        self._asked = self._sending = None

    def _new_mirror(self) -> Mirror | None:
        return Mirror(self.gateway, self.mapper, self) if self.delete_missing else None

    async def _collect(self, rows: Any) -> ContactSource:
        """Return `rows` as a source. An async iterable is read to its end here, unless `stop` is called meanwhile."""
        if not isinstance(rows, AsyncIterable):
            return await as_source(rows)
        if self._asked is not None:
            return await as_source([])
        task = self._collecting = asyncio.ensure_future(as_source(rows))
        try:
            return await task
        except asyncio.CancelledError:
            await uninterrupted(task)
            if self._asked is None:
                raise
            return await as_source([])  # nothing was sent, nothing will be
        finally:
            self._collecting = None

    async def _open_journal(self, worker: Worker, resources: ExitStack) -> Journal | None:
        place = self.journal
        if place is None:
            return None

        def opened() -> Journal:
            journal = Journal.open(place)
            resources.callback(journal.close)  # on the thread: a sync that is cancelled meanwhile closes it, too
            return journal

        gateway: Any = self.gateway
        journal = await worker.run(opened)
        name = await gateway.account(journal.salt) if hasattr(gateway, "account") else None
        provider, key = self.mapper.schema.provider, self.mapper.key
        await worker.run(journal.bind, provider, name, key=key, rebind=self.rebind, target=self.target)
        return journal

    def _check_paths(self, source: ContactSource, failures: Path | None) -> None:
        """Refuse to write over the source, or where nothing can be written."""
        if failures is not None and not failures.absolute().parent.is_dir():
            raise SyncError(f"--failures {failures}: no such directory; name another file")
        journal = self.journal if isinstance(self.journal, Path) else None
        if source.path is not None:
            table = None if failures is None else table_of(failures)
            for path, option in ((failures, "--failures"), (table, "--failures"), (journal, "--journal")):
                if path is not None and _same_file(path, source.path):
                    raise SyncError(f"{option} {path} is the source itself; name another file")
        if failures is not None and journal is not None:
            parts = (journal.with_name(f"{journal.name}{ending}") for ending in ("", "-wal", "-shm"))
            if any(_same_file(failures, part) for part in parts):
                raise SyncError(f"--failures {failures} belongs to the journal; name another file")


class _Local:
    """The second half of a run in this process: an `Engine` over the rows, then the mirror, then the report."""

    def __init__(self, run: Prepared) -> None:
        self._run = run
        self._asked: str | None = None
        self._engine: Engine | None = None
        self._mirroring: asyncio.Task[Mirrored] | None = None

    def stop(self, reason: str) -> None:
        self._asked = reason
        if self._engine is not None:
            self._engine.stop(reason)
        if self._run.mirror is not None:
            self._run.mirror.stop()

    def abort(self) -> None:
        if self._engine is not None:
            self._engine.abort()
        if self._mirroring is not None:
            self._mirroring.cancel()

    async def run(self) -> SyncReport:
        run = self._run
        journal, failures = run.journal, run.failures
        tally = Tally()
        gateway = patient(run.sync.gateway)
        traffic = Traffic(gateway, tally, run.sync.concurrency)
        error: BaseException | None = None
        complete = False
        mirrored = Mirrored()
        try:
            async with Committer(None if run.dry_run else journal) as committer:
                engine = self._engine = Engine(
                    run.reader, self._deliverer(gateway, committer), run.sync, worker=run.worker,
                    committer=committer, failures=failures, tally=tally, traffic=traffic,
                )  # fmt: skip
                if self._asked is not None:
                    engine.stop(self._asked)
                try:
                    await engine.run()
                except (ContactsError, KeyboardInterrupt, SystemExit) as reason:
                    error = reason
            if error is None:
                error = committer.error
            complete = error is None and engine.stopped is None
            self._engine = None
            if run.mirror is not None and error is None:
                try:
                    refusal = run.mirror.refusal(run.source, journal, failed=tally.failed, stopped=engine.stopped)
                    mirrored = await self._mirrored(run.mirror) if refusal is None else Mirrored(not_deleted=refusal)
                except ContactsError as failure:
                    error = failure
        finally:
            self._engine = None
            traffic.close()
            path = failures.close(complete=complete and not run.dry_run)
        await run.worker.run(failures.write_table)
        report = tally.report(
            pending=engine.pending,
            dry_run=run.dry_run,
            run=None if journal is None else journal.run or None,
            source=run.source.name,
            target=run.sync.mapper.schema.provider,
            total=run.reader.total,
            failures=path,
            journal=None if journal is None else journal.path,
            quota_used=engine.quota_used,
            stopped=engine.stopped,
            resumed=run.resumed,
            notes=_notes(journal, tally.untold),
            changes=run.reader.notes,
            missing=mirrored.missing,
            deleted=mirrored.deleted,
            not_deleted=mirrored.not_deleted,
            missing_contacts=mirrored.names if run.dry_run else (),
        )
        if journal is not None and not run.dry_run:
            try:
                journal.end(2 if error is not None else report.exit_code, report.to_dict())
            except JournalError:
                if error is None:
                    raise
        if error is not None:
            error.report = report  # type: ignore[attr-defined]
            raise error
        return report

    def _deliverer(self, gateway: ContactGateway, committer: Committer) -> Deliverer:
        run = self._run
        if run.dry_run and not run.remote:
            return LocalDryRun()
        sender = RowSender(gateway, run.sync.mapper, committer, run.sync)
        if (claim := run.reader.claim) is not None:
            sender.claim = lambda keys: run.worker.run(claim, keys)
        return RemoteDryRun(sender) if run.dry_run else sender

    async def _mirrored(self, mirror: Mirror) -> Mirrored:
        run = self._run
        task = self._mirroring = asyncio.ensure_future(mirror.run(run.journal, run.worker, dry_run=run.dry_run))
        try:
            return await task
        except asyncio.CancelledError:
            await uninterrupted(task)
            if self._asked is None:
                raise
            return Mirrored(not_deleted="interrupted")
        finally:
            self._mirroring = None


def _notes(journal: Journal | None, untold: int) -> tuple[str, ...]:
    notes = []
    if journal is not None and journal.unreadable:
        words = f"{journal.unreadable:,} rows of {journal.database.name} do not fit their checksum"
        notes.append(f"{words} (is the disk failing?); nothing in them was used, their contacts were looked up")
    if untold:
        contacts = "1 of the created contacts" if untold == 1 else f"{untold:,} of the created contacts"
        notes.append(
            f"{contacts} may have been there before: the API does not tell whether an upsert created or updated"
        )
    return tuple(notes)


def _exists(place: Path | str) -> bool:
    if isinstance(place, Path):
        return place.exists()
    from aelyst_async.sync.journal import postgres

    return postgres.exists(place)


def _same_file(one: Path, other: Path) -> bool:
    """Whether two paths are one file, by whatever way they lead to it."""
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there yet
        return one.resolve() == other.resolve()
