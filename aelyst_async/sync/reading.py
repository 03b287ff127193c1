"""The two readings of a source, on a thread: count and index first, then decide row by row.

Deciding needs no request. A row is *refused* (a rule is broken), a *duplicate* (another row with its key is used),
*unchanged* (the journal says that the vendor confirmed exactly this payload) or *work*. Rows are decided in chunks:
one look-up in the journal for each chunk, and the event loop is never held up by a file.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from aelyst_async.sync.errors import SourceError
from aelyst_async.sync.failures import Failure
from aelyst_async.tables.duplicates import DuplicatesIndex
from aelyst_async.tables.mapping import Mapper
from aelyst_async.tables.model import BadRow, Interrupted, NoteCount, Problem
from aelyst_async.tables.plan import Mapped, Plan
from aelyst_async.tables.preview import Tallies
from aelyst_async.tables.records import plain
from aelyst_async.tables.source import ContactSource

if TYPE_CHECKING:
    from aelyst_async.sync.journal import Entry
    from aelyst_async.sync.settings import SyncSettings

__all__ = ["Chunk", "Reader", "Work", "work_data"]

_CHUNK = 1_000
"""Rows decided at once."""


@attrs.define
class Work:
    """A valid row, from its reading to its outcome.

    ``entry``: what the journal knows of its contact. ``held``: another process has claimed it. ``ambiguous``: a create
    may have happened, so the contact is looked up first. ``upserted``: an upsert that may be repeated may have created
    the contact; the next run looks it up.
    """

    row: int
    line: int | None
    key: str
    values: list[tuple[str, Any]]
    hash: bytes
    data: Any
    entry: Entry | None = None
    held: bool = False
    attempts: int = 0
    looks: int = 0
    verify: bool = False
    ambiguous: bool = False
    upserted: bool = False
    parked_since: float | None = None
    pauses: int = 0
    created: bool | None = None

    @property
    def is_done(self) -> bool:
        """Whether the vendor has confirmed exactly this payload."""
        entry = self.entry
        return entry is not None and entry.state == "DONE" and entry.hash == self.hash


@attrs.define
class Chunk:
    """The decisions on the next rows. ``read`` counts them all."""

    read: int = 0
    unchanged: int = 0
    skipped: int = 0
    refused: list[Failure] = attrs.Factory(list)
    work: list[Work] = attrs.Factory(list)
    last: bool = False


class Reader:
    """Reads one source for one target. `verify`: the share of unchanged rows that are sent to be compared.

    ``look_up`` asks the journal for many keys at once (None: there is none). ``claim`` claims the keys of rows to be
    sent and returns those that it got, with their entries (None: no other process uses the journal). ``saw`` is called
    with each valid row, duplicates included.
    """

    look_up: Callable[[Sequence[str]], Mapping[str, Entry]] | None = None
    claim: Callable[[Sequence[str]], Mapping[str, Entry | None]] | None = None
    saw: Callable[[Mapped], None] | None = None

    def __init__(self, source: ContactSource, mapper: Mapper, settings: SyncSettings, *, verify: float) -> None:
        self.total: int = 0
        self._source = source
        self._mapper = mapper
        self._duplicates = settings.duplicates
        self._index = DuplicatesIndex(settings.duplicates)
        self._refresh = settings.refresh
        self._verify = verify
        self._random = random.Random()  # noqa: S311 - a sample, no secret
        self._rows: Iterator[tuple[int | None, Any]] | None = None
        self._row = 0
        self._fingerprint: str | None = None
        self._tallies = Tallies()

    @property
    def notes(self) -> tuple[NoteCount, ...]:
        """The changes made to values of the rows that are sent or unchanged, counted by column and kind."""
        return self._tallies.notes

    def survey(self) -> int:
        """Do the first reading: count the rows, find repeated keys, detect every fault of the file as a whole.

        Return the number of rows (those so far, if the run is asked to end meanwhile). Raises `SourceError`,
        `MappingError`.
        """
        self._fingerprint = self._source.fingerprint()
        with contextlib.suppress(Interrupted):
            self._survey()
        self._index.seal()
        return self.total

    def _survey(self) -> None:
        mapper, index = self._mapper, self._index
        plan: Plan | None = None
        row = 0
        for row, (_, cells) in enumerate(self._source.open(), 1):
            self.total = row
            if not row % _CHUNK and self._source.stopped():
                return
            columns = self._source.columns
            if plan is None and row == 1:
                if columns is not None and mapper.transform is None:
                    plan = mapper.plan(columns, None if isinstance(cells, (BadRow, Mapping)) else cells)
                elif isinstance(cells, Mapping):
                    mapper.check_first(cells)
            if isinstance(cells, BadRow):
                continue
            if plan is not None and not isinstance(cells, Mapping):
                key = plan.key_of(cells)
                # Only a valid row may replace another row with its key.
                if key is not None and index.suspect(key) and isinstance(plan.read(cells), Mapped):
                    index.add(key, row)
            elif isinstance(mapped := mapper.read(columns, cells), Mapped) and index.suspect(mapped.key):
                index.add(mapped.key, row)
        if row == 0 and self._source.columns is not None and mapper.transform is None:
            mapper.plan(self._source.columns)

    @property
    def fingerprint(self) -> str | None:
        """What the source was at the first reading."""
        return self._fingerprint

    def next_chunk(self) -> Chunk:
        """Decide the next rows. Raises `SourceError` if the source is no longer what it was."""
        if self._rows is None:
            self._rows = self._source.open()
        chunk = Chunk()
        rows: list[Work] = []
        for line, cells in self._rows:
            self._row += 1
            chunk.read += 1
            work = self._decide(self._row, line, self._source.columns, cells, chunk)
            if work is not None:
                rows.append(work)
            if chunk.read >= _CHUNK:
                break
        else:
            chunk.last = True
            if self._row != self.total or self._source.fingerprint() != self._fingerprint:
                raise SourceError(f"{self._source.name} was changed while it was read; run the same command again")
        if rows and self.look_up is not None:
            known = self.look_up([work.key for work in rows])
            for work in rows:
                work.entry = known.get(work.key)
        chunk.work = [work for work in rows if not self._unchanged(work, chunk)]
        if self.claim is not None and chunk.work:
            self._claim(self.claim([work.key for work in chunk.work]), chunk)
        return chunk

    def close(self) -> None:
        """Close the file. Idempotent."""
        close = getattr(self._rows, "close", None)
        if close is not None:
            close()

    def _decide(
        self, row: int, line: int | None, columns: tuple[str, ...] | None, cells: Any, chunk: Chunk
    ) -> Work | None:
        """Return a valid row that is used for its key; count all others in `chunk`."""
        number = self._source.row_number(row)
        if isinstance(cells, BadRow):
            problems, key, raw = [Problem(None, cells.rule, cells.message)], None, cells.data
        else:
            mapped = self._mapper.read(columns, cells)
            raw = cells
            if isinstance(mapped, Mapped):
                if self.saw is not None:
                    self.saw(mapped)
                rival = self._index.rival(mapped.key, row)
                if rival is None:
                    if mapped.notes:
                        self._tallies.add_notes(number, mapped.notes)
                    data = cells if columns is None else (columns, cells)
                    return Work(number, line, mapped.key, mapped.values, mapped.hash, data)
                if self._duplicates != "error":
                    chunk.skipped += 1
                    return None
                name, other = self._mapper.key, self._source.row_number(rival)
                problems, key = [Problem(name, "duplicate", f"row {other} has the same {name}")], mapped.key
            else:
                problems, key = mapped, self._mapper.key_of(columns, cells)
        chunk.refused.append(Failure(row=number, line=line, key=key, problems=problems, data=_as_data(columns, raw)))
        return None

    def _unchanged(self, work: Work, chunk: Chunk) -> bool:
        """Count a row of which the vendor has confirmed exactly this payload. A sample of them is verified."""
        if self._refresh or not work.is_done:
            return False
        work.verify = bool(self._verify) and self._random.random() < self._verify
        chunk.unchanged += not work.verify
        return not work.verify

    def _claim(self, held: Mapping[str, Entry | None], chunk: Chunk) -> None:
        """Note what is known of the rows since they were claimed; another process may have sent them meanwhile."""
        rows, chunk.work = chunk.work, []
        for work in rows:
            if work.key not in held:
                work.held = True
            else:
                work.entry = held[work.key]
                if work.is_done and not (self._refresh or work.verify):
                    chunk.unchanged += 1
                    continue
            chunk.work.append(work)


def _as_data(columns: tuple[str, ...] | None, cells: Any) -> Any:
    """Return a row as the failures file shows it: column → cell, what is beyond the columns under ``""``."""
    if columns is None or not isinstance(cells, (list, tuple)):
        return plain(cells)
    data = {name: plain(cell) for name, cell in zip(columns, cells)}  # noqa: B905 - a row may have fewer cells
    if len(cells) > len(columns):
        data[""] = plain(cells[len(columns) :])
    return data


def work_data(work: Work) -> Any:
    """Return the row of `work` as the failures file shows it."""
    return _as_data(*work.data) if isinstance(work.data, tuple) else plain(work.data)
