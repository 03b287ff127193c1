"""The rule for e-mail addresses, and their comparison."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from aelyst_async.tables.cells import (
    TAKE_FIRST,
    CellError,
    Changed,
    cleaned,
    refuse_line_break,
    several,
    shown,
    trimmed,
)

__all__ = ["email", "fold_email", "is_domain"]

_PLAIN = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_ATOM = r"[^\s\"(),:;<>@\[\]\\.\x00-\x1f\x7f-\x9f\ud800-\udfff]+"
_LOCAL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*|\"[^\s\"\\\x00-\x1f\x7f-\x9f\ud800-\udfff]+\"")
_NAMED = re.compile(r"[^<>]*<\s*([^<>\s]+@[^<>\s]+)\s*>")
_SCHEME = re.compile(r"(?:mailto|email|e-mail)\s*:\s*", re.IGNORECASE)


def email(value: Any) -> Any:
    """Return an e-mail address: ``name@domain.tld``, the name has at most 64 characters, the address at most 254 (RFC
    5321).

    ``mailto:``, ``Name <…>`` and punctuation at the end are removed; the result is then a `Changed`.
    """
    if value.__class__ is str and len(value) <= 254 and _PLAIN.fullmatch(value) and value.index("@") <= 64:
        return value  # the usual case
    text = trimmed(value, "an e-mail address")
    refuse_line_break(text, "an e-mail address")
    address, change = cleaned(text)
    changes = [change] if change else []
    scheme = _SCHEME.match(address)
    if scheme:
        address = address[scheme.end() :].partition("?")[0]
        changes.append(f"{scheme[0].strip()} removed")
    if several(address, lambda part: "@" in part) or (address.count("@") > 1 and address.count("<") > 1):
        remedy = f"leave one, or {TAKE_FIRST}"
        raise CellError(f"{shown(text)} holds several addresses", remedy)
    named = _NAMED.fullmatch(address)
    if named:
        address = named[1]
        changes.append("the name before the address removed")
    bare = address.rstrip(".,;:").lstrip("'").rstrip("'") if "@" in address else address
    if bare != address:
        address = bare.strip()
        changes.append("punctuation around the address removed")
    local, at, domain = address.rpartition("@")
    whole = unicodedata.normalize("NFC", address)
    if whole != address:
        changes.append("written in Unicode's composed form (NFC)")
        address = whole
        local, at, domain = address.rpartition("@")
    if not (at and len(local) <= 64 and len(address) <= 254 and _LOCAL.fullmatch(local) and is_domain(domain)):
        raise CellError(f"{shown(text)} is not an e-mail address such as name@example.com")
    if not changes and address != value:
        changes.append("blanks around it removed")
    return Changed(address, ", ".join(changes)) if changes else address


def is_domain(domain: str) -> bool:
    """Whether `domain` has two or more labels of letters (of any script, with marks), digits and hyphens."""
    labels = domain.split(".")
    return len(labels) > 1 and all(map(_is_label, labels))


def _is_label(label: str) -> bool:
    if not 0 < len(label) <= 63 or label[0] == "-" or label[-1] == "-":
        return False
    if unicodedata.category(label[0])[0] == "M":
        return False
    return all(
        character.isalnum() or character == "-" or unicodedata.category(character) in {"Mn", "Mc"}
        for character in label
    )


def fold_email(address: str) -> str:
    """Return an address for comparison: in lower case and in one Unicode form (NFC).

    Not `str.casefold`, which converts ``ß`` to ``ss``, although these are two mailboxes.
    """
    return unicodedata.normalize("NFC", address).lower()
