"""A running sandbox, and a plain HTTP client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from aelyst_async.sandbox import Sandbox
from tests.sandbox.plain_http import Http


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(quota="none") as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    # One connection per request, so that aiohttp never retries a request on a broken pooled connection.
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True), timeout=aiohttp.ClientTimeout(total=10)
    ) as running:
        yield running


@pytest.fixture
def http(session: aiohttp.ClientSession, sandbox: Sandbox) -> Http:
    return Http(session, sandbox)
