"""Conditions as text, for command lines and configuration files: ``email contains @example.com``, ``tag vip``."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from aelyst_async.errors import ConfigurationError
from aelyst_providers.aelyst.conditions import Condition, Field, HasTag

__all__ = ["parse_condition"]

_WITH_VALUE = ("equals", "not_equals", "contains", "greater_than", "less_than", "after", "before")
_WITHOUT_VALUE = ("exists", "missing")
_FORM = re.compile(
    rf"\s*(?P<field>\S(?:.*?\S)??)\s+(?:(?P<bare>{'|'.join(_WITHOUT_VALUE)})"
    rf"|(?P<operator>{'|'.join(_WITH_VALUE)})\s+(?P<value>.*\S))\s*",
    re.DOTALL,
)
_TAG = re.compile(r"\s*tag\s+(?P<tag>.*\S)\s*", re.DOTALL)


def parse_condition(said: str) -> Condition:
    """Parse a condition: ``tag NAME``, ``FIELD exists``, ``FIELD missing`` or
    ``FIELD OPERATOR VALUE`` with an operator of equals, not_equals, contains, greater_than, less_than, after, before.

    A time is ISO 8601: a date, or a date and time with a zone. Raises `ConfigurationError`.
    """
    found = _FORM.fullmatch(said)
    if found is None:
        tag = _TAG.fullmatch(said)
        if tag is not None:
            return HasTag(tag["tag"])
        raise ConfigurationError(
            "where: expected 'FIELD OPERATOR VALUE', 'FIELD exists', 'FIELD missing' or 'tag NAME'; "
            f"the operators are {', '.join(_WITH_VALUE)}"
        )
    field: Any = Field(found["field"])
    if found["bare"]:
        return _condition(getattr(field, found["bare"]))
    operator, value = found["operator"], _value(found["operator"], found["value"])
    return _condition(getattr(field, operator), value)


def _condition(make: Callable[..., Condition], *values: object) -> Condition:
    return make(*values)


def _value(operator: str, value: str) -> Any:
    problem = ""
    try:
        if operator in {"greater_than", "less_than"}:
            return Decimal(value)
        if operator in {"after", "before"}:
            return date.fromisoformat(value) if len(value) == 10 else datetime.fromisoformat(value)
    except InvalidOperation:
        problem = f"{operator} takes a number such as 3 or 2.5"
    except ValueError:
        problem = f"{operator} takes a date such as 2026-01-31, or a date and time such as 2026-01-31T08:00+08:00"
    if problem:
        raise ConfigurationError(f"where: {problem}")
    return value
