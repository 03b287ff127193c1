"""What is measured. Each function returns lines: what, value, bar, met."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from aelyst_async.contacts import Contact, ContactFields, WriteReceipt
from aelyst_async.errors import ContactNotFoundError
from aelyst_async.identifiers import parse_identifier
from aelyst_async.sync import ContactSync, Progress, SyncReport, read_contacts

Line = dict[str, Any]


class Instant:
    """A gateway that says yes at once, after `latency` seconds: what is left is the sync's own cost."""

    provider = "instant"

    def __init__(self, latency: float = 0.0) -> None:
        self.latency = latency
        self.requests = 0

    async def get(self, identifier: Any) -> Contact:  # noqa: ARG002
        raise ContactNotFoundError(status=404)

    async def create(self, fields: ContactFields, *, identifier: Any = None) -> WriteReceipt:
        return await self.upsert(identifier, fields)

    async def update(self, identifier: Any, fields: ContactFields) -> WriteReceipt:
        return await self.upsert(identifier, fields)

    async def upsert(self, identifier: Any, fields: ContactFields) -> WriteReceipt:  # noqa: ARG002
        self.requests += 1
        if self.latency:
            await asyncio.sleep(self.latency)
        return WriteReceipt(identifier=parse_identifier(identifier), created=True)


def line(what: str, value: str, bar: str = "", met: bool | None = None) -> Line:
    return {"what": what, "value": value, "bar": bar, "met": met}


def write_people(path: Path, rows: int, *, version: int = 0) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(
            "email,first_name,last_name,phone,language,country_code,custom_fields.Plan,custom_fields.Seats:number\n"
        )
        for row in range(rows):
            file.write(f"person{row}@example.com,Ann {row},Lee,+6012{row:07d},ms,MY,Team,{version}\n")


