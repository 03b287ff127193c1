"""Shared by all rules for cells: refusals, changes, invisible characters, several values in a cell.

A rule takes a cell (a `str` from CSV, a typed value from workbooks, JSON, data frames and code). It returns the value
to send, or a `Changed` with the new value and a description, or raises `CellError`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

__all__ = [
    "TAKE_FIRST",
    "CellError",
    "Changed",
    "Rule",
    "cleaned",
    "parts_of",
    "refuse_line_break",
    "refuse_missing",
    "several",
    "shown",
    "trimmed",
]

Rule: TypeAlias = "Callable[[Any], Any]"

TAKE_FIRST = "map the column with :first"
"""The remedy for several values in a cell. A table's `Plan` replaces it with the flag."""

_ERRORS = frozenset({"#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!", "#ERROR!", "#SPILL!"})
_SEPARATORS = re.compile(r"\s*(?::::|[;,|]|(?<=\s)/(?=\s)|/(?=\+)|(?<=\s)(?:or|and|&)(?=\s)|\s(?=\+))\s*")


class CellError(ValueError):
    """A cell breaks a rule. ``remedy`` says what to do; the message contains it."""

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message if remedy is None else f"{message}; {remedy}")
        self.remedy = remedy


class Changed(NamedTuple):
    """A value that differs from the cell, and a short description of the change without personal data."""

    value: Any
    change: str


def shown(value: Any) -> str:
    """Return a value for a message: its truncated repr."""
    try:
        text = str(value)
    except Exception:  # noqa: BLE001 - an object of the caller's, or a number of too many digits
        return f"a {type(value).__name__}"
    return repr(text if len(text) <= 60 else text[:57] + "…")


def refuse_missing(value: Any) -> None:
    """Raise `CellError` for NaN and pandas' NaT, which represent a missing value and are not equal to themselves."""
    try:
        missing = bool(value != value)
    except Exception:  # noqa: BLE001 - an object of the caller's
        return
    if missing:
        raise CellError(f"{shown(value)} stands for a missing value", "leave it out, or give None")


def trimmed(value: Any, what: str) -> str:
    """Return a `str` without blanks at its ends. Raises `CellError` for another type, and for a spreadsheet error
    (``#N/A``).
    """
    if not isinstance(value, str):
        raise CellError(f"expected {what} as text, got {type(value).__name__}")
    text = value.strip()
    if text[:1] == "#" and text in _ERRORS:
        raise CellError(f"{text} is a spreadsheet error, not {what}", "correct the cell and export again")
    return text


def refuse_line_break(text: str, what: str) -> None:
    """Raise `CellError` for a line break in a cell that cannot have one, because two rows were probably merged."""
    if "\n" in text or "\r" in text:
        raise CellError(
            f"{shown(text)}: {what} with a line break, so a quote before it is probably not closed",
            "look at the quotes in this line and in those after it",
        )


def _name(character: str) -> str:
    return f"U+{ord(character):04X} {unicodedata.name(character, 'without a name')}"


def cleaned(text: str) -> tuple[str, str | None]:
    """Return `text` without invisible characters (category Cf) at its ends, and a description of the removed ones or
    None.

    Raises `CellError` for an invisible character inside, because two values that look the same would be two contacts.
    """
    if text.isascii() or text.isprintable():
        return text, None
    start, end = 0, len(text)
    while start < end and _stripped(text[start]):
        start += 1
    while end > start and _stripped(text[end - 1]):
        end -= 1
    kept = text[start:end]
    found = next((character for character in kept if unicodedata.category(character) == "Cf"), None)
    if found is not None:
        raise CellError(f"{shown(text)} holds the invisible character {_name(found)}", "remove it")
    removed = dict.fromkeys(c for c in text[:start] + text[end:] if unicodedata.category(c) == "Cf")
    return kept, f"invisible characters removed ({', '.join(map(_name, removed))})" if removed else None


def _stripped(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) == "Cf"


def several(text: str, sign: Callable[[str], bool]) -> bool:
    """Whether several of the values in a cell satisfy `sign`."""
    return sum(map(sign, parts_of(text))) > 1


def parts_of(text: str) -> list[str]:
    """Return the values in a cell, with any separator."""
    parts = [part.strip() for part in _SEPARATORS.split(text) if part.strip()]
    if len(parts) == 1 and text.count("@") > 1:  # addresses separated by blanks or slashes
        parts = re.split(r"[\s/]+", parts[0])
    return parts
