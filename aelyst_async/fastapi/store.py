"""Where jobs stand between `submit` and their end, and the rules that every place for them keeps.

::

                       ┌────────── put_back ◀─────────┐
                       ▼                              │
    add ──▶ waiting (may be merged into) ──start──▶ running ──finish──▶ done | failed

* Jobs of one key form a queue. Its head is waiting or running, the others wait, so a key never has two running.
* A submission for a key whose last job waits and has the same function is merged into that job; it gets that job's
  id. One that finds the last job running waits behind it: the running one may have read its arguments already.
* ``finish`` tells the next of the key, so that whoever ran one job runs the next and order needs no search.

`MemoryStore` keeps them in this process: fast, any arguments, gone with the process. `aelyst_async.fastapi.journal`
keeps them in SQLite.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any, Literal, Protocol, TypeAlias

import attrs

from aelyst_async.contacts import UNSET, ContactFields
from aelyst_async.errors import ContactsError

__all__ = [
    "Added",
    "InvalidJobError",
    "JobQueueFullError",
    "JobState",
    "JobStatus",
    "JobsClosedError",
    "JobsError",
    "JournalError",
    "MemoryStore",
    "Merge",
    "Outcome",
    "Started",
    "Store",
    "Submission",
    "union",
]

JobState: TypeAlias = Literal["waiting", "running", "done", "failed"]

Merge: TypeAlias = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
"""Makes one set of arguments of two: those of the job that waits, and the newer ones."""


class JobsError(ContactsError):
    """The root of what `Jobs` raises."""


class JobQueueFullError(JobsError):
    """There are as many unfinished jobs as may be. ``retry_after``: seconds after which there should be room."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message, retry_after)
        self.retry_after = retry_after

    def __str__(self) -> str:
        return str(self.args[0])


class JobsClosedError(JobsError):
    """The jobs are not open: the app is shutting down, or their lifespan was never entered."""


class JournalError(JobsError):
    """The journal cannot be read or written, so nothing can be promised."""


class InvalidJobError(JobsError, ValueError):
    """The key or the arguments of a job cannot be kept, or its function cannot be found again."""


