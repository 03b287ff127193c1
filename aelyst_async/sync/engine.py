"""The engine: sends rows with bounded concurrency, and can be stopped at any moment.

::

    Reader (thread) ──chunks──▶ ready ──▶ dispatcher ──▶ one task a row: RowSender.attempt ──▶ result
                                             ▲                                                │
                                             └──── parked (a heap by time) ◀── not now ───────┘

The dispatcher starts tasks while fewer are in flight than the `Sizer` allows; parked rows that are due go first. A row
that waits holds no slot. Each key has one row (`aelyst_async.tables.duplicates`), so two requests for one contact are
never in flight together.

`stop` ends the reading, waits `drain` seconds for the requests in flight, and leaves the other rows to the next run.
`abort` cancels them at once. Both are safe at any moment, because the journal records what may have happened.
`Engine.run` returns only when all its tasks have ended and no call of it is on a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import deque
from typing import Protocol

import attrs

from aelyst_async.errors import AuthenticationError, ContactsError
from aelyst_async.sync.delivery import Kind, RowResult
from aelyst_async.sync.errors import SyncError, SyncStoppedError
from aelyst_async.sync.failures import Failure, FailuresFile
from aelyst_async.sync.journal.committer import Committer
from aelyst_async.sync.pace import Traffic
from aelyst_async.sync.reading import Chunk, Work, work_data
from aelyst_async.sync.report import Progress, Tally
from aelyst_async.sync.settings import SyncSettings
from aelyst_async.tables.model import Problem
from aelyst_async.tables.values import REASONS
from aelyst_async.waiting import Worker, uninterrupted

__all__ = ["Deliverer", "Engine", "Rows", "count", "too_many_failed"]

_LOW_WATER = 500
"""Rows ready below which the next chunk is read."""

_MAX_PARKED = 5_000
"""Rows put off beyond which no more are read: what bounds the memory when the vendor takes nothing."""

_TICK = 0.2
_BEAT = 2.0
"""Seconds between two signs of life in the journal, for those who ask from another terminal."""

_OUTAGE = 3
"""Consecutive requests without a response after which one probe at a time is sent, with growing pauses."""

_PROBE = 0.03
_PROBE_CAP = 2.0

_HOPELESS_START = 3.0
"""Seconds without any answer from the start after which the host counts as unreachable."""

_HOPELESS = 120.0
"""The same in the middle of a run."""


class Rows(Protocol):
    """What the rows come from: a `Reader`, or the stored rows of a shard."""

    total: int

    def next_chunk(self) -> Chunk:
        """Decide the next rows. Blocks; called on the run's thread."""
        ...


class Deliverer(Protocol):
    """Makes an attempt on a row: `RowSender`, or in a dry run `LocalDryRun` or `RemoteDryRun`."""

    def first_delay(self, work: Work, /) -> float:
        """Return the seconds before the row may be tried."""
        ...

    async def attempt(self, work: Work) -> RowResult:
        """Make one attempt."""
        ...


def too_many_failed(max_errors: float | None, tally: Tally) -> str | None:
    """Return why the run must end, if more rows failed than that number, or that share (after the first 100 rows)."""
    failed, decided = tally.failed, tally.decided
    if max_errors is None or failed <= (max_errors * decided if isinstance(max_errors, float) else max_errors):
        return None
    if isinstance(max_errors, float) and decided < 100:
        return None
    return f"{failed:,} of {decided:,} rows failed, more than --max-errors allows"


def count(chunk: Chunk, tally: Tally, failures: FailuresFile) -> None:
    """Count what was decided without a request, and write what was refused to the failures file."""
    tally.read += chunk.read
    tally.unchanged += chunk.unchanged
    tally.skipped += chunk.skipped
    for refused in chunk.refused:
        tally.failed += 1
        tally.problems(refused.row, refused.line, refused.problems)
        for problem in refused.problems:
            words = REASONS.get(problem.rule, problem.message)
            tally.reason(f"{problem.column}: {words}" if problem.column else words)
        failures.add(refused)


