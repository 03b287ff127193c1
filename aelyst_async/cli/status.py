"""``aelyst sync status JOURNAL``: what a run has done, or is doing in another terminal."""

from __future__ import annotations

import time
from typing import Any

from aelyst_async.cli.progress import duration
from aelyst_async.cli.target import printable, to_json

__all__ = ["print_status"]


def print_status(path: str, *, as_json: bool) -> int:
    """Print the state of the journal; return the exit code. Raises `JournalError`."""
    from aelyst_async.sync.history import status

    found = status(path)
    if as_json:
        print(to_json(found))
        return 0
    print(f"{printable(found['journal'])}: contacts of {found['provider']}, matched by {found['key']}")
    for state, count in found["contacts"].items():
        print(f"{count:>10,} {state}")
    run = found["run"]
    if run is not None:
        _print_run(run)
    if found["given_up"]:
        print(f"{found['given_up']:,} given up (aelyst sync retry {printable(path)} sends them again):")
        for reason in found["reasons"]:
            print(f"{reason['rows']:>10,} × {printable(reason['reason'])}")
    return 0


def _print_run(run: dict[str, Any]) -> None:
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run["started"]))
    print(f"run {run['id']} of {printable(str(run['source']))}, begun {began}: {run['state']}", end="")
    print(f" (process {run['pid']} on {printable(str(run['host']))})" if run["state"] == "running" else "", end="")
    print("" if run["exit"] is None else f" with exit code {run['exit']}")
    report = run["report"]
    if report is None:
        return
    done = sum(report.get(name, 0) for name in ("created", "updated", "unchanged", "failed", "skipped"))
    counts = ", ".join(
        f"{report[name]:,} {name}"
        for name in ("created", "updated", "unchanged", "failed", "skipped")
        if report.get(name)
    )
    print(f"{done:,} of {report.get('total', 0):,} rows" + (f": {counts}" if counts else ""))
    if run["state"] == "running" and report.get("eta") is not None:
        print(
            f"{duration(report['eta'])} left, "
            f"{report.get('in_flight', 0)} in flight, {report.get('waiting', 0)} waiting"
        )
