"""Conditions for listing contacts, and their wire form.

::

    Field("email").contains("@example.com") & HasTag("vip")
    Field("custom_fields.Seats").greater_than(3) | Field("country_code").equals("MY")

The API takes one flat list of conditions, under ``$and`` or under ``$or``; an empty list means every contact. One
condition is ``{"category": …, "field": …, "operator": …, "value": …}``. The vendor's documentation names the two lists.
The form of a condition and its operators are those of the vendor family's own clients. None of them has ``contains``,
so a server may refuse it with a 400. A condition that the wire form cannot express raises `ConfigurationError` at its
construction.
"""

from __future__ import annotations

import difflib
import math
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, NoReturn

import attrs

from aelyst_async.contacts import Tag
from aelyst_async.errors import ConfigurationError
from aelyst_async.schema import text
from aelyst_providers.aelyst.wire import SCHEMA

__all__ = ["Condition", "Field", "HasTag", "filter_of"]

_READ_ONLY = {"status": "status", "created_at": "created_at", "assignee_id": "assigneeUserId"}
_TIMES = frozenset({"created_at"})


@attrs.frozen
class _Test:
    """One condition as it is sent. A tuple represents an array; a pair in a tuple represents ``{from, to}``."""

    category: Literal["contactField", "contactTag"]
    field: str | None
    operator: str
    value: str | tuple[str, ...] | None = None

    def wire(self) -> dict[str, Any]:
        value: Any = self.value
        if isinstance(value, tuple):
            between = self.operator in {"isBetween", "isTimestampBetween"}
            value = dict(zip(("from", "to"), value, strict=True)) if between else list(value)
        return {"category": self.category, "field": self.field, "operator": self.operator, "value": value}


@attrs.frozen
class Condition:
    """A condition, or several joined by ``&`` (all hold) or by ``|`` (at least one holds).

    A `Tag` may stand on either side: ``condition & Tag("vip")`` means `HasTag`. Raises `ConfigurationError` for a mix
    of ``&`` and ``|``, which the API cannot express.
    """

    tests: tuple[_Test, ...]
    joint: Literal["", "$and", "$or"] = ""

    def __and__(self, other: Condition | Tag) -> Condition:
        return _joined("$and", self, other)

    def __rand__(self, other: Tag) -> Condition:
        return _joined("$and", other, self)

    def __or__(self, other: Condition | Tag) -> Condition:
        return _joined("$or", self, other)

    def __ror__(self, other: Tag) -> Condition:
        return _joined("$or", other, self)

    def __invert__(self) -> NoReturn:
        raise ConfigurationError("where: the API cannot negate a condition; use not_equals, missing or HasTag.none")

    def __bool__(self) -> NoReturn:
        raise ConfigurationError("where: join conditions with & and |, not with `and`, `or`, `not`")

    def wire(self) -> dict[str, Any]:
        """Return the value of ``filter`` in the request."""
        return {self.joint or "$and": [test.wire() for test in self.tests]}


def _joined(joint: Literal["$and", "$or"], left: object, right: object) -> Condition:
    sides = (condition_of(left), condition_of(right))
    if any(side.joint not in {"", joint} for side in sides):
        raise ConfigurationError("where: the API accepts only conditions that are all joined by & or all by |")
    return Condition(sides[0].tests + sides[1].tests, joint)


def condition_of(value: object) -> Condition:
    """Return a condition unchanged, and a `Tag` as `HasTag`. Raises `ConfigurationError` for anything else."""
    if isinstance(value, Condition):
        return value
    if isinstance(value, Tag):
        return HasTag(value)
    raise ConfigurationError(
        f'where: expected a condition such as Field("email").equals("ann@example.com"), got {type(value).__name__}'
    )


def filter_of(where: object) -> dict[str, Any]:
    """Return the value of ``filter`` for `where`; None means every contact. Raises `ConfigurationError`."""
    return {"$and": []} if where is None else condition_of(where).wire()


class HasTag(Condition):
    """The contact has this tag: ``HasTag("vip")``. For several tags: `any`, `all` and `none`."""

    def __init__(self, tag: str | Tag) -> None:
        super().__init__(_tags("hasAnyOf", (tag,)).tests)

    @staticmethod
    def any(*tags: str | Tag) -> Condition:
        """The contact has at least one of the tags."""
        return _tags("hasAnyOf", tags)

    @staticmethod
    def all(*tags: str | Tag) -> Condition:
        """The contact has all of the tags."""
        return _tags("hasAllOf", tags)

    @staticmethod
    def none(*tags: str | Tag) -> Condition:
        """The contact has none of the tags."""
        return _tags("hasNoneOf", tags)


