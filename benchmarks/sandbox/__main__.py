"""``python -m benchmarks.sandbox``: requests per second of the sandbox, in memory, by operation.

The server runs in a process of its own, on one core, as ``aelyst sandbox`` does (uvloop where it is installed). The
load is a raw client: pipelined HTTP/1.1 over a few sockets, so that the client costs next to nothing. The server's
own CPU time per request is printed too, because on a busy machine the rate is that of the neighbours.

The bar: 4,000 requests a second in memory mode, on every operation.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

BAR = 4000
CONNECTIONS = 16


def _cpu_seconds(pid: int) -> float:
    """CPU time of a process; 0 where /proc does not tell."""
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


async def _measure(url: str, pid: int, messages: list[bytes]) -> tuple[float, float]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    shares = [messages[start::CONNECTIONS] for start in range(CONNECTIONS)]
    cpu, begun = _cpu_seconds(pid), time.perf_counter()
    await asyncio.gather(*(_worker(parts.hostname, parts.port, share) for share in shares))
    elapsed = time.perf_counter() - begun
    return len(messages) / elapsed, (_cpu_seconds(pid) - cpu) / len(messages)


def _person(number: int) -> dict[str, object]:
    return {"firstName": f"Person {number}", "lastName": "Tan", "phone": f"+6012{number:07d}", "language": "ms"}


def _loads(turn: int, count: int) -> dict[str, list[bytes]]:
    paths = [f"/aelyst/v1/contact/email:p{turn}-{number}@example.com" for number in range(count)]
    return {
        "create": [_message("POST", path, _person(turn * count + number)) for number, path in enumerate(paths)],
        "get by e-mail": [_message("GET", path, None) for path in paths],
        "update": [_message("PUT", path, {"lastName": "Lim"}) for path in paths],
    }


async def _run(ready: dict[str, str], pid: int, count: int, turns: int) -> bool:
    best: dict[str, tuple[float, float]] = {}
    for turn in range(turns):
        for name, messages in _loads(turn, count).items():
            best[name] = max(best.get(name, (0.0, 0.0)), await _measure(ready["url"], pid, messages))
    print(f"best of {turns}")
    print(f"{'operation':<16}{'requests/s':>12}{'CPU µs/request':>18}{'bar':>8}")
    for name, (rate, cpu) in best.items():
        print(f"{name:<16}{rate:>12,.0f}{cpu * 1e6:>18.0f}{BAR:>8,}  {'met' if rate >= BAR else 'MISSED'}")
    return all(rate >= BAR for rate, _ in best.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5_000, help="requests per operation")
    parser.add_argument("--turns", type=int, default=3, help="how often; the best of each operation counts")
    arguments = parser.parse_args()
    command = [sys.executable, "-c", _SERVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            ready = json.loads(server.stdout.readline())
            return 0 if asyncio.run(_run(ready, server.pid, arguments.count, arguments.turns)) else 1
        finally:
            server.terminate()


# Not `python -m aelyst_async.cli`, so that the benchmark needs this room only.
_SERVER = """
import argparse, sys
from aelyst_async.cli import sandbox
parser = argparse.ArgumentParser()
sandbox.add_parser(parser.add_subparsers())
arguments = parser.parse_args(["sandbox", "--port", "0", "--quota", "100000000/s"])
sys.exit(arguments.run(arguments))
"""

if __name__ == "__main__":
    sys.exit(main())
