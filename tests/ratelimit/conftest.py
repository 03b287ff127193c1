"""A private Redis and a quota in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from aelyst_async.ratelimit import RedisQuota
from tests.ratelimit.members import PATIENT
from tests.servers_external import RedisServer


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture
async def quota(server: RedisServer) -> AsyncIterator[RedisQuota]:
    async with RedisQuota(server.url, timeout=PATIENT) as shared:
        yield shared
