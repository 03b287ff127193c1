"""``aelyst sync FILE --to PROVIDER``: syncs a table of contacts. ``retry`` and ``status`` use its journal.

Exit codes: 0 all rows are synced; 1 some rows failed, or ``--max-errors`` stopped the run; 2 usage, file, journal or
credential error; 130 (Ctrl-C) and 143 (SIGTERM) interrupted: the same command continues the run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shlex
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aelyst_async.cli import mirror, workers
from aelyst_async.cli.explain import explain
from aelyst_async.cli.output import CommandError, complain, printable, say, to_json
from aelyst_async.cli.parser import VALUE, CommandParser, add_target, bounded, provider_help
from aelyst_async.cli.settings import add_options, read_settings
from aelyst_async.cli.signals import Signals
from aelyst_async.cli.target import canonical, check_name, journal_of, open_target, schema_for

if TYPE_CHECKING:
    from aelyst_async.cli.target import Target
    from aelyst_async.errors import ContactsError
    from aelyst_async.sync import ContactSync, SyncReport
    from aelyst_async.tables import ContactSource, Mapper, Preview

__all__ = ["add_parser"]

_JOURNALS = 200
"""Largest number of databases beside a failures file that are searched for its run."""

_USAGE = """\
aelyst sync FILE --to PROVIDER [option ...]
       aelyst sync status JOURNAL    show the progress of a run, also from another terminal
       aelyst sync retry JOURNAL     send again the rows that were given up"""

_EPILOG = """\
preview without sending:      aelyst sync people.csv --to PROVIDER --dry-run
write a mapping to edit:      aelyst sync people.csv --to PROVIDER --suggest-mapping > map.toml
send corrected failed rows:   aelyst sync people.failures.csv --to PROVIDER

a column is a field by our name (first_name), the vendor's (firstName), the layout of a known export, a near name
that fits one field only, or --map; custom fields are custom_fields.NAME, or custom_fields.NAME:TYPE with a TYPE of
text, number, checkbox, date, time, list, url, email (aelyst fields PROVIDER lists the fields)
"""


def add_parser(subparsers: Any) -> None:
    """Add the command and its two other forms."""
    parser = subparsers.add_parser(
        "sync",
        help="sync a table of contacts into an API",
        usage=_USAGE,
        description="Sync a table of contacts (CSV, TSV, JSON lines, Excel, Parquet; also gzip and zip) into an API.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="the table; - is standard input")
    add_target(parser, "--to", can="upsert", required=False)
    add_options(parser)
    run = parser.add_argument_group("run")
    add = run.add_argument
    add("--journal", metavar="PATH|URL", help="the journal (default: FILE.TARGET.db; none: keep no journal)")
    add("--dry-run", action="store_true", help="show what would be sent, and send no request")
    add(
        "--remote", action="store_true", help="with --dry-run: send one GET for each row that the journal does not know"
    )
    add("--refresh", action="store_true", help="also send unchanged rows")
    add("--verify", type=_share, default=0.0, metavar="1%",
        help="compare this share of the unchanged rows with the vendor's data")  # fmt: skip
    add(
        "--assume-new", action="store_true", help="create unknown contacts without a look-up; only for an empty account"
    )
    add("--rebind", action="store_true", help="the token was replaced, but the account of the journal is the same")
    mirror.add_options(parser)
    workers.add_options(parser)
    _add_run_options(run, parser.add_argument_group("output"), "FILE.failures.jsonl and .csv")
    parser.set_defaults(run=lambda arguments: _command(arguments, lambda: _sync(arguments)), name="sync")
    parser.forms = {"retry": _retry_parser(), "status": _status_parser()}


def _add_run_options(run: Any, output: Any, failures: str) -> None:
    """Add the options that ``sync`` and ``sync retry`` share."""
    add = run.add_argument
    add("--failures", metavar="PATH", help=f"file for the failed rows (default: {failures})")
    add("--concurrency", type=bounded(int, 1, "a whole number from 1"), default=64, metavar="N",
        help="maximum number of concurrent requests (default: %(default)s)")  # fmt: skip
    add("--max-errors", type=_max_errors, metavar="N|5%", help="stop the run when more rows fail")
    add("--drain", type=bounded(float, 0, "a number of seconds"), default=20.0, metavar="S",
        help="seconds to finish requests in progress after Ctrl-C (default: 20)")  # fmt: skip
    add = output.add_argument
    add("--progress", choices=["auto", "rich", "plain", "json", "none"], default="auto",
        help="auto: a bar on a terminal, else plain lines; on stderr")  # fmt: skip
    add("--json", action="store_true", help="print the report as JSON")


def _retry_parser() -> CommandParser:
    parser = CommandParser(
        prog="aelyst sync retry",
        description="Send the failed rows of a journal again, to the journal's target.",
    )
    parser.add_argument("journal", metavar="JOURNAL", help="the journal of the sync")
    add_target(parser, "--to", can="upsert", required=False)
    run = parser.add_argument_group("run")
    _add_run_options(run, parser.add_argument_group("output"), "JOURNAL.failures.jsonl")
    unused: dict[str, Any] = {
        "dry_run": False, "remote": False, "refresh": False, "verify": 0.0, "assume_new": False, "rebind": False,
        **mirror.UNUSED, **workers.UNUSED,
    }  # fmt: skip
    parser.set_defaults(
        run=lambda arguments: _command(arguments, lambda: _retry(arguments)), name="sync retry", **unused
    )
    return parser


def _status_parser() -> CommandParser:
    parser = CommandParser(
        prog="aelyst sync status",
        description="Show the progress of a journal's last run, also while it runs in another terminal.",
    )
    parser.add_argument("journal", metavar="JOURNAL", help="the journal of the sync")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_status)
    return parser


def _status(arguments: argparse.Namespace) -> int:
    from aelyst_async.cli.status import print_status
    from aelyst_async.errors import ContactsError

    try:
        return print_status(arguments.journal, as_json=arguments.json)
    except ContactsError as error:
        complain("sync status", explain(error)[0])
        return 2


def _command(arguments: argparse.Namespace, run: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run in an event loop; return the exit code."""
    from aelyst_async.errors import ContactsError

    try:
        return _in_loop(arguments, run)
    except CommandError as error:
        message, code = str(error), error.code
    except ContactsError as error:
        message, code = explain(error, provider=arguments.provider or "")
        problems = getattr(error, "problems", ())
        if sum(bool(one.columns) for one in problems) > 1:
            from aelyst_async.cli.preview import header_answer

            message = header_answer(problems, arguments.file, arguments.words)
    complain(arguments.name, message)
    return code


