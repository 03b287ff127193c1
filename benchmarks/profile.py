"""What one `get` runs in Python: calls, by whose code they are, and the frames between the user's call and aiohttp.

A call is what `sys.setprofile` reports as one: a function that begins, and each time that a coroutine goes on after a
wait. So a coroutine in the way of a call counts twice or more. Code that attrs and cattrs have generated for our
classes counts as ours.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import aelyst_async
import aelyst_providers
from aelyst_providers.aelyst import AelystGateway
from benchmarks.rounds import Row
from benchmarks.server import serving

_OURS = tuple(str(Path(package.__path__[0])) for package in (aelyst_async, aelyst_providers))
_GENERATED = ("<attrs generated", "<cattrs generated")
CALLS = 50


def _of_ours(code: Any) -> bool:
    name: str = code.co_filename
    return name.startswith(_OURS) or (name.startswith(_GENERATED) and "aelyst_" in name)


def _owner(code: Any) -> str:
    if _of_ours(code):
        return "ours"
    return "aiohttp" if "aiohttp" in Path(code.co_filename).parts else "others"


async def python_calls(gateway: AelystGateway, identifier: str = "id:12345") -> Counter[tuple[str, str]]:
    """Return the Python calls of `CALLS` gets, by owner (ours, aiohttp, others) and qualified name.

    Others come first, so that what is made or learned once is not counted.
    """
    for _ in range(200):
        await gateway.get(identifier)
    seen: Counter[tuple[str, str]] = Counter()

    def count(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            code = frame.f_code
            seen[_owner(code), getattr(code, "co_qualname", code.co_name)] += 1

    mine = count.__code__, python_calls.__code__
    sys.setprofile(count)
    try:
        for _ in range(CALLS):
            await gateway.get(identifier)
    finally:
        sys.setprofile(None)
    for code in mine:
        seen.pop(("others", getattr(code, "co_qualname", code.co_name)), None)
    return seen


async def frames_to_aiohttp(gateway: AelystGateway, identifier: str = "id:12345") -> list[str]:
    """Return the names of our frames from the user's call down to aiohttp, outermost first."""
    import aiohttp

    found: list[str] = []
    plain = aiohttp.BaseConnector.connect

    async def spy(self: Any, *args: Any, **kwargs: Any) -> Any:
        frame = sys._getframe().f_back
        while frame is not None:
            if _of_ours(frame.f_code):
                found.append(getattr(frame.f_code, "co_qualname", frame.f_code.co_name))
            frame = frame.f_back
        return await plain(self, *args, **kwargs)

    await gateway.get(identifier)
    aiohttp.BaseConnector.connect = spy  # type: ignore[method-assign]
    try:
        await gateway.get(identifier)
    finally:
        aiohttp.BaseConnector.connect = plain  # type: ignore[method-assign]
    return found[::-1]


def measure(*, quick: bool) -> list[Row]:  # noqa: ARG001 - it is quick
    async def run(base: str) -> list[Row]:
        async with AelystGateway("benchmark-token", base_url=base) as gateway:
            frames = await frames_to_aiohttp(gateway)
            calls = await python_calls(gateway)
        rows: list[Row] = [{"what": "frames to aiohttp", "calls a get": len(frames), "": " → ".join(frames)}]
        for owner in ("ours", "aiohttp", "others"):
            total = sum(count for (who, _), count in calls.items() if who == owner)
            rows.append({"what": f"Python calls, {owner}", "calls a get": total / CALLS})
        for (owner, name), count in calls.most_common():
            if owner == "ours":
                rows.append({"what": f"  {name}", "calls a get": count / CALLS})
        return rows

    with serving() as base:
        return asyncio.run(run(base))
