"""Output for terminals and programs, without control characters that come from an API or a file."""

from __future__ import annotations

import json
import math
import re
import sys
from typing import Any, TextIO

__all__ = ["CommandError", "complain", "printable", "say", "to_json"]

_NOT_ASCII = re.compile(r"[^\n -~]")
_JOINERS = frozenset("\u200c\u200d")
"""Zero-width joiners: invisible, and part of names in several scripts."""


class CommandError(Exception):
    """An error message for stderr: what, where, and what to do. ``code`` is the exit code."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


def printable(text: str) -> str:
    """Return `text` with control, bidirectional and undecodable characters as escapes, so that it is safe to print."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in _JOINERS else repr(one)[1:-1] for one in text)


def say(text: str, stream: TextIO | None = None) -> None:
    """Print text to `stream` (default: standard output). On a terminal, wrap it between words and indent it."""
    out: TextIO = stream or sys.stdout
    if out.isatty():
        import shutil
        import textwrap

        width = max(shutil.get_terminal_size().columns, 20)
        lines = []
        for line in text.split("\n"):
            indent = " " * (len(line) - len(line.lstrip()) + 4)
            lines.append(textwrap.fill(line, width, subsequent_indent=indent, break_on_hyphens=False))
        text = "\n".join(lines)
    print(text, file=out)


def complain(command: str, message: str) -> None:
    """Print an error message to standard error."""
    say(f"aelyst {command}: {message}", sys.stderr)


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Return `value` as JSON in which control and bidirectional characters are escaped, other text is as it is.

    Numbers that JSON cannot carry (``1e400``) become strings.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False, default=str)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, indent=indent, default=str)
    text = _NOT_ASCII.sub(_escaped, text)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a terminal that is not UTF-8
        return json.dumps(json.loads(text), indent=indent)
    return text


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    return character if character.isprintable() else json.dumps(character)[1:-1]


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
