"""How a fault looks on the wire: connections that break, bodies that stop, come slowly or cannot be decoded."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import struct
from collections.abc import Mapping

from aiohttp import web

__all__ = ["HTML_ERROR", "garbage", "reset", "send_slowly", "truncate"]

_CHUNKS = 10


def HTML_ERROR(status: int) -> bytes:  # noqa: N802 - a constant with one hole
    """Return the page that a proxy in front of an API answers with."""
    return (
        f"<!DOCTYPE html><html><head><title>{status} Bad Gateway</title></head>"
        f"<body><center><h1>{status} Bad Gateway</h1></center><hr><center>gateway</center></body></html>"
    ).encode()


def garbage(noise: bytes, length: int) -> bytes:
    """Return bytes that are neither JSON nor UTF-8; the same noise gives the same bytes."""
    return b"\xff\xfe{" + hashlib.shake_256(noise).digest(max(16, length))


def reset(request: web.BaseRequest) -> web.StreamResponse:
    """Break the connection: the client sees a reset, and no byte of an answer."""
    transport = request.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        # Lingering for zero seconds makes close() send RST; where that cannot be set, the client sees a plain close.
        with contextlib.suppress(OSError, AttributeError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    # aiohttp wants a response; writing it to the dead connection does nothing.
    return web.Response(status=500)


async def truncate(
    request: web.BaseRequest, status: int, headers: Mapping[str, str], body: bytes
) -> web.StreamResponse:
    """Announce the whole body, send half of it, and close."""
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = len(body) + (not body)
    response.force_close()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


async def send_slowly(
    request: web.BaseRequest, status: int, headers: Mapping[str, str], body: bytes, seconds: float
) -> web.StreamResponse:
    """Send the headers at once and the body in pieces over `seconds`."""
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = len(body)
    await response.prepare(request)
    step = max(1, -(-len(body) // _CHUNKS))
    # The client may have given up; that is no error of the server.
    with contextlib.suppress(ConnectionError):
        starts = range(0, len(body), step)
        for start in starts:
            await asyncio.sleep(seconds / len(starts))
            await response.write(body[start : start + step])
        await response.write_eof()
    return response
