"""The rule for phone numbers: converts the usual spellings to E.164, or refuses with the reason.

Numbers with a ``+`` are converted by `identifiers.phone_number`, so the rule and `Phone` give the same result. With the
package ``phonenumbers`` (extra ``phone``), a number must also be possible in its country, and national numbers are
accepted for a given region.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any

from aelyst_async.identifiers import phone_number
from aelyst_async.tables.cells import (
    TAKE_FIRST,
    CellError,
    Changed,
    Rule,
    cleaned,
    refuse_line_break,
    several,
    shown,
    trimmed,
)
from aelyst_async.tables.errors import MappingError

__all__ = ["phone_rule"]

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_MANGLED = re.compile(r"\+?\d+(?:[.,]\d+)?[eE]\+?\d{1,2}")
_FULL_WIDTH = re.compile("[\uff01-\uff5e]")
_NATIONAL = re.compile(r"[\d\s()\[\]./\-\u2010-\u2015]+", re.ASCII)
_DECIMAL = re.compile(r"\+?\d{5,}[.,]0+")
_TWO_ENDINGS = re.compile(r"(?:\d\D{0,3}){7}/\s*\d{1,4}\s*$")  # 901 82 00 / 01
_SCHEME = re.compile(r"(?:tel|phone|whatsapp|sms|callto)\s*:\s*(?://)?", re.IGNORECASE)
_EXTENSION = re.compile(
    r"\s*(?:;\s*ext\s*=|[,;]+|,?\s*(?:ext(?:ension|n)?\.?|x|dw|durchwahl|poste|anexo|ramal|int)\s*[:.]?|#)\s*(\d{1,8})\s*$",
    re.IGNORECASE,
)
_LOST = "export the column as text, so that all digits are there"


def phone_rule(region: str | None = None, *, drop_extensions: bool = False) -> Rule:
    """Return the rule. `region`: the country of numbers without a country code, such as ``MY``.

    Raises `MappingError` if a region is given and ``phonenumbers`` is missing, or the region is not a country.
    """
    library = _library()
    if region is not None:
        if library is None:
            raise MappingError("--region needs the package phonenumbers: pip install 'aelyst-async[phone]'")
        if not isinstance(region, str) or region.upper() not in library.SUPPORTED_REGIONS:
            raise MappingError(f"--region {region}: not a country code of ISO 3166-1 such as MY")
    national = None if region is None else region.upper()

    def rule(value: Any) -> Any:
        if value.__class__ is str and _E164.fullmatch(value):  # the usual case, and much faster
            made, change = value, None
        else:
            text, change = _peeled(value, national, drop_extensions=drop_extensions)
            made, how = _to_e164(text, national, library, shown(value))
            change = ", ".join(filter(None, (change, how))) or None
        if library is not None and not _possible(library, made):
            made, how = _checked(library, made, value)
            change = change or how
        if change is None and made != value:
            change = "written as + and digits"
        return made if change is None else Changed(made, change)

    return rule


def _library() -> Any:
    try:
        import phonenumbers
    except ImportError:
        return None
    return phonenumbers


def _peeled(value: Any, region: str | None, *, drop_extensions: bool) -> tuple[str, str | None]:
    """Return the number without surrounding text, and a description of the removed parts. Raises `CellError`."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if region is None or isinstance(value, float):
            remedy = "format the column as text in the spreadsheet and write the + (or add --region)"
            raise CellError(f"{shown(value)} is a number, which has lost a leading + or 0", remedy)
        return str(value), "a number of the spreadsheet taken as a national phone number"
    text = trimmed(value, "a phone number")
    refuse_line_break(text, "a phone number")
    text, change = cleaned(text)
    changes = [change] if change else []
    if _FULL_WIDTH.search(text):
        text = unicodedata.normalize("NFKC", text)
        changes.append("full-width characters written as ASCII")
    if text.startswith('="') and text.endswith('"'):
        text = text[2:-1].strip()
        changes.append("the spreadsheet's quotes removed")
    if text[:1] in {"'", "’", "`"}:
        text = text[1:].lstrip()
        changes.append("the spreadsheet's apostrophe removed")
    if _MANGLED.fullmatch(text):
        raise CellError(f"{shown(text)} was shortened by a spreadsheet: digits are lost", _LOST)
    if _DECIMAL.fullmatch(text):
        raise CellError(f"{shown(text)} was converted to a decimal number", "read the column as text there")
    scheme = _SCHEME.match(text)
    if scheme:
        text = text[scheme.end() :]
        changes.append(f"{scheme[0].strip()} removed")
    if several(text, _has_number):
        raise CellError(f"{shown(text)} holds several numbers", f"leave one, or {TAKE_FIRST}")
    if _TWO_ENDINGS.search(text):
        raise CellError(f"{shown(text)} holds a number with several endings", "leave one number")
    extension = _EXTENSION.search(text)
    if extension and extension.start() > 5:
        if not drop_extensions:
            remedy = "remove it, or add --drop-extensions"
            raise CellError(f"{shown(text)} has the extension {extension[1]}, which cannot be sent", remedy)
        text = text[: extension.start()].rstrip(" ,;")
        changes.append("the extension dropped")
    return text, ", ".join(changes) or None


