"""`export_contacts` lists an account, writes the file, and records its rows in the journal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any

import attrs

from aelyst_async.errors import ApiError
from aelyst_async.export.columns import Spool, Values
from aelyst_async.export.writers import ExportError, Writer, check_libraries, make_writer
from aelyst_async.gateway import ListingGateway
from aelyst_async.sync.journal import Journal, Settled
from aelyst_async.sync.journal.database import is_url
from aelyst_async.sync.journal.process import identity
from aelyst_async.sync.report import SyncReport
from aelyst_async.tables.fields import CUSTOM
from aelyst_async.tables.mapping import Mapped, Mapper, schema_of
from aelyst_async.tables.model import Interrupted
from aelyst_async.tables.opening import display_name
from aelyst_async.waiting import Worker

__all__ = ["ExportError", "ExportProgress", "ExportReport", "export_contacts"]

_BATCH = 2_000
"""Number of rows in one transaction of the journal, and between two checks for a cancellation."""


@attrs.frozen(kw_only=True)
class ExportProgress:
    """The progress of an export: ``done`` contacts were listed in ``elapsed`` seconds.

    An API does not report the number of contacts, so ``total`` is 0 until the last one is listed.
    """

    done: int
    elapsed: float
    total: int = 0

    @property
    def rate(self) -> float:
        """Contacts per second since the start."""
        return self.done / self.elapsed if self.elapsed else 0.0


@attrs.frozen(kw_only=True)
class ExportReport:
    """The result of an export: ``rows`` in ``file``, with ``columns`` (None for JSON lines), in ``elapsed`` seconds.

    ``empty``: number of contacts left out because they have no value in any exported field. ``refused``: number of rows
    that a sync would refuse, with the most frequent ``reasons``. ``changed``: number of rows that a sync would send in
    another form than the account has (a phone number with blanks), once they are edited. ``formulas``: number of CSV
    cells that a spreadsheet would calculate. ``key``: the field by which a sync of the file matches contacts.
    """

    file: Path
    format: str
    rows: int
    key: str
    columns: tuple[str, ...] | None = None
    empty: int = 0
    refused: int = 0
    reasons: tuple[tuple[str, int], ...] = ()
    changed: int = 0
    formulas: int = 0
    journal: Path | str | None = None
    elapsed: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-ready values."""
        values = attrs.asdict(self)
        values["file"] = str(self.file)
        values["journal"] = None if self.journal is None else str(self.journal)
        values["reasons"] = [{"reason": reason, "rows": count} for reason, count in self.reasons]
        values["elapsed"] = round(self.elapsed, 4)
        return values


async def export_contacts(
    gateway: ListingGateway,
    path: str | os.PathLike[str],
    *,
    search: str | None = None,
    where: Any = None,
    force: bool = False,
    key: str = "email,phone",
    journal: str | os.PathLike[str] | None = None,
    target: Mapping[str, str | None] | None = None,
    progress: Callable[[ExportProgress], None] | None = None,
) -> ExportReport:
    """Write the contacts of an account to `path`. Its suffix selects the format: .csv, .jsonl, .parquet, .xlsx.

    `search` and `where` select contacts, as in `gateway.contacts`. `force`: replace an existing file. `journal`: the
    journal of a later sync of the file by `key`: a path, or the URL of a PostgreSQL database. The rows are recorded
    there as sent, so that the sync sends only changed rows; in PostgreSQL except those that another process is sending
    at that moment. `target` is as in `ContactSync`. An incomplete file never gets the name: it is written under a
    temporary name in the same directory, with mode 0600, and renamed at the end.

    Raises `ExportError` if the file cannot be written (before the listing starts, where this can be known),
    `JournalError`, `MappingError`, and the errors of the listing.
    """
    file = Path(path)
    kind = check_libraries(file)
    if not isinstance(gateway, ListingGateway):
        name = getattr(gateway, "provider", type(gateway).__name__)
        raise ExportError(f"{name} cannot list contacts, so they cannot be exported")
    _check_place(file, force=force)
    mapper = Mapper(schema_of(gateway), key=key)
    started = time.monotonic()
    with ExitStack() as stack, Worker("aelyst-export") as worker:
        book = None if journal is None else await _opened(journal, gateway, mapper, worker, stack, target)
        spool = stack.enter_context(Spool(mapper.schema))
        spool.define(await _definitions(gateway))
        async for contacts in _pages(gateway, search, where):
            for contact in contacts:
                spool.add(contact)
            if progress is not None:
                progress(ExportProgress(done=spool.count + spool.empty, elapsed=time.monotonic() - started))
        if progress is not None:
            listed = spool.count + spool.empty
            progress(ExportProgress(done=listed, total=listed, elapsed=time.monotonic() - started))
        part = _part(file)
        stack.callback(part.unlink, missing_ok=True)
        selection = bool(search) or where is not None
        written = _Written(spool, mapper, book, lambda: worker.closing, selection=selection)
        try:
            await worker.run(written.write, part, kind, file.name)
        except OSError as error:
            raise _unwritable(file, error) from None
        _check_place(file, force=force)  # another program may have created it meanwhile
        try:
            part.replace(file)
        except OSError as error:
            raise _unwritable(file, error) from None
        return ExportReport(
            file=file,
            format=kind,
            rows=spool.count,
            key=mapper.key,
            columns=written.columns,
            empty=spool.empty,
            refused=written.refused,
            reasons=tuple(written.reasons.most_common(5)),
            changed=written.changed,
            formulas=written.formulas,
            journal=None if book is None else book.path,
            elapsed=time.monotonic() - started,
        )


