"""Errors of jobs and merge rules: they fail one job only, which message is kept, and which errors are temporary."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest

from aelyst_async import errors
from aelyst_async.fastapi import InvalidJobError, JobQueueFullError, Jobs
from aelyst_async.fastapi.failures import is_temporary, leaves, message_of, retry_after
from aelyst_async.fastapi.store import Started
from tests.fastapi.helpers import MakeJobs, ended, until

pytestmark = pytest.mark.hostile

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup, ExceptionGroup  # pyright: ignore[reportMissingImports]


class Unprintable(BaseException):
    """Raises in every method and property."""

    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__

    @property
    def exceptions(self) -> Any:
        raise KeyboardInterrupt

    retry_after = status = exceptions


def leave() -> None:
    sys.exit("good-bye")


def raising(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def cancel_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


HOSTILE: dict[str, tuple[Callable[[], None], str]] = {
    "sys.exit": (leave, "SystemExit"),
    "KeyboardInterrupt": (raising(KeyboardInterrupt()), "KeyboardInterrupt"),
    "BaseException": (raising(BaseException("x")), "BaseException"),
    "GeneratorExit": (raising(GeneratorExit()), "GeneratorExit"),
    "CancelledError": (raising(asyncio.CancelledError()), "CancelledError"),
    "StopIteration": (raising(StopIteration()), "RuntimeError"),
    "group": (raising(BaseExceptionGroup("g", [SystemExit(1), ValueError("x")])), "BaseExceptionGroup"),
    "unprintable": (raising(Unprintable()), "Unprintable"),
    "cancels itself": (cancel_itself, "CancelledError"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("later", [False, True])
async def test_job_that_raises_any_exception_fails_alone(make: MakeJobs, name: str, later: bool) -> None:
    jobs = make(concurrency=1)
    act, error = HOSTILE[name]

    @jobs.register(merge=None)
    async def work(bad: bool) -> None:
        if bad:
            if later:
                await asyncio.sleep(0)
            act()

    async with jobs:
        ids = [(await jobs.submit("same key", work, bad=bad)).id for bad in (True, False, True, False)]
        statuses = await ended(jobs, *ids, within=30)
        stats = jobs.stats()
    assert [(status.state, status.error) for status in statuses] == [("failed", error), ("done", None)] * 2
    assert (stats.failed, stats.done, stats.running, stats.waiting) == (2, 2, 0, 0)


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "cancels itself"])
async def test_merge_rule_that_raises_any_exception_rejects_that_submission(make: MakeJobs, name: str) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()
    seen: list[int] = []
    jobs = make()

    def merge(older: dict[str, Any], newer: dict[str, Any]) -> dict[str, Any]:
        if newer["value"] < 0:
            HOSTILE[name][0]()
        return newer

    @jobs.register(merge=merge)
    async def work(value: int) -> None:
        begun.set()
        await gate.wait()
        seen.append(value)

    async with jobs:
        first = await jobs.submit("k", work, value=1)
        await until(begun.is_set)
        second = await jobs.submit("k", work, value=2)
        with pytest.raises(InvalidJobError, match="merge rule"):
            await jobs.submit("k", work, value=-1)
        assert (await jobs.submit("k", work, value=3)).id == second.id
        gate.set()
        await ended(jobs, first.id, second.id)
    assert seen == [1, 3]


async def test_merge_rule_that_returns_no_dict_rejects_the_submission(make: MakeJobs) -> None:
    gate = asyncio.Event()
    jobs = make(concurrency=1)

    @jobs.register(merge=lambda older, newer: None)  # type: ignore[arg-type,return-value]
    async def work() -> None:
        await gate.wait()

    async with jobs:
        await jobs.submit("other", work)
        await jobs.submit("k", work)
        with pytest.raises(InvalidJobError, match="must return a dict, not NoneType"):
            await jobs.submit("k", work)
        gate.set()


class Mapping(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        raise SystemExit(1)


@pytest.mark.parametrize(
    "value", [Mapping(a=1), {(1, 2): 3}, 10**5000, {1j}], ids=["mapping", "tuple keys", "5,001 digits", "set"]
)
async def test_journal_rejects_arguments_that_cannot_be_json(tmp_path: Any, value: object) -> None:
    jobs = Jobs(journal=tmp_path / "jobs.db")

    @jobs.register
    async def work(value: object) -> None: ...

    async with jobs:
        with pytest.raises(InvalidJobError, match="JSON"):
            await jobs.submit("k", work, value=value)
        assert (await ended(jobs, (await jobs.submit("k", work, value=1)).id))[0].state == "done"


LIMITED = errors.RateLimitedError(status=429, retry_after=7.0)
DOWN = errors.ServerError(status=503, retry_after=3.0)


@pytest.mark.parametrize(
    ("error", "temporary", "wait"),
    [
        (LIMITED, True, 7.0),
        (ExceptionGroup("g", [DOWN, LIMITED]), True, 7.0),
        (ExceptionGroup("g", [DOWN, ExceptionGroup("h", [LIMITED, errors.TransportError("x")])]), True, 7.0),
        (ExceptionGroup("g", [DOWN, ExceptionGroup("h", [LIMITED, ValueError("x")])]), False, 7.0),
        (BaseExceptionGroup("g", [DOWN, SystemExit(1)]), False, 3.0),
        (errors.ApiError(status=408), True, None),
        (errors.ApiError(status=425), True, None),
        (errors.ApiError(status=418), False, None),
        (errors.QueuedError(status=449), True, None),
        (TimeoutError(), True, None),
        (asyncio.TimeoutError(), True, None),
        (ConnectionResetError(), True, None),
        (JobQueueFullError("full", 2.0), True, 2.0),
        (errors.AuthenticationError(status=401), False, None),
        (FileNotFoundError(), False, None),
        (errors.RateLimitedError(status=429, retry_after=-5.0), True, None),
        (errors.RateLimitedError(status=429, retry_after=float("nan")), True, None),
        (errors.RateLimitedError(status=429, retry_after="soon"), True, None),  # type: ignore[arg-type]
    ],
    ids=lambda value: type(value).__name__,
)
def test_is_temporary_requires_all_leaves_to_be_temporary(
    error: BaseException, temporary: bool, wait: float | None
) -> None:
    assert is_temporary(error) is temporary
    assert retry_after(error) == wait


def test_leaves_terminates_for_a_group_that_contains_itself() -> None:
    class RingError(Exception):
        exceptions: tuple[BaseException, ...] = ()

    ring = RingError()
    ring.exceptions = (ring, ValueError("x"))
    assert [type(leaf) for leaf in leaves(ring)] == [ValueError]


JOB = Started(
    "email:ann@example.com", "save", {"email": "ann@example.com", "fields": {"name": "Zoë O'Neil"}, "n": 4711}, 1
)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("no such column: seats"), "no such column: seats"),
        (ValueError("bob@example.org is taken"), "[…] is taken"),
        (ValueError("cannot save Zoë O'Neil (4711)"), "cannot save […] ([…])"),
        (KeyError("Zoë O'Neil"), '"[…]"'),
        (ValueError("call +44 (0)20 7946-0018 now"), "call […] now"),
        (ValueError("GET https://api/contact/ann?key=1 failed"), "GET […] failed"),
        (ValueError("Authorization: Bearer abc was refused"), "[…] abc was refused"),
        (ValueError("sk_live_51H8abcdEFGHijkl refused"), "[…] refused"),
        (ValueError("two\nlines \x1b[31m\u202e"), "two\\nlines \\x1b[31m\\u202e"),
        (ValueError("x " * 5000), ("x " * 150)),
        (errors.ServerError(status=500, message="no", url="http://x/contact/ann"), "no"),
        (errors.ResponseDecodeError(problem="$.id: expected a str", body="secret"), "$.id: expected a str"),
        (ExceptionGroup("g", [ValueError("a"), DOWN]), "ValueError: a; ServerError: "),
        (Unprintable(), "(str() of Unprintable failed)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_message_of_is_one_bounded_line_without_personal_data(error: BaseException, message: str) -> None:
    assert message_of(error, JOB) == message


async def test_failed_lists_jobs_with_message_and_without_arguments(
    make: MakeJobs, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = make()

    @jobs.register
    async def save(email: str, fine: bool = False) -> None:
        if not fine:
            raise ValueError(f"{email} has no seat")

    async with jobs:
        assert await jobs.failed() == []
        ids = [(await jobs.submit(f"k{n}", save, email=f"p{n}@example.com")).id for n in range(5)]
        good = await jobs.submit("good", save, email="x@example.com", fine=True)
        for job_id in (*ids, good.id):
            await ended(jobs, job_id)
        found = await jobs.failed()
        assert {job.id for job in found} == set(ids)
        assert [job.finished_at for job in found] == sorted((job.finished_at for job in found), reverse=True)  # type: ignore[type-var]
        one = next(job for job in found if job.id == ids[3])
        assert (one.key, one.name, one.state, one.starts, one.error) == ("k3", "save", "failed", 1, "ValueError")
        assert one.message == "[…] has no seat"
        assert one.submitted_at <= one.finished_at  # type: ignore[operator]
        assert "k3" not in repr(one)
        assert len(await jobs.failed(limit=2)) == 2
        status = await jobs.status(ids[3])
        assert status is not None
        assert status.message == "[…] has no seat"
        with pytest.raises(errors.ConfigurationError, match="limit"):
            await jobs.failed(limit=0)
    assert "ValueError: […] has no seat" in caplog.text
    assert "raise ValueError" in caplog.text, "the log shows the line that raised"
    assert "p3@example.com" not in caplog.text
    assert all(record.exc_info is None for record in caplog.records), "the frames would contain the arguments"


async def test_accepted_job_of_a_cancelled_submit_is_logged(make: MakeJobs, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []
    jobs = make()

    @jobs.register
    async def work(value: int) -> None:
        seen.append(value)

    async with jobs:
        for value in range(3):
            with caplog.at_level(logging.WARNING):
                task = asyncio.create_task(jobs.submit(f"k{value}", work, value=value))
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await until(lambda: jobs.stats().done == 3)
    assert seen == [0, 1, 2]
    assert caplog.text.count("was accepted after its submitter was cancelled") == 3
