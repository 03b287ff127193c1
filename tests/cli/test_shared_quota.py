"""``aelyst sync --quota``: stderr says when the shared quota cannot be reached, and when it can again."""

from __future__ import annotations

import argparse
import asyncio
import logging
from contextlib import AsyncExitStack

import pytest

from aelyst_async.cli.workers import limiter_of
from tests.servers_external import RedisServer


async def test_limiter_of_the_command_tells_of_an_outage_and_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    server = RedisServer()
    async with AsyncExitStack() as stack:
        limiter = await limiter_of(argparse.Namespace(quota=server.url.replace("//", "//:hunter2@")), stack)

        async def send() -> None:
            async with limiter.permit("GET /x") as permit:
                permit.observe(200, {})

        task = asyncio.create_task(send())
        await asyncio.sleep(1.5)
        server.start()
        await asyncio.wait_for(task, 30)
    said = capsys.readouterr().err.splitlines()
    server.kill()
    assert said == [
        "aelyst sync: the shared quota's Redis does not answer (ConnectionError); requests wait for it",
        "aelyst sync: the shared quota's Redis answers again; for one window, half of the quota is used",
    ]
    assert not logging.getLogger("aelyst_async.ratelimit").handlers
