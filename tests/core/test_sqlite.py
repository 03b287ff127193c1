"""`GroupCommit`: grouping, order, errors and the end of its thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from aelyst_async.sqlite import GroupCommit, trouble_of


class StoppedError(Exception):
    """Raised for callers whose request was not committed."""


class Recorder(GroupCommit[str]):
    """Records the committed groups. The thread waits for ``gate``; the request "die" ends it."""

    group_size = 3

    def __init__(self, *, problem: BaseException | None = None) -> None:
        super().__init__()
        self.groups: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.busy = threading.Event()
        self.ended = False
        self.deaths: list[BaseException] = []
        self._problem = problem

    def _begin(self) -> None:
        if self._problem is not None:
            raise self._problem

    def _commit(self, works: Sequence[str]) -> Sequence[Any]:
        self.busy.set()
        self.gate.wait()
        self.groups.append(list(works))
        if "die" in works:
            raise SystemExit(1)
        return [ValueError(work) if work == "bad" else work.upper() for work in works]

    def _end(self) -> None:
        self.ended = True

    def _failure(self, cause: BaseException | None) -> StoppedError:
        return StoppedError("not open" if cause is None else type(cause).__name__)

    def _died(self, cause: BaseException) -> None:
        self.deaths.append(cause)


async def busy(recorder: Recorder) -> asyncio.Task[str]:
    """Open the recorder and return a request that blocks its thread until the gate is opened."""
    await recorder.open()
    recorder.gate.clear()
    first = asyncio.create_task(recorder.ask("first"))
    await asyncio.sleep(0)
    recorder.busy.wait(10)
    return first


async def test_group_commit_groups_requests_in_order_during_a_commit() -> None:
    recorder = Recorder()
    first = await busy(recorder)
    rest = [asyncio.create_task(recorder.ask(work)) for work in "abcde"]
    await asyncio.sleep(0)
    recorder.gate.set()
    assert await asyncio.gather(first, *rest) == ["FIRST", "A", "B", "C", "D", "E"]
    assert recorder.groups == [["first"], ["a", "b", "c"], ["d", "e"]]
    await recorder.close()


async def test_group_commit_raises_the_error_of_one_request_only() -> None:
    recorder = Recorder()
    first = await busy(recorder)
    rest = [asyncio.create_task(recorder.ask(work)) for work in ("good", "bad", "good")]
    await asyncio.sleep(0)
    recorder.gate.set()
    await first
    results = await asyncio.gather(*rest, return_exceptions=True)
    assert [type(result) for result in results] == [str, ValueError, str]
    await recorder.close()


async def test_group_commit_close_commits_pending_requests() -> None:
    recorder = Recorder()
    first = await busy(recorder)
    recorder.put("a")
    second = asyncio.create_task(recorder.ask("b"))
    await asyncio.sleep(0)
    closing = asyncio.create_task(recorder.close())
    await asyncio.sleep(0)
    with pytest.raises(StoppedError, match="not open"):
        await recorder.ask("late")
    recorder.gate.set()
    assert (await first, await second) == ("FIRST", "B")
    await closing
    assert recorder.groups == [["first"], ["a", "b"]]
    assert recorder.ended
    await recorder.close()
    with pytest.raises(StoppedError, match="not open"):
        await recorder.ask("later")


async def test_group_commit_fails_all_callers_when_its_thread_dies() -> None:
    recorder = Recorder()
    first = await busy(recorder)
    rest = [asyncio.create_task(recorder.ask(work)) for work in ("a", "die", "b", "c", "d")]
    await asyncio.sleep(0)
    recorder.gate.set()
    assert await first == "FIRST"
    results = await asyncio.gather(*rest, return_exceptions=True)
    assert [(type(result), str(result)) for result in results] == [(StoppedError, "SystemExit")] * 5
    assert len({id(result) for result in results}) == 5, "a shared error would collect all tracebacks"
    with pytest.raises(StoppedError, match="SystemExit"):
        await recorder.ask("later")
    recorder.put("ignored")
    assert [type(cause) for cause in recorder.deaths] == [SystemExit]
    await recorder.close()
    assert recorder.ended


async def test_group_commit_keeps_the_request_of_a_cancelled_caller() -> None:
    recorder = Recorder()
    first = await busy(recorder)
    cancelled = asyncio.create_task(recorder.ask("kept"))
    await asyncio.sleep(0)
    cancelled.cancel()
    recorder.gate.set()
    await first
    assert await recorder.ask("last") == "LAST"
    assert [work for group in recorder.groups for work in group] == ["first", "kept", "last"]
    await recorder.close()


@pytest.mark.parametrize(("problem", "raised"), [(ValueError("no"), ValueError), (SystemExit(1), StoppedError)])
async def test_group_commit_open_raises_the_error_of_begin(problem: BaseException, raised: type[Exception]) -> None:
    recorder = Recorder(problem=problem)
    early = asyncio.create_task(recorder.open())
    await asyncio.sleep(0)
    request = asyncio.create_task(recorder.ask("too early"))
    with pytest.raises(raised):
        await early
    with pytest.raises(StoppedError, match="not open"):
        await asyncio.wait_for(request, 10)
    assert recorder.ended


async def test_group_commit_stop_ends_the_thread_of_a_closed_loop() -> None:
    recorder = Recorder()

    async def leave() -> None:
        await recorder.open()
        recorder.put("a")

    await asyncio.to_thread(asyncio.run, leave())
    recorder.stop()
    assert recorder.groups == [["a"]]
    assert recorder.ended


@pytest.mark.parametrize(
    ("message", "trouble"),
    [
        ("database or disk is full", "unwritable"),
        ("database is locked", "locked"),
        ("file is not a database", "not a database"),
        ("database disk image is malformed", "damaged"),
        ("no such table: job", "damaged"),
        ("UNIQUE constraint failed: job.id", "other"),
    ],
)
def test_trouble_of_classifies_sqlite_messages(message: str, trouble: str) -> None:
    assert trouble_of(message) == trouble
