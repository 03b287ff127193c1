"""``aelyst sync status JOURNAL``: show the progress of a run, also from another terminal."""

from __future__ import annotations

import shlex
import time
from typing import Any

from aelyst_async.cli.output import printable, to_json
from aelyst_async.cli.progress import duration

__all__ = ["print_status"]


def print_status(path: str, *, as_json: bool) -> int:
    """Print the state of the journal; return the exit code. Raises `JournalError`."""
    from aelyst_async.sync.journal.history import status

    found = status(path)
    if as_json:
        print(to_json(found))
        return 0
    where = f" at {printable(str(found['base_url']))}" if found["base_url"] else ""
    print(f"{printable(found['journal'])}: contacts of {found['target'] or 'no target yet'}{where}", end="")
    print(f", matched by {found['key']}" if found["key"] else "")
    for state, count in found["counts"].items():
        if count or state == "sent":
            print(f"{count:>10,} {state.replace('_', ' ')}")
    run = found["run"]
    if run is None:
        print("no run has been made with this journal")
    else:
        _print_run(run)
    if found["given_up"]:
        again = shlex.join(["aelyst", "sync", "retry", found["journal"]])
        print(f"{found['given_up']:,} given up; to send them again: {printable(again)}")
        for reason in found["reasons"]:
            print(f"{reason['rows']:>10,} × {printable(reason['reason'])}")
    return 0


def _print_run(run: dict[str, Any]) -> None:
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run["started"]))
    seen = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run["seen"]))
    state = {
        "ended": f"ended with exit code {run['exit']}",
        "running": f"running (process {run['pid']})",
        "died": f"its process {run['pid']} died, last seen {seen}; the same sync command continues it",
        "unknown": f"unknown: process {run['pid']} ran on {printable(str(run['host']))}, last seen {seen}",
    }[run["state"]]
    print(f"run {run['id']} of {printable(str(run['source']))}, begun {began}: {state}")
    report = run["report"]
    names = ("created", "updated", "unchanged", "failed", "skipped")
    if report is None:
        print(f"{run['sent']:,} sent so far")
    else:
        counts = ", ".join(f"{report[name]:,} {name}" for name in names if report.get(name))
        print(f"{run['done']:,} of {report.get('total', 0):,} rows done" + (f": {counts}" if counts else ""))
        if run["state"] == "running" and report.get("eta") is not None:
            traffic = f"{report.get('in_flight', 0)} in flight, {report.get('waiting', 0)} waiting"
            print(f"{duration(report['eta'])} left, {traffic}")
    later = run["later_runs_without_rows"]
    if later:
        print(f"{later} later {'run' if later == 1 else 'runs'} ended before the first row")
