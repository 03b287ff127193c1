"""Background work that is bounded, in order, merged, drained, and with a journal survives the process.

::

    submit ──▶ store ──▶ ready ──▶ at most `concurrency` tasks ──▶ done
                 ▲  merge  │                    │ temporary error
                 └─────────┴──── pause ◀────────┘

What happens to work that an app starts with `asyncio.create_task` or `BackgroundTasks`: on SIGTERM the first vanishes
without a trace, the second holds up the exit without bound, and one that fails takes the later ones of its response
with it. Here

* `submit` refuses when `capacity` jobs are unfinished, so that the caller is told to come back (a 503) instead of
  memory filling up;
* jobs of one key run one at a time and in order; submissions for a key that wait are merged into one job;
* a job runs in the context (`contextvars`) of its latest submission, so a trace or a request id is still there;
* a job that fails, whatever it raises, is logged and counted and hurts no other. A *temporary* failure (the API is
  down, limits, or is still at work on the contact) is tried again after a pause, for `give_up_after` seconds, while
  its key's later jobs wait;
* with a journal, a job that kills its process is found out and given up, and the jobs that ran beside it go on;
* at the end the intake stops, what runs gets `drain_timeout` seconds, and what is left stays in the journal. Without
  a journal the waiting jobs are run too, as far as the time allows, and those that are lost are logged.

``async with jobs`` opens them without an app: in a script, in a test.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any, TypeVar, overload

from typing_extensions import Self

from aelyst_async.errors import ConfigurationError
from aelyst_async.fastapi.journal import Journal
from aelyst_async.fastapi.runner import Job, JobsStats, Registered, Runner, Settings
from aelyst_async.fastapi.store import (
    FailedJob,
    InvalidJobError,
    JobsClosedError,
    JobStatus,
    MemoryStore,
    Merge,
    Store,
    Submission,
    union,
)

__all__ = ["Jobs"]

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])
T = TypeVar("T")

_MAX_KEY = 512


class Jobs:
    """Runs coroutine functions in the background. Constructing does no I/O; enter `lifespan` or ``async with``.

    `journal`: the SQLite file in which jobs survive the process; then functions must be registered and arguments be
    JSON. None: jobs live in memory, any coroutine function and arguments do. `concurrency`: jobs running at a time.
    `capacity`: unfinished jobs of this process before `submit` refuses. `drain_timeout`: seconds that running jobs
    get at the end. `give_up_after`: seconds for which a job that fails temporarily is tried again, not counting the
    time in which no process ran. `retry_base`, `retry_cap`: seconds of the first and the longest pause of our own
    making (exponential, with full jitter); a server's Retry-After is obeyed, and one above an hour asked about once
    an hour. `max_starts`: how often a job is begun if its process dies each time at once; see `trials`. `keep`: seconds
    for which finished jobs are remembered. `name`: what metrics call this queue. `telemetry`: measure it with
    OpenTelemetry while the app runs; None means: where OpenTelemetry is installed.

    Raises `ConfigurationError` for a setting that cannot work.
    """

    def __init__(
        self,
        *,
        journal: str | os.PathLike[str] | None = None,
        concurrency: int = 16,
        capacity: int = 1000,
        drain_timeout: float = 8.0,
        max_starts: int = 10,
        give_up_after: float = 86400.0,
        retry_base: float = 2.0,
        retry_cap: float = 60.0,
        keep: float = 7 * 86400.0,
        name: str = "jobs",
        telemetry: bool | None = None,
    ) -> None:
        for setting, count in (("concurrency", concurrency), ("capacity", capacity), ("max_starts", max_starts)):
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:
                raise ConfigurationError(f"Jobs: {setting} must be a whole number from 1, not {count!r}")
        seconds = {
            "drain_timeout": drain_timeout,
            "give_up_after": give_up_after,
            "retry_base": retry_base,
            "retry_cap": retry_cap,
            "keep": keep,
        }
        for setting, value in seconds.items():
            if not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
                raise ConfigurationError(f"Jobs: {setting} must be a number of seconds, not {value!r}")
        self.name = name
        self._telemetry = telemetry
        self.drain_timeout = drain_timeout
        self._settings = Settings(
            concurrency=concurrency,
            capacity=capacity,
            max_starts=max_starts,
            give_up_after=give_up_after,
            retry_base=retry_base,
            retry_cap=retry_cap,
        )
        self._journal_path = journal
        self._keep = keep
        self._registered: dict[str, Registered] = {}
        self._life: Runner | None = None
        self._draining = False
        self._last: JobsStats | None = None

    @property
    def durable(self) -> bool:
        """Whether jobs are kept in a journal."""
        return self._journal_path is not None

    @overload
    def register(self, function: F, /) -> F: ...

    @overload
    def register(self, *, name: str | None = None, merge: Merge | None = union) -> Callable[[F], F]: ...

    def register(self, function: Any = None, *, name: str | None = None, merge: Merge | None = union) -> Any:
        """Make a coroutine function findable by name after a restart; a decorator, with or without arguments.

        `name` (default: the function's) is what the journal holds: keep it when the function moves. `merge` makes one
        set of arguments of two (default: `union`); None: never merge. The function must be idempotent where there is
        a journal, since a job runs at least once. Raises `ConfigurationError` for a name that is taken.
        """
        if function is None:
            return partial(self.register, name=name, merge=merge)
        if not inspect.iscoroutinefunction(function):
            raise ConfigurationError(f"Jobs: {function!r} is not a coroutine function (async def)")
        label = name or function.__name__
        taken = self._registered.get(label)
        if taken is not None and taken.function != function:
            raise ConfigurationError(f"Jobs: there is a function registered as {label!r} already; pass another name=")
        self._registered[label] = Registered(function, merge)
        return function

    async def submit(self, key: str, function: Callable[..., Awaitable[Any]], /, **arguments: Any) -> Job:
        """Have ``function(**arguments)`` run after all earlier jobs of `key`, merged with one that waits.

        Returns when the job is accepted: with a journal, when it is on disk. A caller that is cancelled or times out
        takes nothing back: the job is accepted or refused all the same, and an acceptance that nobody heard of is
        logged. Works from every event loop and thread. Raises `JobQueueFullError`, `JobsClosedError`,
        `InvalidJobError` (the key or the arguments cannot be kept), `ConfigurationError` (a journal, and the function
        is not registered; a forked child), `JournalError`.
        """
        name, registered = self._find(function)
        _check_key(key)
        job = Submission(
            id=secrets.token_hex(16),
            key=key,
            name=name,
            arguments=arguments,
            merge=registered.merge,
            function=registered.function,
        )
        self._check_intake()
        return await self._call(lambda life: life.submit(job))

    async def resubmit(self, job_id: str) -> Job:
        """Submit a failed job again, with its key and arguments; it gets a new id.

        Raises `InvalidJobError` if there is no failed job with this id, `ConfigurationError` if its function is not
        registered any more, and what `submit` raises.
        """
        self._check_intake()
        found = await self._call(lambda life: life.store.ask(lambda jobs: jobs.failed(job_id)))
        if found is None:
            raise InvalidJobError("there is no failed job with this id")
        registered = self._registered.get(found.name)
        function = found.function if registered is None else registered.function
        if function is None:
            raise ConfigurationError(f"Jobs: no function is registered as {found.name!r}")
        return await self.submit(found.key, function, **found.arguments)

    async def status(self, job_id: str) -> JobStatus | None:
        """Return what is known of a job, or None. Raises `JobsClosedError`, `JournalError`."""
        return await self._call(lambda life: life.store.ask(lambda jobs: jobs.status(job_id)))

    async def failed(self, *, limit: int = 100) -> list[FailedJob]:
        """Return the jobs that failed and are still remembered, the newest first, at most `limit`.

        They have no arguments; pass an ``id`` to `resubmit` to run one again. Raises `JobsClosedError`, `JournalError`.
        """
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise ConfigurationError(f"Jobs.failed: limit must be a whole number from 1, not {limit!r}")
        return await self._call(lambda life: life.store.ask(lambda jobs: jobs.failures(limit)))

    def stats(self) -> JobsStats:
        """Return the counters; after the end, as they stood then."""
        if self._life is not None:
            return self._life.stats()
        if self._last is not None:
            return self._last
        return JobsStats(capacity=self._settings.capacity)

    def problem(self) -> str | None:
        """Return why no job can be submitted now, or None."""
        life = self._life
        if life is None or self._draining:
            return "jobs: not open" if life is None else "jobs: draining"
        if life.complaint is not None:
            return f"jobs: {life.complaint}"
        return "jobs: the queue is full" if life.full else None

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:  # noqa: ARG002 - as the framework calls it
        """Run jobs while the app runs, those from the journal first; drain at the end."""
        from aelyst_async.telemetry import available, instrument_jobs

        measured = available() if self._telemetry is None else self._telemetry
        stop = instrument_jobs(self, name=self.name) if measured else None
        try:
            async with self:
                yield
        finally:
            if stop is not None:
                stop()

    async def __aenter__(self) -> Self:
        if self._life is not None and self._life.lost:
            self._life.store.stop()  # its loop was closed before it was, or this is a forked child
            self._life = None
        if self._life is not None:
            raise ConfigurationError("these jobs are open already; one Jobs serves one app at a time")
        store: Store = (
            MemoryStore()
            if self._journal_path is None
            else Journal(self._journal_path, keep=self._keep, max_starts=self._settings.max_starts)
        )
        life = Runner(store, self._registered, self._settings)
        await life.open()
        self._life, self._draining = life, False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        life = self._life
        assert life is not None
        if asyncio.get_running_loop() is not life.loop:
            raise ConfigurationError("these jobs were opened in another event loop: close them in that one")
        self._draining = True
        try:
            await life.drain(self.drain_timeout)
        finally:
            self._last, self._life = life.stats(), None

    def _check_intake(self) -> None:
        if self._life is not None and self._draining:
            raise JobsClosedError("the app is shutting down")

    async def _call(self, operation: Callable[[Runner], Coroutine[Any, Any, T]]) -> T:
        life = self._life
        if life is None:
            raise JobsClosedError(
                "the jobs are not open: pass jobs.lifespan to the app that is served "
                "(the lifespan of a mounted sub-app is never run)"
            )
        if life.forked:
            raise ConfigurationError(
                "these jobs were opened before this process was forked: open them in the process that uses them "
                "(start workers before the app's lifespan, or use the `spawn` method)"
            )
        return await life.call(lambda: operation(life))

    def _find(self, function: Callable[..., Awaitable[Any]]) -> tuple[str, Registered]:
        for name, registered in self._registered.items():
            if registered.function == function:
                return name, registered
        if not inspect.iscoroutinefunction(function):
            raise ConfigurationError(f"Jobs: {function!r} is not a coroutine function (async def)")
        if self.durable:
            raise ConfigurationError(
                f"Jobs: {function.__qualname__} is not registered, so it could not be found after a restart; "
                "decorate it with @jobs.register"
            )
        return function.__qualname__, Registered(function, union)


def _check_key(key: object) -> None:
    if not isinstance(key, str) or not key or len(key) > _MAX_KEY:
        raise InvalidJobError(f"the key of a job must be a str of 1 to {_MAX_KEY} characters")
    if any("\ud800" <= character <= "\udfff" for character in key):
        raise InvalidJobError("the key of a job contains a lone surrogate")