def _tags(operator: str, tags: tuple[str | Tag, ...]) -> Condition:
    names = tuple(_value(tag.name if isinstance(tag, Tag) else tag, "HasTag", str) for tag in tags)
    if not names:
        raise ConfigurationError("HasTag: give at least one tag")
    return Condition((_Test("contactTag", None, operator, names),))


class Field:
    """A field to compare: by our name or the vendor's, or ``custom_fields.NAME``.

    Filterable are the writable fields, ``status``, ``created_at`` and ``assignee_id``. Raises `ConfigurationError` for
    another name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._wire = _wire_name(name)

    def equals(self, value: object) -> Condition:
        """The field is `value`: a str, a number, a bool, a date, or a datetime with a time zone."""
        return self._test("isEqualTo", _value(value, self.name))

    def not_equals(self, value: object) -> Condition:
        """The field is another value."""
        return self._test("isNotEqualTo", _value(value, self.name))

    def contains(self, part: str) -> Condition:
        """The field's text contains `part`. No client of the vendor family sends this operator (see above)."""
        if self.name in _TIMES:
            raise ConfigurationError(f"where: {self.name} is a time; use after, before or between")
        return self._test("contains", _value(part, self.name, str))

    def exists(self) -> Condition:
        """The field has a value."""
        return self._test("exists", None)

    def missing(self) -> Condition:
        """The field has no value."""
        return self._test("doesNotExist", None)

    def greater_than(self, number: float | Decimal) -> Condition:
        """The field is a number above `number`."""
        return self._test("isGreaterThan", _value(number, self.name, (int, float, Decimal)))

    def less_than(self, number: float | Decimal) -> Condition:
        """The field is a number below `number`."""
        return self._test("isLessThan", _value(number, self.name, (int, float, Decimal)))

    def after(self, moment: date) -> Condition:
        """The field is a date or time after `moment`, a date or a datetime with a time zone."""
        return self._test("isTimestampAfter", _value(moment, self.name, date))

    def before(self, moment: date) -> Condition:
        """The field is a date or time before `moment`."""
        return self._test("isTimestampBefore", _value(moment, self.name, date))

    def between(self, low: float | Decimal | date, high: float | Decimal | date) -> Condition:
        """The field is from `low` to `high`: two numbers, two dates or two datetimes."""
        times = isinstance(low, date)
        kind: Any = date if times else (int, float, Decimal)
        pair = (_value(low, self.name, kind), _value(high, self.name, kind))
        if isinstance(low, datetime) is not isinstance(high, datetime) or low > high:  # type: ignore[operator]
            raise ConfigurationError(f"where: {self.name}: between takes a lower and an upper bound of one type")
        return self._test("isTimestampBetween" if times else "isBetween", pair)

    def _test(self, operator: str, value: str | tuple[str, ...] | None) -> Condition:
        return Condition((_Test("contactField", self._wire, operator, value),))


def _wire_name(name: object) -> str:
    if not isinstance(name, str):
        raise ConfigurationError(f"Field: expected the name of a field, got {type(name).__name__}")
    head, _, custom = name.partition(".")
    if head == "custom_fields" and custom:
        return _value(custom, name, str)
    rule = SCHEMA.rule(name)
    if rule is not None and rule.kind != "custom_fields":
        return rule.wire
    if name in _READ_ONLY or name in _READ_ONLY.values():
        return _READ_ONLY.get(name, name)
    if name == "tags":
        raise ConfigurationError('Field: tags are compared with HasTag("vip")')
    known = [*(one.name for one in SCHEMA.rules if one.kind != "custom_fields"), *_READ_ONLY, "custom_fields.NAME"]
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    raise ConfigurationError(f"Field: the API cannot filter by {name!r:.80}; {hint}")


def _value(value: Any, name: str, kind: Any = object) -> str:
    """Return a value as the API accepts it: a string. Raises `ConfigurationError`."""
    if isinstance(value, bool) and kind is object:
        return "true" if value else "false"
    problem = f"where: {name}: a value of type {type(value).__name__} cannot be compared here"
    if isinstance(value, kind) and not isinstance(value, bool):
        if isinstance(value, str) and value:
            try:
                return text(value)
            except ValueError as refusal:
                problem = f"where: {name}: {refusal}"
        elif isinstance(value, str):
            problem = f"where: {name}: the value is empty; use missing()"
        elif isinstance(value, datetime) and value.tzinfo is None:
            problem = f"where: {name}: the datetime needs a time zone"
        elif isinstance(value, date):
            return value.isoformat()
        elif isinstance(value, (int, float, Decimal)) and math.isfinite(value):
            return f"{value:f}" if isinstance(value, Decimal) else repr(value)
    raise ConfigurationError(problem)
