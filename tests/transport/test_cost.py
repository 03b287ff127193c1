"""Upper bounds for the Python calls and frames of one API call. `make bench` measures the time."""

from __future__ import annotations

import pytest

from aelyst_providers.aelyst import AelystGateway
from benchmarks.profile import CALLS, frames_to_aiohttp, python_calls
from benchmarks.server import listen

MAX_CALLS = 60
"""Python calls of this library for one get. aiohttp makes about a hundred more."""


@pytest.mark.parametrize("identifier", ["id:12345", "email:test@example.com", "phone:+60123456789"])
async def test_get_makes_few_python_calls(identifier: str) -> None:
    server, address = await listen()
    async with server, AelystGateway("t", base_url=address) as gateway:
        calls = await python_calls(gateway, identifier)
    ours = {name: count / CALLS for (owner, name), count in calls.items() if owner == "ours"}
    assert "Transport.call" in ours or "call" in ours  # Python 3.10 has no qualified names
    assert 20 < sum(ours.values()) <= MAX_CALLS, sorted(ours.items(), key=lambda item: -item[1])


async def test_get_has_four_frames_between_the_caller_and_aiohttp() -> None:
    server, address = await listen()
    async with server, AelystGateway("t", base_url=address) as gateway:
        frames = await frames_to_aiohttp(gateway)
    assert [name.rpartition(".")[2] for name in frames] == ["get", "call", "exchange", "_send"]
