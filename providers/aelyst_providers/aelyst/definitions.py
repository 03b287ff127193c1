"""The definitions of custom fields, and the conversion of their values.

The vendor's types are text, list, checkbox, email, number, url, date and time; other types are handled as untyped.

==========  ======================================  =========================================================
type        read as                                 written from
==========  ======================================  =========================================================
number      `int`, `Decimal` for a fraction         `int`, `float`, `Decimal`
checkbox    `bool`                                  `bool`
date        `datetime.date`                         `date`, or a `str` of the form ``yyyy-mm-dd``
time        `datetime.time`                         `time` without seconds, or a `str` of the form ``HH:MM``
list        `str`                                   one of the options
text, url   `str`                                   `str`
email       `str`                                   an address
==========  ======================================  =========================================================

`None` clears a field of any type. Reading is tolerant: a value that does not have its field's type is not converted.
Writing is strict.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import attrs

from aelyst_async.errors import ConfigurationError
from aelyst_async.schema import ItemRule, email, text
from aelyst_providers.aelyst.custom_fields import CustomField, CustomValue, encode_custom_fields, encode_custom_value

__all__ = ["CustomFieldDefinition", "CustomFieldTypes"]


@attrs.frozen(kw_only=True)
class CustomFieldDefinition:
    """A custom field of the account, as ``GET /space/custom_field`` describes it.

    ``data_type``: text, list, checkbox, email, number, url, date, time; an open set. ``options``: the values that a
    list accepts; empty if unknown. ``slug``: a second name of the field in writes.
    """

    name: str
    id: str | None = None
    slug: str | None = None
    description: str | None = None
    data_type: str = "text"
    options: tuple[str, ...] = ()
    raw: Any = attrs.field(default=None, repr=False, eq=False)

    def decode(self, value: CustomValue) -> CustomValue:
        """Return a value from the API with the field's type; unchanged if it cannot be converted."""
        decode = _DECODERS.get(self.data_type)
        with suppress(ValueError, ArithmeticError):  # Decimal raises ArithmeticError
            return value if decode is None else decode(value)
        return value

    def encode(self, value: CustomValue) -> Any:
        """Return `value` as the API accepts it. Raises `ValueError` if it does not have the field's type."""
        if value is None:
            return None
        if self.data_type == "list":
            return self._option(value)
        encode = _ENCODERS.get(self.data_type, encode_custom_value)
        return encode(value)

    def _option(self, value: CustomValue) -> str:
        chosen = text(value)
        if self.options and chosen not in self.options:
            raise ValueError(f"{chosen!r:.80} is not an option{_suggestion(chosen, self.options)}")
        return chosen


class CustomFieldTypes:
    """The definitions of an account, by name and by slug. Raises `ConfigurationError` for an object of another type."""

    def __init__(self, definitions: Iterable[CustomFieldDefinition]) -> None:
        self.definitions: tuple[CustomFieldDefinition, ...] = (
            tuple(definitions) if isinstance(definitions, Iterable) else (definitions,)
        )
        for definition in self.definitions:
            if not isinstance(definition, CustomFieldDefinition):
                raise ConfigurationError(
                    "with_custom_fields: expected CustomFieldDefinition objects from custom_fields(), "
                    f"not {type(definition).__name__}"
                )
        slugs = {one.slug: one for one in self.definitions if one.slug}
        self._by_name: dict[str, CustomFieldDefinition] = {**slugs, **{one.name: one for one in self.definitions}}

    @property
    def items(self) -> Mapping[str, ItemRule]:
        """The definitions as rules of a schema, by every accepted name."""
        return {name: ItemRule(one.name, one.data_type, one.options) for name, one in self._by_name.items()}

    def decode(self, name: str, value: CustomValue) -> CustomValue:
        """Return the typed value of a custom field from the API; the value of an unknown field is unchanged."""
        definition = self._by_name.get(name)
        return value if definition is None else definition.decode(value)

    def encode(self, value: Any) -> list[dict[str, Any]]:
        """Return custom fields as ``[{"name": …, "value": …}]``, each under the name of its definition.

        Raises `ValueError` for an unknown field, a value that does not have the field's type, and a field given twice.
        """
        fields: list[CustomField] = []
        encode_custom_fields(value)  # raises for an invalid custom field
        for field in value:
            definition = self._by_name.get(field.name)
            if definition is None:
                raise ValueError(f"there is no custom field {field.name!r:.80}{_suggestion(field.name, self._by_name)}")
            try:
                fields.append(CustomField(definition.name, definition.encode(field.value)))
            except ValueError as refusal:
                raise ValueError(f"{field.name!r}: {refusal}") from None
        return encode_custom_fields(fields)


def _suggestion(given: str, known: Iterable[str]) -> str:
    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(given.casefold(), folded, 1, 0.6)
    if near:
        return f"; did you mean {folded[near[0]]!r}?"
    names = sorted(set(known))
    return f"; there are {', '.join(map(repr, names[:10]))}{', …' if len(names) > 10 else ''}" if names else ""


def _read_number(value: CustomValue) -> CustomValue:
    if isinstance(value, str):
        number = Decimal(value.strip())
        if not number.is_finite():
            raise ValueError("not a number")
        return int(number) if number == number.to_integral_value() and abs(number) < 10**18 else number
    return Decimal(repr(value)) if isinstance(value, float) else value


def _read_checkbox(value: CustomValue) -> CustomValue:
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


def _read_date(value: CustomValue) -> CustomValue:
    return date.fromisoformat(value) if isinstance(value, str) and len(value) == 10 else value


def _read_time(value: CustomValue) -> CustomValue:
    return time.fromisoformat(value) if isinstance(value, str) and len(value) == 5 else value


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise ValueError(f"expected a number, got {type(value).__name__}")  # noqa: TRY004 - encoders raise one class
    return encode_custom_value(value)


def _checkbox(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected True or False, got {type(value).__name__}")  # noqa: TRY004
    return value


def _date(value: Any) -> Any:
    if isinstance(value, str):
        if isinstance(_read(_read_date, value), date):
            return value
        raise ValueError(f"{value!r:.80} is not a date of the form yyyy-mm-dd")
    if not isinstance(value, date) or isinstance(value, datetime):
        raise ValueError(f"expected a date, got {type(value).__name__}")  # noqa: TRY004
    return encode_custom_value(value)


def _time(value: Any) -> Any:
    if isinstance(value, str):
        if isinstance(_read(_read_time, value), time):
            return value
        raise ValueError(f"{value!r:.80} is not a time of the form HH:MM (24 hours)")
    if not isinstance(value, time):
        raise ValueError(f"expected a time, got {type(value).__name__}")  # noqa: TRY004
    return encode_custom_value(value)


def _read(decode: Any, value: str) -> Any:
    try:
        return decode(value)
    except ValueError:
        return None


_DECODERS = {"number": _read_number, "checkbox": _read_checkbox, "date": _read_date, "time": _read_time}
_ENCODERS = {
    "text": text, "url": text, "email": email, "number": _number, "checkbox": _checkbox, "date": _date, "time": _time,
}  # fmt: skip
