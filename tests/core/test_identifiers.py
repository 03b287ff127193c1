"""Identifiers: valid and invalid input, and how they are encoded in a URL path."""

from __future__ import annotations

import copy
import pickle
import traceback
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aelyst_async import ContactId, Email, Phone, errors, parse_identifier
from aelyst_async.identifiers import Identifier, encode_segment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id:123", ContactId("123")),
        ("id:abc-DEF_9", ContactId("abc-DEF_9")),
        ("id:3c90c3cc-0d44-4b50-8888-8dd25736052a", ContactId("3c90c3cc-0d44-4b50-8888-8dd25736052a")),
        ("id:a/b", ContactId("a/b")),
        ("id:id:1", ContactId("id:1")),
        ("email:ann@example.com", Email("ann@example.com")),
        ("email:Ann+tag@Example.COM", Email("Ann+tag@Example.COM")),
        ("email:o'hara/x?y#z%2F@example.com", Email("o'hara/x?y#z%2F@example.com")),
        ("email:müller@bücher.example", Email("müller@bücher.example")),
        ("phone:+60123456789", Phone("+60123456789")),
        ("phone:+60 12-345.67(89)", Phone("+60123456789")),
        ("phone: +1 [212] 555 0100 ", Phone("+12125550100")),
        ("phone:+44 (0)20 7946 0958", Phone("+442079460958")),
        ("phone:+49 (030) 901/820", Phone("+4930901820")),
        ("phone:+39 (0)6 6982", Phone("+39066982")),
        ("phone:(+60)\u00a012\u2013345", Phone("+6012345")),
    ],
)
def test_parse_identifier_returns_kind_and_normalized_value(text: str, expected: Identifier) -> None:
    assert parse_identifier(text) == expected
    assert type(parse_identifier(text)) is type(expected)


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "123", "list", "merge", "ann@example.com", "+60123456789", "ID:1", " id:1", "id :1", "mail:a@b.c",
        "id:", "id: ", "id: 1", "id:1 ", "id:\n1", "id:1\n", "id:\x00", "id:\x7f", "id:\u2028", "id:\ud800", "id:.",
        "id:..", "id:" + "1" * 321,
        "email:", "email:a", "email:@b", "email:a@", "email:a b@c", "email:a@b\r\nX: y", "email: a@b", "email:a@b ",
        "email:a\u00a0b@c", "email:a\u200bb@c", "email:\ufeffa@b.c", "email:a\u00adb@c", "phone:\u202a+6012345\u202c",
        "phone:", "phone:60123", "phone:+", "phone:+6o", "phone:++60", "phone:60+12", "phone:+60\t12", "phone:+６０",
        "phone:+" + "1" * 33, "phone:+60;ext=1", "phone:-+60/1",
    ],
)  # fmt: skip
def test_parse_identifier_rejects_invalid_strings(text: str) -> None:
    with pytest.raises(errors.InvalidIdentifierError):
        parse_identifier(text)


@pytest.mark.parametrize("value", [None, 1, b"id:1", ["id:1"], object(), 1.5])
def test_parse_identifier_rejects_other_types(value: Any) -> None:
    with pytest.raises(errors.InvalidIdentifierError, match="expected ContactId, Email, Phone or str"):
        parse_identifier(value)


@pytest.mark.parametrize("kind", [Email, Phone, ContactId])
@pytest.mark.parametrize("value", [None, b"x", 1.5, True, ["a@b"]])
def test_identifier_classes_reject_other_types(kind: Any, value: Any) -> None:
    with pytest.raises(errors.InvalidIdentifierError, match="expected text"):
        kind(value)


def test_contact_id_accepts_int() -> None:
    assert ContactId(123) == ContactId("123")
    assert ContactId(123).value == "123"


def test_contact_id_rejects_ints_too_long_to_convert() -> None:
    with pytest.raises(errors.InvalidIdentifierError):  # str() would raise Python's own ValueError
        ContactId(10**5000)


def test_parse_identifier_returns_identifiers_unchanged() -> None:
    identifier = Phone("+1 2")
    assert parse_identifier(identifier) is identifier


@pytest.mark.parametrize("identifier", [ContactId("1"), Email("a@b.c"), Phone("+60123")])
def test_identifiers_are_immutable_hashable_and_picklable(identifier: Identifier) -> None:
    assert parse_identifier(str(identifier)) == identifier
    assert {identifier: 1}[pickle.loads(pickle.dumps(identifier))] == 1
    assert copy.deepcopy(identifier) == identifier
    with pytest.raises(AttributeError):
        identifier.value = "x"  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        identifier.other = "x"  # type: ignore[union-attr]


def test_identifiers_of_different_kinds_are_unequal() -> None:
    assert len({ContactId("+1"), Phone("+1"), ContactId("+1")}) == 2


def test_invalid_identifier_error_truncates_long_input() -> None:
    with pytest.raises(ValueError, match="does not begin with") as caught:
        parse_identifier("x" * 1_000_000)
    assert len(str(caught.value)) < 1_000


@given(st.text())
def test_parse_identifier_accepts_or_rejects_any_string(text: str) -> None:
    for prefix in ("", "id:", "email:", "phone:"):
        try:
            identifier = parse_identifier(prefix + text)
        except errors.InvalidIdentifierError:
            continue
        assert parse_identifier(str(identifier)) == identifier
        assert not any(ord(character) < 32 or "\ud800" <= character <= "\udfff" for character in identifier.value)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_encode_segment_escapes_all_path_delimiters(text: str) -> None:
    encoded = encode_segment(text)
    assert encoded.isascii()
    assert not set(encoded) & set('/?#+&= \\;"<>')
    assert unquote(encoded, errors="strict") == text


@given(st.integers(1, 10**15), st.lists(st.sampled_from(" -./"), max_size=8))
def test_phone_removes_separators(number: int, padding: list[str]) -> None:
    digits = str(number)
    text = "+" + "".join(a + b for a, b in zip(digits, padding + [""] * len(digits), strict=False))
    assert Phone(text) == Phone("+" + digits)


@pytest.mark.parametrize("kind", [ContactId, Email, Phone])
def test_repr_works_on_half_initialized_identifiers(kind: Any) -> None:
    """Error trackers call `repr` on every variable of a traceback's frames, including ``self`` of the constructor."""
    with pytest.raises(errors.InvalidIdentifierError) as caught:
        kind("")
    shown = [repr(frame.f_locals) for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    assert any(f"{kind.__name__}(value='?')" in text for text in shown)
    assert repr(Email("a@b.c")) == "Email(value='a@b.c')"
