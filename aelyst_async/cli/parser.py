"""Shared by the commands' parsers: help that is created when it is printed, one-line errors, common options."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from aelyst_async.cli.output import printable

__all__ = ["IDENTIFIER", "VALUE", "CommandParser", "add_target", "bounded", "provider_help"]

VALUE = "\0"
"""Prefix of an error message that begins with the argument's value."""

IDENTIFIER = "email:ann@example.com, phone:+60123456789 or id:123"


class CommandParser(argparse.ArgumentParser):
    """A parser whose usage errors are one line.

    ``forms`` are sub-commands in the place of a positional argument (``aelyst sync status``). An action's
    ``lazy_help`` is a function that returns its help, called when help is printed, since finding providers is slow.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("allow_abbrev", False)
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **options)
        self.forms: dict[str, argparse.ArgumentParser] = {}
        self.commands: dict[str, CommandParser] = {}

    def command(self, words: Sequence[str]) -> argparse.ArgumentParser:
        """Return the parser of the command or form that `words` begin with."""
        found: argparse.ArgumentParser = next((self.commands[word] for word in words if word in self.commands), self)
        forms = found.forms if isinstance(found, CommandParser) else {}
        return next((forms[word] for word in words[1:2] if word in forms), found)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        """Parse with the form named by the first argument, if there is one."""
        form = self.forms.get(args[0]) if args else None
        if args and form is not None:
            return form.parse_known_args(args[1:], namespace)
        return super().parse_known_args(args, namespace)

    def format_help(self) -> str:  # noqa: D102
        for action in self._actions:
            lazy: Callable[[], str] | None = getattr(action, "lazy_help", None)
            if lazy is not None:
                action.help = lazy().replace("%", "%%")
        return super().format_help()

    def error(self, message: str) -> NoReturn:  # noqa: D102
        # "argument --drain: 'x' is not …" is "--drain 'x' is not …" where the rest begins with the value.
        found = re.fullmatch(r"argument ([^:]+): (.*)", message, re.DOTALL)
        if found is not None:
            message = f"{found[1]}{'' if found[2].startswith(VALUE) else ':'} {found[2].removeprefix(VALUE)}"
        self.exit(2, f"{self.prog}: {printable(message)}; see {self.prog} --help\n")


def add_target(parser: argparse.ArgumentParser, option: str, *, can: str = "get", required: bool = True) -> None:
    """Add ``--to`` or ``--from``, and ``--base-url``. `can`: the method that listed providers must have."""
    action = parser.add_argument(option, dest="provider", metavar="PROVIDER", required=required, help="the provider")
    action.lazy_help = lambda: provider_help(can)  # type: ignore[attr-defined]
    parser.add_argument("--base-url", metavar="URL", help="address of the API (of a sandbox: its root)")


def provider_help(can: str) -> str:
    """Return the help of ``--to`` or ``--from``: the installed providers with the method `can`, and the sandbox."""
    from aelyst_async.cli.target import providers_that

    return f"{', '.join(providers_that(can))}, sandbox, or sandbox:NAME for another API of the sandbox"


def bounded(kind: type[int | float], least: float, words: str) -> Callable[[str], Any]:
    """Return an argparse type: a number from `least`. `words` describe it in the error message."""

    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = least - 1
        if not least <= value <= 1e9:
            raise argparse.ArgumentTypeError(f"{VALUE}{text}: not {words}")
        return value

    return read
