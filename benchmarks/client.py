"""What the library costs on top of plain aiohttp: one GET of a contact, both clients against one server, in one run.

The server is another process. Rounds alternate between the clients, because a shared machine changes its speed; the
ratio within a round is the figure. Bars: at 64 in flight at least 60 % of plain aiohttp's requests per second; at one
in flight a median time of at most 1.25 times plain aiohttp's.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import statistics
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection

import aiohttp
from aiohttp import web

from aelyst_providers.aelyst import AelystGateway

CONTACT = {
    "id": 12345, "firstName": "Muhammad ", "lastName": "Mahin", "phone": "+60123456789", "email": "test@example.com",
    "language": "ms", "profilePic": "https://cdn.example.com/profile_avatar.png", "countryCode": "MY",
    "custom_fields": [{"name": "Company Website", "value": "https://example.com"}], "status": "open",
    "tags": ["new_customer, sales"], "assignee": {"id": 12345, "firstName": "A", "lastName": "B", "email": "a@b.c"},
    "lifecycle": "Hot Lead", "created_at": 1663274081,
}  # fmt: skip
ROUNDS = 7


def serve(pipe: Connection) -> None:
    body = json.dumps(CONTACT).encode()

    async def run() -> None:
        async def get(_: web.Request) -> web.Response:
            return web.Response(body=body, content_type="application/json")

        app = web.Application()
        app.router.add_get("/contact/{identifier}", get)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        pipe.send(runner.addresses[0][1])
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
        await runner.cleanup()

    asyncio.run(run())


async def timed(call: Callable[[], Awaitable[object]], requests: int, in_flight: int) -> tuple[float, float]:
    """Return requests per second and the median seconds of one call."""
    taken: list[float] = []

    async def worker(count: int) -> None:
        for _ in range(count):
            begun = time.perf_counter()
            await call()
            taken.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    await asyncio.gather(*(worker(requests // in_flight) for _ in range(in_flight)))
    return len(taken) / (time.perf_counter() - begun), statistics.median(taken)


async def measure(base: str) -> None:
    async with aiohttp.ClientSession() as session, AelystGateway("benchmark-token", base_url=base) as gateway:

        async def plain() -> object:
            async with session.get(f"{base}/contact/id:12345", headers={"Authorization": "Bearer t"}) as response:
                return await response.json()

        async def ours() -> object:
            return await gateway.get("id:12345")

        for call in (plain, ours):
            await timed(call, 200, 8)
        for in_flight, requests in ((64, 3200), (1, 600)):
            rates: list[float] = []
            medians: list[float] = []
            for number in range(ROUNDS):
                order = (plain, ours) if number % 2 else (ours, plain)
                result = {call: await timed(call, requests, in_flight) for call in order}
                rates.append(result[ours][0] / result[plain][0])
                medians.append(result[ours][1] / result[plain][1])
                print(
                    f"  {in_flight:3} in flight: aiohttp {result[plain][0]:6.0f}/s, ours {result[ours][0]:6.0f}/s, "
                    f"added {1e6 / result[ours][0] - 1e6 / result[plain][0]:5.0f} µs a request"
                )
            bar = (
                f"requests/s {statistics.median(rates):.2f} of aiohttp's (bar ≥ 0.60)"
                if in_flight > 1
                else f"median time {statistics.median(medians):.2f} of aiohttp's (bar ≤ 1.25)"
            )
            print(f"{in_flight:3} in flight, median of {ROUNDS} rounds: {bar}")


def main() -> None:
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    try:
        asyncio.run(measure(f"http://127.0.0.1:{ours.recv()}"))
    finally:
        ours.send(None)
        server.join(5)


if __name__ == "__main__":
    main()
