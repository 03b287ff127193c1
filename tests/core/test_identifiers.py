"""Identifiers: what is accepted, what is refused, and how they are written into a path."""

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
def test_parse(text: str, expected: Identifier) -> None:
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
def test_parse_refuses(text: str) -> None:
    with pytest.raises(errors.InvalidIdentifierError):
        parse_identifier(text)


@pytest.mark.parametrize("value", [None, 1, b"id:1", ["id:1"], object(), 1.5])
def test_only_text_and_identifiers(value: Any) -> None:
    with pytest.raises(errors.InvalidIdentifierError, match="expected ContactId, Email, Phone or str"):
        parse_identifier(value)


@pytest.mark.parametrize("kind", [Email, Phone, ContactId])
@pytest.mark.parametrize("value", [None, b"x", 1.5, True, ["a@b"]])
def test_values_are_text(kind: Any, value: Any) -> None:
    with pytest.raises(errors.InvalidIdentifierError, match="expected text"):
        kind(value)


def test_an_id_may_be_an_int() -> None:
    assert ContactId(123) == ContactId("123")
    assert ContactId(123).value == "123"


def test_an_int_too_long_to_write_is_refused() -> None:
    with pytest.raises(errors.InvalidIdentifierError):  # str() of it raises a ValueError of Python's own
        ContactId(10**5000)


def test_an_object_is_returned_as_it_is() -> None:
    who = Phone("+1 2")
    assert parse_identifier(who) is who


@pytest.mark.parametrize("who", [ContactId("1"), Email("a@b.c"), Phone("+60123")])
def test_identifiers_are_values(who: Identifier) -> None:
    assert parse_identifier(str(who)) == who
    assert {who: 1}[pickle.loads(pickle.dumps(who))] == 1
    assert copy.deepcopy(who) == who
    with pytest.raises(AttributeError):
        who.value = "x"  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        who.other = "x"  # type: ignore[union-attr]


def test_kinds_do_not_compare_equal() -> None:
    assert len({ContactId("+1"), Phone("+1"), ContactId("+1")}) == 2


def test_the_error_is_a_value_error_and_shows_no_endless_text() -> None:
    with pytest.raises(ValueError, match="does not begin with") as caught:
        parse_identifier("x" * 1_000_000)
    assert len(str(caught.value)) < 1_000


@given(st.text())
def test_any_text_is_an_identifier_or_refused(text: str) -> None:
    for prefix in ("", "id:", "email:", "phone:"):
        try:
            who = parse_identifier(prefix + text)
        except errors.InvalidIdentifierError:
            continue
        assert parse_identifier(str(who)) == who
        assert not any(ord(character) < 32 or "\ud800" <= character <= "\udfff" for character in who.value)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_segment_holds_nothing_that_ends_it(text: str) -> None:
    encoded = encode_segment(text)
    assert encoded.isascii()
    assert not set(encoded) & set('/?#+&= \\;"<>')
    assert unquote(encoded, errors="strict") == text


@given(st.integers(1, 10**15), st.lists(st.sampled_from(" -./"), max_size=8))
def test_padding_in_a_phone_is_removed(number: int, padding: list[str]) -> None:
    digits = str(number)
    text = "+" + "".join(a + b for a, b in zip(digits, padding + [""] * len(digits), strict=False))
    assert Phone(text) == Phone("+" + digits)


@pytest.mark.parametrize("kind", [ContactId, Email, Phone])
def test_one_that_was_refused_can_be_looked_at(kind: Any) -> None:
    """Error trackers take the `repr` of every variable of a traceback's frames, this one's ``self`` too."""
    with pytest.raises(errors.InvalidIdentifierError) as caught:
        kind("")
    shown = [repr(frame.f_locals) for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    assert any(f"{kind.__name__}(value='?')" in text for text in shown)
    assert repr(Email("a@b.c")) == "Email(value='a@b.c')"
