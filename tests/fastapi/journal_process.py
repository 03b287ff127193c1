"""A process that runs jobs of a journal and logs what it does. The journal tests start and kill it.

``python journal_process.py JOURNAL LOG NAME MAX_STARTS`` then reads commands, one a line, and answers each with a line:
``submit KEY VALUE SECONDS`` (the job appends "NAME KEY VALUE begin" to LOG, sleeps, appends "… end"; a VALUE of POISONS
kills the process), ``fork`` (answers with the child's process id; the child does nothing for a minute), ``quit``.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable

from aelyst_async.fastapi import Jobs

POISONS: dict[str, Callable[[], object]] = {
    "poison": lambda: os.kill(os.getpid(), 9),
    "exit": lambda: os._exit(1),
    "segfault": lambda: ctypes.string_at(0),
}


def fork() -> int:
    child = os.fork()
    if not child:
        for descriptor in (0, 1, 2):  # the pipes to the test
            os.close(descriptor)
        time.sleep(60)
        os._exit(0)
    return child


async def main(journal: str, log: str, name: str, max_starts: str) -> None:
    jobs = Jobs(journal=journal, concurrency=20, drain_timeout=5, max_starts=int(max_starts))

    def write(text: str) -> None:
        # One write with O_APPEND: lines of several processes do not mix, and a kill loses none.
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, f"{name} {text}\n".encode())
        os.close(descriptor)

    @jobs.register(merge=None)
    async def work(key: str, value: str, seconds: float) -> None:
        write(f"{key} {value} begin")
        if value in POISONS:
            POISONS[value]()
        await asyncio.sleep(seconds)
        write(f"{key} {value} end")

    loop = asyncio.get_running_loop()
    async with jobs:
        print("open", flush=True)  # noqa: T201 - the protocol with the test
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            command, *rest = line.split()
            if command == "quit":
                break
            if command == "fork":
                print(fork(), flush=True)  # noqa: T201
                continue
            key, value, seconds = rest
            job = await jobs.submit(key, work, key=key, value=value, seconds=float(seconds))
            print(job.id, flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
