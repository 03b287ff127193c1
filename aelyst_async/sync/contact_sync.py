"""`ContactSync`: the room's front door. It puts the parts together for one run and takes them apart again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from aelyst_async.errors import ContactsError
from aelyst_async.gateway import ContactGateway
from aelyst_async.sync.delivery import RetrySettings, RowSender
from aelyst_async.sync.dry_run import LocalDryRun, RemoteDryRun
from aelyst_async.sync.engine import Deliverer, Engine, ErrorBudget
from aelyst_async.sync.errors import JournalError, MappingError, SourceError, SyncError
from aelyst_async.sync.failures import FailuresFile, beside, table_of
from aelyst_async.sync.journal import Journal
from aelyst_async.sync.journal.committer import Committer
from aelyst_async.sync.journal.database import is_url
from aelyst_async.sync.journal.process import identity
from aelyst_async.sync.mirror import Confirm, Mirror, Mirrored
from aelyst_async.sync.pace import Sizer, Traffic, patient
from aelyst_async.sync.reading import Reader
from aelyst_async.sync.report import Progress, SyncReport, Tally
from aelyst_async.sync.worker import Worker
from aelyst_async.tables.duplicates import Duplicates
from aelyst_async.tables.mapping import Empty, Mapper, schema_of
from aelyst_async.tables.sources import ContactSource, as_source
from aelyst_async.transport.settings import LONGEST
from aelyst_async.waiting import uninterrupted

__all__ = ["ContactSync"]


@attrs.frozen(kw_only=True)
class Prepared:
    """What one run works with, opened and read once."""

    source: ContactSource
    reader: Reader
    worker: Worker
    journal: Journal | None
    failures: FailuresFile
    dry_run: bool
    remote: bool
    resumed: bool


class ContactSync:
    """Sends a table of contacts to an API. `run` returns a `SyncReport`.

    What is sent:

    - `key`: the field that identifies a contact; of ``"email,phone"``, the first that a row has.
    - `mapping`, `constants`, `empty`, `region`, `ignore_unknown`, `drop_extensions`, `date_format`, `true`, `false`:
      how columns become fields, as `Mapper` says.
    - `duplicates`: which of several rows with one key is used: ``"last"``, ``"first"``, or ``"error"`` for none.
    - `refresh`: also send unchanged rows. `verify`: the share (0 to 1) of unchanged rows that are compared with the
      vendor's data. `assume_new`: create contacts that the journal does not know without a look-up; only for an account
      that is empty.
    - `delete_missing`: after a run in which every row went in, delete the contacts of the account that the source does
      not have (`aelyst_async.sync.mirror`); needs a journal. `max_deletes`: the number of contacts (an ``int``), or the
      share of the account's (a ``float`` from 0 to 1), above which none is deleted. `confirm`: a plain or async
      callable that gets a `MirrorPlan` before the first delete and returns whether to continue.

    What is kept:

    - `journal`: the path of an SQLite file, or the URL of a PostgreSQL database (`aelyst_async.sync.journal.postgres`).
      With None nothing is remembered, and every row is sent.
    - `rebind`: the credential was replaced, but the account of the journal is the same.
    - `failures`: where failed rows are written. By default beside the source, or beside the journal if the rows are no
      file; ``report.failures`` is the path.
    - `target` (``target``, ``base_url``, ``instance``) and `settings` (JSON-ready) are stored in the journal, so that
      another program can repeat the run. A sandbox with another ``instance`` is another account.

    How it runs:

    - `concurrency`: the most rows in flight; fewer if quota and latency need no more.
    - `max_attempts` of a row, and the pauses between them (`retry`).
    - `max_errors`: the number of failed rows, or a share such as 0.05, that ends the run.
    - `drain`: seconds that `stop` gives the requests in flight.
    - `progress`: called with a `Progress` a few times a second.

    Raises `MappingError` for a setting that cannot work, other `SyncError`, and `AuthenticationError`.
    """

    def __init__(
        self,
        gateway: ContactGateway,
        *,
        journal: str | os.PathLike[str] | None = None,
        key: str = "email",
        concurrency: int = 64,
        mapping: Mapping[str, Any] | Iterable[str] | Callable[[Mapping[str, Any]], Any] | None = None,
        empty: Empty = "skip",
        region: str | None = None,
        constants: Mapping[str, Any] | None = None,
        ignore_unknown: bool = False,
        drop_extensions: bool = False,
        date_format: str | None = None,
        true: Iterable[str] = (),
        false: Iterable[str] = (),
        duplicates: Duplicates = "last",
        failures: str | os.PathLike[str] | None = None,
        refresh: bool = False,
        verify: float = 0.0,
        max_errors: float | None = None,
        drain: float = 20.0,
        max_attempts: int = 5,
        assume_new: bool = False,
        retry: RetrySettings = RetrySettings(),  # noqa: B008 - frozen
        progress: Callable[[Progress], None] | None = None,
        rebind: bool = False,
        target: Mapping[str, str | None] | None = None,
        settings: Mapping[str, Any] | None = None,
        delete_missing: bool = False,
        max_deletes: float = 0.1,
        confirm: Confirm | None = None,
    ) -> None:
        if not isinstance(gateway, ContactGateway):
            name = getattr(gateway, "provider", type(gateway).__name__)
            raise MappingError(f"{name} only reads contacts, so it cannot be the target of a sync")
        if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:
            raise MappingError(f"concurrency must be a whole number from 1, not {concurrency!r}")
        if duplicates not in {"last", "first", "error"}:
            raise MappingError(f"duplicates is last, first or error, not {duplicates!r}")
        if not (_is_number(verify) and 0 <= verify <= 1):
            raise MappingError(f"verify is a share from 0 to 1, not {verify!r}")
        if not (_is_number(drain) and 0 <= drain <= LONGEST):
            raise MappingError(f"drain is a number of seconds from 0, not {drain!r}")
        if not isinstance(max_attempts, int) or isinstance(max_attempts, bool) or max_attempts < 1:
            raise MappingError(f"max_attempts must be a whole number from 1, not {max_attempts!r}")
        if progress is not None and not callable(progress):
            raise MappingError(f"progress is called with a Progress; it cannot be {progress!r}")
        self.gateway = gateway
        self.mapper: Mapper = Mapper(
            schema_of(gateway), key=key, mapping=mapping, constants=constants, empty=empty, region=region,
            ignore_unknown=ignore_unknown, drop_extensions=drop_extensions, date_format=date_format, true=true,
            false=false,
        )  # fmt: skip
        self._mirror: Mirror | None = None
        self._mirroring: asyncio.Task[Mirrored] | None = None
        self._new_mirror: Callable[[], Mirror] | None = None
        if delete_missing:
            if journal is None:
                raise MappingError("delete_missing needs a journal, which makes deletes safe to repeat; name one")
            self._new_mirror = partial(Mirror, gateway, self.mapper, max_deletes=max_deletes, confirm=confirm)
            self._new_mirror()  # raises for settings that cannot work
        self._journal_place: Path | str | None = None
        if journal is not None:
            self._journal_place = str(journal) if is_url(journal) else Path(journal)
        self._concurrency = concurrency
        self._duplicates: Duplicates = duplicates
        self._failures_path = None if failures is None else Path(failures)
        self._refresh = refresh
        self._verify = verify
        self._budget = _budget(max_errors)
        self._drain = drain
        self._max_attempts = max_attempts
        self._assume_new = assume_new
        self._retry = retry
        self._progress = progress
        self._rebind = rebind
        self._target = target
        self._settings = dict(settings or {})
        self._engine: Engine | None = None
        self._collecting: asyncio.Task[ContactSource] | None = None
        self._asked: str | None = None
        self._look_first = True

    def stop(self, reason: str = "interrupted") -> None:
        """End the run: finish what is in flight, save, report. To be called in the loop's thread."""
        self._asked = reason
        if self._collecting is not None:
            self._collecting.cancel()
        if self._engine is not None:
            self._engine.stop(reason)
        if self._mirror is not None:
            self._mirror.stop()

    def abort(self) -> None:
        """End the run now: what is in flight is cancelled; the journal knows what may have happened."""
        self.stop()
        if self._engine is not None:
            self._engine.abort()
        if self._mirroring is not None:
            self._mirroring.cancel()

    async def run(self, rows: Any, *, dry_run: bool = False, remote: bool = False) -> SyncReport:
        """Sync `rows`: a path, a `ContactSource`, a data frame, or an (async) iterable of mappings.

        `dry_run`: decide only, send nothing; with `remote`, one get for each row that the journal cannot decide.
        Raises `SyncError`, `AuthenticationError`; the error's ``report`` attribute is the report so far.
        """
        # The thread ends first; only then is closed what it works on.
        with ExitStack() as resources, Worker("aelyst-sync") as worker:
            resources.callback(self._forget_stop)
            source = await self._collect(rows)
            resources.callback(source.close)
            source.stopped = lambda: worker.closing or self._asked is not None
            failures = self._failures_path
            if failures is None and not dry_run:
                home = source.path or (self._journal_place if isinstance(self._journal_place, Path) else None)
                failures = None if home is None else beside(home, "failures.jsonl")
            self._check_paths(source, failures)
            # One that exists is opened before the source is read, since it may be in use; a new one is made after it,
            # so that a refused source leaves none behind.
            exists = self._journal_place is not None and await worker.run(_exists, self._journal_place)
            journal = await self._open_journal(worker, resources, dry_run=dry_run) if exists else None
            resumed = False
            reader = Reader(
                source,
                self.mapper,
                duplicates=self._duplicates,
                refresh=self._refresh,
                verify=0.0 if dry_run else self._verify,
            )
            resources.callback(reader.close)
            if self._new_mirror is not None:
                self._mirror = self._new_mirror()
                reader.saw = self._mirror.saw
            try:
                await worker.run(reader.survey)
            except SourceError:
                # Ctrl-C ends both ends of a shell's pipe: what looks like a bad file is one whose writer has gone.
                await asyncio.sleep(0)  # the signal may be a turn of the loop behind the end of the pipe
                if self._asked is None:
                    raise
            if not exists:
                journal = await self._open_journal(worker, resources, dry_run=dry_run)
            if journal is not None:
                reader.look_up = journal.look_up
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
                        "duplicates": self._duplicates,
                        "process": identity(),
                        "settings": self._settings,
                    },
                )
            prepared = Prepared(
                source=source, reader=reader, worker=worker, journal=journal, failures=FailuresFile(failures, source),
                dry_run=dry_run, remote=remote, resumed=resumed,
            )  # fmt: skip
            return await self._run(prepared)

    def _forget_stop(self) -> None:
        self._asked = self._mirror = None

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

    async def _run(self, run: Prepared) -> SyncReport:
        source, reader, worker, journal = run.source, run.reader, run.worker, run.journal
        failures, dry_run = run.failures, run.dry_run
        gateway: Any = patient(self.gateway)
        tally = Tally()
        sizer = Sizer(self._concurrency)
        traffic = Traffic(gateway, tally, sizer)
        error: BaseException | None = None
        complete = False
        mirrored = Mirrored()
        try:
            async with Committer(None if dry_run else journal) as committer:
                sender = RowSender(
                    gateway, self.mapper, committer, retry=self._retry, max_attempts=self._max_attempts,
                    assume_new=self._assume_new,
                )  # fmt: skip
                sender.look_first = self._look_first
                if (claim := reader.claim) is not None:
                    sender.claim = lambda keys: worker.run(claim, keys)
                deliverer: Deliverer = sender
                if dry_run:
                    deliverer = RemoteDryRun(sender, gateway, self.mapper) if run.remote else LocalDryRun()
                engine = self._engine = Engine(
                    reader, deliverer, worker=worker, committer=committer, failures=failures, tally=tally,
                    traffic=traffic, sizer=sizer, drain=self._drain, budget=self._budget, progress=self._progress,
                )  # fmt: skip
                committer.progress = lambda: attrs.asdict(engine.snapshot())
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
            if self._mirror is not None and error is None:
                try:
                    refusal = self._mirror.refusal(source, journal, failed=tally.failed, stopped=engine.stopped)
                    mirrored = (
                        await self._mirrored(self._mirror, journal, worker, dry_run=dry_run)
                        if refusal is None
                        else Mirrored(not_deleted=refusal)
                    )
                except ContactsError as failure:
                    error = failure
        finally:
            self._engine = None
            traffic.close()
            path = failures.close(complete=complete and not dry_run)
        await worker.run(failures.write_table)
        report = tally.report(
            pending=engine.pending,
            dry_run=dry_run,
            run=None if journal is None else journal.run or None,
            source=source.name,
            target=self.mapper.schema.provider,
            total=reader.total,
            failures=path,
            journal=None if journal is None else journal.path,
            quota_used=engine.quota_used,
            stopped=engine.stopped,
            resumed=run.resumed,
            notes=_notes(journal, tally.untold),
            changes=reader.notes,
            missing=mirrored.missing,
            deleted=mirrored.deleted,
            not_deleted=mirrored.not_deleted,
            missing_contacts=mirrored.names if dry_run else (),
        )
        if journal is not None and not dry_run:
            try:
                journal.end(2 if error is not None else report.exit_code, report.to_dict())
            except JournalError:
                if error is None:
                    raise
        if error is not None:
            error.report = report  # type: ignore[attr-defined]
            raise error
        return report

    async def _mirrored(self, mirror: Mirror, journal: Journal | None, worker: Worker, *, dry_run: bool) -> Mirrored:
        run = mirror.run(
            journal, worker, dry_run=dry_run, concurrency=self._concurrency, settle=self._retry.settle,
            attempts=self._max_attempts,
        )  # fmt: skip
        task = self._mirroring = asyncio.ensure_future(run)
        try:
            return await task
        except asyncio.CancelledError:
            await uninterrupted(task)
            if self._asked is None:
                raise
            return Mirrored(not_deleted="interrupted")
        finally:
            self._mirroring = None

    async def _open_journal(self, worker: Worker, resources: ExitStack, *, dry_run: bool) -> Journal | None:
        place = self._journal_place
        if place is None or (dry_run and not await worker.run(_exists, place)):
            return None

        def opened() -> Journal:
            journal = Journal.open(place)
            resources.callback(journal.close)  # on the thread: a sync that is cancelled meanwhile closes it, too
            return journal

        gateway: Any = self.gateway
        journal = await worker.run(opened)
        name = await gateway.account(journal.salt) if hasattr(gateway, "account") else None
        provider, key = self.mapper.schema.provider, self.mapper.key
        await worker.run(journal.bind, provider, name, key=key, rebind=self._rebind, target=self._target)
        return journal

    def _check_paths(self, source: ContactSource, failures: Path | None) -> None:
        """Refuse to write over the source, or where nothing can be written."""
        if failures is not None and not failures.absolute().parent.is_dir():
            raise SyncError(f"--failures {failures}: no such directory; name another file")
        journal = self._journal_place if isinstance(self._journal_place, Path) else None
        if source.path is not None:
            table = None if failures is None else table_of(failures)
            for path, option in ((failures, "--failures"), (table, "--failures"), (journal, "--journal")):
                if path is not None and _same_file(path, source.path):
                    raise SyncError(f"{option} {path} is the source itself; name another file")
        if failures is not None and journal is not None:
            parts = (journal.with_name(f"{journal.name}{ending}") for ending in ("", "-wal", "-shm"))
            if any(_same_file(failures, part) for part in parts):
                raise SyncError(f"--failures {failures} belongs to the journal; name another file")


