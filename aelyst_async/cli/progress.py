"""The progress of a sync on stderr: a bar on a terminal, else plain lines, or JSON lines."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from aelyst_async.sync.report import Progress

__all__ = ["View", "duration", "make_view", "one_line"]

_EVERY = 2.0
"""Seconds between two lines."""

_BAR_FROM = 90
"""Smallest width of a terminal for a bar besides the numbers."""


class View(Protocol):
    """Displays progress until it is closed."""

    def __call__(self, progress: Progress) -> None:
        """Display the progress."""
        ...

    def close(self) -> None:
        """End the display. Idempotent."""
        ...


def make_view(choice: str) -> View:
    """Return the view for ``--progress``: auto, rich, plain, json or none."""
    if choice == "auto":
        choice = "rich" if sys.stderr.isatty() else "plain"
    if choice == "rich":
        try:
            return RichView()
        except ImportError:
            choice = "plain"
    if choice == "plain":
        return LineView(one_line)
    if choice == "json":
        return LineView(json_line)
    return NoView()


def duration(seconds: float) -> str:
    """Return a duration for people: ``4.2 s``, ``3 min 05 s``, ``2 h 47 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def one_line(progress: Progress) -> str:
    """Return progress as a line for people."""
    parts = [f"{progress.done:,} of {progress.total:,} rows", f"{progress.rate:,.0f} rows/s"]
    parts += _details(progress)
    return " · ".join(parts)


def _details(progress: Progress) -> list[str]:
    parts = [f"{progress.in_flight} in flight"]
    if progress.waiting:
        parts.append(f"{progress.waiting:,} waiting")
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    if progress.quota is not None:
        parts.append(f"quota {progress.quota:,.3g}/s")
    if progress.eta is not None and progress.done < progress.total:
        parts.append(f"{duration(progress.eta)} left")
    return parts


def json_line(progress: Progress) -> str:
    """Return progress as a line for programs."""
    import attrs

    values: dict[str, Any] = {"event": "progress", "done": progress.done, **attrs.asdict(progress)}
    return json.dumps({name: round(item, 3) if isinstance(item, float) else item for name, item in values.items()})


class NoView:
    """Displays nothing."""

    def __call__(self, progress: Progress) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class LineView:
    """Prints a line every other second."""

    def __init__(self, line: Any) -> None:
        self._line = line
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        """Print a line if it is time."""
        last = bool(progress.total) and progress.done == progress.total and self._next < math.inf
        if progress.elapsed >= self._next or last:
            self._next = progress.elapsed + _EVERY
            try:
                print(self._line(progress), file=sys.stderr, flush=True)
            except OSError:  # a closed or full stderr must not end the sync
                self._next = math.inf

    def close(self) -> None:
        """Do nothing: each line is complete."""


class RichView:
    """Displays a bar with numbers. Raises `ImportError` without rich."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn
        from rich.progress import Progress as Bar
        from rich.table import Column

        console = Console(stderr=True)
        details = TextColumn("{task.fields[details]}", table_column=Column(no_wrap=True, overflow="ellipsis"))
        count = MofNCompleteColumn(table_column=Column(no_wrap=True))
        columns: list[ProgressColumn] = [count, details]
        if console.width >= _BAR_FROM:
            columns.insert(0, BarColumn(bar_width=None))
        self._bar = Bar(*columns, console=console, transient=True, expand=len(columns) == 3)
        self._task = self._bar.add_task("sync", total=None, details="reading")
        self._bar.start()

    def __call__(self, progress: Progress) -> None:
        """Update the bar."""
        details = " · ".join([f"{progress.rate:,.0f}/s", *_details(progress)])
        self._bar.update(self._task, total=progress.total, completed=progress.done, details=details)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.stop()
