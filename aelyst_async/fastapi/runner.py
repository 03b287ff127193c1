"""The engine under `Jobs`, from opening to the end of the drain: what runs now, what may run next, what pauses.

It keeps ids only; the store has the jobs. An id is in one place at a time: *ready* (its key's head, no slot free
yet), *running* (a task), *paused* (a timer), or nowhere, when it waits behind another of its key: that one's end
brings it out.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import attrs

from aelyst_async.errors import ContactsError, QueuedError, RateLimitedError, ServerError, TransportError
from aelyst_async.fastapi.log import logger
from aelyst_async.fastapi.store import (
    InvalidJobError,
    JobQueueFullError,
    JobsError,
    JournalError,
    Merge,
    Outcome,
    Started,
    Store,
    Submission,
)

__all__ = ["TEMPORARY", "Job", "JobsStats", "Registered", "Runner", "Settings"]

T = TypeVar("T")

TEMPORARY = (RateLimitedError, QueuedError, ServerError, TransportError)
"""Errors after which a job is tried again."""

_ADOPT_EVERY = 2.0
"""Seconds between looks for jobs of workers that died."""

_JOURNAL_PAUSE = 1.0
"""Seconds before a journal that failed is tried again."""

_CANCEL_GRACE = 2.0
"""Seconds that jobs cut off at the end of the drain get for their ``finally``."""


@attrs.frozen
class Job:
    """A submission that was accepted: the id of its job, and whether it was merged into one that was waiting."""

    id: str
    merged: bool = False


@attrs.frozen(kw_only=True)
class JobsStats:
    """What `Jobs` has done since it was opened, and what stands now (``waiting`` includes those in a pause)."""

    waiting: int = 0
    running: int = 0
    capacity: int
    submitted: int = 0
    merged: int = 0
    refused: int = 0
    done: int = 0
    failed: int = 0
    retried: int = 0


@attrs.frozen
class Registered:
    """A function that the journal knows by name."""

    function: Callable[..., Awaitable[Any]]
    merge: Merge | None


@attrs.frozen(kw_only=True)
class Settings:
    """Those of `Jobs` that the engine obeys."""

    concurrency: int
    capacity: int
    max_starts: int
    retry_base: float
    retry_cap: float


class Runner:
    """One life of `Jobs`. Made, opened, drained, in one loop."""

    def __init__(self, store: Store, registered: Mapping[str, Registered], settings: Settings) -> None:
        self.store = store
        self._registered = registered
        self._settings = settings
        self._ready: deque[str] = deque()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._paused: dict[str, asyncio.TimerHandle] = {}
        self._contexts: dict[str, contextvars.Context] = {}
        self._helpers: set[asyncio.Task[Any]] = set()
        self._adopter: asyncio.Task[None] | None = None
        self._pumping = False
        self._stopped = False  # nothing new is begun
        self._cutting = False  # what runs is being cancelled
        self._closed = False  # the store is
        self._pace = 0.0  # seconds that a job takes, smoothed
        self._counted = dict.fromkeys(("submitted", "merged", "refused", "done", "failed", "retried"), 0)

    async def open(self) -> None:
        """Open the store and begin with what an earlier process left."""
        await self.store.open()
        try:
            self._make_ready(await self.store.adopt())
        except BaseException:
            await self.store.close()
            raise
        if self.store.durable:
            self._adopter = asyncio.create_task(self._adopt())

    def stats(self) -> JobsStats:
        """Return the counters."""
        running = len(self._running)
        waiting = max(0, self.store.open_count - running)
        return JobsStats(waiting=waiting, running=running, capacity=self._settings.capacity, **self._counted)

    @property
    def full(self) -> bool:
        """Whether a new job would be refused."""
        return self.store.open_count >= self._settings.capacity

    async def submit(self, job: Submission) -> Job:
        """Add the job; see `Jobs.submit`."""
        # A task of its own: once on disk a job must reach the queue, even if whoever asked has been cancelled.
        task = asyncio.create_task(self._add(job, contextvars.copy_context()))
        self._helpers.add(task)
        task.add_done_callback(self._helper_ended)
        return await asyncio.shield(task)

    def _helper_ended(self, task: asyncio.Task[Any]) -> None:
        self._helpers.discard(task)
        if not task.cancelled():
            task.exception()  # it is the asker's; if he has gone, nobody's

    async def _add(self, job: Submission, context: contextvars.Context) -> Job:
        try:
            added = await self.store.add(job, capacity=self._settings.capacity)
        except JobsError:
            raise
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidJobError(
                f"the arguments of the job {job.name} cannot be merged or kept: a journal takes JSON only"
            ) from error
        if added is None:
            self._counted["refused"] += 1
            raise JobQueueFullError("too many jobs are unfinished", self._retry_after())
        self._counted["submitted"] += 1
        self._counted["merged"] += added.merged
        if added.mine and (not added.merged or added.id in self._contexts):
            self._contexts[added.id] = context
        if added.head:
            self._make_ready([added.id])
        return Job(added.id, added.merged)

    def _retry_after(self) -> float:
        """Return the seconds in which half of the queue should be done, by the pace of the last jobs; 1 to 60."""
        rounds = self.store.open_count / self._settings.concurrency / 2
        return min(60.0, max(1.0, rounds * self._pace))

    def _make_ready(self, job_ids: list[str]) -> None:
        self._ready.extend(job_ids)
        self._pump()

    def _pump(self) -> None:
        """Begin what may begin."""
        if self._pumping:
            return  # an eager task (Python 3.12) runs, and may end, before create_task returns
        self._pumping = True
        try:
            while self._ready and len(self._running) < self._settings.concurrency and not self._stopped:
                job_id = self._ready.popleft()
                context = self._contexts.pop(job_id, None) or contextvars.copy_context()
                # create_task(context=…) came with Python 3.11; within a context it copies that one.
                task = context.run(asyncio.create_task, self._run(job_id))
                self._running[job_id] = task
                task.add_done_callback(partial(self._ended, job_id))
        finally:
            self._pumping = False

    def _ended(self, job_id: str, task: asyncio.Task[None]) -> None:
        self._running.pop(job_id, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("job %s was lost by an error of ours", job_id, exc_info=error)
        self._pump()

    async def _run(self, job_id: str) -> None:
        clock = asyncio.get_running_loop().time
        started: Started | None = None
        began = clock()
        failure: BaseException | None = None
        try:
            started = await self._insist(lambda: self.store.start(job_id))
            if started is None:
                return
            began = clock()
            await self._function(started)(**started.arguments)
        except asyncio.CancelledError as error:
            if self._cutting or started is None:
                await self._put_back(job_id, uncounted=True)
                raise
            failure = error
        except Exception as error:
            if started is None:
                raise  # the store's, not the job's
            failure = error  # whatever it is, it is logged and hurts no other job
        assert started is not None
        taken = clock() - began
        self._pace = taken if self._pace == 0.0 else 0.9 * self._pace + 0.1 * taken
        try:
            if isinstance(failure, TEMPORARY) and started.starts < self._settings.max_starts:
                await self._pause(job_id, started, failure)
                return
            if failure is not None:
                _log(job_id, started, failure)
            outcome = _outcome(failure)
        finally:
            del failure  # or frame, traceback and error hold each other until the garbage collector comes
        following = await self._insist(lambda: self.store.finish(job_id, outcome))
        self._counted["failed" if outcome.state == "failed" else "done"] += 1
        if following is not None:
            self._make_ready([following])

    def _function(self, started: Started) -> Callable[..., Awaitable[Any]]:
        registered = self._registered.get(started.name)
        function = started.function if registered is None else registered.function
        if function is None:
            raise LookupError(f"no function is registered as {started.name!r}; is the module that does it imported?")
        return function

    async def _pause(self, job_id: str, started: Started, failure: ContactsError) -> None:
        """Let the job wait and begin it again later; its key's later jobs wait behind it."""
        import backoff

        value = min(self._settings.retry_cap, self._settings.retry_base * 2.0 ** (started.starts - 1))
        delay = max(backoff.full_jitter(value), getattr(failure, "retry_after", None) or 0.0)
        logger.warning(
            "job %s (%s) met %s; start %d of %d in %.1f s",
            job_id, started.name, type(failure).__name__, started.starts + 1, self._settings.max_starts, delay,
        )  # fmt: skip
        await self._insist(lambda: self.store.put_back(job_id, uncounted=False))
        self._counted["retried"] += 1
        if not self._stopped:
            self._paused[job_id] = asyncio.get_running_loop().call_later(delay, self._resume, job_id)

    def _resume(self, job_id: str) -> None:
        del self._paused[job_id]
        self._make_ready([job_id])

    async def _put_back(self, job_id: str, *, uncounted: bool) -> None:
        try:
            await self.store.put_back(job_id, uncounted=uncounted)
        except JournalError as error:
            logger.warning("job %s stays marked as running: %s", job_id, error)  # it is adopted all the same

    async def _insist(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Return the result of a store's operation; a journal that fails (a full disk) is tried until it works."""
        while True:
            try:
                return await operation()
            except JournalError as error:
                if self._closed:
                    raise asyncio.CancelledError from None  # a job that has outlived the drain
                logger.error("%s; trying again in %g s", error, _JOURNAL_PAUSE)
            await asyncio.sleep(_JOURNAL_PAUSE)

    async def _adopt(self) -> None:
        while True:
            await asyncio.sleep(_ADOPT_EVERY)
            try:
                found = await self._insist(self.store.adopt)
            except Exception as error:  # noqa: BLE001 - a lock file that cannot be opened must not end the looking
                logger.error("cannot look for jobs of workers that died: %s", error)
                continue
            if found:
                logger.info("took over the jobs of a worker that died: %d keys", len(found))
                self._make_ready(found)

    async def drain(self, timeout: float) -> None:
        """Stop: give what runs `timeout` seconds, and without a journal also what waits; then cut off, then close.

        Takes at most `timeout` and the grace for what is cut off, beside what the disk takes.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        if self._adopter is not None:
            self._adopter.cancel()
        try:
            self._stopped = self.store.durable
            for job_id, timer in tuple(self._paused.items()):
                timer.cancel()
                if not self.store.durable:
                    self._resume(job_id)
            if self._helpers:
                await asyncio.wait(self._helpers, timeout=timeout)
            # asyncio.wait, since wait_for waits for what does not heed its cancellation, thus without bound.
            while self._running and (left := deadline - loop.time()) > 0:
                await asyncio.wait(self._running.values(), timeout=left, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.sleep(0)  # for the callbacks that begin the next
            self._stopped = self._cutting = True
            cut = tuple(self._running.values())
            for task in cut:
                task.cancel()
            if cut:
                await asyncio.wait(cut, timeout=_CANCEL_GRACE)
        finally:
            self._stopped = self._cutting = True
            if self._adopter is not None:
                await asyncio.wait([self._adopter])
            for timer in self._paused.values():
                timer.cancel()
            self._closed = True
            await self.store.close()
        self._report(len(cut))

    def _report(self, cut: int) -> None:
        left = self.store.open_count
        if not left:
            return
        if self.store.durable:
            logger.info("%d jobs stay in the journal for the next start, %d of them were cut off", left, cut)
        else:
            logger.error("%d jobs are lost, %d of them were cut off; a journal would keep them", left, cut)


def _outcome(failure: BaseException | None) -> Outcome:
    if failure is None:
        return Outcome("done")
    status = getattr(failure, "status", None)
    return Outcome("failed", type(failure).__name__, status if isinstance(status, int) else None)


def _log(job_id: str, started: Started, failure: BaseException) -> None:
    if isinstance(failure, ContactsError):
        # Not its text: that holds the address of the request, thus the contact.
        status = getattr(failure, "status", "no status")
        logger.error(
            "job %s (%s) failed with %s (%s) at start %d",
            job_id, started.name, type(failure).__name__, status, started.starts,
        )  # fmt: skip
    else:
        logger.error("job %s (%s) failed at start %d", job_id, started.name, started.starts, exc_info=failure)