def union(old: Any, new: Any) -> Any:
    """Return `old` brought up to date by `new`: what only one of them has is kept, what both have is `new`'s.

    Mappings are united key by key at every depth, `ContactFields` of one type field by field (a field that `new` does
    not give keeps its value), and tuples of named things, such as custom fields, by name. None is a value like any
    other: it means "clear". Anything else, lists too, is replaced.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return {**old, **{name: union(old[name], value) if name in old else value for name, value in new.items()}}
    if isinstance(old, ContactFields) and isinstance(new, ContactFields) and type(old) is type(new):
        given = dict(old.given())
        changes = {name: union(given.get(name, UNSET), value) for name, value in new.given()}
        return attrs.evolve(old, **changes)
    older, newer = _by_name(old), _by_name(new)
    return tuple({**older, **newer}.values()) if older and newer else new


def _by_name(value: Any) -> dict[str, Any]:
    if not isinstance(value, tuple):
        return {}
    items: tuple[Any, ...] = value
    named = all(attrs.has(type(item)) and hasattr(item, "name") for item in items)
    return {item.name: item for item in items} if named else {}


@attrs.frozen(kw_only=True)
class JobStatus:
    """What may be told of a job: nothing of its key or arguments, which hold people's data.

    ``submissions``: how many were merged into it, itself included. ``starts``: how often it was begun. ``error`` is
    the name of the error's class, ``error_status`` the HTTP status that caused it, if one did.
    """

    id: str
    name: str
    state: JobState
    submissions: int = 1
    starts: int = 0
    submitted_at: datetime
    finished_at: datetime | None = None
    error: str | None = None
    error_status: int | None = None


@attrs.frozen(kw_only=True)
class Submission:
    """A job that asks to be kept. ``function`` is what `MemoryStore` runs; a journal finds it by ``name``."""

    id: str
    key: str
    name: str
    arguments: dict[str, Any]
    merge: Merge | None
    function: Callable[..., Any] | None = None


@attrs.frozen
class Added:
    """What became of a submission: the job it is part of now; whether it was merged; whether this process runs the
    job; and whether it can start at once (it is its key's head).
    """

    id: str
    merged: bool
    mine: bool
    head: bool


@attrs.frozen
class Started:
    """A job to run."""

    key: str
    name: str
    arguments: dict[str, Any]
    starts: int
    function: Callable[..., Any] | None = None


@attrs.frozen
class Outcome:
    """How a job ended."""

    state: JobState
    error: str | None = None
    error_status: int | None = None


class Store(Protocol):
    """A place for jobs. Every method may raise `JournalError`."""

    durable: bool
    """Whether jobs outlive the process."""

    @property
    def open_count(self) -> int:
        """Unfinished jobs that this process has to run."""
        ...

    async def open(self) -> None:
        """Get ready; called once, first."""
        ...

    async def add(self, job: Submission, *, capacity: int) -> Added | None:
        """Keep the job, or merge it; where `capacity` jobs are open only merge it, else return None."""
        ...

    async def start(self, job_id: str) -> Started | None:
        """Mark a waiting job as running and return it; None if it is not there to be run."""
        ...

    async def finish(self, job_id: str, outcome: Outcome) -> str | None:
        """Mark a job as over and return the next one of its key."""
        ...

    async def put_back(self, job_id: str, *, uncounted: bool) -> None:
        """Let a running job wait again; `uncounted`: this start was not its fault and does not count."""
        ...

    async def adopt(self) -> list[str]:
        """Take over the jobs of processes that died; return those that can start at once."""
        ...

    async def status(self, job_id: str) -> JobStatus | None:
        """Return what is known of a job."""
        ...

    async def failed(self, job_id: str) -> Started | None:
        """Return a failed job with its arguments, to submit it again."""
        ...

    async def close(self) -> None:
        """Release everything; called once, last."""
        ...


@attrs.define(kw_only=True)
class _Record:
    job: Submission
    arguments: dict[str, Any]
    state: JobState = "waiting"
    submissions: int = 1
    starts: int = 0
    submitted_at: float = attrs.field(factory=time.time)
    finished_at: float | None = None
    outcome: Outcome | None = None


class MemoryStore:
    """Jobs in this process. Of finished ones the last `remembered` are known to `status`."""

    durable = False

    def __init__(self, remembered: int = 10_000) -> None:
        self._remembered = remembered
        self._open: dict[str, _Record] = {}
        self._queues: dict[str, deque[str]] = {}
        self._finished: OrderedDict[str, _Record] = OrderedDict()

    @property
    def open_count(self) -> int:
        """Unfinished jobs."""
        return len(self._open)

    async def open(self) -> None:
        """Nothing is to be done."""

    async def add(self, job: Submission, *, capacity: int) -> Added | None:
        """See `Store`."""
        queue = self._queues.get(job.key)
        if queue and job.merge is not None:
            last = self._open[queue[-1]]
            if last.state == "waiting" and last.job.function == job.function:
                last.arguments = job.merge(last.arguments, job.arguments)
                last.submissions += 1
                return Added(last.job.id, merged=True, mine=True, head=False)
        if len(self._open) >= capacity:
            return None
        self._open[job.id] = _Record(job=job, arguments=job.arguments)
        self._queues.setdefault(job.key, deque()).append(job.id)
        return Added(job.id, merged=False, mine=True, head=not queue)

    async def start(self, job_id: str) -> Started | None:
        """See `Store`."""
        record = self._open.get(job_id)
        if record is None or record.state != "waiting":
            return None
        record.state = "running"
        record.starts += 1
        job = record.job
        return Started(job.key, job.name, record.arguments, record.starts, job.function)

    async def finish(self, job_id: str, outcome: Outcome) -> str | None:
        """See `Store`."""
        record = self._open.pop(job_id)
        queue = self._queues[record.job.key]
        queue.popleft()  # a job that runs is its key's head
        if not queue:
            del self._queues[record.job.key]
        record.state, record.outcome, record.finished_at = outcome.state, outcome, time.time()
        if outcome.state == "done":
            # People's data is kept no longer than it is needed.
            record.arguments = {}
            record.job = attrs.evolve(record.job, key="", arguments={}, function=None)
        self._finished[job_id] = record
        while len(self._finished) > self._remembered:
            self._finished.popitem(last=False)
        return queue[0] if queue else None

    async def put_back(self, job_id: str, *, uncounted: bool) -> None:
        """See `Store`."""
        record = self._open[job_id]
        if record.state == "running":
            record.state = "waiting"
            record.starts -= uncounted

    async def adopt(self) -> list[str]:
        """Nothing outlives a process here."""
        return []

    async def status(self, job_id: str) -> JobStatus | None:
        """See `Store`."""
        record = self._open.get(job_id) or self._finished.get(job_id)
        if record is None:
            return None
        outcome = record.outcome or Outcome(record.state)
        return JobStatus(
            id=job_id,
            name=record.job.name,
            state=record.state,
            submissions=record.submissions,
            starts=record.starts,
            submitted_at=moment(record.submitted_at),
            finished_at=None if record.finished_at is None else moment(record.finished_at),
            error=outcome.error,
            error_status=outcome.error_status,
        )

    async def failed(self, job_id: str) -> Started | None:
        """See `Store`."""
        record = self._finished.get(job_id)
        if record is None or record.state != "failed":
            return None
        return Started(record.job.key, record.job.name, record.arguments, record.starts, record.job.function)

    async def close(self) -> None:
        """Nothing is to be done."""


def moment(seconds: float) -> datetime:
    """Return Unix seconds as an aware datetime."""
    return datetime.fromtimestamp(seconds, timezone.utc)
