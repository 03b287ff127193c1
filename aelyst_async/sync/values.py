"""From a cell to a value: the rules that a vendor's 400 would otherwise cost a request for.

A rule takes a text (from CSV) or a JSON value (from JSONL, data frames, code) and returns the value to send, or
raises `ValueError` (always that, the caller turns it into a problem of the row) with words for whoever owns the file.
The rules come from the seed pages *Create* and
*Update a contact* (the "Formatting rules"), ISO 639-1 and ISO 3166-1 alpha-2 as those pages name them, E.164 for
phones. Texts are sent as they stand, blanks included; values of every other kind are trimmed first.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, TypeAlias

from aelyst_async.sync.errors import MappingError

__all__ = ["CUSTOM_TYPES", "REASONS", "Rule", "fold_email", "is_empty", "phone_rule", "rule_for"]

Rule: TypeAlias = Callable[[Any], Any]

CUSTOM_TYPES = ("text", "number", "checkbox", "date", "time", "list", "url", "email")
"""The types of a custom field, as the seed pages list them."""

_MAX_TEXT = 65_536
"""Characters of one text. No page states a limit; this one only keeps a broken file from being sent as one cell."""

# Control characters but tab, line feed, carriage return; lone surrogates cannot be sent as UTF-8 at all.
_BAD_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")

_LABEL = r"[^\W_](?:[^\W_]|-(?=[^\W_]|-)){0,62}"
_DOMAIN = rf"(?:{_LABEL}\.)+{_LABEL}"
_ATOM = r"[^\s\"(),:;<>@\[\]\\.\x00-\x1f\x7f-\x9f\ud800-\udfff]+"
_EMAIL = re.compile(rf"(?:{_ATOM}(?:\.{_ATOM})*|\"[^\s\"\\\x00-\x1f\x7f-\x9f\ud800-\udfff]+\")@({_DOMAIN})")
_URL = re.compile(
    rf"(?:https?://)?(?:{_DOMAIN}|localhost|\d{{1,3}}(?:\.\d{{1,3}}){{3}})(?::\d{{1,5}})?(?:[/?#]\S*)?", re.IGNORECASE
)
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_PHONE_PADDING = re.compile(r"[ \u00a0\-.()\[\]/]")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d", re.ASCII)
_TRUE = frozenset({"true", "yes", "1", "on", "checked"})
_FALSE = frozenset({"false", "no", "0", "off", "unchecked"})

_LANGUAGES = frozenset(
    (  # noqa: SIM905 - a page of codes, to be compared with the standard
        "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz "
        "ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik "
        "io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml "
        "mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd "
        "se sg sh si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve "
        "vi vo wa wo xh yi yo za zh zu"
    ).split()
)
_COUNTRIES = frozenset(
    (  # noqa: SIM905
        "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW "
        "BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI "
        "FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN "
        "IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME "
        "MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF "
        "PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV "
        "SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE "
        "YT ZA ZM ZW"
    ).split()
)


def is_empty(value: Any) -> bool:
    """Whether a cell holds nothing: an empty text or one of blanks only."""
    return isinstance(value, str) and not value.strip()


def _shown(value: Any) -> str:
    text = str(value)
    return repr(text if len(text) <= 60 else text[:57] + "…")


def _trimmed(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected {what} as text, got {type(value).__name__}")  # noqa: TRY004
    return value.strip()


def text(value: Any) -> str:
    """Return a text as it stands; a whole number (an id in a JSON file) becomes its digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"expected text, got {type(value).__name__}")  # noqa: TRY004
    if len(value) > _MAX_TEXT:
        raise ValueError(f"{len(value):,} characters; at most {_MAX_TEXT:,} are sent")
    if not value.isprintable() and (found := _BAD_TEXT.search(value)) is not None:
        raise ValueError(f"the character U+{ord(found[0]):04X} at position {found.start() + 1} cannot be sent")
    return value


