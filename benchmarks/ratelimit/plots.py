"""Requests let in per 100 ms against the quota: one figure for each kind, one row for each client.

Bars that would dwarf the rest are cut off with their height written above: a client that sends a second's quota in
100 ms is ten times above the line.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.ratelimit.clients import BY_HAND, OURS, RETRY_AFTER

if TYPE_CHECKING:
    from benchmarks.ratelimit.goodput import Run

DOCS = Path(__file__).resolve().parents[2] / "docs"
BIN = 0.1
HIGHEST = 3.0
"""Where bars are cut off, in times of the quota."""
COLOURS = {OURS: ("#1f6fb4", "#93c1e8"), RETRY_AFTER: ("#c9701a", "#f0bd8a"), BY_HAND: ("#4d7d3a", "#abd09a")}
"""For the first client of a kind, and for the second."""
QUOTA = "#b3202c"


def draw(name: str, columns: Sequence[Sequence[Run]]) -> None:
    """Write `docs/rate-limiter-{name}.svg`; a column for each case."""
    import matplotlib as mpl

    mpl.use("svg")
    # Equal runs make equal files.
    mpl.rcParams["svg.hashsalt"] = "aelyst-async"
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch

    shown = [[run for run in column if run.client in COLOURS] for column in columns]
    rows = len(shown[0])
    figure, grid = plt.subplots(
        rows, len(shown), figsize=(8 if len(shown) == 1 else 11, 1.6 * rows + 0.7), sharex=True, sharey=True,
        squeeze=False, layout="constrained",
    )  # fmt: skip
    end = max(at for column in shown for run in column for who in run.own for at in run.let_in.get(who, [0.0]))
    for x, column in enumerate(shown):
        for y, run in enumerate(column):
            _cell(grid[y][x], run, end)
            if x == 0:
                grid[y][x].set_ylabel("per 100 ms", fontsize=8)
        grid[-1][x].set_xlabel("seconds", fontsize=8)
        if len(shown) > 1:
            grid[0][x].annotate(
                column[0].case.kind, (0.5, 1.3), xycoords="axes fraction", ha="center", fontsize=10, weight="bold"
            )
    what = columns[0][0].case.name if len(columns) == 1 else _common(columns)
    figure.suptitle(f"{what}: requests let in per 100 ms", fontsize=11)
    handles, labels = grid[0][0].get_legend_handles_labels()
    if len(shown[0][0].own) == 2:
        for grey, label in (("#555555", "the first client"), ("#b5b5b5", "the second")):
            handles.append(Patch(color=grey))
            labels.append(label)
    figure.legend(handles, labels, loc="outside lower right", ncols=len(labels), fontsize=8, frameon=False)
    figure.savefig(DOCS / f"rate-limiter-{name}.svg", metadata={"Date": None})
    plt.close(figure)


def _common(columns: Sequence[Sequence[Run]]) -> str:
    case = columns[0][0].case
    return case.name.replace(f"{case.kind} ", "")


def _cell(axis: Any, run: Run, end: float) -> None:
    count = int(end / BIN) + 1
    edges = [i * BIN for i in range(count + 1)]
    top = HIGHEST * run.case.rate * BIN
    below = [0] * count
    for who, colour in zip(run.own, COLOURS[run.client], strict=False):
        bins = list(below)
        for at in run.let_in.get(who, ()):
            if at < end:
                bins[int(at / BIN)] += 1
        # A colour of each client's own needs no legend: the title says whose it is. Of two, which of them.
        axis.stairs(bins, edges, baseline=below, fill=True, color=colour)
        below = bins
    for at, height in _cut(below, top):
        axis.annotate(
            f"{height}", ((at + 0.5) * BIN, top), xytext=(0, 1.5), textcoords="offset points", ha="center", va="bottom",
            fontsize=6.5, color=COLOURS[run.client][0], annotation_clip=False,
        )  # fmt: skip
    steps = [*run.case.steps(), (edges[-1], 0.0)]
    axis.stairs(
        [rate * BIN for _, rate in steps[:-1]], [at for at, _ in steps], baseline=None, color=QUOTA, linewidth=1.2,
        label="the quota's rate",
    )  # fmt: skip
    axis.set_ylim(0, top)
    axis.set_xlim(0, edges[-1])
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
    told = f", {run.shares}" if run.shares else f", {run.seconds:.1f} s"
    refused = sum(run.refused.get(who, 0) for who in run.own)
    client = run.client.replace(" to the right rate", "")
    axis.set_title(f"{client}{told}, {refused} refused", fontsize=8.5, loc="left", pad=11)


def _cut(bins: Sequence[int], top: float) -> list[tuple[int, int]]:
    """Return where bars are cut off, and the height; of neighbours only the highest, or the numbers would overlap."""
    found: list[tuple[int, int]] = []
    last = -2
    for at, height in enumerate(bins):
        if height <= top:
            continue
        if at != last + 1:
            found.append((at, height))
        elif height > found[-1][1]:
            found[-1] = (at, height)
        last = at
    return found
