"""A server that costs next to nothing, so that what is measured is the client: HTTP/1.1 without a framework.

It answers a GET with the contact of the vendor's page and a PUT with the receipt of an update. Either has the headers
of a quota that never runs out, counted for each ``User-Agent`` in fixed windows of a second. It reads no more of a
request than it must.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import cast

CONTACT = {
    "id": 12345, "firstName": "Muhammad ", "lastName": "Mahin", "phone": "+60123456789", "email": "test@example.com",
    "language": "ms", "profilePic": "https://cdn.example.com/profile_avatar.png", "countryCode": "MY",
    "custom_fields": [{"name": "Company Website", "value": "https://example.com"}], "status": "open",
    "tags": ["new_customer, sales"], "assignee": {"id": 12345, "firstName": "A", "lastName": "B", "email": "a@b.c"},
    "lifecycle": "Hot Lead", "created_at": 1663274081,
}  # fmt: skip
BODY = json.dumps(CONTACT).encode()
LIMIT = 1_000_000
"""Requests per second and client: a quota that never runs out."""


class _Quota:
    """A quota for each client, in fixed windows of a second."""

    def __init__(self) -> None:
        self._window = 0
        self._left: dict[bytes, int] = {}

    def spend(self, client: bytes) -> int:
        """Count a request; return how many are left."""
        window = int(time.monotonic())
        if window != self._window:
            self._window = window
            self._left.clear()
        self._left[client] = left = self._left.get(client, LIMIT) - 1
        return left


class _Protocol(asyncio.Protocol):
    def __init__(self, quota: _Quota) -> None:
        self._waiting = b""
        self._quota = quota

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by class

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        while (end := self._waiting.find(b"\r\n\r\n")) >= 0:
            head = self._waiting[:end].lower()
            _, found, tail = head.partition(b"content-length:")
            whole = end + 4 + (int(tail.partition(b"\r\n")[0]) if found else 0)
            if len(self._waiting) < whole:
                return
            self._waiting = self._waiting[whole:]
            agent = head.partition(b"user-agent:")[2].partition(b"\r\n")[0]
            body = BODY if head.startswith(b"get ") else b'{"contactId":12345}'
            self._transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-RateLimit-Limit: %d\r\n"
                b"X-RateLimit-Remaining: %d\r\nContent-Length: %d\r\n\r\n%b"
                % (LIMIT, self._quota.spend(agent), len(body), body)
            )


async def listen() -> tuple[asyncio.Server, str]:
    """Start the server in the running loop; return it and its address."""
    server = await asyncio.get_running_loop().create_server(partial(_Protocol, _Quota()), "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def _serve(pipe: Connection) -> None:
    import uvloop

    async def run() -> None:
        server, address = await listen()
        pipe.send(address)
        await server.serve_forever()

    uvloop.run(run())


@contextmanager
def serving() -> Iterator[str]:
    """Run the server in a process of its own and yield its address."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()  # so that a server which cannot start ends the wait
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join(5)
