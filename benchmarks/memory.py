"""The memory of a sync of 10,000 to 1,000,000 new rows: the peak, and whether it grows with the rows."""

from __future__ import annotations

import resource
import tempfile
from pathlib import Path

from aelyst_async.sync import ContactSync, SyncReport, read_contacts
from benchmarks.rounds import Job, Row, workers
from benchmarks.sync import Instant, fresh, write_plain


def job() -> Job:
    def run(rows: int) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "people.csv")
            write_plain(path, rows)

            async def sync() -> SyncReport:
                return await ContactSync(Instant(), journal=Path(folder, "state.db")).run(read_contacts(path))

            report = fresh(sync)
        assert report.rows == rows
        return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}

    return run


def measure(*, quick: bool) -> list[Row]:
    counts = (10_000, 30_000) if quick else (10_000, 30_000, 100_000, 300_000, 1_000_000)
    rows: list[Row] = []
    for count in counts:
        with workers({"sync": job}) as ask:  # a process for each: a peak does not go down
            rows.append({"rows": count, "peak RSS, MB": ask["sync"](count)["peak"]})
    return rows
