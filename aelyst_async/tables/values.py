"""Rules that convert a cell to a value, and refuse it before the vendor would with a 400.

The rules come from the seed pages *Create* and *Update a contact* (the "Formatting rules"), ISO 639-1 and ISO 3166-1
alpha-2 as those pages name them, E.164 for phones. Free text is sent unchanged, including blanks; values of every other
kind are trimmed first. `cells` describes refusals and changes.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable
from datetime import date, time
from decimal import Decimal
from typing import Any

from aelyst_async.codes import COUNTRIES, LANGUAGES
from aelyst_async.tables.cells import (
    CellError,
    Changed,
    Rule,
    cleaned,
    refuse_line_break,
    refuse_missing,
    shown,
    trimmed,
)
from aelyst_async.tables.dates import clock, date_rule, day
from aelyst_async.tables.emails import email, is_domain
from aelyst_async.tables.errors import MappingError
from aelyst_async.tables.phones import phone_rule

__all__ = ["CUSTOM_TYPES", "REASONS", "Rules", "one_of"]

CUSTOM_TYPES = ("text", "number", "checkbox", "date", "time", "list", "url", "email")
"""The types of a custom field, as the seed pages list them."""

_MAX_TEXT = 65_536
"""Largest number of characters of a text. The vendors state no limit; this one prevents a broken file from being sent
as one cell.
"""

# Control characters except tab, line feed and carriage return, and lone surrogates, which UTF-8 cannot encode.
_BAD_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_URL = re.compile(r"(?:https?://)?([^\s/:?#@]+)(?::\d{1,5})?(?:[/?#]\S*)?", re.IGNORECASE)
_ADDRESS = re.compile(r"localhost|\d{1,3}(?:\.\d{1,3}){3}", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_TRUE = ("true", "yes", "1", "on", "checked")
_FALSE = ("false", "no", "0", "off", "unchecked")
_JOINERS = frozenset("\u200c\u200d")
"""Joiners, which Persian, Indic scripts and emoji need inside words."""


def text(value: Any) -> Any:
    """Return free text unchanged. A number or a date of a workbook or a data frame becomes a `str`."""
    if value.__class__ is not str and not isinstance(value, str):
        return _written(value)
    if len(value) > _MAX_TEXT:
        raise CellError(f"{len(value):,} characters; at most {_MAX_TEXT:,} are sent")
    if not value.isprintable() and (found := _BAD_TEXT.search(value)) is not None:
        code = ord(found[0])
        if 0xDC80 <= code <= 0xDCFF:
            raise CellError(f"the byte 0x{code - 0xDC00:02X} is not text in the file's encoding", "see --encoding")
        raise CellError(f"the character U+{code:04X} at position {found.start() + 1} cannot be sent")
    if value[:1] == "#":
        trimmed(value, "a value")
    return value


def _written(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        raise CellError(f"expected text, got {type(value).__name__}")
    if isinstance(value, int):
        if abs(value) >= 10**100:
            raise CellError("expected text, got a number of more than 100 digits")
        return Changed(str(value), "a number written as text")
    refuse_missing(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise CellError(f"expected text, got {value}")
        return Changed(str(int(value)) if value.is_integer() else repr(value), "a number written as text")
    if isinstance(value, (date, time)):
        return Changed(str(value), "a date or time written as text")
    raise CellError(f"expected text, got {type(value).__name__}")


def name(value: Any) -> Any:
    """Return a person's name: text without line breaks, and without invisible characters at its ends."""
    made = text(value)
    if made.__class__ is not str or (made.isascii() and made.isprintable()):
        return made
    refuse_line_break(made, "a name")
    if made.isprintable():
        return made
    bare = "".join(character for character in made if character not in _JOINERS and not character >= "\U000e0020")
    kept, change = cleaned(bare)
    return made if change is None else Changed(made.strip("".join(set(bare) - set(kept)) or " "), change)


def language(value: Any) -> Any:
    """Return a language code of ISO 639-1, in lower case."""
    code = trimmed(value, "a language code").lower()
    if code not in LANGUAGES:
        raise CellError(f"{shown(value)} is not a language of ISO 639-1 such as ms")
    return code if code == value else Changed(code, "written in lower case")


def country(value: Any) -> Any:
    """Return a country code of ISO 3166-1 alpha-2, in upper case."""
    code = trimmed(value, "a country code").upper()
    if code not in COUNTRIES:
        raise CellError(f"{shown(value)} is not a country of ISO 3166-1 alpha-2 such as MY")
    return code if code == value else Changed(code, "written in capitals")


def url(value: Any) -> Any:
    """Return a web address: ``www.website.com``, ``https://www.website.com``, ``website.com``, ``http://…``."""
    address = trimmed(value, "a web address")
    match = _URL.fullmatch(address) if len(address) <= 2048 else None
    if match is None or not (is_domain(match[1]) or _ADDRESS.fullmatch(match[1])):
        raise CellError(f"{shown(address)} is not a web address such as https://example.com")
    return address if address == value else Changed(address, "blanks around it removed")


def number(value: Any) -> Any:
    """Return a number. Raises `CellError` if JSON would change it (more than 15 significant digits)."""
    if isinstance(value, bool):
        raise CellError("expected a number, got true or false")
    if isinstance(value, (int, float)):
        refuse_missing(value)
        if not (isinstance(value, int) or math.isfinite(value)):
            raise CellError(f"{value} is not a number that can be sent")
        if isinstance(value, int) and abs(value) >= 10**100:
            raise CellError("a number of more than 100 digits")
        return value
    if isinstance(value, Decimal):
        value = str(value)
    digits = trimmed(value, "a number")
    if not _NUMBER.fullmatch(digits):
        raise CellError(f"{shown(value)} is not a number such as 12 or -3.5 (no thousands separators)")
    exact = Decimal(digits)
    whole = exact == exact.to_integral_value() and abs(exact) < 10**15
    if not whole and (not math.isfinite(float(exact)) or Decimal(repr(float(exact))) != exact):
        raise CellError(f"{shown(value)} has more digits than a JSON number keeps; send it as text")
    made = int(exact) if whole else float(exact)
    return made if str(made) == value else Changed(made, "written as a number")