def write_plain(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write("email,first_name,last_name,phone\n")
        file.writelines(f"person{row}@example.com,Ann {row},Lee,+6012{row:07d}\n" for row in range(rows))


def rss() -> float:
    """Return the memory of this process in MB, now."""
    for entry in Path("/proc/self/status").read_text().splitlines():
        if entry.startswith("VmRSS"):
            return int(entry.split()[1]) / 1024
    raise RuntimeError("no VmRSS")


def fresh(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    import uvloop

    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def unchanged() -> list[Line]:
    """100,000 rows of which none has changed."""
    rows = 100_000
    with tempfile.TemporaryDirectory() as folder:
        path, journal = Path(folder, "people.csv"), Path(folder, "state.db")
        write_plain(path, rows)
        gateway = Instant()

        async def run() -> SyncReport:
            return await ContactSync(gateway, journal=journal).run(read_contacts(path))

        began = time.perf_counter()
        fresh(run)
        first = time.perf_counter() - began
        gateway.requests = 0
        best = min(_timed(lambda: fresh(run)) for _ in range(3))
        computing = time.process_time()
        fresh(run)
        computing = time.process_time() - computing
        return [
            line("100,000 new rows into a gateway that costs nothing", f"{rows / first:,.0f} rows/s"),
            line("100,000 unchanged rows", f"{best:.2f} s", "2 s", best <= 2.0),
            line("  processor time of it", f"{computing:.2f} s"),
            line("  requests for them", f"{gateway.requests}", "0", gateway.requests == 0),
        ]


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def memory() -> list[Line]:
    """One million rows: the peak, and whether it grows."""
    rows = 1_000_000
    marks: dict[int, float] = {}
    peak = 0.0

    def watch(progress: Progress) -> None:
        nonlocal peak
        now = rss()
        peak = max(peak, now)
        for mark in (100_000, 1_000_000):
            if progress.done >= mark and mark not in marks:
                marks[mark] = now

    with tempfile.TemporaryDirectory() as folder:
        path, journal = Path(folder, "people.csv"), Path(folder, "state.db")
        write_plain(path, rows)

        async def run() -> SyncReport:
            return await ContactSync(Instant(), journal=journal, progress=watch).run(read_contacts(path))

        began = time.perf_counter()
        fresh(run)
        seconds = time.perf_counter() - began
    import resource

    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    grown = marks[1_000_000] - marks[100_000]
    return [
        line("1,000,000 rows, all new", f"{rows / seconds:,.0f} rows/s"),
        line("  peak memory (RSS)", f"{highest:.0f} MB", "150 MB", highest <= 150),
        line("  growth from row 100,000 to row 1,000,000", f"{grown:+.1f} MB", "none (< 8)", grown < 8),
    ]


def journal() -> list[Line]:
    """What a row costs in the journal: its INTENT and its DONE, in groups as a run makes them."""
    rounds = [_journal(50_000, 100) for _ in range(3)]  # the best of three: a shared disk has slow moments
    wall, cpu, looked = (min(values) for values in zip(*rounds, strict=True))
    return [
        line("journal: INTENT and DONE of a row, committed by the hundred", f"{wall:.1f} µs/row", "20 µs", wall <= 20),
        line("  of that, processor time (the rest waits for the disk)", f"{cpu:.1f} µs/row"),
        line("journal: look-up of a row", f"{looked:.1f} µs/row"),
    ]


def _journal(rows: int, group: int) -> tuple[float, float, float]:
    from aelyst_async.sync.journal import Journal, Settled

    keys = [f"email:{secrets.token_hex(8)}@example.com" for _ in range(rows)]
    with tempfile.TemporaryDirectory() as folder:
        book = Journal.open(Path(folder, "state.db"))
        began, computing = time.perf_counter(), time.process_time()
        for start in range(0, rows, group):
            part = keys[start : start + group]
            book.apply([Settled(key, "INTENT", "create", None, None, 1, None, 0) for key in part])
            book.apply([Settled(key, "DONE", "create", b"0123456789abcdef", "1", 1, 200, 0) for key in part])
        wall, cpu = time.perf_counter() - began, time.process_time() - computing
        began = time.perf_counter()
        for start in range(0, rows, 1000):
            book.look_up(keys[start : start + 1000])
        looked = time.perf_counter() - began
        book.close()
    return wall / rows * 1e6, cpu / rows * 1e6, looked / rows * 1e6


@contextlib.contextmanager
def other_sandbox(*options: str) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "aelyst_async.cli", "sandbox", "--port", "0", *options],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def sandbox() -> list[Line]:
    """The real client against a sandbox in another process, without a quota."""
    from aelyst_providers.aelyst import AelystGateway

    rows = 10_000
    found: list[Line] = []
    with tempfile.TemporaryDirectory() as folder, other_sandbox("--quota", "none") as url:
        path = Path(folder, "people.csv")

        async def run(**options: Any) -> SyncReport:
            async with AelystGateway("sandbox-token", base_url=f"{url}/aelyst/v1") as gateway:
                return await ContactSync(gateway, journal=Path(folder, "state.db"), **options).run(path)

        path.write_text("email,first_name\nwarm@example.com,Up\n")  # imports aiohttp
        fresh(run)
        write_people(path, rows)
        report = fresh(lambda: run(assume_new=True))
        assert report.created == rows
        found += _pace("10,000 new rows, one POST each (assume_new)", [report])
        changed = []
        for version in (1, 2, 3):
            write_people(path, rows, version=version)
            changed.append(fresh(run))
            assert changed[-1].updated == rows
        found += _pace("10,000 changed rows, one PUT each (best of three)", changed)
    return found


def _pace(what: str, reports: list[SyncReport]) -> list[Line]:
    best = max(report.rows / report.elapsed for report in reports)
    cpu = min(report.computing / report.rows for report in reports)
    return [
        line(what, f"{best:,.0f} rows/s", "2,000/s", best >= 2000),
        line("  processor time of the client", f"{cpu * 1e6:,.0f} µs/row"),
    ]


def latency() -> list[Line]:
    """50 ms for each request and no quota: beside a tool with one request in flight."""
    rows, alone = 3_000, 60
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "people.csv")

        async def run(count: int, concurrency: int) -> float:
            write_plain(path, count)
            sync = ContactSync(Instant(0.05), journal=Path(folder, f"{count}.db"), concurrency=concurrency)
            report = await sync.run(path)
            return count / report.elapsed

        one = fresh(lambda: run(alone, 1))
        many = fresh(lambda: run(rows, 64))
    return [
        line("at 50 ms, one in flight", f"{one:,.1f} rows/s"),
        line("at 50 ms, 64 at most", f"{many:,.0f} rows/s"),
        line("  how many times faster", f"{many / one:.0f} ×", "20 ×", many / one >= 20),
    ]


MEASUREMENTS: dict[str, Callable[[], list[Line]]] = {
    "unchanged": unchanged,
    "journal": journal,
    "latency": latency,
    "sandbox": sandbox,
    "memory": memory,
}

if __name__ == "__main__":
    print(json.dumps(MEASUREMENTS[sys.argv[1]]()))
