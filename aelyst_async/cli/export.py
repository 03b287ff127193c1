"""``aelyst export --from PROVIDER --to FILE``: writes an account to a file that ``aelyst sync`` can read."""

from __future__ import annotations

import argparse
import operator
import shlex
from contextlib import AsyncExitStack
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aelyst_async.cli.explain import run_async
from aelyst_async.cli.output import CommandError, printable, say, to_json
from aelyst_async.cli.parser import add_target
from aelyst_async.cli.target import check_name, journal_of, open_target
from aelyst_async.cli.workers import place

if TYPE_CHECKING:
    from aelyst_async.export import ExportProgress, ExportReport

__all__ = ["add_parser"]

_EPILOG = """\
the file's ending names its format: .csv, .jsonl, .parquet, .xlsx
edit it, and send what you changed, and nothing else:  aelyst sync FILE --to PROVIDER
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "export", help="write the contacts of an account to a file", epilog=_EPILOG,
        description="Write the contacts of an account to a file that a sync can read.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add_target(parser, "--from", can="contacts")
    add = parser.add_argument
    add("--to", dest="file", metavar="FILE", required=True, help="the file to write")
    add("--search", metavar="TEXT", help="export only the contacts that match this text")
    add("--where", action="append", default=[], metavar="CONDITION",
        help="such as 'email contains @example.com' or 'tag vip'; may be repeated: all must hold")  # fmt: skip
    add("--force", action="store_true", help="replace an existing file")
    add("--key", metavar="email|phone|email,phone", default="email,phone",
        help="field by which a later sync of the file matches contacts (default: %(default)s)")  # fmt: skip
    add("--journal", metavar="PATH|URL", help="journal for that sync (default: FILE.PROVIDER.db; none: no journal)")
    add("--progress", choices=["auto", "plain", "json", "none"], default="auto", help="lines on stderr")
    add("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(
        run=lambda arguments: run_async(lambda: _export(arguments), "export", provider=arguments.provider)
    )


async def _export(arguments: argparse.Namespace) -> int:
    from aelyst_async.cli.progress import LineView, NoView, json_line
    from aelyst_async.export import export_contacts
    from aelyst_async.sync.journal.database import shown

    check_name(arguments.provider, "contacts", "list contacts")
    file = Path(arguments.file)
    views = {"json": LineView(json_line), "none": NoView()}
    view: Any = views.get(arguments.progress) or LineView(_line)
    async with AsyncExitStack() as stack:
        target = await open_target(arguments.provider, arguments.base_url, stack, report="aelyst export")
        journal: Path | str | None = journal_of(file, target.name)
        if arguments.journal is not None:
            journal = None if arguments.journal == "none" else place(arguments.journal)
        report = await export_contacts(
            target.gateway, file, search=arguments.search, where=_where(target.gateway, arguments.where),
            force=arguments.force, key=arguments.key, journal=journal, progress=view,
            target={"target": target.name, "base_url": target.base_url, "instance": target.instance},
        )  # fmt: skip
    again = ["aelyst", "sync", arguments.file, "--to", arguments.provider]
    if arguments.base_url is not None:
        again += ["--base-url", arguments.base_url]
    if arguments.journal is not None:
        again += ["--journal", shown(arguments.journal)]
    if journal is None:
        again += ["--key", report.key]
    if arguments.json:
        print(to_json({**report.to_dict(), "source": target.label, "sync": shlex.join(again)}))
    else:
        for line in _lines(report, target.label, shlex.join(again)):
            say(line)
    return 0


def _where(gateway: Any, texts: list[str]) -> Any:
    if not texts:
        return None
    parse = getattr(gateway, "condition", None)
    if parse is None:
        raise CommandError("--where: this provider takes no conditions")
    return reduce(operator.and_, map(parse, texts))


def _line(progress: ExportProgress) -> str:
    return f"{progress.done:,} contacts · {progress.rate:,.0f}/s"


def _lines(report: ExportReport, source: str, again: str) -> list[str]:
    """Return the report as lines for people."""
    from aelyst_async.cli.progress import duration

    file = printable(str(report.file))
    out = [f"{source} → {file}: {report.rows:,} contacts in {duration(report.elapsed)}"]
    if report.empty:
        out.append(f"{report.empty:,} contacts have no value in any exported field and were left out")
    if report.refused:
        why = ", ".join(f"{count:,} × {reason}" for reason, count in report.reasons)
        out.append(f"a sync of this file would refuse {report.refused:,} rows ({printable(why)})")
    if report.changed:
        out.append(
            f"{report.changed:,} rows have values that a sync writes in another form, if the row is edited (a phone "
            "number with blanks, a custom field of several types)"
        )
    if report.formulas:
        cells = "1 cell begins" if report.formulas == 1 else f"{report.formulas:,} cells begin"
        out.append(
            f"{cells} like a formula: a spreadsheet would calculate them; export to .xlsx to open the file in one"
        )
    if report.journal is None:
        out.append("no journal was kept, so a sync sends every row")
    else:
        out.append(f"journal {printable(str(report.journal))}: a sync of this file sends only what you change in it")
    out.append(f"to send your changes: {printable(again)}")
    return out
