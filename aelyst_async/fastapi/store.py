"""The job stores: their rules, their values, and the store in memory.

::

                       ┌────────── put_back ◀─────────┐
                       ▼                              │
    add ──▶ waiting (may be merged into) ──start──▶ running ──finish──▶ done | failed

* Jobs of one key form a queue. Its head is waiting or running, the others wait, so a key never has two running jobs.
* A submission for a key whose last job waits and has the same function is merged into that job and gets its id. If the
  last job runs, the submission waits behind it, because the running job may have read its arguments.
* ``finish`` returns the next job of the key. So one process runs all jobs of a key, in order.

`MemoryStore` keeps jobs in this process: fast, any arguments, lost with the process. `aelyst_async.fastapi.journal`
stores them in SQLite.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import attrs

from aelyst_async.contacts import UNSET, ContactFields
from aelyst_async.errors import ContactsError

if TYPE_CHECKING:
    from aelyst_async.fastapi.database import Database
    from aelyst_async.fastapi.journal import Journal

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
"""Points of blame for the death of the process while no other job may start; see `database`."""

IN_TURN = 1
"""Points of blame for the death of the process while only other suspects wait."""

Store: TypeAlias = "MemoryStore | Journal"
"""A store of jobs. Every method may raise `JournalError`."""

Table: TypeAlias = "MemoryStore | Database"
"""The operations on stored jobs. They may block for the disk, so call them by `ask` of a store."""

Merge: TypeAlias = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
"""A function that combines two sets of arguments: those of the waiting job, and the newer ones."""


class JobsError(ContactsError):
    """Base class of the errors of `Jobs`."""


class JobQueueFullError(JobsError):
    """The number of unfinished jobs is at its limit. ``retry_after``: seconds after which to submit again."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message, retry_after)
        self.retry_after = retry_after

    def __str__(self) -> str:
        return str(self.args[0])


class JobsClosedError(JobsError):
    """The jobs are not open: the app is shutting down, or the lifespan was not entered."""


class JournalError(JobsError):
    """The journal cannot be read or written."""


class InvalidJobError(JobsError, ValueError):
    """The key or the arguments of a job cannot be stored, or there is no job or function to run."""


def merge_arguments(merge: Merge, older: dict[str, Any], newer: dict[str, Any]) -> dict[str, Any]:
    """Return the merged arguments. Raises `InvalidJobError`, whatever `merge` raises or returns instead of a dict."""
    try:
        merged = merge(older, newer)
    except BaseException as error:  # a rule that calls sys.exit must not end the journal's thread
        raise InvalidJobError(f"the merge rule of the job raised {type(error).__name__}") from error
    if not isinstance(merged, dict):
        raise InvalidJobError(f"the merge rule of the job must return a dict, not {type(merged).__name__}")
    return merged


def union(old: Any, new: Any) -> Any:
    """Merge `new` into `old`: what only one of them has is kept; of what both have, `new` wins.

    Mappings are merged by key at every depth, `ContactFields` of one type by field (an unset field of `new` keeps the
    value of `old`), and tuples of named objects, such as custom fields, by name. None is a value like any other: it
    means "clear". Everything else, including lists, is replaced.
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
    """The status of a job, without its key and arguments, which contain personal data.

    ``submissions``: number of submissions merged into it, the first included. ``starts``: number of starts. ``error``
    is the name of the error's class, ``message`` its message without what looks like personal data or a credential
    (see `failures.message_of`), ``error_status`` the HTTP status that caused it, or None.
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
    """A failed job with its key, which may identify a person. Its arguments stay in the store for `resubmit`."""

    key: str = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Submission:
    """A job to be stored. `MemoryStore` keeps ``function``; a journal finds it by ``name``."""

    id: str
    key: str
    name: str
    arguments: dict[str, Any]
    merge: Merge | None
    function: Callable[..., Any] | None = None


@attrs.frozen
class Added:
    """The result of a submission: the id of its job, whether it was merged, whether this process runs the job, and
    whether the job can start at once (it is the head of its key).
    """

    id: str
    merged: bool
    mine: bool
    head: bool