def email(value: Any) -> str:
    """Return an e-mail address: ``name@domain.tld``, the name at most 64 characters, all at most 254 (RFC 5321)."""
    address = _trimmed(value, "an e-mail address")
    match = _EMAIL.fullmatch(address)
    if match is None or len(address) > 254 or len(address) - len(match[1]) > 65:
        raise ValueError(f"{_shown(address)} is not an e-mail address such as name@example.com")
    return address


def phone(value: Any) -> str:
    """Return a phone number as E.164: ``+``, country code, 7 to 15 digits in all; padding is removed."""
    number = _PHONE_PADDING.sub("", _trimmed(value, "a phone number"))
    if not _E164.fullmatch(number):
        hint = "" if number.startswith("+") else "; begin it with + and the country code (or see --region)"
        raise ValueError(f"{_shown(value)} is not a phone number such as +60123456789{hint}")
    return number


def phone_rule(region: str | None) -> Rule | None:
    """Return the strict rule for phones, by the ``phonenumbers`` package, or None without it; `region` is the country
    of national numbers. It takes 30 µs, so a sync applies it to the rows that it sends.

    Raises `MappingError` if a region is given and the package is missing, or the region is no country.
    """
    try:
        import phonenumbers
    except ImportError:
        if region is not None:
            raise MappingError("--region needs the package phonenumbers: pip install 'aelyst-async[phone]'") from None
        return None
    if region is not None and region.upper() not in phonenumbers.SUPPORTED_REGIONS:
        raise MappingError(f"--region {region}: not a country code of ISO 3166-1 such as MY")
    national = None if region is None else region.upper()

    def checked(value: Any) -> str:
        number = _trimmed(value, "a phone number")
        if national is None or number.startswith("+"):
            number = phone(number)
        try:
            parsed = phonenumbers.parse(number, national)
        except phonenumbers.NumberParseException:
            raise ValueError(f"{_shown(value)} is not a phone number") from None
        if parsed.extension or not phonenumbers.is_possible_number(parsed):
            raise ValueError(f"{_shown(value)} is not a possible number of its country")
        return str(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164))

    return checked


def language(value: Any) -> str:
    """Return a language code of ISO 639-1, in lower case."""
    code = _trimmed(value, "a language code").lower()
    if code not in _LANGUAGES:
        raise ValueError(f"{_shown(value)} is not a language of ISO 639-1 such as ms")
    return code


def country(value: Any) -> str:
    """Return a country code of ISO 3166-1 alpha-2, in upper case."""
    code = _trimmed(value, "a country code").upper()
    if code not in _COUNTRIES:
        raise ValueError(f"{_shown(value)} is not a country of ISO 3166-1 alpha-2 such as MY")
    return code


def url(value: Any) -> str:
    """Return a web address: ``www.website.com``, ``https://www.website.com``, ``website.com``, ``http://…``."""
    address = _trimmed(value, "a web address")
    if len(address) > 2048 or not _URL.fullmatch(address):
        raise ValueError(f"{_shown(address)} is not a web address such as https://example.com")
    return address


def number(value: Any) -> int | float:
    """Return a number. Raises where JSON's numbers would change it (more than 15 significant digits)."""
    if isinstance(value, bool):
        raise ValueError("expected a number, got true or false")  # noqa: TRY004
    if isinstance(value, (int, float)):
        if not math.isfinite(value):
            raise ValueError("a number must be finite")
        return value
    if isinstance(value, Decimal):
        value = str(value)
    digits = _trimmed(value, "a number")
    if not _NUMBER.fullmatch(digits):
        raise ValueError(f"{_shown(value)} is not a number such as 12 or -3.5 (no thousands separators)")
    exact = Decimal(digits)
    if exact == exact.to_integral_value() and abs(exact) < 10**15:
        return int(exact)
    if not math.isfinite(float(exact)) or Decimal(repr(float(exact))) != exact:
        raise ValueError(f"{_shown(value)} has more digits than a JSON number keeps; send it as text")
    return float(exact)


