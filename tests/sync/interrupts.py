"""Interrupts syncs of unchanged rows at random moments, many times in one process. Run by test_interrupts.py.

    python tests/sync/interrupts.py [--count N] [--seed N] [--rows N] [--folder PATH]

Each interrupt is one of `WAYS`. A run must end with one of its `EXPECTED` outcomes, or be complete already. The
output is JSON: the number of runs per way and outcome. A process that dies of a signal prints nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from aelyst_async.cli import main as aelyst
from aelyst_async.contacts import ContactFields, WriteReceipt
from aelyst_async.identifiers import Identifier, parse_identifier
from aelyst_async.sync import ContactSync, SyncReport
from aelyst_providers.aelyst import AelystGateway

BASE_URL = "http://127.0.0.1:9/v1"
"""Nothing listens on this port: unchanged rows need no request."""

TOKEN = "token"
WAYS = ("SIGINT", "SIGINT twice", "SIGTERM", "SIGTERM twice", "stop", "abort", "cancel", "cancel twice")


class Instant(AelystGateway):
    """Accepts every write without a request."""

    async def upsert(self, identifier: Identifier | str, fields: ContactFields) -> WriteReceipt:
        return WriteReceipt(identifier=parse_identifier(identifier), contact_id="1", created=True)


class Case:
    """One table whose rows are all in the journal."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.csv = folder / "people.csv"
        self.journal = folder / "state.db"
        self.rows = rows
        lines = ["email,first_name", *(f"p{row}@example.com,Person {row}" for row in range(rows))]
        self.csv.write_text("\n".join(lines) + "\n")

    def sync(self, kind: type[AelystGateway] = AelystGateway) -> ContactSync:
        return ContactSync(kind(TOKEN, base_url=BASE_URL, allow_insecure=True), journal=self.journal)

    def run(self, kind: type[AelystGateway] = AelystGateway) -> SyncReport:
        return asyncio.run(self.sync(kind).run(self.csv))


def by_signal(case: Case, way: str, delay: float) -> str:
    """Run the command in a forked process, and send it a signal."""
    name, _, twice = way.partition(" ")
    words = ["sync", str(case.csv), "--to", "aelyst", "--base-url", BASE_URL, "--journal", str(case.journal)]
    held = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, held)  # until the child can handle them
    child = os.fork()
    if child == 0:
        code = 130  # as Python's own, for a Ctrl-C before the command listens or after it did
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, held)
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                code = aelyst([*words, "--progress", "none"])
        except BaseException as error:  # noqa: BLE001
            code = 130 if isinstance(error, KeyboardInterrupt) else 99
        finally:
            os._exit(code)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, held)
    for pause in (delay, delay / 10) if twice else (delay,):
        time.sleep(pause)
        os.kill(child, signal.Signals[name])  # not waited for yet, so its number is still its own
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    # A shell says 143 of a process that ended by SIGTERM, before it could listen or after it did.
    return {0: "complete", -signal.SIGINT: "130", -signal.SIGTERM: "143"}.get(code, str(code))


async def in_loop(case: Case, way: str, delay: float) -> str:
    """Interrupt a run by a method call or a cancellation in its own loop."""
    sync = case.sync()
    task = asyncio.ensure_future(sync.run(case.csv))
    loop = asyncio.get_running_loop()
    what: dict[str, list[Callable[[], Any]]] = {
        "stop": [sync.stop], "abort": [sync.stop, sync.abort],
        "cancel": [task.cancel], "cancel twice": [task.cancel, task.cancel],
    }  # fmt: skip
    for number, function in enumerate(what[way]):
        loop.call_later(delay * (1 + number / 10), function)
    try:
        report = await task
    except asyncio.CancelledError:
        return "CancelledError"
    return "complete" if report.complete else str(report.stopped)


EXPECTED = {
    "SIGINT": {"130"}, "SIGTERM": {"143"}, "stop": {"interrupted"}, "abort": {"interrupted"},
    "cancel": {"CancelledError"},
}  # fmt: skip


def interrupt(case: Case, way: str, delay: float) -> str:
    end = by_signal(case, way, delay) if way.startswith("SIG") else asyncio.run(in_loop(case, way, delay))
    if end not in EXPECTED[way.partition(" ")[0]] | {"complete"}:
        raise AssertionError(f"{way} after {delay:.3f} s ended in {end}")
    return end


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    os.environ.update(AELYST_TOKEN=TOKEN)
    dice = random.Random(options.seed)
    ends: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        case = Case(Path(folder), options.rows)
        case.run(Instant)
        began = time.monotonic()
        assert case.run().unchanged == case.rows
        whole = time.monotonic() - began
        for _ in range(options.count):
            way = dice.choice(WAYS)
            end = interrupt(case, way, dice.uniform(0, whole))
            ends[f"{way}: {end}"] += 1
            whole *= 0.8 if end == "complete" else 1.05  # follows the load of the machine
        report = case.run()
        assert (report.unchanged, report.requests) == (case.rows, {}), report
    print(json.dumps(dict(sorted(ends.items())), indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
