"""The timeout of an attempt. The connection pool enforces it for all requests with one timer."""

from __future__ import annotations

import asyncio
import time

import pytest

from aelyst_async import RetryPolicy, errors
from aelyst_async.ratelimit import RateLimiter
from aelyst_async.transport.connector import Connector
from aelyst_providers.aelyst import AelystFields, AelystGateway
from tests.doubles import free_limiter
from tests.servers import Answer, RawServer, hang, head, raw, reply

ONCE = RetryPolicy(max_attempts=1)
WHOLE = reply(200, {"id": 1})
TRICKLE = raw(head(200, [("Content-Length", "90")]) + b'{"id"', *[b" "] * 80, pause=0.05)


def gateway_for(server: RawServer, timeout: float, retry: RetryPolicy = ONCE) -> AelystGateway:
    limiter: RateLimiter = free_limiter()[1]
    return AelystGateway("a-token", base_url=server.url, limiter=limiter, timeout=timeout, retry=retry)


@pytest.mark.parametrize("answer", [hang, TRICKLE], ids=["no answer", "slow body"])
async def test_attempt_ends_at_its_timeout(answer: Answer) -> None:
    async with RawServer(answer) as server, gateway_for(server, 0.3) as gateway:
        began = time.monotonic()
        with pytest.raises(errors.RequestTimeoutError, match="no complete answer") as caught:
            await gateway.get("id:1")
        assert 0.25 <= time.monotonic() - began < 2
        assert caught.value.may_have_been_applied is False
        with pytest.raises(errors.RequestTimeoutError) as caught:
            await gateway.update("id:1", AelystFields(last_name="Lee"))
        assert caught.value.may_have_been_applied is True


async def test_each_attempt_has_its_own_deadline() -> None:
    """A call with a short deadline ends before calls that began earlier with a longer one."""
    async with RawServer(hang) as server, gateway_for(server, 1.5) as gateway:
        began = time.monotonic()

        async def seconds(one: AelystGateway) -> float:
            with pytest.raises(errors.RequestTimeoutError):
                await one.get("id:1")
            return time.monotonic() - began

        short = gateway.with_retry(RetryPolicy(max_attempts=1, total=0.3))
        first, second, third = await asyncio.gather(seconds(gateway), seconds(short), seconds(gateway))
    assert 0.25 <= second < 1.2
    assert 1.4 <= first < 4
    assert 1.4 <= third < 4


async def test_deadline_does_not_affect_later_requests_on_the_connection() -> None:
    """The deadline of an earlier request does not close a reused connection."""
    async with RawServer(WHOLE) as server, gateway_for(server, 0.4) as gateway:
        for _ in range(4):
            assert (await gateway.get("id:1")).id == "1"
            await asyncio.sleep(0.2)
        session = gateway._transport._session._session
        assert session is not None
        assert isinstance(session.connector, Connector)
        assert session.connector._deadlines.of == {}


async def test_request_after_a_timeout_uses_a_new_connection() -> None:
    async with RawServer(hang, WHOLE) as server, gateway_for(server, 0.3) as gateway:
        with pytest.raises(errors.RequestTimeoutError):
            await gateway.get("id:1")
        assert (await gateway.get("id:1")).id == "1"
        assert len(server.requests) == 2
