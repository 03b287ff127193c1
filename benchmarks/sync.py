"""The sync: new rows through the real client, changed rows, unchanged rows, the journal, and what latency costs.

New and changed rows go to a sandbox in another process. "Instant" is a gateway that does nothing: what is left is the
sync's own cost.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from aelyst_async.contacts import Contact, ContactFields, WriteReceipt
from aelyst_async.errors import ContactNotFoundError
from aelyst_async.identifiers import parse_identifier
from aelyst_async.sync import ContactSync, SyncReport, read_contacts
from benchmarks.rounds import Job, Row, middle, take_turns, workers
from benchmarks.sandbox import other_sandbox


class Instant:
    """A gateway that says yes after `latency` seconds."""

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


def fresh(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run `main` in a uvloop of its own."""
    import uvloop

    return uvloop.run(main())


def _timed(main: Callable[[], Coroutine[Any, Any, SyncReport]], rows: int) -> dict[str, float]:
    computing, began = time.process_time(), time.perf_counter()
    report = fresh(main)
    seconds = time.perf_counter() - began
    assert report.rows == rows
    return {"rate": rows / seconds, "cpu": (time.process_time() - computing) / rows * 1e6}


def through_the_client() -> Job:
    """Return a job that syncs so many rows to a sandbox, as new ones or as changed ones."""
    from aelyst_providers.aelyst import AelystGateway

    def run(count: int, changed: bool) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder, other_sandbox() as server:
            path = Path(folder, "people.csv")

            async def sync(**options: Any) -> SyncReport:
                async with AelystGateway("sandbox-token", base_url=f"{server.url}/aelyst/v1") as gateway:
                    return await ContactSync(gateway, journal=Path(folder, "state.db"), **options).run(path)

            path.write_text("email,first_name\nwarm@example.com,Up\n")  # imports aiohttp
            fresh(sync)
            write_people(path, count)
            first = _timed(partial(sync, assume_new=True), count)
            if not changed:
                return first
            write_people(path, count, version=1)
            return _timed(sync, count)

    return run


def instant() -> Job:
    """Return a job that syncs so many rows to nowhere, the first time or once more."""

    def run(count: int, again: bool) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            path, gateway = Path(folder, "people.csv"), Instant()
            write_plain(path, count)

            async def sync() -> SyncReport:
                return await ContactSync(gateway, journal=Path(folder, "state.db")).run(read_contacts(path))

            first = _timed(sync, count)
            if not again:
                return first
            gateway.requests = 0
            figures = _timed(sync, count)
            assert gateway.requests == 0
            return figures

    return run


def journal() -> Job:
    """Return a job that writes INTENT and DONE of so many rows by the hundred, or looks them up."""
    from aelyst_async.sync.journal import Journal, Settled

    def run(count: int, look_up: bool) -> dict[str, float]:
        keys = [f"email:{secrets.token_hex(8)}@example.com" for _ in range(count)]
        with tempfile.TemporaryDirectory() as folder:
            book = Journal.open(Path(folder, "state.db"))
            marks = [(time.perf_counter(), time.process_time())]
            for start in range(0, count, 100):
                part = keys[start : start + 100]
                book.apply([Settled(key, "INTENT", "create", None, None, 1, None, 0) for key in part])
                book.apply([Settled(key, "DONE", "create", b"0123456789abcdef", "1", 1, 200, 0) for key in part])
            marks.append((time.perf_counter(), time.process_time()))
            for start in range(0, count, 1000):
                book.look_up(keys[start : start + 1000])
            marks.append((time.perf_counter(), time.process_time()))
            book.close()
        (began, computing), (ended, computed) = marks[look_up], marks[look_up + 1]
        return {"rate": count / (ended - began), "cpu": (computed - computing) / count * 1e6}

    return run


def at_latency() -> Job:
    """Return a job that syncs so many rows to a gateway that answers after 50 ms."""

    def run(count: int, in_flight: int) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "people.csv")
            write_plain(path, count)

            async def sync() -> SyncReport:
                sync = ContactSync(Instant(0.05), journal=Path(folder, "state.db"), concurrency=in_flight)
                return await sync.run(path)

            return _timed(sync, count)

    return run


def measure(*, quick: bool) -> list[Row]:
    many, rounds = (2_000, 1) if quick else (10_000, 3)
    lines = (
        ("new rows through the client, one POST each", through_the_client, many, False),
        ("changed rows through the client, one PUT each", through_the_client, many, True),
        ("new rows, a gateway that costs nothing", instant, 10 * many, False),
        ("unchanged rows", instant, 10 * many, True),
        ("journal: INTENT and DONE of a row, by the hundred", journal, 5 * many, False),
        ("journal: look-up of a row", journal, 5 * many, True),
        ("50 ms a request, one in flight", at_latency, 60, 1),
        ("50 ms a request, at most 64 in flight", at_latency, 3_000, 64),
    )
    rows: list[Row] = []
    for what, make, count, how in lines:
        with workers({what: make}) as ask:
            figures = take_turns(ask, rounds, count, how)[what]
        rates = [each["rate"] for each in figures]
        rows.append(
            {
                "what": what, "rows": count, "rows/s": middle(figures, "rate"), "slowest": min(rates),
                "fastest": max(rates), "CPU µs a row": middle(figures, "cpu"),
            }
        )  # fmt: skip
    return rows