def _in_loop(arguments: argparse.Namespace, command: Callable[[], Coroutine[Any, Any, int]]) -> int:
    run: Any = asyncio.run
    with contextlib.suppress(ImportError):
        import uvloop

        run = uvloop.run
    try:
        return int(run(command()))
    except asyncio.CancelledError:  # only a signal cancels, see Signals
        return 128 + (arguments.signal or signal.SIGINT)
    except RuntimeError as error:
        # A signal during the last turns of uvloop leaves it "running", so that it cannot be closed.
        if isinstance(error.__context__, (KeyboardInterrupt, SystemExit)):
            raise error.__context__ from None
        raise


async def _sync(arguments: argparse.Namespace) -> int:
    from aelyst_async.sync.failures import FailedRows, beside, failures_file
    from aelyst_async.tables import Mapper, read_contacts, suggest_mapping

    interrupted = Signals(arguments)
    _check_file(arguments.file)
    if arguments.provider is None:
        raise CommandError(f"--to is missing: {provider_help('upsert')}")
    schema = schema_for(arguments.provider, "upsert", "be the target of a sync")
    source = _home(arguments.file)
    failed = failures_file(source)
    mirror.check(arguments, failures=failed is not None)
    again = None if failed is None else _original(source, arguments)
    settings = read_settings(arguments, None if again is None else again[1])
    if "key" not in settings.rows and (known := _known_key(arguments, source)) is not None:
        settings.rows["key"] = known
    rows = (
        read_contacts(arguments.file, **settings.source)
        if failed is None
        else FailedRows(source, failed, **settings.source)
    )
    mapper = Mapper(schema, **{name: value for name, value in settings.rows.items() if name != "duplicates"})
    rows.stopped = lambda: arguments.signal is not None
    in_thread = asyncio.get_running_loop().run_in_executor
    if arguments.suggest_mapping:
        print(await in_thread(None, suggest_mapping, rows, mapper), end="")
        return 0
    if rows.path is not None:
        await in_thread(None, _check_head, rows, mapper, arguments.dry_run and not arguments.json)
    async with AsyncExitStack() as stack:
        stack.callback(interrupted.close)
        kind = await workers.sync_class(arguments, stack)
        target = await open_target(
            arguments.provider, arguments.base_url, stack, embed=arguments.broker is None, report="aelyst sync",
            limiter=await workers.limiter_of(arguments, stack),
        )  # fmt: skip
        journal: Path | str | None = journal_of(source, target.name)
        if arguments.journal is not None:
            journal = None if arguments.journal == "none" else workers.place(arguments.journal)
        elif again is not None:
            journal = again[0]
        elif target.started:
            journal = None
        if target.started:
            print(
                f"{target.why}: started one for this run at {target.base_url} and ends with it"
                + ("" if journal is not None else " (so no journal is kept)"),
                file=sys.stderr,
            )
        failures = Path(arguments.failures) if arguments.failures else beside(source, "failures.jsonl")
        return await _run(
            arguments, interrupted, target, rows, journal=journal, failures=failures, settings=settings.rows, kind=kind
        )


