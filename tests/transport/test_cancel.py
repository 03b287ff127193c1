"""Cancellation at every stage: nothing leaks, and the gateway keeps working."""

from __future__ import annotations

import asyncio
import random

import pytest

from aelyst_async import errors
from tests.doubles import free_limiter
from tests.servers import Connection, RawServer, Seen, hang, head, raw, reply
from tests.transport.conftest import ONCE, Opener

FOUND = reply(200, {"id": 1})
SLOW_BODY = raw(head(200, [("Content-Length", "9")]) + b'{"id"', b": 1}", pause=30)


@pytest.mark.parametrize("stage", ["sending", "reading"])
async def test_cancelled_calls_count_as_sent_and_release_their_permits(aelyst: Opener, stage: str) -> None:
    limiter, lent = free_limiter()
    async with RawServer(*[hang if stage == "sending" else SLOW_BODY] * 100, FOUND) as server:
        gateway = aelyst(server.url, limiter=lent)
        tasks = [asyncio.create_task(gateway.get("id:1")) for _ in range(100)]
        await server.saw(100)
        await asyncio.sleep(0.02)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        # The server counted them, so the limiter must too: no permit is returned as unsent.
        assert not any(permit.was_unsent for permit in limiter.permits)
        assert all(permit.left for permit in limiter.permits)
        for _ in range(1_000 // 100):
            await asyncio.gather(*(gateway.get("id:1") for _ in range(100)))
    assert len(server.requests) == 1_100


async def test_no_permit_is_held_while_waiting_for_a_connection_slot(aelyst: Opener) -> None:
    limiter, lent = free_limiter()
    async with RawServer(*[hang] * 100, FOUND) as server:
        gateway = aelyst(server.url, limiter=lent)
        busy = [asyncio.create_task(gateway.get("id:1")) for _ in range(100)]
        await server.saw(100)
        waiting = [asyncio.create_task(gateway.get("id:1")) for _ in range(20)]
        await asyncio.sleep(0.02)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert [permit.granted for permit in limiter.permits] == [True] * 100 + [False] * 20
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
        await gateway.get("id:1")
    assert len(server.requests) == 101


async def test_gateway_works_after_cancellation_between_attempts(aelyst: Opener) -> None:
    async with RawServer(reply(429, b"", {"Retry-After": "60"}), FOUND) as server:
        gateway = aelyst(server.url)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(gateway.get("id:1"), 0.1)
        await gateway.get("id:1")
    assert len(server.requests) == 2


async def test_random_cancellation_does_not_mix_up_responses(aelyst: Opener) -> None:
    """Half of a thousand calls are cancelled at random moments. The others get their own response, and none hangs."""
    draw = random.Random(7)

    async def echo(connection: Connection, seen: Seen) -> bool:
        await asyncio.sleep(draw.random() * 0.01)
        return await reply(200, {"id": int(seen.segments[-1][3:])})(connection, seen)

    async with RawServer(echo) as server:
        gateway = aelyst(server.url, retry=ONCE)
        tasks = [asyncio.create_task(gateway.get(f"id:{number}")) for number in range(1_000)]
        for number, task in enumerate(tasks):
            if draw.random() < 0.5:
                asyncio.get_running_loop().call_later(draw.random() * 0.2, task.cancel)
            if number % 50 == 0:
                await asyncio.sleep(0)
        results = await asyncio.gather(*tasks, return_exceptions=True)
    answers = 0
    for number, result in enumerate(results):
        if isinstance(result, asyncio.CancelledError):
            continue
        assert not isinstance(result, BaseException), result
        assert result.id == str(number)
        answers += 1
    assert 400 < answers < 1_000


async def test_aclose_fails_the_calls_in_progress(aelyst: Opener) -> None:
    async with RawServer(hang) as server:
        gateway = aelyst(server.url, retry=ONCE)
        tasks = [asyncio.create_task(gateway.get("id:1")) for _ in range(150)]
        await server.saw(100)
        await gateway.aclose()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
    assert len(server.requests) == 100
    for result in results:
        assert isinstance(result, errors.ContactsError), repr(result)
