"""Faults on the wire: connections that are reset, bodies that are truncated, slow or not decodable."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import struct
from collections.abc import Mapping

from aiohttp import web

__all__ = ["garbage", "html_error", "reset", "send_slowly", "truncate"]

_CHUNKS = 10


def html_error(status: int) -> bytes:
    """Return an error page as sent by a proxy in front of an API."""
    return (
        f"<!DOCTYPE html><html><head><title>{status} Bad Gateway</title></head>"
        f"<body><center><h1>{status} Bad Gateway</h1></center><hr><center>gateway</center></body></html>"
    ).encode()


def garbage(noise: bytes, length: int) -> bytes:
    """Return bytes that are neither JSON nor UTF-8; the same noise gives the same bytes."""
    return b"\xff\xfe{" + hashlib.shake_256(noise).digest(max(16, length))


def reset(request: web.BaseRequest) -> web.StreamResponse:
    """Reset the connection. The client receives no byte of a response."""
    transport = request.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        # With a linger time of 0 close() sends RST. Where that cannot be set, the connection is closed normally.
        with contextlib.suppress(OSError, AttributeError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    # aiohttp needs a response. Writing it to the closed connection does nothing.
    return web.Response(status=500)


async def truncate(
    request: web.BaseRequest, status: int, headers: Mapping[str, str], body: bytes
) -> web.StreamResponse:
    """Send the length of the whole body and half of the body, and close."""
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
    # The client may have disconnected.
    with contextlib.suppress(ConnectionError):
        starts = range(0, len(body), step)
        for start in starts:
            await asyncio.sleep(seconds / len(starts))
            await response.write(body[start : start + step])
        await response.write_eof()
    return response
