"""Two clients that know nothing of each other, on one quota: `python -m benchmarks.ratelimit.two [WORD …]`.

`quotas` runs each of these rows three times, which says little of what depends on how the two happened to begin. Here
each runs 24 times, forty windows long. A word chooses the rows whose quota and kind together have it. How to read a
cell: in how many runs the smaller of the two had at least 40 % while both ran, the worst share; the use of the quota
after the first two windows, median and worst; the largest part that was refused in a run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from statistics import median

from benchmarks.ratelimit.quotas import HARD, HARD_QUOTAS, Row, run
from tests.ratelimit.simulator import Result

KINDS = ("fixed", "sliding", "token")
SEEDS = range(1, 25)
TWO = [condition for condition in HARD if condition.second is not None]


def _cell(results: Sequence[Result]) -> tuple[int, str]:
    shares = [min(result.by_client) / max(1, sum(result.by_client)) for result in results]
    enough = sum(share >= 0.4 for share in shares)
    worst = round(100 * min(shares))
    use = [result.late for result in results]
    refused = max(result.refused_share for result in results)
    return enough, (
        f"{enough} of {len(results)}, {worst}:{100 - worst}; {median(use):.2f}, {min(use):.2f}; {100 * refused:.1f} %"
    )


def main(words: Sequence[str]) -> None:
    rows = {
        f"{kind}, {limit} per {window:g} s": (limit, window, kind) for kind in KINDS for limit, window in HARD_QUOTAS
    }
    quotas = {name: row for name, row in rows.items() if not words or any(word in name for word in words)}
    if not quotas:
        sys.exit(f"no row has {' or '.join(words)}; rows are like: {next(iter(rows))}")
    print(f"| | {' | '.join(condition.name for condition in TWO)} |\n|{'---|' * (1 + len(TWO))}")
    enough = runs = 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        running = [
            (name, [[pool.submit(run, Row(*quota, condition), seed) for seed in SEEDS] for condition in TWO])
            for name, quota in quotas.items()
        ]
        for name, columns in running:
            cells = [_cell([future.result() for future in column]) for column in columns]
            enough += sum(count for count, _ in cells)
            runs += len(SEEDS) * len(cells)
            print(f"| {name} | {' | '.join(text for _, text in cells)} |", flush=True)
    print(f"\n{enough} of {runs} runs within 40:60.")


if __name__ == "__main__":
    main(sys.argv[1:])
