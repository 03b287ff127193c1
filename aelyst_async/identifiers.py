"""The identifiers of contacts: id, e-mail or phone, each with a string form that has a prefix.

``id:123`` · ``email:ann@example.com`` · ``phone:+60123456789`` (seed page *Get a contact*). The prefix is required: a
bare ``list`` would conflict with the vendors' other routes, and a bare number could be an id or a phone.

An identifier becomes a path segment or a query value, and no value may change the route of the request. Two rules
ensure this. A value that no server could hold (empty, control characters, lone surrogates, ``.`` and ``..``) is refused
here. `encode_segment` percent-encodes every character except the unreserved ones of RFC 3986, and ``:`` and ``@``,
which a path segment may contain.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import ClassVar, TypeAlias
from urllib.parse import quote

import attrs

from aelyst_async.errors import InvalidIdentifierError

__all__ = ["ContactId", "Email", "Identifier", "Phone", "encode_segment", "parse_identifier", "phone_number"]

_MAX_LENGTH = 320
"""Largest length in characters, that of the longest e-mail address (RFC 3696, erratum 1690: 64 + 1 + 255)."""

# Cc: control, Cf: invisible, Cs: lone surrogate, Zl/Zp: line and paragraph separator. Two identifiers that differ only
# in an invisible character look the same and would be two contacts.
_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_BLANKS = " \u00a0\u2007\u202f"
_PHONE_PADDING = re.compile(rf"[{_BLANKS}\-\u2010-\u2015.()\[\]/]")
_is_plain = re.compile(r"[A-Za-z0-9_.~:@-]*").fullmatch
is_bare_phone: Callable[[str], re.Match[str] | None] = re.compile(r"\+[0-9]{1,32}").fullmatch
"""Matches ``+`` and digits, which `Phone` does not change."""
_TRUNK_ZERO = re.compile(rf"(\+([0-9]{{1,3}})[{_BLANKS}.)\]\-/]*[(\[])0(?=[0-9]*[)\]])")
_ZERO_IS_DIALLED = frozenset({"39", "378", "379", "225", "242"})
"""Country codes (Italy, San Marino, Vatican, Ivory Coast, Congo) whose leading 0 is also dialled from abroad."""


def _checked_text(value: object, kind: str) -> str:
    if not isinstance(value, str):
        raise InvalidIdentifierError(f"{kind}: expected text, got {type(value).__name__}")
    if not value:
        raise InvalidIdentifierError(f"{kind}: the value is empty")
    if len(value) > _MAX_LENGTH:
        raise InvalidIdentifierError(f"{kind}: {len(value)} characters; at most {_MAX_LENGTH} are accepted")
    if value.isascii() and value.isprintable():  # the usual case, and much faster
        return value
    for position, character in enumerate(value):
        if unicodedata.category(character) in _FORBIDDEN_CATEGORIES:
            name = unicodedata.name(character, "")
            raise InvalidIdentifierError(
                f"{kind}: character U+{ord(character):04X}{name and f' {name}'} at position {position} is not allowed"
            )
    return value


def _convert_id(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) >= 10**_MAX_LENGTH:  # str() raises a ValueError for very long ones
            raise InvalidIdentifierError(f"id: the number is longer than {_MAX_LENGTH} digits")
        value = str(value)
    text = _checked_text(value, "id")
    if text != text.strip():
        raise InvalidIdentifierError("id: there are blanks around the value; remove them", text)
    if text in {".", ".."}:
        # RFC 3986, 5.2.4: as a path segment these mean the current and the parent directory, even percent-encoded.
        raise InvalidIdentifierError("id: '.' and '..' would change the path of the request", text)
    return text


def _convert_email(value: object) -> str:
    text = _checked_text(value, "email")
    local, at, domain = text.rpartition("@")
    if not (at and local and domain):
        raise InvalidIdentifierError("email: the value is not of the form name@domain", text)
    if text.split(maxsplit=1) != [text]:
        raise InvalidIdentifierError("email: the value contains a blank; remove it", text)
    return text


def phone_number(text: str) -> tuple[str, bool]:
    """Return ``+`` and the digits of a phone number, and whether a trunk prefix ``(0)`` was removed.

    Blanks, dashes, dots, slashes and brackets are removed. The 0 of ``+44 (0)20 …`` is dialled inside the country
    only. Raises `ValueError` for a number without ``+``, or with anything but digits after it.
    """
    bare = text.strip(_BLANKS + "([")
    trunk = _TRUNK_ZERO.match(bare)
    removed = trunk is not None and trunk[2] not in _ZERO_IS_DIALLED
    if trunk is not None and removed:
        bare = trunk[1] + bare[trunk.end() :]
    digits = _PHONE_PADDING.sub("", bare)
    if not (bare.startswith("+") and is_bare_phone(digits)):
        raise ValueError("not + and digits with the country code")
    return digits, removed


def _convert_phone(value: object) -> str:
    text = _checked_text(value, "phone")
    try:
        return phone_number(text)[0]
    except ValueError:
        problem = "phone: the value is not '+' and digits with the country code, such as +60123456789"
    raise InvalidIdentifierError(problem, value)


def _repr(self: object) -> str:
    # The repr of attrs fails if the constructor has raised, and debuggers and error trackers then call it.
    return f"{type(self).__name__}(value={getattr(self, 'value', '?')!r})"


@attrs.frozen(repr=False)
class ContactId:
    """The contact's id at the API: an opaque `str` of at most 320 characters. An `int` becomes a `str`.

    Raises `InvalidIdentifierError`.
    """

    prefix: ClassVar[str] = "id"
    value: str = attrs.field(converter=_convert_id)

    def __str__(self) -> str:
        return f"id:{self.value}"

    __repr__ = _repr


@attrs.frozen(repr=False)
class Email:
    """An e-mail address of at most 320 characters (RFC 3696, erratum 1690). Upper and lower case are kept.

    Raises `InvalidIdentifierError`.
    """

    prefix: ClassVar[str] = "email"
    value: str = attrs.field(converter=_convert_email)

    def __str__(self) -> str:
        return f"email:{self.value}"

    __repr__ = _repr


@attrs.frozen(repr=False)
class Phone:
    """A phone number with its country code: ``+`` and digits.

    Blanks, dashes, dots, slashes and brackets are removed, and so is the ``(0)`` of ``+44 (0)20 …``. Raises
    `InvalidIdentifierError`.
    """

    prefix: ClassVar[str] = "phone"
    value: str = attrs.field(converter=_convert_phone)

    def __str__(self) -> str:
        return f"phone:{self.value}"

    __repr__ = _repr


Identifier: TypeAlias = ContactId | Email | Phone

_KINDS: dict[str, type[ContactId | Email | Phone]] = {kind.prefix: kind for kind in (ContactId, Email, Phone)}


def parse_identifier(identifier: Identifier | str) -> Identifier:
    """Return the identifier object for a `str` such as ``"email:ann@example.com"``, ``"phone:+60…"`` or ``"id:1"``.

    An identifier object is returned unchanged. Raises `InvalidIdentifierError` for anything else.
    """
    if isinstance(identifier, (ContactId, Email, Phone)):
        return identifier
    if not isinstance(identifier, str):
        raise InvalidIdentifierError(
            f"identifier: expected ContactId, Email, Phone or str, got {type(identifier).__name__}"
        )
    prefix, colon, value = identifier.partition(":")
    kind = _KINDS.get(prefix)
    if not colon or kind is None:
        raise InvalidIdentifierError(
            "identifier: the value does not begin with 'id:', 'email:' or 'phone:'", identifier[:_MAX_LENGTH]
        )
    return kind(value)


def encode_segment(text: str) -> str:
    """Return `text` as one path segment. All characters but the unreserved ones, ``:`` and ``@`` are percent-encoded
    (UTF-8).

    ``/``, ``?``, ``#``, ``%`` and ``+`` are always encoded, so the result is always a single segment.
    """
    return text if _is_plain(text) else quote(text, safe=":@")
