"""The end of a sync, in words: every row accounted for, why rows failed, and what to do next. On stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aelyst_async.cli.output import printable, to_json
from aelyst_async.cli.progress import duration

if TYPE_CHECKING:
    from aelyst_async.cli.target import Target
    from aelyst_async.sync.report import SyncReport

__all__ = ["print_report"]


def print_report(report: SyncReport, *, target: Target, resume: str, code: int, as_json: bool) -> None:
    """Print the report. `resume` is the command that goes on, `code` the exit code."""
    if as_json:
        again = resume if report.pending or report.stopped or report.failed else None
        sandbox = None if target.started is None else "started" if target.started else "running"
        print(to_json({**report.to_dict(), "sandbox": sandbox, "exit_code": code, "resume": again}))
        return
    note = " (already running)" if target.started is False else ""
    for line in lines(report, resume=resume, note=note):
        print(line)


def lines(report: SyncReport, *, resume: str, note: str = "") -> list[str]:
    """Return the report as lines for people. `note` stands after the target."""
    dry = report.dry_run
    out = [f"{printable(report.source)} → {report.target}{note}" + (" (dry run: nothing was sent)" if dry else "")]
    if report.resumed:
        out.append("the last run did not end by itself; this one went on from its journal")
    rows: list[tuple[int, str]] = [
        (report.created, "would be created" if dry else "created"),
        (report.updated, "would be updated" if dry else "updated"),
        (report.unchanged, "unchanged" + ("" if dry else " (no request)")),
    ]
    if report.skipped:
        rows.append((report.skipped, "skipped: another row of the file has the same key"))
    where = "" if report.failures is None else f": {printable(str(report.failures))}"
    if report.failed:
        rows.append((report.failed, f"{'refused' if dry else 'failed'}{where}"))
    if report.pending:
        rows.append((report.pending, "read, not done yet"))
    unread = report.total - report.rows
    if unread > 0:
        rows.append((unread, "not read yet"))
    width = max(len(f"{max(report.total, report.rows):,}"), 6)
    out += [f"{count:>{width},} {words}" for count, words in rows]
    out.append(f"{max(report.total, report.rows):>{width},} rows in {duration(report.elapsed)}")
    if report.requests:
        each = ", ".join(f"{count:,} × {name}" for name, count in report.requests.items())
        out.append(f"requests: {sum(report.requests.values()):,} ({each})")
        per_request = report.network / sum(report.requests.values())
        words = f"time: {per_request * 1000:,.0f} ms a request, {duration(report.computing)} computing"
        if report.waited >= 1:
            words += f", {duration(report.waited / sum(report.requests.values()))} a request waiting for the quota"
        if report.quota_used is not None:
            words += f"; {report.quota_used:.0%} of the quota used"
        out.append(words)
    if report.reasons:
        out.append("why rows failed:")
        out += [f"{count:>{width},} × {printable(reason)}" for reason, count in report.reasons]
    out += [f"note: {printable(note)}" for note in report.notes]
    if report.stopped is not None:
        out.append(f"ended early: {printable(report.stopped)}")
    if report.stopped is not None or report.pending:
        out.append(f"to go on: {printable(resume)}")
    elif report.failed and not dry:
        out.append("correct those rows and run the same command again: only what failed or changed is sent")
    return out
