"""``aelyst sync FILE --to PROVIDER``: a table of contacts into an API. ``retry`` and ``status`` work on its journal.

Exit codes: 0 all rows in; 1 some rows failed, or the run was ended early by ``--max-errors``; 2 usage, file, journal
or credential; 130 (Ctrl-C) and 143 (SIGTERM) interrupted: the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import shlex
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aelyst_async.cli.target import CommandError, check_writer, explain, open_target, printable

if TYPE_CHECKING:
    from aelyst_async.errors import ContactsError
    from aelyst_async.sync import ContactSync, SyncReport

__all__ = ["add_parser"]

_EPILOG = """\
other forms:
  aelyst sync status JOURNAL    what a run has done, or is doing in another terminal
  aelyst sync retry JOURNAL     send the rows again that were given up

a column is a field by our name (first_name), the vendor's (firstName), or by --map; custom fields are
custom_fields.NAME, or custom_fields.NAME:TYPE with a TYPE of text, number, checkbox, date, time, list, url, email
"""


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "sync",
        help="bring a table of contacts into an API",
        description="Bring a table of contacts (CSV, TSV, JSON lines, Parquet; also gzipped) into an API.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("file", metavar="FILE", help="the table; - is standard input")
    add("of", metavar="JOURNAL", nargs="?", help=argparse.SUPPRESS)
    add("--to", dest="provider", metavar="PROVIDER", help="aelyst, dmchamp, sandbox, or another that can write")
    add("--base-url", metavar="URL", help="address of the API (of a sandbox: its root)")
    add("--key", choices=["email", "phone"], default=None, help="what contacts are matched by (default: email)")
    rows = parser.add_argument_group("rows")
    add = rows.add_argument
    add("--map", action="append", default=[], metavar="COLUMN=FIELD", help="nothing after = leaves the column out")
    add("--mapping", metavar="TOML", help="a file with a [columns] table, and key, empty, duplicates, region if wanted")
    add("--empty", choices=["skip", "clear"], help="what an empty cell does (default: skip)")
    add("--duplicates", choices=["last", "first", "error"], help="which row of one key stands (default: last)")
    add("--region", metavar="CC", help="country of phone numbers without a country code, such as MY")
    add("--format", choices=["csv", "tsv", "jsonl", "parquet"], help="default: by the name")
    add("--delimiter", metavar="C", help="of CSV (default: a comma)")
    run = parser.add_argument_group("run")
    add = run.add_argument
    add("--journal", metavar="PATH", help="what remembers the rows (default: FILE.PROVIDER.db; none: nothing does)")
    add("--failures", metavar="PATH", help="where failed rows go (default: FILE.failures.jsonl)")
    add("--concurrency", type=int, default=64, metavar="N", help="most requests in flight (default: %(default)s)")
    add("--dry-run", action="store_true", help="say what would be done; no request")
    add("--remote", action="store_true", help="with --dry-run: one GET for each row that the journal cannot decide")
    add("--refresh", action="store_true", help="send unchanged rows, too")
    add("--verify", metavar="1%", help="compare this share of the unchanged rows with the vendor's data")
    add("--max-errors", metavar="N|5%", help="end the run when more rows fail")
    add("--assume-new", action="store_true", help="create unknown contacts without asking: for an empty account")
    add(
        "--drain",
        type=float,
        default=20.0,
        metavar="S",
        help="seconds for what is in flight after Ctrl-C (default: 20)",
    )
    add("--rebind", action="store_true", help="the journal's token was replaced, the account is the same")
    output = parser.add_argument_group("output")
    add = output.add_argument
    add("--progress", choices=["auto", "rich", "plain", "json", "none"], default="auto",
        help="auto: a bar on a terminal, JSON lines elsewhere, on stderr")  # fmt: skip
    add("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=run_command)


def run_command(arguments: argparse.Namespace) -> int:
    """Run; return the exit code."""
    from aelyst_async.errors import ContactsError

    try:
        if arguments.of is not None and arguments.file == "status":
            from aelyst_async.cli.status import print_status

            return print_status(arguments.of, as_json=arguments.json)
        return _in_loop(arguments)
    except CommandError as error:
        message, code = str(error), error.code
    except ContactsError as error:
        message, code = explain(error)
    print(f"aelyst sync: {message}", file=sys.stderr)
    return code


def _in_loop(arguments: argparse.Namespace) -> int:
    if arguments.of is not None and arguments.file != "retry":
        raise CommandError(f"one file at a time; unexpected argument {arguments.of!r}")
    run: Any = asyncio.run
    with contextlib.suppress(ImportError):
        import uvloop

        run = uvloop.run
    try:
        return int(run(_sync(arguments)))
    except asyncio.CancelledError:  # only a signal cancels, see _Signals
        return 128 + (arguments.signal or signal.SIGINT)


async def _sync(arguments: argparse.Namespace) -> int:
    from aelyst_async.cli.progress import make_view
    from aelyst_async.errors import ContactsError
    from aelyst_async.sync import ContactSync
    from aelyst_async.sync.errors import SyncStoppedError

    interrupted = _Signals(arguments)
    settings = _settings(arguments)
    retry = arguments.file == "retry" and arguments.of is not None
    provider, rows = _retried(arguments, settings) if retry else (arguments.provider, _source(arguments))
    if provider is None:
        raise CommandError("--to is missing: aelyst, dmchamp, sandbox, or another provider that can write")
    verify = _share(arguments.verify, "--verify") if arguments.verify else 0.0
    max_errors = _max_errors(arguments.max_errors)
    if not retry:
        _check_file(arguments.file)
    check_writer(provider)
    async with AsyncExitStack() as stack:
        stack.callback(interrupted.close)
        embedded: list[str] = []
        gateway = await open_target(provider, arguments.base_url, stack, embed=embedded.append, report="aelyst sync")
        if embedded:
            print(
                f"no sandbox is running: one was started for this run at {embedded[0]} and ends with it"
                + ("" if arguments.journal else " (so no journal is kept)"),
                file=sys.stderr,
            )
        journal, failures = _paths(arguments, provider, embedded=bool(embedded), retry=retry)
        view = make_view(arguments.progress)
        stack.callback(view.close)
        sync = ContactSync(
            gateway,
            journal=journal,
            failures=None if arguments.dry_run and arguments.failures is None else failures,
            concurrency=arguments.concurrency,
            refresh=arguments.refresh,
            verify=verify,
            max_errors=max_errors,
            drain=arguments.drain,
            assume_new=arguments.assume_new,
            rebind=arguments.rebind,
            progress=view,
            **settings,
        )
        interrupted.sync = sync
        report: SyncReport | None = None
        trouble: ContactsError | None = None
        try:
            report = await sync.run(rows, dry_run=arguments.dry_run, remote=arguments.remote)
        except ContactsError as error:
            trouble, report = error, getattr(error, "report", None)
        finally:
            view.close()
        return _tell(arguments, report, trouble, arguments.signal, stopped_early=isinstance(trouble, SyncStoppedError))


def _tell(
    arguments: argparse.Namespace,
    report: SyncReport | None,
    trouble: ContactsError | None,
    number: int | None,
    *,
    stopped_early: bool,
) -> int:
    """Print what has come of it; return the exit code."""
    from aelyst_async.cli.summary import print_report

    code = 0 if report is None else report.exit_code
    message = None
    if trouble is not None:
        message, _ = explain(trouble)
        code = 2
        if stopped_early:
            message += "; check --base-url and the network"
    elif number is not None and report is not None and not report.complete:
        code = 128 + number
    resume = shlex.join(["aelyst", *arguments.words])
    if report is not None and (trouble is None or arguments.json or not _nothing_written(report)):
        print_report(report, resume=resume, code=code, as_json=arguments.json)
    elif report is not None and message is not None:
        message += "; no contact was written"
    if message is not None:
        print(f"aelyst sync: {message}", file=sys.stderr)
    return code


def _nothing_written(report: SyncReport) -> bool:
    """Whether nothing was written: then the reason says all there is to say."""
    return not (report.created or report.updated or report.unchanged)


class _Signals:
    """The first Ctrl-C or SIGTERM stops the sync, the second one aborts it; before there is a sync, one ends it all.

    ``arguments.signal`` is the last one's number.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.sync: ContactSync | None = None
        arguments.signal = None
        self._arguments = arguments
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._set: list[int] = []
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
                self._loop.add_signal_handler(number, self._came, int(number))
                self._set.append(number)

    def close(self) -> None:
        """Give the signals back."""
        for number in self._set:
            self._loop.remove_signal_handler(number)
        self._set.clear()

    def _came(self, number: int) -> None:
        first = self._arguments.signal is None
        self._arguments.signal = number
        if self.sync is None:
            assert self._task is not None
            self._task.cancel()
        elif first:
            self.sync.stop("interrupted")
            drain = self._arguments.drain
            with contextlib.suppress(OSError):  # nobody reads stderr any more
                print(
                    f"\nstopping: finishing what is in flight (at most {drain:g} s); once more to stop at once",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
        else:
            self.sync.abort()


def _check_file(file: str) -> None:
    """Refuse what is no file before anything is opened or started."""
    path = Path(file)
    if file == "-":
        return
    if path.is_dir():
        raise CommandError(f"{file} is a directory; name a CSV, JSONL or Parquet file")
    if not path.exists():
        raise CommandError(f"{file}: no such file")


def _source(arguments: argparse.Namespace) -> Any:
    from aelyst_async.sync import read_contacts

    return read_contacts(arguments.file, format=arguments.format, delimiter=_unescaped(arguments.delimiter))


def _unescaped(delimiter: str | None) -> str | None:
    return "\t" if delimiter in {"\\t", "tab"} else delimiter


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what says how rows become contacts: the TOML file's, then the options'."""
    settings: dict[str, Any] = {}
    mapping: list[str] = []
    if arguments.mapping is not None:
        document = _toml(Path(arguments.mapping))
        columns = document.pop("columns", {})
        unknown = sorted(set(document) - {"key", "empty", "duplicates", "region"})
        texts = isinstance(columns, dict) and all(isinstance(value, str) for value in columns.values())
        if unknown or not texts:
            what = f"unknown {', '.join(unknown)}" if unknown else '[columns] must be COLUMN = "FIELD"'
            raise CommandError(f"{arguments.mapping}: {what}; it may hold key, empty, duplicates, region and [columns]")
        settings.update(document)
        mapping += [f"{column}={field}" for column, field in columns.items()]
    mapping += arguments.map
    for name in ("key", "empty", "duplicates", "region"):
        if getattr(arguments, name) is not None:
            settings[name] = getattr(arguments, name)
    if mapping:
        settings["mapping"] = mapping
    return settings


def _toml(path: Path) -> dict[str, Any]:
    try:
        tomllib: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError:
        raise CommandError("--mapping needs Python 3.11, or: pip install 'aelyst-async[cli]'") from None
    try:
        return dict(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise CommandError(f"{path}: {(error.strerror or '').lower()}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: not TOML: {error}") from None


def _retried(arguments: argparse.Namespace, settings: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """Return the provider and the given-up rows of a journal."""
    from aelyst_async.sync.history import given_up

    provider, key, rows = given_up(arguments.of)
    settings["key"] = key
    settings.pop("mapping", None)
    arguments.journal = arguments.of
    return arguments.provider or provider, rows


def _paths(arguments: argparse.Namespace, provider: str, *, embedded: bool, retry: bool) -> tuple[Path | None, Path]:
    """Return the journal and the failures file: beside the source, named after it."""
    from aelyst_async.sync.failures import beside

    source = Path(arguments.of if retry else arguments.file)
    if not retry and not source.is_file():  # standard input, or a pipe such as the shell's <(…)
        source = Path("stdin")
    failures = Path(arguments.failures) if arguments.failures else beside(source, "failures.jsonl")
    if arguments.journal == "none" or (embedded and arguments.journal is None):
        return None, failures
    journal = Path(arguments.journal) if arguments.journal else beside(source, f"{provider}.db")
    return journal, failures


def _share(text: str, option: str) -> float:
    try:
        share = float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise CommandError(f"{option} {printable(text)}: write a share such as 1%")
    return share


def _max_errors(text: str | None) -> int | float | None:
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return int(text)
    if not text.endswith("%"):
        raise CommandError(f"--max-errors {printable(text)}: write a number of rows, or a share such as 5%")
    return _share(text, "--max-errors")
