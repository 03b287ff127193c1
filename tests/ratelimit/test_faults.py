"""Servers with wrong, constant or changing headers, and long refusals: clients neither stop nor wait too long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import count, pairwise

import pytest

from aelyst_async.ratelimit import RateLimiter
from aelyst_async.ratelimit.headers import read
from tests.ratelimit.simulator import Server
from tests.virtual_time import run

Ask = Callable[[float], tuple[int, dict[str, str]]]


def counts(limit: int, remaining: int) -> dict[str, str]:
    return {"X-RateLimit-Limit": str(limit), "X-RateLimit-Remaining": str(remaining)}


def drive(ask: Ask, seconds: float, *, workers: int = 4) -> tuple[list[float], list[float]]:
    """Keep `workers` busy for so long; return the times of the good and of the refused requests."""
    good: list[float] = []
    refused: list[float] = []

    async def main() -> None:
        loop, limiter = asyncio.get_running_loop(), RateLimiter()
        zero = loop.time()

        async def work() -> None:
            while True:
                async with limiter.permit("GET /x") as permit:
                    await asyncio.sleep(0.05)
                    status, headers = ask(loop.time() - zero)
                    await asyncio.sleep(0.05)
                    permit.observe(status, headers)
                    (good if status == 200 else refused).append(loop.time() - zero)

        tasks = [asyncio.create_task(work()) for _ in range(workers)]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(main())
    return good, refused


@pytest.mark.parametrize("before", [0, 10])
def test_constant_remaining_of_zero_does_not_stop_requests(before: int) -> None:
    """`remaining` counts down to 0 and stays there, while the server accepts every request."""
    numbers = count(1)
    good, _ = drive(lambda _: (200, counts(10, max(0, before - next(numbers)))), 300)
    assert sum(at > 240 for at in good) > 60 * 20


def test_wrong_remaining_does_not_hide_the_real_quota() -> None:
    server = Server(kind="fixed", limit=10, window=1.0, phase=0.3)

    def ask(now: float) -> tuple[int, dict[str, str]]:
        status, headers = server.ask(now)
        return status, {**headers, "X-RateLimit-Remaining": "0"}

    good, refused = drive(ask, 300)
    assert len(good) > 0.3 * 3000
    assert len(refused) < 0.02 * len(good)


@pytest.mark.parametrize("left", [0, None])
def test_alternating_limit_does_not_stop_requests(left: int | None) -> None:
    limits = count()

    def ask(_: float) -> tuple[int, dict[str, str]]:
        limit = 10**9 - 1 if next(limits) % 2 else 1
        return 200, counts(limit, limit - 1 if left is None else left)

    good, _ = drive(ask, 600)
    assert max(later - earlier for earlier, later in pairwise(good)) < 60


@pytest.mark.parametrize("headers", ["none", "all"])
def test_requests_resume_within_a_minute_after_half_an_hour_of_refusals(headers: str) -> None:
    server = Server(kind="fixed", limit=10, window=1.0, headers=headers)

    def ask(now: float) -> tuple[int, dict[str, str]]:
        if now < 1800:
            return 429, {"Retry-After": "1", **(counts(10, 0) if headers == "all" else {})}
        return server.ask(now)

    good, _ = drive(ask, 2000)
    assert good[0] < 1860
    assert good[1] < 1862
    assert len(good) > 0.5 * 2000


@pytest.mark.parametrize("value", ["86400", "99999999999", "Wed, 21 Oct 2099 07:28:00 GMT"])
def test_unreasonable_retry_after_is_probed_once_an_hour(value: str) -> None:
    good, refused = drive(lambda now: (429, {"Retry-After": value}) if now < 7300 else (200, {}), 10_830)
    assert refused == pytest.approx([0, 3600, 7200], abs=2)
    assert good[0] == pytest.approx(10_800, abs=2)


@pytest.mark.parametrize("headers", ["none", "all"])
@pytest.mark.parametrize("kind", ["fixed", "sliding", "token"])
@pytest.mark.parametrize("retry_after", ["ceil", "absent"])
def test_refused_first_request_does_not_distort_the_learned_quota(kind: str, headers: str, retry_after: str) -> None:
    server = Server(kind=kind, limit=50, window=10.0, headers=headers, retry_after=retry_after, phase=3.0)
    for _ in range(50):
        server.ask(0.0)
    good, refused = drive(server.ask, 400, workers=16)
    # Without headers the limiter starts from what was accepted after the refusal, and raises it step by step.
    silent_bucket = (kind, headers, retry_after) == ("token", "none", "absent")
    assert len(good) > (0.65 if silent_bucket else 0.85) * 2000
    assert len(refused) < 0.03 * len(good)


def test_backoff_without_retry_after_is_at_most_a_minute() -> None:
    _, refused = drive(lambda _: (429, {}), 3600)
    assert max(later - earlier for earlier, later in pairwise(refused)) < 61


@pytest.mark.parametrize("text", ["a" * 8000, "r=" * 4000, '"' * 8000, ";r" * 4000, "1" * 8000, " " * 8000])
@pytest.mark.parametrize("name", ["RateLimit", "RateLimit-Policy", "Retry-After", "X-RateLimit-Limit"])
def test_long_header_is_parsed_in_linear_time(name: str, text: str) -> None:
    began = time.thread_time()
    for _ in range(5):
        read({name: text, **({"RateLimit": '"a";r=1'} if name == "RateLimit-Policy" else {})})
    assert time.thread_time() - began < 0.5
