"""The command ``aelyst``: argparse, one module for each command. Slow imports are made only when a command runs.

A command module has ``add_parser(subparsers)``, which sets ``run``: a function from the parsed arguments to the exit
code. Exit codes: 0 success; 1 some rows or the call failed; 2 usage, file or credential error; 130 and 143
interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import TextIO

from aelyst_async.cli import catalog, contacts, doctor, export, related, sandbox, sync
from aelyst_async.cli.parser import CommandParser

__all__ = ["main", "make_parser"]

_DESCRIPTION = "Keep contacts in sync with contacts APIs, and try it with a sandbox on this machine."

_EPILOG = """\
credentials come from the environment: aelyst providers lists the variables
try it without an account:  aelyst sync people.csv --to sandbox
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    _make_streams_safe()
    if argv is None:  # run as the process's own command
        signal.signal(signal.SIGTERM, _terminate)
    try:
        return _run(argv)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        if argv is None:
            for number in (signal.SIGINT, signal.SIGTERM):  # the exit code must not change from here on
                signal.signal(number, signal.SIG_IGN)
        try:
            sys.stderr.flush()
        except (OSError, ValueError):
            # A full disk behind stderr. Without this, Python's own last flush would change the exit code.
            _mute(sys.stderr)


def _run(argv: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    parser = make_parser()
    if not words:
        parser.print_help(sys.stderr)
        return 2
    try:
        arguments, rest = parser.parse_known_args(words)
        if rest:
            parser.command(words).error(f"unexpected argument {' '.join(rest)}")
    except SystemExit as end:  # argparse has printed the message
        return end.code if isinstance(end.code, int) else 2
    arguments.words, arguments.parser = [_shown(word) for word in words], parser
    try:
        code = int(arguments.run(arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has ended: no error, and nothing can be printed.
        _mute(sys.stdout)
        return 141
    except OSError as error:
        # Commands handle their own errors. This one comes from printing: the disk behind stdout is full.
        _mute(sys.stdout)
        with contextlib.suppress(OSError):
            print(f"aelyst: cannot print: {(error.strerror or type(error).__name__).lower()}", file=sys.stderr)
        return 2
    return code


def _shown(word: str) -> str:
    """Return a word of the command line in a form that is safe to print."""
    if "://" not in word:
        return word
    from aelyst_async.sync.journal.database import without_password

    return without_password(word)


def _terminate(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _make_streams_safe() -> None:
    # If a stream is closed (cron, `>&-`), a socket would get its number, and libuv would abort the process.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - until the end
    for stream in (sys.stdout, sys.stderr):
        # A terminal that is not UTF-8, or a lone surrogate in a response, must not end in a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _mute(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def make_parser() -> CommandParser:
    """Return the parser of the whole command."""
    parser = CommandParser(prog="aelyst", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    parser.commands = subparsers.choices
    for command in (sync, export, contacts, related, catalog, doctor, sandbox):
        command.add_parser(subparsers)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from aelyst_async.version import __version__

        print(f"aelyst-async {__version__}")
        parser.exit(0)
