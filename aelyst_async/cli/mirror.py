"""``aelyst sync --delete-missing``: its options, its confirmation on a terminal, and its part of the summary."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aelyst_async.cli.output import CommandError, printable, say
from aelyst_async.cli.parser import VALUE
from aelyst_async.cli.target import check_name

if TYPE_CHECKING:
    from aelyst_async.sync import MirrorPlan, SyncReport

__all__ = ["UNUSED", "add_options", "check", "mirror_lines", "settings"]

UNUSED: dict[str, Any] = {"delete_missing": False, "max_deletes": None, "yes": False}
"""The values of the options for a command without them."""

_DEFAULT = 0.1
_NAMED = 10
"""Number of contacts that the confirmation names."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument_group("mirror").add_argument
    add("--delete-missing", action="store_true",
        help="after all rows are synced, delete the contacts that are not in the file")  # fmt: skip
    add("--max-deletes", type=_limit, metavar="N|5%",
        help="delete nothing if more contacts are missing (default: 10%% of the account)")  # fmt: skip
    add("--yes", action="store_true", help="do not ask before the first delete")


def _limit(text: str) -> int | float:
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        share = float(text.removesuffix("%")) / 100 if text.endswith("%") else -1.0
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{VALUE}{text}: write a number of contacts, or a share such as 5%")
    return share


def check(arguments: argparse.Namespace, *, failures: bool) -> None:
    """Refuse options that do not fit together. `failures`: the file holds the rows that failed before.

    Raises `CommandError`.
    """
    if not arguments.delete_missing:
        for name in ("max_deletes", "yes"):
            if getattr(arguments, name) not in {None, False}:
                raise CommandError(f"--{name.replace('_', '-')} needs --delete-missing")
        return
    if failures:
        raise CommandError("--delete-missing: the file contains only the rows that failed before, not all contacts")
    for method, what in (("contacts", "list"), ("delete", "delete")):
        check_name(arguments.provider, method, f"{what} contacts, which --delete-missing needs")
    if not (arguments.yes or arguments.dry_run or _can_ask()):
        raise CommandError(
            "--delete-missing asks for confirmation, but there is no terminal: check with --dry-run, then add --yes"
        )


def settings(arguments: argparse.Namespace, hide: Callable[[], None]) -> dict[str, Any]:
    """Return the arguments of `ContactSync`. `hide` removes the progress display before the confirmation."""

    async def confirm(plan: MirrorPlan) -> bool:
        hide()
        return await _ask(plan)

    return {
        "delete_missing": arguments.delete_missing,
        "max_deletes": _DEFAULT if arguments.max_deletes is None else arguments.max_deletes,
        "confirm": None if arguments.yes or not arguments.delete_missing else confirm,
    }


def mirror_lines(report: SyncReport) -> list[str]:
    """Return the lines about a mirror for the summary."""
    out = []
    if report.dry_run and report.missing:
        out.append(f"{_contacts(report.missing)} not in the file and would be deleted:")
        out += [f"  {printable(name)}" for name in report.missing_contacts]
        if report.missing > len(report.missing_contacts):
            out.append(f"  … and {report.missing - len(report.missing_contacts):,} more")
    elif report.missing:
        out.append(f"{_contacts(report.missing)} not in the file; {report.deleted:,} deleted")
    if report.not_deleted is not None:
        what = "nothing" if not report.deleted else "not everything"
        would = "would be" if report.dry_run else "was"
        out.append(f"{what} {would} deleted: {printable(report.not_deleted)}")
    return out


def _contacts(number: int) -> str:
    return "1 contact of the account is" if number == 1 else f"{number:,} contacts of the account are"


def _can_ask() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


async def _ask(plan: MirrorPlan) -> bool:
    say(f"{plan.missing:,} of {plan.listed:,} contacts of the account are not in the file:", sys.stderr)
    for name in plan.names[:_NAMED]:
        say(f"  {printable(name)}", sys.stderr)
    if plan.missing > _NAMED:
        say(f"  … and {plan.missing - _NAMED:,} more (--dry-run names them)", sys.stderr)
    print("delete them? [y/N] ", end="", file=sys.stderr, flush=True)
    return (await _line()).strip().lower() in {"y", "yes"}


def _line() -> Awaitable[str]:
    """Return the next line of the terminal. In the event loop, so that Ctrl-C ends the question."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()
    descriptor = sys.stdin.fileno()

    def read() -> None:
        loop.remove_reader(descriptor)
        if not answer.done():
            answer.set_result(sys.stdin.readline())

    loop.add_reader(descriptor, read)
    answer.add_done_callback(lambda _: loop.remove_reader(descriptor))
    return answer
