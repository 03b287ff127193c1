"""The rules of cells: what they take, what they make of it, what they refuse."""

from __future__ import annotations

import contextlib
import math
from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aelyst_async.identifiers import Email, Phone
from aelyst_async.sync import MappingError
from aelyst_async.sync.values import CUSTOM_TYPES, fold_email, is_empty, phone_rule, rule_for

ACCEPTED: list[tuple[str, Any, Any]] = [
    ("email", " ann+news@example.com ", "ann+news@example.com"),
    ("email", "o'brien@example.co.uk", "o'brien@example.co.uk"),
    ("email", '"ann.lee"@example.com', '"ann.lee"@example.com'),
    ("email", "用户@例子.广告", "用户@例子.广告"),
    ("phone", "+60 12-345 6789", "+60123456789"),
    ("phone", "+1 (415) 555.2671", "+14155552671"),
    ("url", "www.website.com", "www.website.com"),
    ("url", "https://www.website.com/a?b=c#d", "https://www.website.com/a?b=c#d"),
    ("url", "website.com", "website.com"),
    ("url", "http://website.com:8080/x", "http://website.com:8080/x"),
    ("language", "MS", "ms"),
    ("country", "my", "MY"),
    ("bool", "Yes", True),
    ("bool", False, False),
    ("object", '{"a": 1}', {"a": 1}),
    ("text", "Muhammad ", "Muhammad "),
    ("text", "line\nbreak\ttab", "line\nbreak\ttab"),
    ("text", 42, "42"),
]
REFUSED: list[tuple[str, Any]] = [
    ("email", "ann"),
    ("email", "ann@localhost"),
    ("email", "a b@example.com"),
    ("email", "a..b@example.com"),
    ("email", ".a@example.com"),
    ("email", "a@-example.com"),
    ("email", "a@example..com"),
    ("email", "a@b@example.com"),
    ("email", "a" * 65 + "@example.com"),
    ("email", "a\u0085b@example.com"),
    ("email", "[email protected]"),
    ("email", 7),
    ("phone", "0123456789"),
    ("phone", "+0123456789"),
    ("phone", "+1234567890123456"),
    ("phone", "+60 12 CALL"),
    ("phone", "+٦٠١٢٣٤٥٦٧"),
    ("url", "not a link"),
    ("url", "javascript:alert(1)"),
    ("url", "ftp://website.com"),
    ("language", "Malay"),
    ("language", "xx"),
    ("country", "UK"),
    ("bool", "maybe"),
    ("bool", 2),
    ("object", "[1]"),
    ("text", "bell\x07"),
    ("text", "half \ud800"),
    ("text", ["a"]),
    ("text", True),
]


@pytest.mark.parametrize(("kind", "cell", "value"), ACCEPTED)
def test_accepted(kind: str, cell: Any, value: Any) -> None:
    made = rule_for(kind)(cell)
    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(("kind", "cell"), REFUSED)
def test_refused_with_words(kind: str, cell: Any) -> None:
    with pytest.raises(ValueError, match=r"\w") as refusal:
        rule_for(kind)(cell)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 200


CUSTOM: list[tuple[str | None, Any, Any]] = [
    ("number", "41", 41),
    ("number", "-3.5", -3.5),
    ("number", "007", 7),
    ("number", "1e3", 1000),
    ("number", Decimal("2.5"), 2.5),
    ("checkbox", "TRUE", True),
    ("checkbox", "0", False),
    ("date", "2024-02-29", "2024-02-29"),
    ("date", date(2026, 11, 21), "2026-11-21"),
    ("time", "13:00", "13:00"),
    ("time", time(9, 5), "09:05"),
    ("list", " Gold ", "Gold"),
    ("text", "true", "true"),
    (None, "true", "true"),
    (None, 5, 5),
    (None, True, True),
    (None, 2.5, 2.5),
    (None, date(2026, 1, 2), "2026-01-02"),
]


@pytest.mark.parametrize(("kind", "cell", "value"), CUSTOM)
def test_custom_values(kind: str | None, cell: Any, value: Any) -> None:
    made = rule_for("custom_fields", custom_type=kind)(cell)
    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("number", "1,000"), ("number", "12 apples"), ("number", True), ("number", math.nan), ("number", "1e999"),
        ("number", "0.1234567890123456789"), ("number", "٤١"), ("number", ""), ("date", "2023-02-29"),
        ("date", "21/11/2026"), ("date", "2026-1-2"), ("date", datetime(2026, 1, 2, tzinfo=timezone.utc)),
        ("time", "24:00"), ("time", "9:30"), ("time", "1pm"), ("time", time(1, 2, 3)), ("checkbox", "ja"),
        (None, math.inf), (None, {"a": 1}), ("url", "x"), ("email", "x"),
    ],
)  # fmt: skip
def test_custom_values_refused(kind: str | None, cell: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        rule_for("custom_fields", custom_type=kind)(cell)


@given(st.text(), st.sampled_from(["email", "phone", "url", "language", "country", "bool", "text", "object"]))
def test_a_rule_returns_or_raises_value_error(cell: str, kind: str) -> None:
    with contextlib.suppress(ValueError):
        rule_for(kind)(cell)


@given(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers()), st.binary()),
    st.sampled_from(CUSTOM_TYPES),
)
def test_a_custom_rule_returns_or_raises_value_error(cell: Any, kind: str) -> None:
    with contextlib.suppress(ValueError):
        rule_for("custom_fields", custom_type=kind)(cell)


@given(st.emails() | st.text(max_size=40))
def test_an_accepted_email_is_an_identifier(cell: str) -> None:
    """What the sync lets through must not be refused later, when the request is made."""
    try:
        address = rule_for("email")(cell)
    except ValueError:
        return
    assert Email(address).value == address


@given(st.from_regex(r"[+ 0-9().\-]{1,20}", fullmatch=True))
def test_an_accepted_phone_is_an_identifier(cell: str) -> None:
    try:
        number = rule_for("phone")(cell)
    except ValueError:
        return
    assert Phone(number).value == number


def test_national_numbers_need_a_region() -> None:
    with pytest.raises(ValueError, match="--region"):
        rule_for("phone")("012-345 6789")
    malaysian = phone_rule("my")
    assert malaysian is not None
    assert malaysian("012-345 6789") == "+60123456789"
    assert malaysian("+1 415 555 2671") == "+14155552671"
    assert malaysian("+44 (0)20 7946 0958") == "+442079460958"
    with pytest.raises(ValueError, match="possible"):
        malaysian("12")
    with pytest.raises(MappingError, match="ISO 3166"):
        phone_rule("XX")


def test_folding() -> None:
    assert fold_email("Ann@Example.COM") == fold_email("ann@example.com")
    assert fold_email("Zoe\u0308@example.com") == fold_email("zo\u00eb@example.com")


@pytest.mark.parametrize(("cell", "empty"), [("", True), ("  \u00a0", True), ("x", False), (None, False), (0, False)])
def test_empty(cell: Any, empty: bool) -> None:
    assert is_empty(cell) is empty
