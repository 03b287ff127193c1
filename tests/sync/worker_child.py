"""Run by test_distributed.py in a process of its own: one worker, without the process manager of ``taskiq worker``."""

from __future__ import annotations

import asyncio
import logging
import sys

from taskiq.api import run_receiver_task

from aelyst_async.sync.distributed import broker


async def main() -> None:
    broker.is_worker_process = True
    await broker.startup()
    await run_receiver_task(broker, max_async_tasks=4)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
    asyncio.run(main())