def option(value: Any) -> Any:
    """Return an option of a list. The valid options are unknown here, because the account defines them."""
    made = text(value)
    if made.__class__ is not str or made == made.strip():
        return made
    return Changed(made.strip(), "blanks around it removed")


def one_of(rule: Rule, options: Iterable[str]) -> Rule:
    """Return `rule` with a check that its result is one of the options."""
    exact = tuple(options)
    known = {option.casefold(): option for option in exact}

    def check(value: Any) -> Any:
        made = rule(value)
        chosen = made.value if made.__class__ is Changed else made
        if chosen in exact:
            return made
        near = difflib.get_close_matches(str(chosen).casefold(), known, 1, 0.6)
        hint = f"did you mean {known[near[0]]!r}?" if near else f"the options are {', '.join(map(repr, exact))}"[:200]
        raise CellError(f"{shown(chosen)} is not an option", hint)

    return check


def json_object(value: Any) -> dict[str, Any]:
    """Return a JSON object, given as a mapping or as JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise CellError(f"{shown(value)} is not JSON") from None
    if not isinstance(value, dict):
        raise CellError(f"expected a JSON object, got {type(value).__name__}")
    try:
        # A fixed order of keys, so that equal objects have equal hashes.
        return dict(json.loads(json.dumps(value, sort_keys=True, allow_nan=False)))
    except (ValueError, TypeError, RecursionError):
        raise CellError("a JSON object holds only strings, numbers, true, false, null, arrays, objects") from None


REASONS = {
    "cells": "too many cells", "checkbox": "neither true nor false", "bool": "neither true nor false",
    "country": "not a country code", "date": "not a date", "duplicate": "the key occurs more than once",
    "email": "not an e-mail address", "json": "not a JSON object", "language": "not a language code",
    "mapping": "not mapped", "null": "cannot be cleared", "number": "not a number", "phone": "not a phone number",
    "quote": "a wrong quote", "required": "empty", "text": "not text that can be sent", "time": "not a time",
    "type": "of the wrong type", "unknown": "no such field", "url": "not a web address", "value": "cannot be read",
}  # fmt: skip
"""Names of the rules for a summary of many rows."""


class Rules:
    """The rules of one run, constructed once from the settings. Raises `MappingError` for an invalid setting.

    `region`, `drop_extensions`: for phones. `date_format`: for dates besides ISO. `true`, `false`: further words for
    checkboxes.
    """

    def __init__(
        self,
        *,
        region: str | None = None,
        drop_extensions: bool = False,
        date_format: str | None = None,
        true: Iterable[str] = (),
        false: Iterable[str] = (),
    ) -> None:
        self._true = self._words(_TRUE, true, "--true")
        self._false = self._words(_FALSE, false, "--false")
        both = set(self._true) & set(self._false)
        if both:
            raise MappingError(f"{min(both)!r} cannot mean both true and false")
        self.day: Rule = date_rule(date_format)
        fields: dict[str, Rule] = {
            "text": text, "name": name, "email": email, "url": url, "language": language, "country": country,
            "phone": phone_rule(region, drop_extensions=drop_extensions), "bool": self.checkbox, "object": json_object,
        }  # fmt: skip
        custom: dict[str, Rule] = {
            "text": text, "number": number, "checkbox": self.checkbox, "date": self.day, "time": clock,
            "list": option, "url": url, "email": email,
        }  # fmt: skip
        self._by_kind = fields
        self._by_type = custom

    @staticmethod
    def _words(usual: tuple[str, ...], more: Iterable[str], flag: str) -> tuple[str, ...]:
        words = [more] if isinstance(more, str) else list(more)
        if not all(isinstance(word, str) and word.strip() for word in words):
            raise MappingError(f"{flag} takes words, not {words!r}")
        return (*usual, *(word.strip().lower() for word in words))

    def of_field(self, kind: str) -> Rule:
        """Return the rule for a field of `kind`."""
        return self._by_kind.get(kind, text)

    def of_custom(self, custom_type: str | None, date_format: str | None = None) -> Rule:
        """Return the rule for a custom field of a type (None: the value is typed already)."""
        if custom_type is None:
            return custom
        if custom_type == "date" and date_format is not None:
            return date_rule(date_format)
        return self._by_type[custom_type]

    def checkbox(self, value: Any) -> bool:
        """Return a `bool`."""
        if isinstance(value, bool):
            return value
        if isinstance(value, (int, float)) and value in {0, 1}:
            return value == 1
        word = value.strip().lower() if isinstance(value, str) else ""
        if word in self._true:
            return True
        if word in self._false:
            return False
        accepted = f"{', '.join(self._true)} mean true; {', '.join(self._false)} mean false"
        raise CellError(f"{shown(value)} is neither true nor false ({accepted})", "name it with --true or --false")


def custom(value: Any) -> Any:
    """Return an untyped custom value from JSON (`str`, number or `bool`) unchanged."""
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, float, Decimal)):
        return number(value)
    if isinstance(value, date):
        return day(value)
    if isinstance(value, time):
        return clock(value)
    return text(value)
