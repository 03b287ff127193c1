"""The limiter's long tables: `python -m benchmarks.ratelimit.results [--old TREE]` writes them into `RESULTS.md`.

Every row of `quotas` is run with this tree's limiter, and with that of another checkout in the same run, if given. One
process each, so that they share the machine evenly; about two minutes for this tree.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

HERE = Path(__file__).resolve().parents[2]
RESULTS = HERE / "benchmarks" / "RESULTS.md"
BEGIN, END = "<!-- rate limiter: begin -->", "<!-- rate limiter: end -->"
_ROWS = """
import json
from benchmarks.ratelimit.quotas import _rows, run
for row in _rows():
    results = [run(row, seed) for seed in row.seeds]
    print(json.dumps({
        "row": str(row), "condition": row.condition.name, "late": [one.late for one in results],
        "refused": [one.refused for one in results], "sent": [one.sent for one in results],
        "share": [min(one.by_client) / max(1, sum(one.by_client)) for one in results if len(one.by_client) > 1],
        "met": all(row.condition.bars.met(one) for one in results),
    }), flush=True)
"""


def measure(tree: Path) -> subprocess.Popen[str]:
    """Start all rows with the limiter of `tree`."""
    path = os.pathsep.join([str(tree), str(tree / "providers")])
    command = [sys.executable, "-c", _ROWS]
    return subprocess.Popen(
        command, cwd=tree, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True
    )


def read(lines: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.splitlines()]


def summary(runs: dict[str, list[dict[str, Any]]]) -> str:
    """Return one line for each condition."""
    names = list(runs)
    head = [
        f"{what}, {name}" for what in ("rows that meet their bars", "use: mean, worst", "refused, %") for name in names
    ]
    lines = [f"| condition | {' | '.join(head)} |", f"|{'---|' * (1 + len(head))}"]
    for condition in dict.fromkeys(row["condition"] for row in runs[names[0]]):
        chosen = {name: [row for row in rows if row["condition"] == condition] for name, rows in runs.items()}
        met = [f"{sum(row['met'] for row in rows)} of {len(rows)}" for rows in chosen.values()]
        late = {name: [use for row in rows for use in row["late"]] for name, rows in chosen.items()}
        use = [f"{mean(values):.3f}, {min(values):.3f}" for values in late.values()]
        refused = [
            f"{100 * sum(sum(row['refused']) for row in rows) / sum(sum(row['sent']) for row in rows):.2f}"
            for rows in chosen.values()
        ]
        title = "nothing else" if condition == "–" else condition
        lines.append(f"| {title} | {' | '.join([*met, *use, *refused])} |")
    return "\n".join(lines)


def table(runs: dict[str, list[dict[str, Any]]]) -> str:
    """Return one line for each row: the worst use, the requests refused, the smallest share."""
    head = [f"{what}, {name}" for name in runs for what in ("use", "refused", "share")]
    lines = [f"| quota | kind | condition | {' | '.join(head)} |", f"|{'---|' * (3 + len(head))}"]
    for rows in zip(*runs.values(), strict=True):
        cells = [
            cell
            for row in rows
            for cell in (
                f"{min(row['late']):.3f}",
                ", ".join(map(str, row["refused"])),
                f"{100 * min(row['share']):.0f} %" if row["share"] else "",
            )
        ]
        lines.append(f"| {rows[0]['row']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write(runs: dict[str, list[dict[str, Any]]]) -> None:
    """Put the tables between the marks, and leave everything else in the file as it is."""
    text = f"""{BEGIN}
## Rate limiter

Made by `python -m benchmarks.ratelimit.results`. Simulated, three seeds a row. *Use*: what was let in after the first
two windows, of what the quota's rate gives; above 1 is a bucket's first burst. How a row is to be read, and the bars:
`benchmarks/ratelimit/quotas.py`.

{summary(runs)}

<details><summary>All rows: the worst use of the seeds, what was refused in each, the smallest share of two clients
</summary>

{table(runs)}

</details>
{END}
"""
    old = RESULTS.read_text() if RESULTS.exists() else "# Results\n\n"
    before, _, rest = old.partition(BEGIN)
    RESULTS.write_text(before + text + rest.partition(END)[2].lstrip("\n"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--old", type=Path, help="another checkout, whose limiter is run beside this one's")
    old = parser.parse_args().old
    trees = {"old": old.resolve(), "new": HERE} if old else {"new": HERE}
    running = {name: measure(tree) for name, tree in trees.items()}
    write({name: read(process.communicate()[0]) for name, process in running.items()})


if __name__ == "__main__":
    main()
