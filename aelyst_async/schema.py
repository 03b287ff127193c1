"""The writable fields of an API, as one table for each provider.

A `ContactSchema` lists each field with the vendor's key, whether null clears it, and whether create and update accept
it. The adapter encodes request bodies with it. The sync maps column names and validates rows with it before any
request. The command line derives options from it. So a field is described once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal, TypeAlias

import attrs

from aelyst_async.codes import COUNTRIES, LANGUAGES
from aelyst_async.contacts import UNSET, Contact, ContactFields
from aelyst_async.errors import InvalidIdentifierError, UnsupportedFieldError
from aelyst_async.identifiers import Email, Phone, is_bare_phone

__all__ = [
    "ContactSchema",
    "FieldProblem",
    "FieldRule",
    "ItemRule",
    "Operation",
    "boolean",
    "check_fields",
    "json_object",
    "text",
]

Operation: TypeAlias = Literal["create", "update"]

Kind: TypeAlias = Literal["text", "email", "phone", "url", "language", "country", "bool", "object", "custom_fields"]
"""The kind of a field. It determines how a table's cell is read and validated."""


def text(value: Any) -> str:
    """Encode a `str` as it is. Raises `ValueError` for anything else, as all encoders do."""
    if not isinstance(value, str):
        raise ValueError(f"expected text, got {type(value).__name__}")  # noqa: TRY004
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("the text contains a lone surrogate, which UTF-8 cannot encode") from None
    return value


