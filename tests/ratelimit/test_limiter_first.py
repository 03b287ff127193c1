"""The limiter's mechanics: order, lanes, cancellation, deadlines."""

import asyncio

import pytest

from aelyst_async.errors import RateLimitedError
from aelyst_async.ratelimit import RateLimiter
from tests.virtual_time import virtual


@virtual
async def test_a_refusal_pauses_the_bucket_for_as_long_as_the_server_says():
    limiter = RateLimiter()
    loop = asyncio.get_running_loop()
    async with limiter.permit("GET /x") as permit:
        permit.observe(429, {"Retry-After": "7"})
    began = loop.time()
    async with limiter.permit("GET /x") as permit:
        assert loop.time() - began == pytest.approx(7, abs=0.01)
        assert permit.waited == pytest.approx(7, abs=0.01)
    with pytest.raises(RateLimitedError) as caught:
        async with limiter.permit("GET /x") as permit:
            permit.observe(429, {"Retry-After": "7"})
        async with limiter.permit("GET /x", deadline=loop.time() + 5):
            pass
    assert caught.value.attempts == 0
    assert caught.value.retry_after == pytest.approx(7)