def _has_number(part: str) -> bool:
    """Whether a part of a cell can be a whole number. A country and an area code (``+49 (0) 151 / …``) are none."""
    return sum(character.isdigit() for character in part.replace("(0)", "")) >= (7 if part.startswith("+") else 6)


def _to_e164(text: str, region: str | None, library: Any, original: str) -> tuple[str, str | None]:
    change = None
    bare = text.lstrip(" (")
    if bare.startswith("00") and bare[2:3] not in {"", "0"} and (region is None or len(bare) > 8):
        text, change = "+" + bare[2:].lstrip(), "00 written as +"
    if text.lstrip(" ([").startswith("+"):
        try:
            made, trunk = phone_number(text)
        except ValueError as error:
            raise CellError(f"{original} is not a phone number such as +60123456789 ({error})") from None
        if trunk:
            change = ", ".join(filter(None, (change, "the 0 in brackets removed")))
        if not _E164.fullmatch(made):
            raise CellError(f"{original} is not a phone number such as +60123456789")
        return made, change
    if region is None:
        remedy = "begin it with + and the country code (or see --region)"
        raise CellError(f"{original} is not a phone number such as +60123456789", remedy)
    if not _NATIONAL.fullmatch(text.replace("\u00a0", " ").replace("\u202f", " ")):
        raise CellError(f"{original} is not a phone number such as +60123456789")
    try:
        parsed = library.parse(text, region)
    except library.NumberParseException:
        raise CellError(f"{original} is not a phone number") from None
    if parsed.extension or not library.is_possible_number(parsed):
        raise CellError(f"{original} is not a possible number of {region}")
    return library.format_number(parsed, library.PhoneNumberFormat.E164), f"read as a number of {region}"


def _checked(library: Any, number: str, original: Any) -> tuple[str, str | None]:
    """Return the number by its country's rules. Raises `CellError` if it is not possible there."""
    try:
        parsed = library.parse(number, None)
    except library.NumberParseException:
        raise CellError(f"{shown(original)} does not begin with a known country code") from None
    if not library.is_possible_number(parsed):
        raise CellError(f"{shown(original)} is not a possible number of its country")
    made = str(library.format_number(parsed, library.PhoneNumberFormat.E164))
    return made, None if made == number else "the 0 that is dialled only inside the country removed"


def _possible(library: Any, number: str) -> bool:
    """Whether the number is surely possible, without parsing it. False means unknown."""
    for digits in (1, 2, 3):
        plan = _plan(library, int(number[1 : 1 + digits]))
        if plan is not None:
            lengths, prefix = plan
            rest = number[1 + digits :]
            return len(rest) in lengths and (prefix is None or prefix.match(rest) is None)
    return False


@lru_cache(maxsize=1_000)
def _plan(library: Any, code: int) -> tuple[frozenset[int], re.Pattern[str] | None] | None:
    """Return the possible lengths of a country code's numbers, and the prefix that a parser would remove."""
    regions = library.COUNTRY_CODE_TO_REGION_CODE.get(code)
    if not regions:
        return None
    if regions[0] == "001":
        metadata = library.PhoneMetadata.metadata_for_nongeo_region(code, None)
    else:
        metadata = library.PhoneMetadata.metadata_for_region(regions[0], None)
    if metadata is None or metadata.general_desc is None:
        return frozenset(), None
    prefix = metadata.national_prefix_for_parsing
    return frozenset(metadata.general_desc.possible_length), re.compile(prefix) if prefix else None
