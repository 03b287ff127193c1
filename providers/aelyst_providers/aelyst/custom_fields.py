"""Aelyst's custom fields: the value object, its accepted inputs, and the encoding of values.

The rules are those of the seed pages *Create a contact* and *Update a contact*. `AelystFields` checks values against
them at its construction. Values that are read are not checked, because a server may hold values that it would not
accept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, TypeAlias

import attrs

from aelyst_async.contacts import UNSET, Unset
from aelyst_async.errors import UnsupportedFieldError
from aelyst_async.schema import text

__all__ = ["CustomField", "CustomFields", "CustomValue", "encode_custom_fields", "encode_custom_value", "to_tuple"]

CustomValue: TypeAlias = str | int | float | Decimal | bool | date | time | None
"""The values of a custom field. Type checkers accept a `datetime` as a `date`, but encoding refuses it."""


@attrs.frozen
class CustomField:
    """A custom field: ``CustomField("Company Website", "https://example.com")``.

    When read, ``value`` is a `str`, a number, a `bool` or `None`, unchanged. When written, it may also be a
    `datetime.date` (sent as ``yyyy-mm-dd``), a `datetime.time` (``HH:MM``) or a `decimal.Decimal`.
    """

    name: str
    value: CustomValue = None


# Not `Iterable`, because a `dict` is one too, and mypy then infers no type for a literal with values of several types.
CustomFields: TypeAlias = (
    Mapping[str, CustomValue] | Sequence[CustomField] | AbstractSet[CustomField] | Iterator[CustomField]
)
"""Custom fields as `AelystFields` accepts them: a mapping of names to values, or several `CustomField` objects."""


def to_tuple(value: CustomFields | Unset | None) -> tuple[CustomField, ...] | Unset | None:
    """Return custom fields as a tuple; `UNSET` and `None` unchanged.

    A set is sorted by name. Raises `UnsupportedFieldError`, naming the custom field, for a value that cannot be
    written.
    """
    if value is None or value is UNSET:
        return value
    fields: Any = value
    if isinstance(value, Mapping):
        fields = tuple(CustomField(name, item) for name, item in value.items())
    elif isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        fields = tuple(value)  # an iterator can be read only once, yet an upsert may send the fields twice
    try:
        encode_custom_fields(fields)
    except ValueError as refusal:
        problem = str(refusal)
    else:
        return tuple(sorted(fields, key=lambda field: field.name)) if isinstance(value, AbstractSet) else fields
    # Outside `except`, so that the first error is not the context of this one.
    raise UnsupportedFieldError(f"aelyst: custom_fields: {problem}")


def encode_custom_value(value: Any) -> Any:
    """Return a custom value as the seed pages format it. Raises `ValueError` for one that is not permitted.

    Strings and booleans are unchanged, numbers are JSON numbers, a date is ``yyyy-mm-dd``, a time is ``HH:MM`` (24 h).
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) >= 10**300:  # Python cannot encode it, and no JSON decoder keeps it
            raise ValueError("the number has more than 300 digits")
        return value
    if isinstance(value, str):
        return text(value)
    if isinstance(value, datetime):  # checked before date, of which it is a subclass
        raise ValueError(  # noqa: TRY004 - encoders raise one class
            "a datetime is not permitted (its day depends on a time zone); pass its .date() or .time()"
        )
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, time):
        if value.second or value.microsecond or value.tzinfo is not None:
            raise ValueError("a time is sent as HH:MM: no seconds, no time zone")
        return value.strftime("%H:%M")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("a number must be finite")
        return value
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError("a number must be finite")
        whole = value == value.to_integral_value()
        if whole and abs(value) < 10**15:
            return int(value)
        if Decimal(repr(float(value))) != value:
            raise ValueError("the Decimal has more digits than a JSON number keeps; pass it as a string")
        return float(value)
    raise ValueError(
        f"a value of type {type(value).__name__} is not permitted; pass a str, a number, a bool, a date, a time or None"
    )


def encode_custom_fields(value: Any) -> list[dict[str, Any]]:
    """Return custom fields as ``[{"name": …, "value": …}]``. Raises `ValueError`."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        raise ValueError(f"expected a mapping or CustomField objects, got {type(value).__name__}")
    encoded: dict[str, dict[str, Any]] = {}
    for item in value:
        if not isinstance(item, CustomField):
            raise ValueError(f"expected a mapping or CustomField objects, got {type(item).__name__}")  # noqa: TRY004
        if not isinstance(item.name, str) or not item.name:
            raise ValueError(f"the name of a custom field must be a non-empty str, not {item.name!r:.80}")
        if item.name in encoded:
            raise ValueError(f"the custom field {item.name!r} is given twice")
        try:
            encoded[item.name] = {"name": text(item.name), "value": encode_custom_value(item.value)}
        except ValueError as refusal:
            raise ValueError(f"{item.name!r}: {refusal}") from None
    return list(encoded.values())