def checkbox(value: Any) -> bool:
    """Return true or false; also written yes/no, 1/0, on/off, checked/unchecked."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, (str, int)) else ""
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f"{_shown(value)} is neither true nor false")


def day(value: Any) -> str:
    """Return a date as ``yyyy-mm-dd``. A datetime is refused: its day depends on a time zone."""
    if isinstance(value, datetime):
        raise ValueError("a date and time; send a date only, its day depends on the time zone")  # noqa: TRY004
    if isinstance(value, date):
        return value.isoformat()
    written = _trimmed(value, "a date")
    if not _DATE.fullmatch(written):
        raise ValueError(f"{_shown(value)} is not a date such as 2026-11-21")
    try:
        date.fromisoformat(written)
    except ValueError:
        raise ValueError(f"{_shown(value)} is not in the calendar") from None
    return written


def clock(value: Any) -> str:
    """Return a time of day as ``HH:MM``, 24 hours."""
    if isinstance(value, time) and not (value.second or value.microsecond or value.tzinfo):
        return value.strftime("%H:%M")
    written = value.strip() if isinstance(value, str) else ""
    if not _TIME.fullmatch(written):
        raise ValueError(f"{_shown(value)} is not a time such as 13:00 (24 hours, two digits each)")
    return written


def option(value: Any) -> str:
    """Return an option of a list. Which options there are only the account knows."""
    return text(value).strip()


def custom(value: Any) -> Any:
    """Return an untyped custom value from JSON: text, number or boolean, as it stands."""
    if isinstance(value, (bool, int)):
        return value
    if isinstance(value, (float, Decimal)):
        return number(value)
    if isinstance(value, date):
        return day(value)
    if isinstance(value, time):
        return clock(value)
    return text(value)


def json_object(value: Any) -> dict[str, Any]:
    """Return a JSON object, given as one or as its text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError(f"{_shown(value)} is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, got {type(value).__name__}")  # noqa: TRY004
    try:
        # One order of keys, so that one object has one hash.
        return dict(json.loads(json.dumps(value, sort_keys=True, allow_nan=False)))
    except (ValueError, TypeError, RecursionError):
        raise ValueError("a JSON object holds nothing but texts, numbers, true, false, null, arrays, objects") from None


_RULES: dict[str, Rule] = {
    "text": text, "email": email, "phone": phone, "url": url, "language": language, "country": country,
    "bool": checkbox, "object": json_object,
}  # fmt: skip
_CUSTOM_RULES: dict[str, Rule] = {
    "text": text, "number": number, "checkbox": checkbox, "date": day, "time": clock, "list": option, "url": url,
    "email": email,
}  # fmt: skip


REASONS = {
    "cells": "too many or too few cells", "checkbox": "neither true nor false", "bool": "neither true nor false",
    "country": "not a country code", "date": "not a date", "duplicate": "the key occurs more than once",
    "email": "not an e-mail address", "json": "not a JSON object", "language": "not a language code",
    "null": "cannot be cleared", "number": "not a number", "phone": "not a phone number", "required": "empty",
    "text": "not a text that can be sent", "time": "not a time", "type": "of the wrong type",
    "unknown": "no such field", "url": "not a web address",
}  # fmt: skip
"""The rules that a row can break, in words for a summary of many rows."""


def rule_for(kind: str, *, custom_type: str | None = None) -> Rule:
    """Return the rule for a field of `kind`, or for a custom field of `custom_type` (None: untyped)."""
    if kind == "custom_fields":
        return custom if custom_type is None else _CUSTOM_RULES[custom_type]
    return _RULES.get(kind, text)


def fold_email(address: str) -> str:
    """Return what two spellings of one mailbox share: no case, one Unicode form."""
    return unicodedata.normalize("NFC", address).casefold()