def _known_key(arguments: argparse.Namespace, source: Path) -> str | None:
    """Return the key of the journal, set by an export or an earlier sync, or None without a journal."""
    from aelyst_async.sync.journal.history import key_of

    journal: Path | str = journal_of(source, canonical(arguments.provider))
    if arguments.journal is not None:
        journal = workers.place(arguments.journal)
    return None if isinstance(journal, Path) and not journal.is_file() else key_of(journal)


def _check_head(rows: ContactSource, mapper: Mapper, show: bool) -> None:
    """Check the header of a file before anything is started. Raises `SourceError`, `MappingError`.

    `show`: print its columns and their fields first.
    """
    found = rows.open()
    first = next(found, None)
    getattr(found, "close", lambda: None)()
    cells = None if first is None else first[1]
    if mapper.transform is not None:
        return
    if rows.columns is not None:
        sample = cells if isinstance(cells, (list, tuple)) else None
        header = mapper.header(rows.columns, sample)
        if show and header.problems:
            from aelyst_async.cli.preview import print_preview
            from aelyst_async.tables import Preview

            print_preview(Preview(found=rows.found, header=header), mapper)
        mapper.plan(rows.columns, sample)
    elif isinstance(cells, Mapping):
        mapper.check_first(cells)


def _original(path: Path, arguments: argparse.Namespace) -> tuple[Path | str, dict[str, Any]] | None:
    """Return the journal of the run that wrote a failures file, and its mapping settings. Prints a note."""
    from aelyst_async.sync.journal.history import name_of, run_of

    named = None if arguments.journal in {None, "none"} else workers.place(arguments.journal)
    journals: list[Path | str] = (
        [named] if named is not None else [*sorted(path.absolute().parent.glob("*.db"))[:_JOURNALS]]
    )
    found = run_of(path, journals, canonical(arguments.provider))
    name = printable(path.name)
    if found is None:
        words = "the journal of their run is not here, so repeat the options for the columns"
    else:
        words = f"with the columns and the journal of {printable(name_of(found[0]))}"
    say(f"{name}: rows that failed before; {words}", sys.stderr)
    return found


async def _retry(arguments: argparse.Namespace) -> int:
    from aelyst_async.sync.failures import beside
    from aelyst_async.sync.journal.history import given_up_source, origin_of

    interrupted = Signals(arguments)
    journal = workers.place(arguments.journal)
    origin = origin_of(journal)
    rows = given_up_source(journal)
    provider = arguments.provider or origin.target
    check_name(provider, "upsert", "be the target of a sync")
    async with AsyncExitStack() as stack:
        stack.callback(interrupted.close)
        target = await open_target(provider, arguments.base_url or origin.base_url, stack, report="aelyst sync retry")
        home = journal if isinstance(journal, Path) else Path("journal")
        failures = Path(arguments.failures) if arguments.failures else beside(home, "failures.jsonl")
        return await _run(
            arguments, interrupted, target, rows, journal=journal, failures=failures, settings={"key": origin.key},
            recorded=dict(origin.settings),
        )  # fmt: skip