def _notes(journal: Journal | None, untold: int) -> tuple[str, ...]:
    notes = []
    if journal is not None and journal.unreadable:
        words = f"{journal.unreadable:,} rows of {journal.database.name} do not fit their checksum"
        notes.append(f"{words} (is the disk failing?); nothing in them was used, their contacts were looked up")
    if untold:
        who = "1 of the created contacts" if untold == 1 else f"{untold:,} of the created contacts"
        notes.append(f"{who} may have been there before: the API does not tell whether an upsert created or updated")
    return tuple(notes)


def _exists(place: Path | str) -> bool:
    if isinstance(place, Path):
        return place.exists()
    from aelyst_async.sync.journal import postgres

    return postgres.exists(place)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value  # NaN is not


def _same_file(one: Path, other: Path) -> bool:
    """Whether two paths are one file, by whatever way they lead to it."""
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there yet
        return one.resolve() == other.resolve()


def _budget(max_errors: float | None) -> ErrorBudget:
    if max_errors is None:
        return ErrorBudget()
    if not _is_number(max_errors) or max_errors < 0:
        raise MappingError(f"max_errors is a number of rows or a share such as 0.05, not {max_errors!r}")
    if isinstance(max_errors, int):
        return ErrorBudget(number=max_errors)
    if max_errors > 1:
        raise MappingError(f"max_errors as a share is at most 1.0, not {max_errors!r}")
    return ErrorBudget(share=max_errors)
