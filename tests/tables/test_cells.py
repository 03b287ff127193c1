"""Cells that are not strings, and cells at the limits of a rule."""

from __future__ import annotations

from datetime import date, time
from typing import Any

import pytest

from aelyst_async.tables import MappingError
from aelyst_async.tables.cells import CellError, Changed
from aelyst_async.tables.values import Rules

RULES = Rules()


class NoComparison:
    """As some arrays, it raises when it is compared."""

    def __ne__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]


def test_days_and_times_become_text() -> None:
    text = RULES.of_field("text")
    assert text(date(2025, 3, 14)) == Changed("2025-03-14", "a date or time written as text")
    assert text(time(9, 30)) == Changed("09:30:00", "a date or time written as text")


@pytest.mark.parametrize(
    ("kind", "cell", "words"),
    [
        ("text", "x" * 65_537, "65,537 characters; at most 65,536 are sent"),
        ("text", NoComparison(), "expected text, got NoComparison"),
        ("text", float("inf"), "expected text, got inf"),
        ("object", {"a": {1}}, "a JSON object holds only"),
        ("object", {"a": float("nan")}, "a JSON object holds only"),
        ("object", "{", "is not JSON"),
        ("email", "a@\u0301x.com", "is not an e-mail address"),
    ],
)
def test_cells_that_a_field_refuses(kind: str, cell: Any, words: str) -> None:
    with pytest.raises(CellError) as refusal:
        RULES.of_field(kind)(cell)
    assert words in str(refusal.value)


def test_an_object_is_sent_with_its_keys_in_one_order() -> None:
    assert list(RULES.of_field("object")({"b": 1, "a": {"d": 1, "c": 2}})) == ["a", "b"]


def test_a_number_of_more_than_100_digits_is_refused() -> None:
    assert RULES.of_custom("number")(10**99) == 10**99
    with pytest.raises(CellError, match="more than 100 digits"):
        RULES.of_custom("number")(10**100)


def test_times_lose_their_seconds() -> None:
    assert RULES.of_custom("time")("09:30:00") == Changed("09:30", "the seconds 00 dropped")
    with pytest.raises(CellError):
        RULES.of_custom("time")("09:30:15")
    untyped = RULES.of_custom(None)(time(9, 30))
    assert (untyped.value if isinstance(untyped, Changed) else untyped) == "09:30"


def test_a_date_format_also_takes_iso_dates_and_midnights() -> None:
    rule = RULES.of_custom("date", "%d/%m/%Y")

    def made(cell: str) -> Any:
        found = rule(cell)
        return found.value if isinstance(found, Changed) else found

    assert [made(cell) for cell in ("14/03/2025", "2025-03-14", "2025-03-14T00:00:00")] == ["2025-03-14"] * 3
    with pytest.raises(CellError, match="not a date in the format %d/%m/%Y, nor ISO"):
        rule("March 14")


@pytest.mark.parametrize("words", [[""], [1], ["yes", " "]])
def test_words_for_true_are_strings(words: Any) -> None:
    with pytest.raises(MappingError, match="--true takes words"):
        Rules(true=words)


def test_one_word_for_true_may_be_a_string() -> None:
    assert Rules(true="ja").checkbox("JA") is True


@pytest.mark.parametrize("number", ["+80012345678", "+870773111632"])
def test_country_codes_of_no_country_are_numbers_too(number: str) -> None:
    pytest.importorskip("phonenumbers")
    made = Rules(region="DE").of_field("phone")(number)
    assert (made.value if isinstance(made, Changed) else made) == number


@pytest.mark.parametrize("cell", ["1", "()-", "- -"])
def test_too_few_digits_are_no_number_of_a_region(cell: str) -> None:
    pytest.importorskip("phonenumbers")
    with pytest.raises(CellError, match="is not a phone number"):
        Rules(region="DE").of_field("phone")(cell)
