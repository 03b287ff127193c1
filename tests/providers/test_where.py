"""`AelystGateway.condition`: parses text to the same conditions that code builds."""

from __future__ import annotations

from datetime import date, datetime, timezone
from decimal import Decimal

import pytest

from aelyst_async import errors
from aelyst_providers.aelyst import AelystGateway, Condition, Field, HasTag


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("email contains @example.com", Field("email").contains("@example.com")),
        ("  first_name  equals  Ann van Lee ", Field("first_name").equals("Ann van Lee")),
        ("custom_fields.Company Name not_equals A exists", Field("custom_fields.Company Name").not_equals("A exists")),
        ("custom_fields.Seats greater_than 3", Field("custom_fields.Seats").greater_than(3)),
        ("custom_fields.Seats less_than 2.5", Field("custom_fields.Seats").less_than(Decimal("2.5"))),
        ("phone exists", Field("phone").exists()),
        ("phone missing", Field("phone").missing()),
        ("tag vip", HasTag("vip")),
        ("tag new_customer, sales", HasTag("new_customer, sales")),
        ("created_at after 2026-01-31", Field("created_at").after(date(2026, 1, 31))),
        (
            "created_at before 2026-01-31T08:00:00+00:00",
            Field("created_at").before(datetime(2026, 1, 31, 8, tzinfo=timezone.utc)),
        ),
    ],
)
def test_condition_parses_text(text: str, expected: Condition) -> None:
    assert AelystGateway.condition(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "email",
        "tag",
        "email contains",
        "email like x",
        "emial equals x",
        "email after soon",
        "first_name greater_than x",
    ],
)
def test_condition_rejects_malformed_text(text: str) -> None:
    with pytest.raises(errors.ConfigurationError):
        AelystGateway.condition(text)
