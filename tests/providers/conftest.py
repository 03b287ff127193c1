"""Fixtures of the adapters' tests: gateways by provider, closed at the end, and a patched aioresponses."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any, TypeAlias
from unittest.mock import Mock

import pytest
import pytest_asyncio
from aiohttp import ClientResponse
from aioresponses import aioresponses

from aelyst_async import RetryPolicy
from aelyst_providers.aelyst import AelystGateway
from aelyst_providers.callab import CallabGateway
from aelyst_providers.dmchamp import DmChampGateway
from tests.doubles import free_limiter

Opener: TypeAlias = Callable[..., Any]

GATEWAYS: dict[str, Any] = {"aelyst": AelystGateway, "dmchamp": DmChampGateway, "callab": CallabGateway}
TOKEN = "t0ken/+="


def make(provider: str, **settings: Any) -> Any:
    """Return a gateway without retries, rate limit and settle time."""
    settings = {"retry": RetryPolicy(max_attempts=1), "limiter": free_limiter()[1], "settle": 0, **settings}
    return GATEWAYS[provider](TOKEN, **settings)


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[Opener]:
    async with AsyncExitStack() as stack:

        def opened(provider: str, **settings: Any) -> Any:
            made = make(provider, **settings)
            stack.push_async_callback(made.aclose)
            return made

        yield opened


class PatchedResponse(ClientResponse):
    """aioresponses 0.7.9 does not pass the ``stream_writer`` that the response class of aiohttp 3.14 requires.

    Remove this class and the fixture's ``response_class`` once a release of aioresponses passes it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "stream_writer" in inspect.signature(ClientResponse.__init__).parameters:
            kwargs.setdefault("stream_writer", Mock(output_size=0))
        super().__init__(*args, **kwargs)


@pytest.fixture
def answers() -> Iterator[Callable[..., aioresponses]]:
    """Return a function that registers a response: ``answers(method, url, status=…, payload=… or body=…)``."""
    with aioresponses() as mocked:

        def add(method: str, url: str, **answer: Any) -> aioresponses:
            mocked.add(url, method, response_class=PatchedResponse, **answer)
            return mocked

        yield add
