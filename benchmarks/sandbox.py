"""The sandbox's own ceiling: requests a second on one core, in memory mode, by operation.

The server runs in a process of its own, as ``aelyst sandbox`` does (uvloop where it is installed). The load is raw
HTTP/1.1 over a few sockets, so that the client costs next to nothing. The server's own processor time per request is
the figure that a busy machine changes least.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks.rounds import Row, middle

CONNECTIONS = 16


class Server(NamedTuple):
    url: str
    pid: int


@contextmanager
def other_sandbox(quota: str = "none") -> Iterator[Server]:
    """Run ``aelyst sandbox`` in another process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aelyst_async", "sandbox", "--port", "0", "--quota", quota],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield Server(json.loads(process.stdout.readline())["url"], process.pid)
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def _cpu_seconds(pid: int) -> float:
    """Return the processor time of a process; 0 where /proc does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _message(method: str, path: str, body: dict[str, object] | None) -> bytes:
    data = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer sandbox-token\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
    return f"{head}\r\n".encode() + data


async def _worker(host: str, port: int, messages: list[bytes]) -> None:
    """Send one request after another on one connection, and check each answer's status."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        for message in messages:
            writer.write(message)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"unexpected answer: {head[:200]!r}")
            for line in head.split(b"\r\n"):
                if line[:15].lower() == b"content-length:":
                    await reader.readexactly(int(line[15:]))
    finally:
        writer.close()
        await writer.wait_closed()


async def _load(server: Server, messages: list[bytes]) -> dict[str, float]:
    parts = urlsplit(server.url)
    assert parts.hostname is not None
    assert parts.port is not None
    shares = [messages[start::CONNECTIONS] for start in range(CONNECTIONS)]
    computing, began = _cpu_seconds(server.pid), time.perf_counter()
    await asyncio.gather(*(_worker(parts.hostname, parts.port, share) for share in shares))
    seconds = time.perf_counter() - began
    computing = _cpu_seconds(server.pid) - computing
    return {"rate": len(messages) / seconds, "cpu": computing / len(messages) * 1e6}


def _person(number: int) -> dict[str, object]:
    return {"firstName": f"Person {number}", "lastName": "Tan", "phone": f"+6012{number:07d}", "language": "ms"}


def _loads(turn: int, count: int) -> dict[str, list[bytes]]:
    paths = [f"/aelyst/v1/contact/email:p{turn}-{number}@example.com" for number in range(count)]
    return {
        "create": [_message("POST", path, _person(turn * count + number)) for number, path in enumerate(paths)],
        "get by e-mail": [_message("GET", path, None) for path in paths],
        "update": [_message("PUT", path, {"lastName": "Lim"}) for path in paths],
    }


def measure(*, quick: bool) -> list[Row]:
    count, turns = (1_000, 2) if quick else (5_000, 3)
    figures: dict[str, list[dict[str, float]]] = {}
    with other_sandbox("100000000/s") as server:
        for turn in range(turns):
            for name, messages in _loads(turn, count).items():
                figures.setdefault(name, []).append(asyncio.run(_load(server, messages)))
    return [
        {
            "operation": name, "requests/s": middle(found, "rate"), "fastest": max(each["rate"] for each in found),
            "server's CPU µs": middle(found, "cpu"),
        }
        for name, found in figures.items()
    ]  # fmt: skip
