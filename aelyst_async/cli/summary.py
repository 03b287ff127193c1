"""The report of a sync for people: the number of rows by outcome, why rows failed, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from aelyst_async.cli.mirror import mirror_lines
from aelyst_async.cli.output import printable
from aelyst_async.cli.preview import change_lines, problem_lines
from aelyst_async.cli.progress import duration

if TYPE_CHECKING:
    from aelyst_async.cli.target import Target
    from aelyst_async.sync.report import SyncReport

__all__ = ["headline", "lines", "report_json"]


def report_json(report: SyncReport, *, target: Target, resume: str, code: int) -> dict[str, Any]:
    """Return the report as JSON-ready values."""
    again = resume if report.pending or report.stopped or report.failed else None
    sandbox = None if target.started is None else "started" if target.started else "running"
    return {**report.to_dict(), "target": target.label, "sandbox": sandbox, "exit_code": code, "resume": again}


def lines(
    report: SyncReport,
    *,
    resume: str,
    target: Target | None = None,
    guesses: Iterable[str] = (),
    again: str | None = None,
) -> list[str]:
    """Return the report as lines for people.

    `resume` is the command that continues the run, `again` the one that syncs the table of failed rows, `guesses` what
    was detected from the file.
    """
    dry = report.dry_run
    out = [headline(report.source, report.target if target is None else target, dry=dry), *guesses]
    if report.resumed:
        out.append("the last run was interrupted; this run continued from its journal")
    out += [printable(note) for note in report.notes]
    rows: list[tuple[int, str]] = [
        (report.created, "would be created" if dry else "created"),
        (report.updated, "would be updated" if dry else "updated"),
        (report.unchanged, "unchanged" + ("" if dry else " (no request)")),
    ]
    if report.skipped:
        rows.append((report.skipped, "skipped: another row of the file has the same key"))
    where = "" if report.failures is None else f": {printable(str(report.failures))}"
    if report.failed:
        rows.append((report.failed, f"{'would be refused' if dry else 'failed'}{where}"))
    if report.pending:
        rows.append((report.pending, "read, not yet processed"))
    unread = report.total - report.rows
    if unread > 0:
        rows.append((unread, "not yet read"))
    width = max(len(f"{max(report.total, report.rows):,}"), 6)
    out += [f"{count:>{width},} {words}" for count, words in rows]
    total = max(report.total, report.rows)
    out.append(f"{total:>{width},} {'row' if total == 1 else 'rows'} in {duration(report.elapsed)}")
    out += mirror_lines(report)
    if report.requests:
        out += _traffic(report)
    if report.problems:
        out.append("why rows would be refused:" if dry else "why rows failed:")
        out += problem_lines(report.problems, width)
    if report.changes:
        out.append("values that would be changed:" if dry else "values that were changed:")
        out += change_lines(report.changes, width)
    if report.stopped is not None:
        out.append(f"stopped early: {printable(report.stopped)}")
    if report.stopped is not None or report.pending:
        out.append(f"to continue: {printable(resume)}")
    elif report.failed and not dry:
        out.append("correct those rows and run the same command again: only failed or changed rows are sent")
        if again is not None:
            out.append(f"or correct them in the table of failed rows, and run: {printable(again)}")
    return out


def headline(source: str, target: Target | str, *, dry: bool) -> str:
    """Return the first line: source and target."""
    label, started = (target, None) if isinstance(target, str) else (target.label, target.started)
    note = {None: "", False: " (already running)", True: " (started for this run)"}[started]
    return f"{printable(source)} → {label}{note}" + (" (dry run: nothing was sent)" if dry else "")


def _traffic(report: SyncReport) -> list[str]:
    total = sum(report.requests.values())
    each = ", ".join(f"{count:,} × {name}" for name, count in report.requests.items())
    words = f"time: {report.network / total * 1000:,.0f} ms a request, {duration(report.computing)} computing"
    if report.waited >= 1:
        words += f", {duration(report.waited / total)} a request waiting for the quota"
    if report.quota_used is not None:
        words += f"; {report.quota_used:.0%} of the quota used"
    return [f"requests: {total:,} ({each})", words]