@attrs.frozen
class Started:
    """A job to run. ``retries``: number of temporary failures so far; ``waited``: the seconds of those attempts and
    the pauses after them. ``problem``: why it cannot be run, or None.
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
    """The end of a job."""

    state: JobState
    error: str | None = None
    error_status: int | None = None
    message: str | None = None


@attrs.frozen(order=True)
class Head:
    """A job that can start. ``deaths``, ``blame``: see `database`."""

    seq: int
    id: str
    deaths: int = 0
    blame: int = 0


@attrs.define
class Adopted:
    """The jobs of dead owners: jobs that can start, in order; id, name and problem of those given up; the owners."""

    heads: list[Head] = attrs.Factory(list)
    given_up: list[tuple[str, str, str]] = attrs.Factory(list)
    owners: list[str] = attrs.Factory(list)


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
    """A store in memory, and its table. `status` knows the last `remembered` finished jobs."""

    durable = False
    """Whether jobs outlive the process."""

    def __init__(self, remembered: int = 10_000) -> None:
        self._remembered = remembered
        self._open: dict[str, _Record] = {}
        self._queues: dict[str, deque[str]] = {}
        self._finished: OrderedDict[str, _Record] = OrderedDict()

    @property
    def open_count(self) -> int:
        """Number of unfinished jobs of this process."""
        return len(self._open)

    async def open(self) -> None:
        """Do nothing."""

    async def ask(self, work: Callable[[Table], T]) -> T:
        """Call `work` with the table and return its result once the change is stored."""
        return work(self)

    async def add(self, job: Submission, *, capacity: int) -> Added | None:
        """Store the job, or merge it into a waiting one. Returns None if it is not merged and `capacity` is reached.

        A merge resets ``retries`` and ``waited`` of the waiting job to 0. Raises `InvalidJobError`.
        """
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

    def start(self, job_id: str, trial: int = 0) -> Started | None:  # noqa: ARG002 - the store dies with the process
        """See `Database`."""
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
        """Do nothing."""

    def finish(self, job_id: str, outcome: Outcome) -> str | None:
        """See `Database`."""
        record = self._open.pop(job_id, None)
        if record is None:
            return None
        queue = self._queues[record.job.key]
        queue.popleft()  # a running job is the head of its key
        if not queue:
            del self._queues[record.job.key]
        record.state, record.outcome, record.finished_at = outcome.state, outcome, time.time()
        if outcome.state == "done":
            # Personal data is not kept longer than needed.
            record.arguments = {}
            record.job = attrs.evolve(record.job, key="", arguments={}, function=None)
        self._finished[job_id] = record
        while len(self._finished) > self._remembered:
            self._finished.popitem(last=False)
        return queue[0] if queue else None

    def put_back(self, job_id: str, *, uncounted: bool, waited: float = 0.0) -> None:
        """See `Database`."""
        record = self._open[job_id]
        if record.state == "running":
            record.state = "waiting"
            record.starts -= uncounted
            record.retries += not uncounted
            record.waited += waited

    def adopt(self) -> Adopted:
        """Return nothing: this store does not outlive its process."""
        return Adopted()

    def status(self, job_id: str) -> JobStatus | None:
        """See `Database`."""
        record = self._open.get(job_id) or self._finished.get(job_id)
        return None if record is None else JobStatus(**record.told())

    def failed(self, job_id: str) -> Started | None:
        """See `Database`."""
        record = self._finished.get(job_id)
        if record is None or record.state != "failed":
            return None
        return Started(record.job.key, record.job.name, record.arguments, record.starts, record.job.function)

    def failures(self, limit: int) -> list[FailedJob]:
        """See `Database`."""
        failed = (record for record in reversed(self._finished.values()) if record.state == "failed")
        return [FailedJob(key=record.job.key, **record.told()) for record in islice(failed, limit)]

    async def close(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


def moment(seconds: float) -> datetime:
    """Return Unix seconds as an aware datetime."""
    return datetime.fromtimestamp(seconds, timezone.utc)
