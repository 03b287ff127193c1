"""The scheduler of `Jobs`, from opening to the end of the drain.

It has only the ids of jobs; the store has the jobs. An id is in one place at a time: *ready* (head of its key, waits
for a slot), *running*, *paused* (`pauses`), a *suspect* (`trials`), or in none, while it waits behind another job of
its key, whose end makes it ready.

::

    ready ──▶ _work: a task in the submitter's context ──▶ _settle: done, failed, or put back for a pause ──▶ next

A job's function has its own task, so that an exception or a cancellation affects only this task; `_settle` runs in
another one. Tasks that a job starts itself are not protected: `sys.exit` there reaches the event loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

import attrs

from aelyst_async.fastapi.failures import (
    LONGEST_WAIT,
    frames_of,
    is_temporary,
    outcome_of,
    retry_after,
)
from aelyst_async.fastapi.log import logger
from aelyst_async.fastapi.pauses import Pauses
from aelyst_async.fastapi.store import (
    ALONE,
    Adopted,
    InvalidJobError,
    JobQueueFullError,
    JobsClosedError,
    JournalError,
    Merge,
    Outcome,
    Started,
    Store,
    Submission,
    Table,
)
from aelyst_async.fastapi.trials import Trials

__all__ = ["Job", "JobsStats", "Registered", "Runner", "Settings"]

T = TypeVar("T")

_ADOPT_EVERY = 2.0
"""Interval in seconds between checks for jobs of dead workers."""

_JOURNAL_PAUSE = 1.0
"""Seconds before a retry after the journal failed."""

_SHORTEST_PAUSE = 0.001
"""Smallest pause worth scheduling, in seconds. Rounding may leave less than that of ``give_up_after``."""

_CANCEL_GRACE = 2.0
"""Seconds for the ``finally`` blocks of jobs that are cancelled at the end of the drain."""


@attrs.frozen
class Job:
    """An accepted submission: the id of its job, and whether it was merged into a waiting one."""

    id: str
    merged: bool = False


@attrs.frozen(kw_only=True)
class JobsStats:
    """Counters since the opening, and the present numbers of jobs (``waiting`` includes paused jobs)."""

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
    """A registered function and its merge rule."""

    function: Callable[..., Awaitable[Any]]
    merge: Merge | None


@attrs.frozen(kw_only=True)
class Settings:
    """The settings of the scheduler; see `Jobs`."""

    concurrency: int
    capacity: int
    max_starts: int
    give_up_after: float
    retry_base: float
    retry_cap: float


@attrs.define(eq=False)
class _Run:
    """A running job."""

    job_id: str
    context: contextvars.Context
    trial: int
    task: asyncio.Task[None] | None = None
    settling: bool = False
    counted: bool = False
    started: Started | None = None
    began: float = 0.0
    took: float = 0.0
    failure: BaseException | None = None


class Runner:
    """`Jobs` from opening to closing. Created, opened and drained in one event loop."""

    def __init__(self, store: Store, registered: Mapping[str, Registered], settings: Settings) -> None:
        self.store = store
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.complaint: str | None = None
        """The current problem of the journal, or None."""
        self._process = os.getpid()
        self._registered = registered
        self._settings = settings
        self._ready: deque[str] = deque()
        self._running: dict[str, _Run] = {}
        self._pauses = Pauses(self._resume)
        self._trials = Trials(store, self._pump)
        self._failed_at: dict[str, float] = {}  # when a paused job failed
        self._contexts: dict[str, contextvars.Context] = {}
        self._helpers: set[asyncio.Task[Any]] = set()
        self._guests: set[Future[Any]] = set()  # calls from other loops
        self._gate = threading.Lock()
        self._admits = True  # guests
        self._adopter: asyncio.Task[None] | None = None
        self._pumping = False
        self._stopped = False  # no job starts any more
        self._cutting = False  # running jobs are being cancelled
        self._closed = False  # the store is closed
        self._pace = 0.0  # duration of a job in seconds, smoothed
        self._counted = dict.fromkeys(("submitted", "merged", "refused", "done", "failed", "retried"), 0)

    async def open(self) -> None:
        """Open the store and start the jobs of earlier processes."""
        await self.store.open()
        try:
            self._take_over(await self.store.ask(lambda jobs: jobs.adopt()))
        except BaseException:
            await self.store.close()
            raise
        if self.store.durable:
            self._adopter = asyncio.create_task(self._adopt())

    @property
    def forked(self) -> bool:
        """Whether this is a copy in a forked child, which has neither the event loop nor the journal's thread."""
        return os.getpid() != self._process

    @property
    def lost(self) -> bool:
        """Whether this runner can no longer be closed."""
        return self.forked or self.loop.is_closed()

    def stats(self) -> JobsStats:
        """Return the counters."""
        running = sum(not run.counted for run in self._running.values())
        waiting = max(0, self.store.open_count - running)
        return JobsStats(waiting=waiting, running=running, capacity=self._settings.capacity, **self._counted)

    @property
    def full(self) -> bool:
        """Whether a new job would be refused."""
        return self.store.open_count >= self._settings.capacity

    async def call(self, operation: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run an operation of this runner in its own event loop, from any event loop."""
        if asyncio.get_running_loop() is self.loop:
            return await operation()
        with self._gate:
            if not self._admits or not self.loop.is_running():
                raise JobsClosedError("the event loop in which the jobs were opened is not running")
            guest = asyncio.run_coroutine_threadsafe(operation(), self.loop)
            self._guests.add(guest)
        guest.add_done_callback(self._guests.discard)
        return await asyncio.wrap_future(guest)

    async def submit(self, job: Submission) -> Job:
        """Add the job; see `Jobs.submit`."""
        # A separate task: once on disk, a job must reach the queue even if the submitter was cancelled.
        task = asyncio.create_task(self._add(job, contextvars.copy_context()))
        self._helpers.add(task)
        task.add_done_callback(self._helpers.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_unheard)
            raise

    async def _add(self, job: Submission, context: contextvars.Context) -> Job:
        added = await self.store.add(job, capacity=self._settings.capacity)
        if added is None:
            self._counted["refused"] += 1
            raise JobQueueFullError("too many jobs are unfinished", self._retry_after())
        self._counted["submitted"] += 1
        self._counted["merged"] += added.merged
        if added.merged:
            self._failed_at.pop(added.id, None)
        if added.mine and (not added.merged or added.id in self._contexts):
            self._contexts[added.id] = context
        if added.head:
            self._make_ready(added.id)
        return Job(added.id, added.merged)

    def _retry_after(self) -> float:
        """Return the estimated seconds until half of the queue is finished, from 1 to 60."""
        rounds = self.store.open_count / self._settings.concurrency / 2
        return min(60.0, max(1.0, rounds * self._pace))

    def _make_ready(self, *job_ids: str) -> None:
        self._ready.extend(job_ids)
        self._pump()

    def _resume(self, job_id: str) -> None:
        self._make_ready(job_id)

    def _pump(self) -> None:
        """Start the jobs that may start."""
        if self._pumping:
            return  # an eager task (Python 3.12) may end before create_task returns
        self._pumping = True
        try:
            while len(self._running) < self._settings.concurrency and not self._stopped and not self._trials.alone:
                if (suspect := self._trials.next()) is not None:
                    self._begin(suspect, ALONE)
                elif self._ready:
                    self._begin(self._ready.popleft(), 0)
                else:
                    break
        finally:
            self._pumping = False

    def _begin(self, job_id: str, trial: int) -> None:
        context = self._contexts.pop(job_id, None)
        run = _Run(job_id, contextvars.copy_context() if context is None else context, trial)
        self._running[job_id] = run
        self._launch(run, self._work(run), self._worked)

    def _launch(
        self, run: _Run, step: Coroutine[Any, Any, None], after: Callable[[_Run, asyncio.Task[None]], None]
    ) -> None:
        # create_task(context=…) needs Python 3.11. Called within a context, create_task copies that context.
        run.task = run.context.run(asyncio.create_task, step)
        run.task.add_done_callback(partial(after, run))

    async def _work(self, run: _Run) -> None:
        run.started = started = await self._insist(lambda jobs: jobs.start(run.job_id, run.trial))
        run.began = self.loop.time()
        if started is None:
            return
        if run.trial:
            self._trials.begun(run.job_id)
        try:
            await self._function(started)(**started.arguments)
        except BaseException as error:  # noqa: BLE001 - also of sys.exit: only this job fails
            run.failure = error

    def _function(self, started: Started) -> Callable[..., Awaitable[Any]]:
        if started.problem is not None:
            raise InvalidJobError(started.problem)
        registered = self._registered.get(started.name)
        function = started.function if registered is None else registered.function
        if function is None:
            raise LookupError(
                f"no function is registered as {started.name!r}; is the module that registers it imported?"
            )
        return function

    def _worked(self, run: _Run, task: asyncio.Task[None]) -> None:
        self._trials.ended(run.job_id)
        if self._closed:
            del self._running[run.job_id]  # it ignored its cancellation at the end of the drain
            return
        if task.cancelled():
            run.failure = asyncio.CancelledError()  # before its first or after its last step
        elif (error := task.exception()) is not None:
            logger.error("job %s cannot be started; trying again", run.job_id, exc_info=error)
            run.failure = error
        if run.started is not None:
            run.took = self.loop.time() - run.began
            self._pace = run.took if self._pace == 0.0 else 0.9 * self._pace + 0.1 * run.took
        run.settling = True
        self._launch(run, self._settle(run), self._settled)

    async def _settle(self, run: _Run) -> None:
        started, failure = run.started, run.failure
        try:
            cut_off = self._cutting and isinstance(failure, asyncio.CancelledError)
            if cut_off or (started is None and failure is not None):
                await self._insist(lambda jobs: jobs.put_back(run.job_id, uncounted=True))
                if not self._stopped:
                    self._pauses.add(run.job_id, "", _JOURNAL_PAUSE)
                return
            if started is None:
                return  # there is no such waiting job
            outcome = Outcome("done")
            if failure is not None:
                outcome = outcome_of(failure, started)
                problem = await self._pause(run, started, failure, outcome) if is_temporary(failure) else ""
                if problem is None:
                    return
                outcome = attrs.evolve(outcome, message=problem + (outcome.message or ""))
                _log(run.job_id, started, outcome, failure)
        finally:
            del failure  # else frame, traceback and error form a reference cycle
        following = await self._insist(lambda jobs: jobs.finish(run.job_id, outcome))
        self._failed_at.pop(run.job_id, None)
        run.counted = True
        self._counted["failed" if outcome.state == "failed" else "done"] += 1
        if outcome.state == "done":
            self._pauses.succeeded(started.name)
        if following is not None:
            self._make_ready(following)

    async def _pause(self, run: _Run, started: Started, failure: BaseException, outcome: Outcome) -> str | None:
        """Pause the job and start it again later; later jobs of its key wait. Returns why it cannot pause, or None."""
        import backoff

        now = self.loop.time()
        waited = now - self._failed_at.pop(run.job_id, run.began)
        left = self._settings.give_up_after - started.waited - waited
        told = retry_after(failure)
        ceiling = min(self._settings.retry_cap, self._settings.retry_base * 2.0 ** min(started.retries, 60))
        delay = min(backoff.full_jitter(ceiling), left)  # the last attempt is at the end of give_up_after
        if left > 0 and told is not None and min(told, LONGEST_WAIT) > left:
            return f"the server asks for a pause of {told:.0f} s, but only {left:.0f} s of give_up_after are left; "
        if left < _SHORTEST_PAUSE:
            return f"given up after {started.retries} retries in {started.waited + waited:.0f} s (give_up_after); "
        if told is not None:
            delay = max(delay, min(told, left))
        logger.warning(
            "job %s (%s) failed temporarily with %s%s: %s; retry %d in %.1f s",
            run.job_id, started.name, outcome.error, _in_brackets(outcome), outcome.message, started.retries + 1, delay,
        )  # fmt: skip
        await self._insist(lambda jobs: jobs.put_back(run.job_id, uncounted=False, waited=waited))
        self._counted["retried"] += 1
        self._contexts.setdefault(run.job_id, run.context)
        if not self._stopped:
            self._failed_at[run.job_id] = now
            self._pauses.add(run.job_id, started.name, delay)
        return None

    def _settled(self, run: _Run, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if (task.cancelled() or error is not None) and not self._closed:
            logger.error("the end of job %s is not stored yet; trying again", run.job_id, exc_info=error)
            self.loop.call_later(_JOURNAL_PAUSE, self._settle_again, run)
            return
        run.failure = None
        del self._running[run.job_id]
        self._pump()

    def _settle_again(self, run: _Run) -> None:
        if not self._closed:
            self._launch(run, self._settle(run), self._settled)

    async def _insist(self, work: Callable[[Table], T]) -> T:
        """Return the result of `Store.ask`. Retries while the journal fails, as on a full disk."""
        while True:
            try:
                result = await self.store.ask(work)
            except JournalError as error:
                if self._closed:
                    raise asyncio.CancelledError from None  # a job that ignored its cancellation
                if self.complaint != str(error):
                    logger.error("%s; trying again every %g s", error, _JOURNAL_PAUSE)
                self.complaint = str(error)
            else:
                if self.complaint is not None:
                    logger.warning("the journal works again")
                self.complaint = None
                return result
            await asyncio.sleep(_JOURNAL_PAUSE)

    async def _adopt(self) -> None:
        while True:
            await asyncio.sleep(_ADOPT_EVERY)
            try:
                self._take_over(await self._insist(lambda jobs: jobs.adopt()))
            except Exception as error:  # noqa: BLE001 - an error must not end the checks
                logger.error("cannot check for jobs of dead workers: %s", error)

    def _take_over(self, adopted: Adopted) -> None:
        for owner in adopted.owners:
            logger.warning("took over the jobs of %s", owner)
        for job_id, name, problem in adopted.given_up:
            logger.error("job %s (%s) was given up: %s", job_id, name, problem)
        self._counted["failed"] += len(adopted.given_up)
        suspects = [head for head in adopted.heads if head.deaths or head.blame]
        if suspects:
            logger.warning("%d jobs ran when their process died; they are started one at a time", len(suspects))
        self._trials.accuse(suspects)
        self._make_ready(*(head.id for head in adopted.heads if head not in suspects))

    async def drain(self, timeout: float) -> None:
        """Give running jobs, and without a journal waiting ones, `timeout` seconds to end; then cancel them and close.

        Takes at most `timeout` and the time for cancelled jobs, besides the time for the disk.
        """
        deadline = self.loop.time() + timeout
        cut: list[_Run] = []
        guests: list[asyncio.Future[Any]] = []
        if self._adopter is not None:
            self._adopter.cancel()
        try:
            self._stopped = self.store.durable
            paused = self._pauses.stop()
            if not self.store.durable:
                self._make_ready(*paused)
            with self._gate:
                self._admits = False
                guests = [asyncio.wrap_future(guest) for guest in tuple(self._guests)]
            await _all_over([*self._helpers, *guests], timeout)
            await self._idle(deadline)
            self._stopped = self._cutting = True
            cut = [run for run in self._running.values() if not run.settling]
            for run in cut:
                if run.task is not None:
                    run.task.cancel()
            await self._idle(self.loop.time() + _CANCEL_GRACE)
        finally:
            self._stopped = self._cutting = self._closed = True
            self._admits = False
            self._trials.stop()
            self._pauses.stop()
            await self.store.close()
            settling = [run.task for run in self._running.values() if run.settling and run.task is not None]
            for task in settling:
                task.cancel()  # it waits for a failed journal
            await _all_over([*settling, *guests], _CANCEL_GRACE)
        self._report(len(cut))

    async def _idle(self, deadline: float) -> None:
        """Wait until no job runs, at most until the deadline."""
        # Not wait_for, which waits without bound for a task that ignores its cancellation.
        while self._running and (left := deadline - self.loop.time()) > 0:
            tasks = [run.task for run in self._running.values() if run.task is not None]
            await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)  # lets callbacks start the next jobs

    def _report(self, cut: int) -> None:
        left = self.store.open_count
        if not left:
            return
        if self.store.durable:
            logger.info("%d jobs stay in the journal for the next start; %d of them were cut off", left, cut)
        else:
            logger.error("%d jobs are lost, %d of them were cut off; a journal would preserve them", left, cut)


async def _all_over(futures: Iterable[asyncio.Future[Any]], timeout: float) -> None:
    waiting = set(futures)
    if waiting:
        done, _ = await asyncio.wait(waiting, timeout=timeout)
        for future in done:
            if not future.cancelled():
                future.exception()  # the caller gets the exception


def _unheard(task: asyncio.Task[Job]) -> None:
    if not task.cancelled() and task.exception() is None:
        logger.warning("job %s was accepted after its submitter was cancelled or timed out", task.result().id)


def _in_brackets(outcome: Outcome) -> str:
    return "" if outcome.error_status is None else f" (status {outcome.error_status})"


def _log(job_id: str, started: Started, outcome: Outcome, failure: BaseException) -> None:
    # The message and the frames without values. A traceback would contain personal data.
    logger.error(
        "job %s (%s) failed at start %d with %s%s: %s%s",
        job_id, started.name, started.starts, outcome.error, _in_brackets(outcome), outcome.message, frames_of(failure),
    )  # fmt: skip
