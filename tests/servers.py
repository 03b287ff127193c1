"""Loopback servers that misbehave on demand. They use asyncio streams, because aiohttp.web sends only valid HTTP.

    async with RawServer(reset, reply(200, {"id": 1})) as server:
        ...                      # the first request gets a reset, every later one a response
    assert [seen.method for seen in server.requests] == ["GET", "GET"]

An answer is an async function of the connection and the request; it returns whether the connection stays open. The
last answer is repeated. A request is recorded before it is answered, so `requests` is what the server received.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from http.client import responses
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, unquote

import attrs
from typing_extensions import Self

__all__ = ["Connection", "RawServer", "Seen", "hang", "raw", "reply", "reset", "stop"]


@attrs.frozen
class Seen:
    """One request as it was received."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def path(self) -> str:
        """The raw path, not decoded."""
        return self.target.partition("?")[0]

    @property
    def segments(self) -> list[str]:
        """The path segments, each decoded after the split, as RFC 3986 requires."""
        return [unquote(part, errors="strict") for part in self.path.split("/")[1:]]

    @property
    def query(self) -> dict[str, str]:
        """The query, decoded as a form (``+`` is a space)."""
        pairs = parse_qsl(self.target.partition("?")[2], keep_blank_values=True, errors="strict")
        assert len(pairs) == len(dict(pairs)), "a parameter came twice"
        return dict(pairs)

    @property
    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)


@attrs.frozen
class Connection:
    """The server's end of one connection."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def abort(self) -> None:
        """Reset the connection (RST, not FIN)."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Answer: TypeAlias = Callable[[Connection, Seen], Awaitable[bool]]


def head(status: int, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    lines = [f"HTTP/1.1 {status} {responses.get(status, 'Whatever')}", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def reply(status: int, body: object = b"", headers: dict[str, str] | None = None, *, close: bool = False) -> Answer:
    """Return a valid response. `body`: bytes, or any other value, which is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}
    if status == 204:
        del fields["Content-Length"]

    async def answer(connection: Connection, seen: Seen) -> bool:
        await connection.send(head(status, fields.items()) + content)
        return not close

    return answer


def raw(*chunks: bytes, pause: float = 0.0, abort: bool = False) -> Answer:
    """Send these bytes, then close (or reset) the connection. `pause`: seconds after each chunk."""

    async def answer(connection: Connection, seen: Seen) -> bool:
        for chunk in chunks:
            await connection.send(chunk)
            await asyncio.sleep(pause)
        if abort:
            connection.abort()
        return False

    return answer


async def reset(connection: Connection, seen: Seen) -> bool:
    """Reset the connection after the whole request was read."""
    connection.abort()
    return False


async def stop(connection: Connection, seen: Seen) -> bool:
    """Close the connection after the whole request was read, without an answer."""
    return False


async def hang(connection: Connection, seen: Seen) -> bool:
    """Never answer; end when the client closes the connection."""
    await connection.reader.read()
    return False


class RawServer:
    """A server on a free loopback port; use it with ``async with``."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[Seen] = []
        self.connections = 0
        self.in_flight = 0
        self.peak = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._arrival = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def saw(self, count: int) -> None:
        """Return when `count` requests have arrived."""
        while len(self.requests) < count:
            self._arrival.clear()
            await self._arrival.wait()

    def next_answer(self) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        connection = Connection(self.connections, reader, writer)
        try:
            while True:
                seen = await _read_request(connection)
                self.requests.append(seen)
                self._arrival.set()
                self.in_flight += 1
                self.peak = max(self.peak, self.in_flight)
                try:
                    if not await self.next_answer()(connection, seen):
                        break
                finally:
                    self.in_flight -= 1
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()


async def _read_request(connection: Connection) -> Seen:
    start = (await connection.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = start.rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert "transfer-encoding" not in headers, "a body of known length is sent with Content-Length"
    body = await connection.reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(method, target, headers, body, connection.number)
