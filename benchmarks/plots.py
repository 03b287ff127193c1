"""The plots of docs/performance.md, drawn from stored figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.rounds import Row, stored

DOCS = Path(__file__).resolve().parents[1] / "docs"
COLOURS = {"ours": "#1f6fb4", "aiohttp": "#777777", "httpx": "#c9701a", "requests": "#4d7d3a"}


def draw(label: str) -> None:
    """Write ``docs/performance-*.svg`` for every part that was measured under `label`."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "aelyst-async"  # equal figures make equal files
    mpl.rcParams["font.size"] = 9
    for part, draw_part in (("client", _client), ("memory", _memory), ("growth", _growth)):
        rows = stored(label, part)
        if rows:
            draw_part(rows, DOCS / f"performance-{part}.svg")


def _client(rows: Sequence[Row], path: Path) -> None:
    import matplotlib.pyplot as plt

    panels = sorted({(row["operation"], row["loop"]) for row in rows if row["loop"] != "threads"})
    levels = sorted({row["in flight"] for row in rows})
    figure, grid = plt.subplots(
        1, len(panels), figsize=(3 * len(panels), 3), sharey=True, squeeze=False, layout="constrained"
    )
    for axes, (operation, loop) in zip(grid[0], panels, strict=True):
        for place, (client, colour) in enumerate(COLOURS.items()):
            values = [
                1e6 / row["CPU µs"]
                for level in levels
                for row in rows
                if (row["operation"], row["client"], row["in flight"]) == (operation, client, level)
                and row["loop"] in {loop, "threads"}
            ]
            where = [level + 0.2 * (place - 1.5) for level in range(len(values))]
            axes.bar(where, values, 0.2, color=colour, label=client)
        axes.set_xticks(range(len(levels)), [str(level) for level in levels])
        axes.set_title(f"{operation}, {loop}")
        axes.set_xlabel("in flight")
    grid[0][0].set_ylabel("requests per second of processor time")
    grid[0][0].legend()
    _save(figure, path)


def _memory(rows: Sequence[Row], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(4, 3), layout="constrained")
    axes.semilogx([row["rows"] for row in rows], [row["peak RSS, MB"] for row in rows], "o-", color=COLOURS["ours"])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("rows of a sync, all new")
    axes.set_ylabel("peak RSS, MB")
    _save(figure, path)


def _growth(rows: Sequence[Row], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, grid = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
    panels = (("buckets", "known buckets (limiter alone)"), ("waiting", "calls begun at once (gateway)"))
    for axes, (what, label) in zip(grid, panels, strict=True):
        some = [row for row in rows if row["what"] == what]
        axes.semilogx(
            [row["how many"] for row in some], [row["CPU µs a request"] for row in some], "o-", color=COLOURS["ours"]
        )
        axes.set_ylim(bottom=0)
        axes.set_xlabel(label)
    grid[0].set_ylabel("CPU µs a request")
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})
    print(f"drawn: {path}")
