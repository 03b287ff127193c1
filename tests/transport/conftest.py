"""Fixtures of the transport tests: gateways for loopback servers, closed at the end of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

import pytest_asyncio

from aelyst_async import RetryPolicy
from aelyst_providers.aelyst import AelystGateway
from tests.doubles import free_limiter

Opener: TypeAlias = Callable[..., AelystGateway]

QUICK = RetryPolicy(max_attempts=3, base=0.001, cap=0.002, queued_base=0.001, queued_cap=0.002)
ONCE = RetryPolicy(max_attempts=1)


@pytest_asyncio.fixture
async def aelyst() -> AsyncIterator[Opener]:
    """Return a function that makes an Aelyst gateway for a URL, with fast retries and no rate limit."""
    async with AsyncExitStack() as stack:

        def make(url: str, token: str = "token-1", **settings: Any) -> AelystGateway:
            settings = {"retry": QUICK, "limiter": free_limiter()[1], "settle": 0, "timeout": 5, **settings}
            gateway = AelystGateway(token, base_url=url, **settings)
            stack.push_async_callback(gateway.aclose)
            return gateway

        yield make