async def _definitions(gateway: Any) -> Iterable[Any]:
    """Return the account's custom fields; none if the API does not have them or the credential may not read them."""
    if not hasattr(gateway, CUSTOM):
        return ()
    try:
        found: Iterable[Any] = await gateway.custom_fields()
    except ApiError as error:
        if error.status not in {403, 404, 405, 501}:
            raise
        return ()
    return found


async def _pages(gateway: Any, search: str | None, where: Any) -> AsyncIterator[Any]:
    async with aclosing(gateway.contacts(search, where).pages()) as pages:
        async for page in pages:
            yield page.items
            if not page.complete:
                raise ExportError("the server repeated a cursor, so the rest of the account could not be listed")
            await asyncio.sleep(0)


async def _opened(
    place: str | os.PathLike[str],
    gateway: Any,
    mapper: Mapper,
    worker: Worker,
    stack: ExitStack,
    target: Mapping[str, str | None] | None,
) -> Journal:
    def opened() -> Journal:
        journal = Journal.open(str(place) if is_url(place) else Path(place))
        stack.callback(journal.close)
        return journal

    journal = await worker.run(opened)
    name = await gateway.account(journal.salt) if hasattr(gateway, "account") else None
    await worker.run(journal.bind, mapper.schema.provider, name, key=mapper.key, target=target)
    return journal


class _Written:
    """Writes the rows, and records each as a sync will read it. Runs in a thread."""

    def __init__(
        self, spool: Spool, mapper: Mapper, journal: Journal | None, stopped: Callable[[], bool], *, selection: bool
    ) -> None:
        self.columns: tuple[str, ...] | None = None
        self.refused = self.changed = self.formulas = 0
        self.reasons: Counter[str] = Counter()
        self._spool = spool
        self._mapper = mapper
        self._journal = journal
        self._stopped = stopped
        self._selection = selection
        self._writes: list[Settled] = []

    def write(self, part: Path, kind: str, name: str) -> None:
        """Write the file at `part`; `name` is its final name. Raises `ExportError`, `JournalError`."""
        if self._journal is not None:
            arguments = {
                "key": self._mapper.key, "rows": self._spool.count, "process": identity(),
                "settings": {"key": self._mapper.key}, "selection": self._selection,
            }  # fmt: skip
            self._journal.begin(source=display_name(name), fingerprint=None, arguments=arguments)
        ended = False
        try:
            self._write(part, kind)
            ended = True
        finally:
            if self._journal is not None:
                rows = self._spool.count
                report = SyncReport(rows=rows, total=rows, unchanged=rows - self.refused, failed=self.refused)
                self._journal.end(0 if ended else 1, report.to_dict())

    def _write(self, part: Path, kind: str) -> None:
        with part.open("wb") as file:
            with contextlib.closing(make_writer(kind, file, self._spool.columns())) as writer:
                self.columns = writer.columns
                for row, values in enumerate(self._spool, 1):
                    self._note(row, values, writer)
                    if not row % _BATCH:
                        self._commit()
                        if self._stopped():
                            raise Interrupted
                self._commit()
                self.formulas = writer.formulas
            file.flush()
            os.fsync(file.fileno())

    def _note(self, row: int, values: Values, writer: Writer) -> None:
        mapped = self._mapper.read(writer.columns, writer.write(values))
        if not isinstance(mapped, Mapped):
            self.refused += 1
            for problem in mapped:
                self.reasons[f"{problem.column}: {problem.rule}"] += 1
            return
        if not _same(mapped, values):
            self.changed += 1
        if self._journal is not None:
            self._writes.append(
                Settled(mapped.key, "DONE", "update", mapped.hash, values.contact_id, row, 200, 0, was_dead=True)
            )

    def _commit(self) -> None:
        journal, writes = self._journal, self._writes
        if journal is None or not writes:
            return
        if journal.database.shared:
            held = journal.claim([write.key for write in writes])
            writes = [write for write in writes if write.key in held]
        journal.apply(writes)
        self._writes = []


def _same(mapped: Mapped, values: Values) -> bool:
    """Whether a sync would send the account's present values. Empty values are not sent."""
    sent = dict(mapped.values)
    has = {**values.plain, **{f"{CUSTOM}.{name}": value for name, value in values.custom.items()}}
    return all(
        name in sent and sent[name] == value and isinstance(sent[name], bool) is isinstance(value, bool)
        for name, value in has.items()
        if not (isinstance(value, str) and not value.strip())
    )


def _check_place(file: Path, *, force: bool) -> None:
    if not file.parent.is_dir():
        raise ExportError(f"{file.parent}: no such directory")
    if file.is_dir():
        raise ExportError(f"{file.name} is a directory; name a file in it")
    if file.exists() and not force:
        raise ExportError(f"{file.name} exists; name another file, or replace it with --force (force=True)")


def _part(file: Path) -> Path:
    """Return a new file in the directory of `file` that only its owner can read."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".part", dir=file.parent)
    except OSError as error:
        raise _unwritable(file, error) from None
    os.close(descriptor)
    return Path(name)


def _unwritable(file: Path, error: OSError) -> ExportError:
    return ExportError(f"{file.name} cannot be written: {(error.strerror or type(error).__name__).lower()}")
