"""Background jobs: bounded, ordered, merged, drained at shutdown; durable with a journal.

::

    submit ──▶ store ──▶ ready ──▶ at most `concurrency` tasks ──▶ done
                 ▲  merge  │                    │ temporary error
                 └─────────┴──── pause ◀────────┘

`asyncio.create_task` loses its work on SIGTERM without a trace. `BackgroundTasks` delay the exit without bound, and
one that fails prevents the later ones of its response. With `Jobs`

* `submit` refuses a job when `capacity` jobs are unfinished, so memory stays bounded and the client gets a 503;
* jobs of one key run one at a time and in order; waiting submissions for a key are merged into one job;
* a job runs in the context (`contextvars`) of its latest submission, so a trace or a request id is available;
* a failed job is logged and counted, and affects no other job. A *temporary* failure (the API is down, limits the
  requests, or still processes the contact) is retried after a pause, for `give_up_after` seconds. Later jobs of its
  key wait;
* with a journal, a job that kills its process is identified and given up, and the jobs beside it continue;
* at shutdown no job is accepted any more, running jobs get `drain_timeout` seconds, and the others stay in the
  journal. Without a journal waiting jobs run as far as the time permits, and lost jobs are logged.

``async with jobs`` opens them without an app, in a script or a test.
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
    """Runs coroutine functions in the background. The constructor does no I/O; enter `lifespan` or ``async with``.

    `journal`: the SQLite file that makes jobs durable; functions must then be registered, and arguments be JSON. None:
    jobs are in memory, with any coroutine function and any arguments. `concurrency`: maximum number of running jobs.
    `capacity`: number of unfinished jobs of this process above which `submit` refuses. `drain_timeout`: seconds for
    running jobs at shutdown. `give_up_after`: seconds for which a temporary failure is retried, without the time in
    which no process ran. `retry_base`, `retry_cap`: first and longest pause in seconds (exponential, with full jitter);
    a server's Retry-After is obeyed, and above an hour probed once an hour. `max_starts`: number of starts of a job
    whose process dies each time; see `trials`. `keep`: seconds for which finished jobs are kept. `name`: the name of
    this queue in metrics. `telemetry`: whether to measure with OpenTelemetry; None: if it is installed.

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
        """Register a coroutine function under a name, so that it is found after a restart. A decorator.

        `name` (default: the function's) is stored in the journal: keep it when the function moves. `merge` combines two
        sets of arguments (default: `union`); None: never merge. With a journal the function must be idempotent, since a
        job runs at least once. Raises `ConfigurationError` for a name that is already registered.
        """
        if function is None:
            return partial(self.register, name=name, merge=merge)
        if not inspect.iscoroutinefunction(function):
            raise ConfigurationError(f"Jobs: {function!r} is not a coroutine function (async def)")
        label = name or function.__name__
        taken = self._registered.get(label)
        if taken is not None and taken.function != function:
            raise ConfigurationError(f"Jobs: a function is already registered as {label!r}; pass another name=")
        self._registered[label] = Registered(function, merge)
        return function

    async def submit(self, key: str, function: Callable[..., Awaitable[Any]], /, **arguments: Any) -> Job:
        """Run ``function(**arguments)`` after all earlier jobs of `key`, or merge it into a waiting one.

        Returns when the job is accepted; with a journal, when it is on disk. Cancelling the call does not withdraw the
        job, and its acceptance is logged. Works from every event loop and thread.

        Raises `JobQueueFullError`, `JobsClosedError`, `JournalError`, `InvalidJobError` (the key or the arguments
        cannot be stored), `ConfigurationError` (a journal, and the function is not registered; a forked child).
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
        """Submit a failed job again with its key and arguments. It gets a new id.

        Raises `InvalidJobError` if there is no failed job with this id, `ConfigurationError` if its function is
        no longer registered, and the errors of `submit`.
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
        """Return the status of a job, or None if it is unknown. Raises `JobsClosedError`, `JournalError`."""
        return await self._call(lambda life: life.store.ask(lambda jobs: jobs.status(job_id)))

    async def failed(self, *, limit: int = 100) -> list[FailedJob]:
        """Return the failed jobs that are still kept, newest first, at most `limit`.

        Without their arguments; pass an ``id`` to `resubmit` to run one again.
        Raises `JobsClosedError`, `JournalError`.
        """
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise ConfigurationError(f"Jobs.failed: limit must be a whole number from 1, not {limit!r}")
        return await self._call(lambda life: life.store.ask(lambda jobs: jobs.failures(limit)))

    def stats(self) -> JobsStats:
        """Return the counters; after the shutdown, the last ones."""
        if self._life is not None:
            return self._life.stats()
        if self._last is not None:
            return self._last
        return JobsStats(capacity=self._settings.capacity)

    def problem(self) -> str | None:
        """Return why no job can be submitted now, or None if one can."""
        life = self._life
        if life is None or self._draining:
            return "jobs: not open" if life is None else "jobs: draining"
        if life.complaint is not None:
            return f"jobs: {life.complaint}"
        return "jobs: the queue is full" if life.full else None

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:  # noqa: ARG002 - as the framework calls it
        """Run jobs while the app runs, those from the journal first. Drain at the end."""
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
            self._life.store.stop()  # its loop was closed, or this is a forked child
            self._life = None
        if self._life is not None:
            raise ConfigurationError("these jobs are already open; one Jobs serves one app at a time")
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
            raise ConfigurationError("these jobs were opened in another event loop: close them in that loop")
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
                f"Jobs: {function.__qualname__} is not registered, so it cannot be found after a restart; "
                "decorate it with @jobs.register"
            )
        return function.__qualname__, Registered(function, union)


def _check_key(key: object) -> None:
    if not isinstance(key, str) or not key or len(key) > _MAX_KEY:
        raise InvalidJobError(f"the key of a job must be a str of 1 to {_MAX_KEY} characters")
    if any("\ud800" <= character <= "\udfff" for character in key):
        raise InvalidJobError("the key of a job contains a lone surrogate")
