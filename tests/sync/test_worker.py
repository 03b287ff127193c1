"""`Worker` and `Committer`: exit waits for their threads, and callers do not wait for a dead thread."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aelyst_async.sync import ContactSync, JournalError
from aelyst_async.sync.journal import Journal, Settled
from aelyst_async.sync.journal.committer import Committer
from aelyst_async.waiting import Worker, uninterrupted
from tests.sync.fakes import FakeGateway


def done(key: str, contact_id: str | None = None) -> Settled:
    return Settled(key, "DONE", "create", b"hash", contact_id, 1, 200, 0)


class Call:
    """A blocking call that says when it begins, and ends when told to."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.end = threading.Event()
        self.ended = False

    def __call__(self) -> str:
        self.begun.set()
        self.end.wait(10)
        self.ended = True
        return "result"

    async def has_begun(self) -> None:
        while not self.begun.is_set():  # noqa: ASYNC110 - set by a thread
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("cancellations", [1, 3])
async def test_cancelled_worker_run_waits_until_its_call_ends(cancellations: int) -> None:
    call = Call()
    with Worker("test") as worker:
        task = asyncio.create_task(worker.run(call))
        await call.has_begun()
        for _ in range(cancellations):
            task.cancel()
            await asyncio.sleep(0.01)
            assert not task.done()
        assert worker.closing, "a blocking call can see that it should end"
        call.end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert call.ended


async def test_worker_exit_waits_for_its_thread() -> None:
    call = Call()
    threading.Timer(0.05, call.end.set).start()
    with Worker("test") as worker:
        task = asyncio.create_task(worker.run(call))
        await call.has_begun()
    assert call.ended
    assert await task == "result"


@pytest.mark.parametrize(
    ("kind", "expected"), [(ValueError, ValueError), (StopIteration, RuntimeError), (SystemExit, SystemExit)]
)
async def test_worker_run_raises_the_exception_of_its_call(
    kind: type[BaseException], expected: type[BaseException]
) -> None:
    def fail() -> None:
        raise kind

    async def caught() -> BaseException | None:  # in the task: asyncio ends the loop for a SystemExit that leaves one
        try:
            await worker.run(fail)
        except (ValueError, RuntimeError, SystemExit) as error:
            return error
        return None

    with Worker("test") as worker:
        error = await asyncio.wait_for(caught(), 5)
    assert error is not None
    assert type(error) is expected
    assert kind is expected or type(error.__cause__) is kind


async def test_timeout_of_an_uninterrupted_wait_is_raised_after_the_wait() -> None:
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.05, future.set_result, None)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(uninterrupted(future), 0.01)
    assert future.done()


@pytest.mark.parametrize(
    "failure", [JournalError("the disk is gone"), UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no"), SystemExit(3),
                MemoryError("none left")],
    ids=lambda failure: type(failure).__name__,
)  # fmt: skip
async def test_dead_committer_fails_present_and_later_waiters(tmp_path: Path, failure: BaseException) -> None:
    journal = Journal.open(tmp_path / "state.db")

    def apply(*_: object) -> None:
        time.sleep(0.02)
        raise failure

    journal.apply = apply  # type: ignore[method-assign, assignment]
    told = asyncio.Event()
    async with Committer(journal) as committer:
        committer.on_error = told.set

        async def row(number: int) -> None:
            await asyncio.sleep(number * 0.005)
            committer.put(done(f"email:{number}"))
            await committer.durable()

        results = await asyncio.wait_for(asyncio.gather(*map(row, range(20)), return_exceptions=True), 5)
        await asyncio.wait_for(told.wait(), 5)
        for result in results:
            assert isinstance(result, JournalError)
            assert str(failure) in str(result)
            if not isinstance(failure, JournalError):
                assert type(failure).__name__ in str(result)
                assert result.__cause__ is failure
        with pytest.raises(JournalError):
            await committer.durable()
    journal.close()


async def test_committer_writes_queued_rows_when_every_task_is_cancelled(tmp_path: Path) -> None:
    """As `asyncio.run` does after Ctrl-C."""
    journal = Journal.open(tmp_path / "state.db")

    async def run() -> None:
        async with Committer(journal) as committer:
            committer.put(done("email:a"))
            await asyncio.sleep(10)

    task = asyncio.create_task(run())
    await asyncio.sleep(0.01)
    for other in asyncio.all_tasks() - {asyncio.current_task()}:
        other.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert journal.look_up(["email:a"])
    journal.close()


def end(way: str, sync: ContactSync, task: asyncio.Task[Any]) -> None:
    if way == "cancel":
        task.cancel()
    else:
        getattr(sync, way)()


class Silent:
    """An async iterable that yields one row and then blocks."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.closed = False

    async def rows(self) -> AsyncIterator[dict[str, str]]:
        try:
            yield {"email": "a@b.co"}
            self.asked.set()
            await asyncio.sleep(3600)
        finally:
            self.closed = True


@pytest.mark.parametrize("way", ["stop", "abort", "cancel"])
async def test_sync_waiting_for_rows_can_be_ended(tmp_path: Path, way: str) -> None:
    source = Silent()
    sync = ContactSync(FakeGateway(), journal=tmp_path / "state.db")
    task = asyncio.create_task(sync.run(source.rows()))
    await source.asked.wait()
    end(way, sync, task)
    if way == "cancel":
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
    else:
        report = await asyncio.wait_for(task, 5)
        assert (report.stopped, report.rows, report.complete) == ("interrupted", 0, False)
    assert source.closed


async def test_sync_stopped_before_it_starts_does_not_wait_for_rows(tmp_path: Path) -> None:
    sync = ContactSync(FakeGateway(), journal=tmp_path / "state.db")
    sync.stop()
    report = await asyncio.wait_for(sync.run(Silent().rows()), 5)
    assert (report.stopped, report.rows) == ("interrupted", 0)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
@pytest.mark.parametrize("way", ["stop", "abort", "cancel"])
async def test_sync_reading_a_silent_pipe_can_be_ended(tmp_path: Path, way: str) -> None:
    pipe = tmp_path / "people.csv"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    os.write(writer, b"email,first_name\n")
    sync = ContactSync(FakeGateway(), journal=tmp_path / "state.db")
    task = asyncio.create_task(sync.run(pipe))
    await asyncio.sleep(0.1)
    end(way, sync, task)
    if way == "cancel":
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
    else:
        assert (await asyncio.wait_for(task, 5)).stopped == "interrupted"
    os.close(writer)
    Journal.open(tmp_path / "state.db").close()  # the lock is released
