"""Where jobs stand between `submit` and their end, and the rules that every place for them keeps.

::

                       ┌────────── put_back ◀─────────┐
                       ▼                              │
    add ──▶ waiting (may be merged into) ──start──▶ running ──finish──▶ done | failed

* Jobs of one key form a queue. Its head is waiting or running, the others wait, so a key never has two running.
* A submission for a key whose last job waits and has the same function is merged into that job; it gets that job's
  id. One that finds the last job running waits behind it: the running one may have read its arguments already.
* ``finish`` returns the next job of the key, so that one process runs all jobs of a key and order needs no search.

`MemoryStore` keeps them in this process: fast, any arguments, gone with the process. `aelyst_async.fastapi.journal`
keeps them in SQLite.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from itertools import islice
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import attrs

from aelyst_async.contacts import UNSET, ContactFields
from aelyst_async.errors import ContactsError

__all__ = [
    "ALONE",
    "IN_TURN",
    "Added",
    "Adopted",
    "FailedJob",
    "Head",
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
    "Table",
    "merge_arguments",
    "union",
]

T = TypeVar("T")
JobState: TypeAlias = Literal["waiting", "running", "done", "failed"]

ALONE = 10
"""Points of blame for the death of the process while nothing else may begin beside a job; see `database`."""

IN_TURN = 1
"""The same while only other suspects must wait for it."""

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


def merge_arguments(merge: Merge, older: dict[str, Any], newer: dict[str, Any]) -> dict[str, Any]:
    """Return the merged arguments. Raises `InvalidJobError`, whatever `merge` raises or returns instead of a dict."""
    try:
        merged = merge(older, newer)
    except BaseException as error:  # a rule that calls sys.exit must end neither the loop nor the journal
        raise InvalidJobError(f"the merge rule of the job raised {type(error).__name__}") from error
    if not isinstance(merged, dict):
        raise InvalidJobError(f"the merge rule of the job must return a dict, not {type(merged).__name__}")
    return merged


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
    the name of the error's class, ``message`` its text without what looks like people's data or a credential (see
    `failures.message_of`), ``error_status`` the HTTP status that caused it, if one did.
    """

    id: str
    name: str
    state: JobState
    submissions: int = 1
    starts: int = 0
    submitted_at: datetime
    finished_at: datetime | None = None
    error: str | None = None
    message: str | None = None
    error_status: int | None = None


@attrs.frozen(kw_only=True)
class FailedJob(JobStatus):
    """A job that failed, with its key, which may name a person. Its arguments stay in the store, for `resubmit`."""

    key: str = attrs.field(repr=False)


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
    """A job to run. ``retries``: its temporary failures so far; ``waited``: the seconds that they and the pauses after
    them took. ``problem``: why it cannot be run.
    """

    key: str
    name: str
    arguments: dict[str, Any]
    starts: int
    function: Callable[..., Any] | None = None
    retries: int = attrs.field(default=0, kw_only=True)
    waited: float = attrs.field(default=0.0, kw_only=True)
    problem: str | None = attrs.field(default=None, kw_only=True)


@attrs.frozen
class Outcome:
    """How a job ended."""

    state: JobState
    error: str | None = None
    error_status: int | None = None
    message: str | None = None


@attrs.frozen(order=True)
class Head:
    """A job that can start. ``deaths`` above 0: it is suspected of killing its process, ``blame`` says how much."""

    seq: int
    id: str
    deaths: int = 0
    blame: int = 0


@attrs.define
class Adopted:
    """What dead owners left: jobs that can start, in order; id, name and problem of those given up; the owners."""

    heads: list[Head] = attrs.Factory(list)
    given_up: list[tuple[str, str, str]] = attrs.Factory(list)
    owners: list[str] = attrs.Factory(list)


class Table(Protocol):
    """The operations on stored jobs. They may block for the disk, so call them by `Store.ask`."""

    def start(self, job_id: str, trial: int = 0) -> Started | None:
        """Mark a waiting job as running and return it; None if it is not there to be run.

        `trial`: the blame that it gets if the process dies now.
        """
        ...

    def watch(self, job_id: str, trial: int) -> None:
        """Change the blame that a running job gets if the process dies."""
        ...

    def finish(self, job_id: str, outcome: Outcome) -> str | None:
        """Mark a job as over and return the next one of its key."""
        ...

    def put_back(self, job_id: str, *, uncounted: bool, waited: float = 0.0) -> None:
        """Let a running job wait again.

        `uncounted`: it was cut off, and this start does not count. Else it failed temporarily: that is counted,
        `waited` seconds are added, and it is no suspect any more.
        """
        ...

    def adopt(self) -> Adopted:
        """Take over the jobs of processes that died."""
        ...

    def status(self, job_id: str) -> JobStatus | None:
        """Return what is known of a job."""
        ...

    def failed(self, job_id: str) -> Started | None:
        """Return a failed job with its arguments, to submit it again."""
        ...

    def failures(self, limit: int) -> list[FailedJob]:
        """Return the `limit` jobs that failed last, the newest first."""
        ...


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
        """Keep the job, or merge it; where `capacity` jobs are open only merge it, else return None.

        A job that is merged into starts fresh: its ``retries`` and ``waited`` are 0 again. Raises `InvalidJobError`.
        """
        ...

    async def ask(self, work: Callable[[Table], T]) -> T:
        """Return the result of `work`, which calls one method of the table, once it is kept."""
        ...

    async def close(self) -> None:
        """Release everything; called once, last."""
        ...

    def stop(self) -> None:
        """Release everything where the loop that opened it is gone. Blocks."""
        ...


