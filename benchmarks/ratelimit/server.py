"""A server with one quota, in a process of its own. Prints its port; ``/stats`` tells what it let in, per 100 ms."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random

from aiohttp import web

from tests.ratelimit.simulator import Server


def make_app(quota: Server, least: float, most: float) -> web.Application:
    rng = random.Random(1)
    loop_zero: list[float] = []

    async def contact(_: web.Request) -> web.Response:
        loop = asyncio.get_running_loop()
        if not loop_zero:
            loop_zero.append(loop.time())
        status, headers = quota.ask(loop.time() - loop_zero[0])
        await asyncio.sleep(rng.uniform(least, most))
        return web.json_response({"id": 1}, status=status, headers=headers)

    async def stats(_: web.Request) -> web.Response:
        return web.json_response({"accepted": quota.accepted, "refused": len(quota.refused)})

    app = web.Application()
    app.router.add_get("/contact/{identifier}", contact)
    app.router.add_get("/stats", stats)
    return app


async def serve(app: web.Application) -> None:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind")
    parser.add_argument("limit", type=int)
    parser.add_argument("window", type=float)
    args = parser.parse_args()
    # The first boundary comes 0.37 windows after the first request.
    quota = Server(kind=args.kind, limit=args.limit, window=args.window, phase=0.37 * args.window)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(make_app(quota, 0.005, 0.025)))


if __name__ == "__main__":
    main()
