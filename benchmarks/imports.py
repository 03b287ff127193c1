"""What importing costs beside `import aiohttp`, and a first call of a gateway, each in interpreters of their own.

By processor time, which other processes lengthen less than the clock.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

from benchmarks.rounds import Row

CASES = {
    "nothing": "pass",
    "import aiohttp": "import aiohttp",
    "import aelyst_async": "import aelyst_async",
    "import aelyst_async.cli": "import aelyst_async.cli",
    "aelyst --help": (
        "import contextlib, io, aelyst_async.cli as cli\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): cli.main(['--help'])"
    ),
    "AelystGateway('t')": "from aelyst_providers.aelyst import AelystGateway; AelystGateway('t')",
}
FIRST_CALL = """
import asyncio, time
from aelyst_async.errors import TransportError
from aelyst_providers.aelyst import AelystGateway

async def main():
    longest = 0.0

    async def watch():
        nonlocal longest
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - began - 0.001)

    watcher = asyncio.create_task(watch())
    await asyncio.sleep(0.01)
    async with AelystGateway("t", base_url="http://127.0.0.1:9") as gateway:
        try:
            await gateway.with_retry(gateway._retry.__class__(max_attempts=1)).get("id:1")
        except TransportError:
            pass
    await asyncio.sleep(0.01)
    watcher.cancel()
    print(longest * 1000)

asyncio.run(main())
"""
"""Opens a gateway and calls once, where nobody listens; prints for how many ms the loop was held up at the most."""


def _computing() -> float:
    """Return the processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(*, quick: bool) -> list[Row]:
    taken: dict[str, list[float]] = {name: [] for name in CASES}
    held_up: list[float] = []
    for _ in range(3 if quick else 15):  # in turns, so that a busy moment of the machine hits all of them
        for name, code in CASES.items():
            before = _computing()
            subprocess.run([sys.executable, "-c", code], check=True)
            taken[name].append((_computing() - before) * 1000)
        first = subprocess.run([sys.executable, "-c", FIRST_CALL], check=True, capture_output=True, text=True)
        held_up.append(float(first.stdout))
    median = {name: statistics.median(times) for name, times in taken.items()}
    bare = median["nothing"]
    aiohttp = median["import aiohttp"] - bare
    rows: list[Row] = [{"what": "the bare interpreter", "CPU ms": bare}]
    rows += [
        {"what": name, "CPU ms": milliseconds - bare, "× import aiohttp": (milliseconds - bare) / aiohttp}
        for name, milliseconds in median.items()
        if name != "nothing"
    ]
    return [*rows, {"what": "open and first call: the loop held up for (clock)", "ms": statistics.median(held_up)}]
