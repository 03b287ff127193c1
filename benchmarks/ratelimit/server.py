"""A server with one quota, in a process of its own: `python -m benchmarks.ratelimit.server '{"kind": "fixed", …}'`.

The argument has the fields of `tests.ratelimit.simulator.Server`; times count from the first request. It prints its
port. ``/stats`` tells for each client (header `WHO`) when its requests were let in, in seconds, and how many were
refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys

from aiohttp import web

from benchmarks.ratelimit.clients import WHO
from tests.ratelimit.simulator import Server

LEAST, MOST = 0.005, 0.025
"""An answer takes between these, in seconds."""


def make_app(quota: Server) -> web.Application:
    rng = random.Random(1)
    loop_zero: list[float] = []
    let_in: dict[str, list[float]] = {}
    refused: dict[str, int] = {}

    async def contact(request: web.Request) -> web.Response:
        loop = asyncio.get_running_loop()
        if not loop_zero:
            loop_zero.append(loop.time())
        now = loop.time() - loop_zero[0]
        who = request.headers.get(WHO, "")
        status, headers = quota.ask(now)
        if status == 200:
            let_in.setdefault(who, []).append(round(now, 4))
        else:
            refused[who] = refused.get(who, 0) + 1
        await asyncio.sleep(rng.uniform(LEAST, MOST))
        return web.json_response({"id": 1}, status=status, headers=headers)

    async def stats(_: web.Request) -> web.Response:
        return web.json_response({"let_in": let_in, "refused": refused})

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
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(make_app(Server(**json.loads(sys.argv[1])))))


if __name__ == "__main__":
    main()
