"""Many quotas and conditions in virtual time, against the bars: `python -m benchmarks.ratelimit quotas [WORD …]`.

A row is one quota under one condition, run with some seeds; a word chooses the rows whose quota, kind and condition
together have it. How to read it:

use after two windows, over ten: what was let in, of what the rate gives in that time; two clients together, and a
    neighbour too. The worst of the runs. Above 1 is a bucket's initial burst, or a window's where it was spent early
    and the limit changed.
refused: of each run, and the mean of what was sent.
share: what the first of two clients got while both ran; of all runs, the one furthest from a half.
bars met: by every run. See `Bars`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from statistics import median
from typing import Any

import attrs

from tests.ratelimit.simulator import Latency, Result, Server, simulate

KINDS = ("fixed", "anchored", "sliding", "token")
QUOTAS = [
    (5, 1.0), (10, 1.0), (50, 1.0), (200, 1.0), (5000, 1.0), (20, 0.2), (250, 0.05), (40, 2.0), (30, 5.0), (100, 10.0),
    (60, 60.0), (300, 60.0),
]  # fmt: skip
HARD_QUOTAS = [(10, 1.0), (60, 1.0), (200, 1.0), (100, 10.0)]
SEEDS = (1, 2, 3)


@attrs.frozen(kw_only=True)
class Bars:
    late: float = 0.98
    whole: float = 0.95
    refused: float = 0.001
    """The part of the requests of a run; one of them always may be."""
    share: float = 0.4
    """What the smaller of two clients gets at least."""

    def met(self, result: Result) -> bool:
        return (
            result.late >= self.late
            and result.whole >= self.whole
            and result.refused <= max(1.0, self.refused * result.sent)
            and (len(result.by_client) < 2 or min(result.by_client) >= self.share * sum(result.by_client))
        )


@attrs.frozen(kw_only=True)
class Condition:
    name: str = "–"
    windows: int = 14
    server: dict[str, Any] = attrs.field(factory=dict)
    latency: dict[str, float] = attrs.field(factory=dict)
    loss: float = 0.0
    concurrency: int | None = None
    change: float | None = None
    """What the limit is multiplied by after ten windows and a third."""
    neighbour: float = 0.0
    """The part of the rate at which a blind neighbour sends."""
    second: float | None = None
    """Windows after the first at which a second client starts."""
    bars: Bars = Bars()


PLAIN = Condition()
# Where a bar is missed for a while after each event, more windows: the event should weigh as it would in a long run.
HARD = [
    Condition(name="1 % of the answers lost", loss=0.01),
    Condition(
        name="answers stall, 0.4 s in 3 s", windows=20, concurrency=128, latency={"stall_every": 3.0, "stall": 0.4}
    ),
    Condition(name="5 ms of jitter on the way", latency={"jitter": 0.005}),
    Condition(name="limit halved", windows=40, change=0.5, bars=Bars(refused=0.02)),
    Condition(name="limit doubled", windows=40, change=2.0),
    Condition(name="counts on 429 only", windows=40, server={"headers": "429"}, bars=Bars(refused=0.02)),
    Condition(name="Retry-After only", windows=40, server={"headers": "none"}, bars=Bars(refused=0.02)),
    Condition(
        name="no headers at all", windows=40, server={"headers": "none", "retry_after": "absent"},
        bars=Bars(refused=0.02),
    ),
    Condition(name="a neighbour takes 40 %", windows=20, neighbour=0.4, bars=Bars(refused=0.01)),
    Condition(name="two clients", windows=40, second=0.0, bars=Bars(refused=0.01)),
    Condition(name="two clients, one 4.3 windows late", windows=40, second=4.3, bars=Bars(refused=0.01)),
]  # fmt: skip


@attrs.frozen
class Row:
    limit: int
    window: float
    kind: str
    condition: Condition = PLAIN
    seeds: tuple[int, ...] = SEEDS

    def __str__(self) -> str:
        return f"{self.limit} per {self.window:g} s | {self.kind} | {self.condition.name}"


def run(row: Row, seed: int) -> Result:
    """Simulate one run of a row."""
    how, window = row.condition, row.window
    rate = row.limit / window
    changes = () if how.change is None else ((10.33 * window, round(how.change * row.limit)),)
    server = Server(
        kind=row.kind, limit=row.limit, window=window, phase=(0.11 + 0.29 * seed) % 1 * window, changes=changes,
        **how.server,
    )  # fmt: skip
    # Answers that take a third of a window are another question.
    quick = {"up": 0.001, "least": 0.001, "down": 0.003} if window < 0.3 else {}
    return simulate(
        server,
        seed=seed,
        windows=how.windows,
        latency=Latency(**quick, **how.latency),
        loss=how.loss,
        concurrency=how.concurrency,
        foreign=(lambda _: how.neighbour * rate) if how.neighbour else None,
        clients=1 if how.second is None else 2,
        start_gap=(how.second or 0.0) * window,
    )


def print_table(rows: Sequence[Row]) -> None:
    """Run the rows on all cores, and print each when it is there."""
    print("| quota | kind | condition | use after two windows: worst, median | over ten windows: worst ", end="")
    print(f"| refused | share | bars met |\n|{'---|' * 8}")
    met = 0
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        # All at once: who waited for a row's last run before the next row's first would leave a core idle.
        running = [(row, [pool.submit(run, row, seed) for seed in row.seeds]) for row in rows]
        for row, futures in running:
            results = [future.result() for future in futures]
            good = all(row.condition.bars.met(result) for result in results)
            met += good
            print(f"| {row} | {_cells(results)} | {'yes' if good else 'no'} |", flush=True)
    print(f"\n{met} of {len(rows)} rows meet the bars.")


def _cells(results: Sequence[Result]) -> str:
    late = [result.late for result in results]
    refused = ", ".join(str(result.refused) for result in results)
    sent = sum(result.sent for result in results) // len(results)
    shares = [100 * result.by_client[0] / max(1, sum(result.by_client)) for result in results]
    share = max(shares, key=lambda first: abs(first - 50))
    told = f"{share:.0f}:{100 - share:.0f}" if len(results[0].by_client) == 2 else ""
    return (
        f"{min(late):.3f}, {median(late):.3f} | {min(result.whole for result in results):.3f} "
        f"| {refused} of {sent} | {told}"
    )


def _rows() -> Iterable[Row]:
    for limit, window in QUOTAS:
        for kind in KINDS:
            yield Row(limit, window, kind)
    for condition in HARD:
        for limit, window in HARD_QUOTAS:
            for kind in KINDS:
                yield Row(limit, window, kind, condition)


def quotas(words: Sequence[str] = ()) -> None:
    rows = [row for row in _rows() if not words or any(word in str(row) for word in words)]
    if not rows:
        sys.exit(f"no row has {' or '.join(words)}; rows are like: {next(iter(_rows()))}")
    print_table(rows)