class Engine:
    """One run. `run` returns when every row has an outcome, or early, with the reason in `stopped` or an exception."""

    def __init__(
        self,
        reader: Rows,
        deliverer: Deliverer,
        settings: SyncSettings,
        *,
        worker: Worker,
        committer: Committer,
        failures: FailuresFile,
        tally: Tally,
        traffic: Traffic,
    ) -> None:
        self.stopped: str | None = None
        self._reader = reader
        self._worker = worker
        self._deliverer = deliverer
        self._committer = committer
        self._failures = failures
        self._tally = tally
        self._traffic = traffic
        self._sizer = traffic.sizer
        self._drain = settings.drain
        self._max_errors = settings.max_errors
        self._progress = settings.progress
        self._ready: deque[Work] = deque()
        self._parked: list[tuple[float, int, Work]] = []
        self._serial = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._hungry = asyncio.Event()
        self._exhausted = False
        self._stopping = False
        self._abort = False
        self._cancelling = False
        self._fatal: BaseException | None = None
        self._timer: asyncio.Handle | None = None
        self._timer_due = 0.0
        self._next_beat = 0.0
        self._outage_since: float | None = None
        self._outage_failures = 0
        self._outage_until = 0.0
        self._answers_seen = 0
        self._sent = 0
        self._pace = 0.0
        self._pace_mark = (0.0, 0)
        self._rates: dict[str, tuple[float, int]] = {}

    def stop(self, reason: str) -> None:
        """Stop reading, finish what is in flight, leave the rest. Callable at any time in the loop's thread."""
        if not self._stopping:
            self._stopping = True
            self.stopped = reason
            self._wake.set()

    def abort(self) -> None:
        """Cancel what is in flight, too."""
        self._abort = self._cancelling = True
        self.stop("interrupted")
        for task in self._tasks:
            task.cancel()
        self._wake.set()

    @property
    def pending(self) -> int:
        """The rows that were read and have no outcome."""
        return self._tally.read - self._tally.decided

    async def run(self) -> None:
        """Run to the end. Raises what ends the run: `AuthenticationError`, `SyncError`."""
        self._committer.on_error = lambda: self._fail(self._committer.error)
        self._committer.progress = lambda: attrs.asdict(self.snapshot())
        producer = asyncio.create_task(self._produce())
        ticker = asyncio.create_task(self._tick())
        try:
            await self._dispatch()
            await self._finish()
        finally:
            self._cancelling = True
            tasks = (producer, ticker, *self._tasks)
            for task in tasks:
                task.cancel()
            if self._timer is not None:
                self._timer.cancel()
            await uninterrupted(asyncio.gather(*tasks, return_exceptions=True))
        self._report_progress()
        if self._fatal is not None:
            raise self._fatal

    async def _produce(self) -> None:
        try:
            while not (self._exhausted or self._stopping):
                if len(self._ready) >= _LOW_WATER or len(self._parked) >= _MAX_PARKED:
                    self._hungry.clear()
                    await self._hungry.wait()
                    continue
                self._take_in(await self._worker.run(self._reader.next_chunk))
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - ends the run, raised by run()
            self._fail(error)

    def _take_in(self, chunk: Chunk) -> None:
        count(chunk, self._tally, self._failures)
        for work in chunk.work:
            delay = self._deliverer.first_delay(work)
            if delay > 0:
                self._park(work, delay)
            else:
                self._ready.append(work)
        self._exhausted = chunk.last
        self._check_budget()
        self._wake.set()

    async def _dispatch(self) -> None:
        while not self._stopping:
            self._wake.clear()
            limit = self._width()
            while len(self._tasks) < limit and (work := self._next()) is not None:
                task = asyncio.create_task(self._deliver(work))
                self._tasks.add(task)
                task.add_done_callback(self._landed)
            self._sizer.saturated = len(self._tasks) >= limit
            if self._exhausted and not (self._ready or self._parked or self._tasks):
                return
            await self._wake.wait()

    def _width(self) -> int:
        # The first request shows whether the credential and the host are right. During an outage, one request at a time
        # probes whether the API responds again.
        return 1 if not self._answers_seen or self._outage_failures >= _OUTAGE else self._sizer.limit

    def _next(self) -> Work | None:
        if self._outage_failures >= _OUTAGE and asyncio.get_running_loop().time() < self._outage_until:
            self._set_timer(self._outage_until)
            return None
        if self._parked:
            due = self._parked[0][0]
            now = asyncio.get_running_loop().time()
            if due <= now:
                self._hungry.set()
                return heapq.heappop(self._parked)[2]
            self._set_timer(due)
        if self._ready:
            if len(self._ready) <= _LOW_WATER:
                self._hungry.set()
            return self._ready.popleft()
        self._hungry.set()
        return None

    def _set_timer(self, due: float) -> None:
        if self._timer is not None:
            if self._timer_due <= due:
                return
            self._timer.cancel()
        self._timer_due = due
        self._timer = asyncio.get_running_loop().call_at(due, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._wake.set()

    def _park(self, work: Work, delay: float) -> None:
        self._serial += 1
        due = asyncio.get_running_loop().time() + delay
        heapq.heappush(self._parked, (due, self._serial, work))

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake.set()

    async def _deliver(self, work: Work) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            result = await self._deliverer.attempt(work)
        except asyncio.CancelledError:
            if not self._cancelling:  # the gateway waited for something that was cancelled
                self._fail(SyncError("a call of the gateway was cancelled, and not by this run"))
            raise
        except BaseException as error:  # noqa: BLE001 - ends the run, raised by run()
            self._fail(error)
            return
        if not self._traffic.told:
            self._sizer.observe(loop.time() - started)
        self._watch_outage(result)
        self._settle(work, result)

    def _settle(self, work: Work, result: RowResult) -> None:
        tally = self._tally
        kind = result.kind
        if kind is Kind.LATER:
            self._park(work, result.delay)
            return
        if kind is Kind.STOP:
            self._fail(result.error)
            return
        self._sent += 1
        tally.untold += result.untold
        if kind is Kind.CREATED:
            tally.created += 1
        elif kind is Kind.UPDATED:
            tally.updated += 1
        elif kind is Kind.UNCHANGED:
            tally.unchanged += 1
        else:
            tally.failed += 1
            tally.reason(result.message)
            # The vendor's words are the kind: one status has many reasons.
            rule = f"{result.rule}: {result.message}"[:200]
            tally.problems(work.row, work.line, [Problem(None, rule, result.message, work.key)])
            try:
                self._failures.add(
                    Failure(
                        row=work.row, line=work.line, key=work.key,
                        problems=[Problem(None, result.rule, result.message)],
                        status=result.status, attempts=work.attempts, data=work_data(work),
                    )
                )  # fmt: skip
            except SyncError as error:
                self._fail(error)
            self._check_budget()

    def _check_budget(self) -> None:
        if (reason := too_many_failed(self._max_errors, self._tally)) is not None:
            self.stop(reason)

    def _watch_outage(self, result: RowResult) -> None:
        """Detect that the API no longer responds: first send single probes, then end the run."""
        now = asyncio.get_running_loop().time()
        if not result.unreachable or self._traffic.answers > self._answers_seen:
            self._answers_seen = max(self._traffic.answers, self._answers_seen + (not result.unreachable))
            self._outage_since, self._outage_failures = None, 0
            if result.unreachable:
                return
            return
        if self._outage_since is None:
            self._outage_since = now
        self._outage_failures += 1
        self._outage_until = now + min(_PROBE_CAP, _PROBE * 2.0 ** min(self._outage_failures, 16))
        self._set_timer(self._outage_until)
        patience = _HOPELESS if self._answers_seen else _HOPELESS_START
        if self._outage_failures >= 4 and now - self._outage_since >= patience:
            words = getattr(result.error, "message", None) or str(result.error)
            self._fail(SyncStoppedError(f"no answer for {now - self._outage_since:.0f} s: {words}"))

    def _fail(self, error: BaseException | None) -> None:
        if self._fatal is None:
            self._fatal = error
        if isinstance(error, AuthenticationError):
            reason = f"the credential was refused ({error.status} {error.message})"
        else:
            reason = str(error) if isinstance(error, ContactsError) else f"a bug: {type(error).__name__}"
        self.stop(reason)

    async def _finish(self) -> None:
        """Wait for the requests in flight, for `drain` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._drain
        while self._tasks and not self._abort and (left := deadline - loop.time()) > 0:
            self._wake.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), min(left, 0.5))
            await asyncio.sleep(0)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self._rates = self._traffic.rates()
            self._traffic.refresh(self._rates)
            try:
                self._failures.flush()
            except SyncError as error:
                self._fail(error)
            elapsed, decided = self._tally.elapsed, self._tally.decided
            mark_time, mark_count = self._pace_mark
            if elapsed - mark_time >= 1.0:
                pace = (decided - mark_count) / (elapsed - mark_time)
                self._pace = pace if not self._pace else 0.7 * self._pace + 0.3 * pace
                self._pace_mark = (elapsed, decided)
            if elapsed >= self._next_beat:
                self._next_beat = elapsed + _BEAT
                self._committer.beat()
            self._wake.set()
            self._report_progress()

    @property
    def quota_used(self) -> float | None:
        """The share of the quota that the run has used."""
        return self._traffic.used(self._rates)

    def snapshot(self) -> Progress:
        """Return the progress of the run."""
        tally = self._tally
        unread = self._reader.total - tally.read
        share = (self._sent + self.pending) / tally.read if tally.read else 1.0
        left = self.pending + unread * share
        elapsed = tally.elapsed
        pace = self._pace or (tally.decided / elapsed if elapsed > 0.5 else 0.0)
        return Progress(
            total=self._reader.total,
            read=tally.read,
            created=tally.created,
            updated=tally.updated,
            unchanged=tally.unchanged,
            failed=tally.failed,
            skipped=tally.skipped,
            in_flight=len(self._tasks),
            waiting=len(self._parked),
            concurrency=self._width(),
            rate=pace,
            eta=self._traffic.eta(self._rates, sent=self._sent, left=left, pace=pace),
            quota=min((rate for rate, _ in self._rates.values()), default=None),
            requests=sum(tally.requests.values()),
            elapsed=elapsed,
        )

    def _report_progress(self) -> None:
        if self._progress is None:
            return
        try:
            self._progress(self.snapshot())
        except BaseException as error:  # noqa: BLE001 - ends the run, raised by run()
            self._progress = None
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                self._fail(error)
                self.abort()
                return
            reason = SyncError(f"the progress callback raised {type(error).__name__}")
            reason.__cause__ = error
            self._fail(reason)
