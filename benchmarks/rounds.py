"""Worker processes that take turns, what their figures come to, and where the figures are kept.

A shared machine changes its speed from second to second. So whatever is compared runs in the same rounds, one
contestant right after the other, each in a process of its own, in an order that rotates; the ratio of two contestants
is taken within a round, and what is reported is the median of these ratios with their quartiles. Processor time is
reported beside the clock: other processes lengthen the one much less than the other.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]
"""One line of a result: the columns that say what was measured, then the figures."""

Job: TypeAlias = Callable[..., dict[str, float]]
"""Measures once, with the arguments of a turn."""

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("aiohttp", "httpx", "requests", "uvloop", "orjson", "attrs", "cattrs", "yarl", "multidict")


def run(part: str, label: str, quick: bool) -> None:
    """Measure a part, print its rows and store them."""
    rows = importlib.import_module(f"benchmarks.{part}").measure(quick=quick)
    print(show(rows), flush=True)
    store(label, part, rows)


@contextmanager
def workers(makers: Mapping[str, Callable[[], Job]]) -> Iterator[Mapping[str, Job]]:
    """Start a process for each maker; yield callables that run the maker's job in there and return its figures."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    processes = []
    try:
        for name, make in makers.items():
            pipes[name], theirs = context.Pipe()
            processes.append(context.Process(target=_work, args=(theirs, make), daemon=True))
            processes[-1].start()
            theirs.close()
        yield {name: _asker(pipe) for name, pipe in pipes.items()}
    finally:
        for pipe in pipes.values():
            pipe.close()
        for process in processes:
            process.join(5)
            process.terminate()


def _asker(pipe: Connection) -> Job:
    def ask(*job: Any) -> dict[str, float]:
        pipe.send(job)
        figures: dict[str, float] = pipe.recv()
        return figures

    return ask


def _work(pipe: Connection, make: Callable[[], Job]) -> None:
    job = make()
    while True:
        try:
            arguments = pipe.recv()
        except EOFError:
            os._exit(0)  # the contestants' open connections are of no more interest
        pipe.send(job(*arguments))


def take_turns(ask: Mapping[str, Job], rounds: int, *job: Any) -> dict[str, list[dict[str, float]]]:
    """Run `job` once per round with every contestant, and return each one's figures."""
    names = list(ask)
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            figures[name].append(ask[name](*job))
    return figures


def middle(figures: Sequence[Mapping[str, float]], key: str) -> float:
    """Return the median of a figure over the rounds."""
    return statistics.median(each[key] for each in figures)


def ratio(of: Sequence[Mapping[str, float]], to: Sequence[Mapping[str, float]], key: str) -> tuple[float, float, float]:
    """Return the median and the quartiles of the ratios of two contestants' figures, taken round by round."""
    ratios = [one[key] / other[key] for one, other in zip(of, to, strict=True)]
    if len(ratios) < 3:
        return statistics.median(ratios), min(ratios), max(ratios)
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return median, low, high


def show(rows: Sequence[Row]) -> str:
    """Return `rows` as a Markdown table: figures to three digits, a column for each key of any row."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([_cell(row.get(name, "")) for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    numeric = [all(not isinstance(row.get(name, 0), str) for row in rows) for name in names]

    def line(values: Sequence[str]) -> str:
        padded = (
            value.rjust(width) if right else value.ljust(width)
            for value, width, right in zip(values, widths, numeric, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rule = "|".join("-" * (width + 1) + (":" if right else "-") for width, right in zip(widths, numeric, strict=True))
    return "\n".join([line(names), f"|{rule}|", *map(line, cells[1:])])


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def machine() -> dict[str, Any]:
    """Describe what the figures were measured on."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": [round(value, 1) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def store(label: str, part: str, rows: Sequence[Row]) -> Path:
    """Write the rows and the machine to ``benchmarks/results/<label>/<part>.json``."""
    path = RESULTS / label / f"{part}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {"measured": datetime.now(timezone.utc).isoformat(timespec="seconds"), "machine": machine(), "rows": rows}
    path.write_text(json.dumps(found, indent=1) + "\n")
    return path


def stored(label: str, part: str) -> list[Row]:
    """Return the rows that were stored, none if there are none."""
    try:
        rows: list[Row] = json.loads((RESULTS / label / f"{part}.json").read_text())["rows"]
    except FileNotFoundError:
        return []
    return rows
