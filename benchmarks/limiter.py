"""The limiter alone: what acquiring and learning cost, and a crowd of waiters. Measured by `benchmarks.ratelimit`.

The figures are those of its tables, one row for each of their lines.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.rounds import Row


def measure(*, quick: bool) -> list[Row]:
    parts = ["acquire"] if quick else ["acquire", "waiters"]
    command = [sys.executable, "-m", "benchmarks.ratelimit", *parts]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows: list[Row] = []
    header: list[str] = []
    for line in printed.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            header = []
        elif set(line) <= set("|-: "):
            continue
        elif not header or cells[0].partition(":")[0] in {"asyncio", "uvloop"}:
            header = cells
        else:
            rows.append({"table": header[0], "what": cells[0], **dict(zip(header[1:], cells[1:], strict=True))})
    return rows