@attrs.define(kw_only=True)
class _Record:
    job: Submission
    arguments: dict[str, Any]
    state: JobState = "waiting"
    submissions: int = 1
    starts: int = 0
    retries: int = 0
    waited: float = 0.0
    submitted_at: float = attrs.field(factory=time.time)
    finished_at: float | None = None
    outcome: Outcome | None = None

    def told(self) -> dict[str, Any]:
        """Return the fields of the job's `JobStatus`."""
        outcome = self.outcome or Outcome(self.state)
        return {
            "id": self.job.id,
            "name": self.job.name,
            "state": self.state,
            "submissions": self.submissions,
            "starts": self.starts,
            "submitted_at": moment(self.submitted_at),
            "finished_at": None if self.finished_at is None else moment(self.finished_at),
            "error": outcome.error,
            "message": outcome.message,
            "error_status": outcome.error_status,
        }


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

    async def ask(self, work: Callable[[Table], T]) -> T:
        """See `Store`."""
        return work(self)

    async def add(self, job: Submission, *, capacity: int) -> Added | None:
        """See `Store`."""
        queue = self._queues.get(job.key)
        if queue and job.merge is not None:
            last = self._open[queue[-1]]
            if last.state == "waiting" and last.job.function == job.function:
                last.arguments = merge_arguments(job.merge, last.arguments, job.arguments)
                last.submissions += 1
                last.retries, last.waited = 0, 0.0
                return Added(last.job.id, merged=True, mine=True, head=False)
        if len(self._open) >= capacity:
            return None
        self._open[job.id] = _Record(job=job, arguments=job.arguments)
        self._queues.setdefault(job.key, deque()).append(job.id)
        return Added(job.id, merged=False, mine=True, head=not queue)

    def start(self, job_id: str, trial: int = 0) -> Started | None:  # noqa: ARG002 - it dies with the process
        """See `Table`."""
        record = self._open.get(job_id)
        if record is None or record.state != "waiting":
            return None
        record.state = "running"
        record.starts += 1
        job = record.job
        return Started(
            job.key, job.name, record.arguments, record.starts, job.function,
            retries=record.retries, waited=record.waited,
        )  # fmt: skip

    def watch(self, job_id: str, trial: int) -> None:
        """Nothing is to be done."""

    def finish(self, job_id: str, outcome: Outcome) -> str | None:
        """See `Table`."""
        record = self._open.pop(job_id, None)
        if record is None:
            return None
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

    def put_back(self, job_id: str, *, uncounted: bool, waited: float = 0.0) -> None:
        """See `Table`."""
        record = self._open[job_id]
        if record.state == "running":
            record.state = "waiting"
            record.starts -= uncounted
            record.retries += not uncounted
            record.waited += waited

    def adopt(self) -> Adopted:
        """Nothing outlives a process here."""
        return Adopted()

    def status(self, job_id: str) -> JobStatus | None:
        """See `Table`."""
        record = self._open.get(job_id) or self._finished.get(job_id)
        return None if record is None else JobStatus(**record.told())

    def failed(self, job_id: str) -> Started | None:
        """See `Table`."""
        record = self._finished.get(job_id)
        if record is None or record.state != "failed":
            return None
        return Started(record.job.key, record.job.name, record.arguments, record.starts, record.job.function)

    def failures(self, limit: int) -> list[FailedJob]:
        """See `Table`."""
        failed = (record for record in reversed(self._finished.values()) if record.state == "failed")
        return [FailedJob(key=record.job.key, **record.told()) for record in islice(failed, limit)]

    async def close(self) -> None:
        """Nothing is to be done."""

    def stop(self) -> None:
        """Nothing is to be done."""


def moment(seconds: float) -> datetime:
    """Return Unix seconds as an aware datetime."""
    return datetime.fromtimestamp(seconds, timezone.utc)