def boolean(value: Any) -> bool:
    """Encode true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"expected True or False, got {type(value).__name__}")  # noqa: TRY004
    return value


def json_object(value: Any) -> dict[str, Any]:
    """Encode a JSON object: a mapping with `str` keys and values of JSON's types."""
    if not isinstance(value, Mapping):
        raise ValueError(f"expected a mapping, got {type(value).__name__}")  # noqa: TRY004
    try:
        json.dumps(dict(value), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        problem = type(error).__name__
    else:
        return dict(value)
    raise ValueError(f"not a JSON object ({problem})")


def email(value: Any) -> str:
    """Encode an e-mail address unchanged. Raises `ValueError` for an address that no API accepts."""
    try:
        return Email(text(value)).value
    except InvalidIdentifierError:
        raise ValueError("expected an e-mail address such as name@example.com") from None


def phone(value: Any) -> str:
    """Encode a phone number as ``+`` and digits."""
    if isinstance(value, str) and is_bare_phone(value):
        return value
    try:
        return Phone(text(value)).value
    except InvalidIdentifierError:
        raise ValueError("expected + and digits with the country code, such as +60123456789") from None


def language(value: Any) -> str:
    """Encode a language code of ISO 639-1, in lower case."""
    if isinstance(value, str) and value in LANGUAGES:
        return value
    code = text(value).strip().lower()
    if code not in LANGUAGES:
        raise ValueError("expected a language code of ISO 639-1 such as ms")
    return code


def country(value: Any) -> str:
    """Encode a country code of ISO 3166-1 alpha-2, in upper case."""
    if isinstance(value, str) and value in COUNTRIES:
        return value
    code = text(value).strip().upper()
    if code not in COUNTRIES:
        raise ValueError("expected a country code of ISO 3166-1 alpha-2 such as MY")
    return code


_ENCODERS: dict[str, Callable[[Any], Any]] = {
    "email": email,
    "phone": phone,
    "language": language,
    "country": country,
    "bool": boolean,
    "object": json_object,
}


def check_fields(fields: object, provider: str) -> None:
    """Raise `UnsupportedFieldError` unless the `fields` argument is a `ContactFields`."""
    if not isinstance(fields, ContactFields):
        got = f"the class {fields.__name__}" if isinstance(fields, type) else type(fields).__name__
        raise UnsupportedFieldError(f"{provider}: expected ContactFields(first_name=…) or a subclass, got {got}")


@cache
def _names(kind: type[ContactFields]) -> tuple[str, ...]:
    """Return the names of a class' fields in the order of declaration."""
    return tuple(attribute.name for attribute in attrs.fields(kind))


@attrs.frozen
class ItemRule:
    """One named value of a field such as ``custom_fields``.

    ``kind``: its type, one of `aelyst_async.tables.values.CUSTOM_TYPES`. ``options``: the values that a list accepts
    (empty: unknown).
    """

    name: str
    kind: str = "text"
    options: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class FieldRule:
    """One writable field: ``name`` in `ContactFields`, ``wire`` in the vendor's JSON.

    ``encode`` converts a value (not None) to JSON and raises `ValueError` with the reason if the value is invalid. The
    default is the encoder of the ``kind``, so that the same rules hold for code and tables. ``nullable``: whether None
    may be sent. ``create``, ``update``: whether the operation accepts the field. ``required``: whether create requires
    it. ``item``: for a field that is a tuple of named values (``custom_fields``), the function that constructs one from
    name and value. ``items``: the rules of the existing named values, by each of their names (None: unknown, so any
    name is accepted).
    """

    name: str
    wire: str
    kind: Kind = "text"
    nullable: bool = True
    create: bool = True
    update: bool = True
    required: bool = False
    encode: Callable[[Any], Any] = attrs.field(
        default=attrs.Factory(lambda rule: _ENCODERS.get(rule.kind, text), takes_self=True)
    )
    item: Callable[[str, Any], Any] | None = None
    items: Mapping[str, ItemRule] | None = None


@attrs.frozen
class FieldProblem:
    """A refused field: its name in `ContactFields`, the rule it breaks (one word), and a message for people."""

    field: str
    rule: Literal["unknown", "create-only", "read-only", "null", "type", "required"]
    message: str


def _by_name(rules: tuple[FieldRule, ...]) -> dict[str, FieldRule]:
    """Return the rules by our names and by the vendor's. If several rules have one name, the first is returned."""
    names: dict[str, FieldRule] = {}
    for rule in rules:
        names.setdefault(rule.name, rule)
        names.setdefault(rule.wire, rule)
    return names


@attrs.frozen(kw_only=True)
class ContactSchema:
    """The writable fields of one API, and the names of its read-only fields.

    ``fields_type`` is the provider's `ContactFields` class. ``read_only`` maps the vendor's names of fields that
    responses contain and writes do not accept to our names.
    """

    provider: str
    fields_type: type[ContactFields]
    rules: tuple[FieldRule, ...]
    read_only: Mapping[str, str] = attrs.field(factory=dict)
    _by_name: Mapping[str, FieldRule] = attrs.field(
        default=attrs.Factory(lambda self: _by_name(self.rules), takes_self=True), init=False, repr=False, eq=False
    )

    def rule(self, name: str) -> FieldRule | None:
        """Return the rule of the field with this name, ours or the vendor's."""
        return self._by_name.get(name)

    def encode(self, fields: ContactFields, operation: Operation) -> dict[str, Any]:
        """Return the JSON body of `operation` for `fields`. A field that is `UNSET` is left out, None becomes null.

        Raises `UnsupportedFieldError` that names every problem, if the API would not accept the fields.
        """
        body, problems = self._walk(fields, operation)
        if problems:
            details = "; ".join(f"{problem.field}: {problem.message}" for problem in problems)
            raise UnsupportedFieldError(f"{self.provider} {operation}: {details}")
        return body

    def encode_update(self, fields: ContactFields) -> dict[str, Any]:
        """Return the JSON body of an update, as `encode` does. Raises `UnsupportedFieldError` also if it is empty."""
        body = self.encode(fields, "update")
        if not body:
            raise UnsupportedFieldError(f"{self.provider} update: no field is given, so nothing would change")
        return body

    def problems(self, fields: ContactFields, operation: Operation) -> tuple[FieldProblem, ...]:
        """Return the problems for which `encode` would raise."""
        return tuple(self._walk(fields, operation)[1])

    def create_only(self, fields: ContactFields) -> tuple[str, ...]:
        """Return the names of the given fields that create accepts and update does not."""
        check_fields(fields, self.provider)
        return tuple(
            name for name, _ in fields.given() if (rule := self.rule(name)) and rule.create and not rule.update
        )

    def matches(self, contact: Contact, fields: ContactFields) -> bool:
        """Whether a contact that the API returned has all of `fields`. What the API does not return does not match."""
        for name, value in fields.given():
            shown: Any = getattr(contact, name, UNSET)
            rule = self.rule(name)
            if rule is not None and rule.kind == "custom_fields":
                if not _matches_items(rule, shown, value):
                    return False
            elif value is None or value == "":
                if shown not in {None, "", UNSET}:
                    return False
            elif not _same(shown, value):
                return False
        return True

    def _walk(self, fields: ContactFields, operation: Operation) -> tuple[dict[str, Any], list[FieldProblem]]:
        check_fields(fields, self.provider)
        body: dict[str, Any] = {}
        problems: list[FieldProblem] = []
        creating = operation == "create"
        for name in _names(type(fields)):  # type: ignore[arg-type]  # mypy takes instances' __hash__ for it
            value = getattr(fields, name)
            if value is UNSET:
                continue
            rule = self._by_name.get(name)
            if rule is None:
                problems.append(FieldProblem(name, "unknown", f"{self.provider} has no such field"))
            elif not (rule.create if creating else rule.update):
                problems.append(FieldProblem(name, "create-only", f"{self.provider} does not take it on {operation}"))
            elif value is None:
                if rule.nullable:
                    body[rule.wire] = None
                else:
                    problems.append(FieldProblem(name, "null", "cannot be null"))
            else:
                try:
                    body[rule.wire] = rule.encode(value)
                except ValueError as refusal:
                    problems.append(FieldProblem(name, "type", str(refusal)))
        if creating:
            problems += [
                FieldProblem(rule.name, "required", "is required to create a contact")
                for rule in self.rules
                if rule.required and getattr(fields, rule.name, UNSET) is UNSET
            ]
        return body, problems


def _matches_items(rule: FieldRule, shown: Any, value: Any) -> bool:
    """Whether the named values `shown` have those of `value`; neither has any, if `value` is None."""
    if value is None or not shown:
        return not value and not shown
    has = dict(_encoded(rule, item) for item in shown)
    wanted = {item["name"]: item["value"] for item in rule.encode(value)}
    return all(name in has and _same(has[name], item) for name, item in wanted.items())


def _encoded(rule: FieldRule, item: Any) -> tuple[str, Any]:
    """Return a named value of a contact as it would be written; as it is, where it could not be written."""
    try:
        [wire] = rule.encode((item,))
    except ValueError:
        return item.name, item.value
    return wire["name"], wire["value"]


def _same(shown: Any, sent: Any) -> bool:
    if isinstance(shown, bool) or isinstance(sent, bool):
        return shown is sent
    return bool(shown == sent)
