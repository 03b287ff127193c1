"""Starts journal_process.py, sends it commands, stops and kills it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

__all__ = ["Process", "Start", "lines", "start"]

PROGRAM = Path(__file__).with_name("journal_process.py")


class Process:
    """A running journal_process.py."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def submit(self, key: str, value: object, seconds: float = 0.0) -> str:
        return await self._command(f"submit {key} {value} {seconds}")

    async def fork(self) -> int:
        return int(await self._command("fork"))

    async def _command(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line.encode() + b"\n")
        return (await asyncio.wait_for(self.process.stdout.readline(), 20)).decode().strip()

    async def quit(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"quit\n")
        assert await asyncio.wait_for(self.process.wait(), 20) == 0

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


Start = Callable[..., Awaitable[Process]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    started: list[Process] = []

    async def start_process(name: str, max_starts: int = 3) -> Process:
        child = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAM), str(tmp_path / "jobs.db"), str(tmp_path / "log"), name, str(max_starts),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        process = Process(child)
        started.append(process)
        assert child.stdout is not None
        assert (await asyncio.wait_for(child.stdout.readline(), 20)) == b"open\n"
        return process

    yield start_process
    for process in started:
        await process.kill()
        # The transport of a killed child's pipes closes on later turns of the loop.
        process.process._transport.close()  # type: ignore[attr-defined]
    await asyncio.sleep(0.01)


def lines(tmp_path: Path) -> list[str]:
    log = tmp_path / "log"
    return log.read_text().splitlines() if log.exists() else []