async def _run(
    arguments: argparse.Namespace,
    interrupted: Signals,
    target: Target,
    rows: Any,
    *,
    journal: Path | str | None,
    failures: Path,
    settings: dict[str, Any],
    recorded: dict[str, Any] | None = None,
    kind: Callable[..., ContactSync] | None = None,
) -> int:
    """Sync `rows`, display the progress, print the report; return the exit code."""
    from aelyst_async.cli.progress import make_view
    from aelyst_async.errors import ContactsError
    from aelyst_async.sync import ContactSync
    from aelyst_async.tables import inspect
    from aelyst_async.tables.model import Interrupted

    view = make_view(arguments.progress)
    shown: Preview | None = None
    mapper: Mapper | None = None
    report: SyncReport | None = None
    trouble: ContactsError | None = None
    try:
        interrupted.sync = sync = (kind or ContactSync)(
            target.gateway,
            journal=journal,
            failures=None if arguments.dry_run and arguments.failures is None else failures,
            concurrency=arguments.concurrency,
            refresh=arguments.refresh,
            verify=arguments.verify,
            max_errors=arguments.max_errors,
            drain=arguments.drain,
            assume_new=arguments.assume_new,
            rebind=arguments.rebind,
            progress=view,
            target={"target": target.name, "base_url": target.base_url, "instance": target.instance},
            settings=json.loads(json.dumps(settings if recorded is None else recorded, default=str)),
            **mirror.settings(arguments, view.close),
            **settings,
        )
        mapper = sync.mapper
        if arguments.dry_run:
            shown = await asyncio.get_running_loop().run_in_executor(None, inspect, rows, mapper)
        report = await sync.run(rows, dry_run=arguments.dry_run, remote=arguments.remote)
    except Interrupted:  # while the preview waited for a pipe
        return 128 + (arguments.signal or signal.SIGINT)
    except ContactsError as error:
        trouble, report = error, getattr(error, "report", None)
    finally:
        view.close()
    return _tell(arguments, target, rows, mapper, shown, report, trouble)


def _tell(
    arguments: argparse.Namespace,
    target: Target,
    rows: ContactSource,
    mapper: Mapper | None,
    shown: Preview | None,
    report: SyncReport | None,
    trouble: ContactsError | None,
) -> int:
    """Print the report; return the exit code."""
    from aelyst_async.cli.preview import guess_lines, preview_json, print_preview
    from aelyst_async.cli.summary import headline, lines, report_json
    from aelyst_async.sync.errors import SyncStoppedError

    code = 0 if report is None else report.exit_code
    message = None
    if trouble is not None:
        message, code = explain(trouble, provider=target.name)[0], 2
        if isinstance(trouble, SyncStoppedError):
            message += "; check --base-url and the network"
    elif arguments.signal is not None and report is not None:
        interrupted = not report.complete or report.not_deleted is not None
        code = 128 + arguments.signal if interrupted else code
    resume = shlex.join(["aelyst", *arguments.words])
    if report is not None and (trouble is None or arguments.json or not _nothing_written(report)):
        if arguments.json:
            made = report_json(report, target=target, resume=resume, code=code)
            if shown is not None and mapper is not None:
                made["preview"] = preview_json(shown, mapper)
            print(to_json(made))
        elif shown is not None and mapper is not None:
            say(headline(report.source, target, dry=True))
            print_preview(shown, mapper)
            for line in lines(report, resume=resume, target=target)[1:]:
                say(line)
        else:
            header = None if rows.columns is None or mapper is None or mapper.transform else mapper.header(rows.columns)
            guesses = guess_lines(rows.found, header)
            for line in lines(report, resume=resume, target=target, guesses=guesses, again=_again(arguments, report)):
                say(line)
    elif report is not None and message is not None:
        message += "; no contact was written"
    if message is not None:
        complain(arguments.name, message)
    return code


def _again(arguments: argparse.Namespace, report: SyncReport) -> str | None:
    """Return the command that syncs the table of failed rows after they were corrected."""
    from aelyst_async.sync.failures import table_of

    if report.failures is None or not table_of(report.failures).is_file() or "file" not in arguments:
        return None
    table = str(table_of(report.failures))
    return shlex.join(["aelyst", *(table if word == arguments.file else word for word in arguments.words)])


def _nothing_written(report: SyncReport) -> bool:
    """Whether no contact was written."""
    return not (report.created or report.updated or report.unchanged)


def _home(file: str) -> Path:
    """Return the path that the journal and the failures file are named after; ``stdin`` for a pipe."""
    path = Path(file)
    return path if path.is_file() else Path("stdin")


def _check_file(file: str) -> None:
    """Check that a file exists before anything is started. Raises `CommandError`."""
    path = Path(file)
    if file == "-":
        return
    if not file:
        raise CommandError("the name of the file is empty")
    try:
        directory = path.is_dir()
    except OSError as error:  # a name that is too long
        raise CommandError(f"{printable(file)[:80]}…: {(error.strerror or type(error).__name__).lower()}") from None
    if directory:
        raise CommandError(f"{printable(file)} is a directory; name a CSV, JSONL or Parquet file")
    if not path.exists():
        raise CommandError(f"{printable(file)}: no such file")


def _share(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{VALUE}{text}: write a share such as 1%")
    return share


def _max_errors(text: str) -> int | float:
    if text.isascii() and text.isdigit():
        return int(text)
    if not text.endswith("%"):
        raise argparse.ArgumentTypeError(f"{VALUE}{text}: write a number of rows, or a share such as 5%")
    return _share(text)
