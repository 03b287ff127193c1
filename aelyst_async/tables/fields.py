"""The fields of an API by the names that columns and mappings may use: ours, the vendor's, custom fields."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Literal

import attrs

from aelyst_async.contacts import ContactFields
from aelyst_async.schema import ContactSchema, FieldRule, ItemRule
from aelyst_async.tables.cells import CellError, Rule
from aelyst_async.tables.errors import MappingError
from aelyst_async.tables.layouts import folded
from aelyst_async.tables.values import CUSTOM_TYPES, Rules, one_of

__all__ = ["CUSTOM", "UNTYPED", "Field", "Fields", "UnknownFieldError", "schema_of"]

CUSTOM = "custom_fields"
UNTYPED = "any"
"""The "type" of a custom field in a nested object, whose value is typed already."""

_PERSON = frozenset({"first_name", "last_name"})


@attrs.frozen
class Field:
    """A writable field: its name, its rule, the kind of its value, and whether null clears it."""

    name: str
    rule: Rule
    kind: str
    nullable: bool


class UnknownFieldError(MappingError):
    """The API has no such field. ``near`` is a similar name or None; ``read_only``: the API has the field, but it
    cannot be written.
    """

    def __init__(self, name: str, words: str, *, near: str | None = None, read_only: bool = False) -> None:
        super().__init__(f"{name!r}: {words}" if read_only else f"{name!r} {words}")
        self.words = words
        self.near = near
        self.read_only = read_only


def schema_of(gateway: Any) -> ContactSchema:
    """Return the gateway's schema; the default has the four fields that every provider has."""
    schema = getattr(gateway, "schema", None)
    if isinstance(schema, ContactSchema):
        return schema
    kinds: dict[str, Literal["email", "phone"]] = {"email": "email", "phone": "phone"}
    return ContactSchema(
        provider=str(getattr(gateway, "provider", "") or type(gateway).__name__),
        fields_type=ContactFields,
        rules=tuple(
            FieldRule(name=field.name, wire=field.name, kind=kinds.get(field.name, "text"))
            for field in attrs.fields(ContactFields)
        ),
    )


class Fields:
    """Finds a `Field` by name."""

    def __init__(self, schema: ContactSchema, rules: Rules) -> None:
        self.schema = schema
        self._rules = rules
        custom = schema.rule(CUSTOM)
        self.has_custom: bool = custom is not None and custom.item is not None

    def find(self, name: str, *, loose: bool = False, date_format: str | None = None) -> Field:
        """Return the field. `loose`: ``First Name`` matches first_name too. Raises `UnknownFieldError`,
        `MappingError`.
        """
        head, dot, custom = name.partition(".")
        if dot and head in {CUSTOM, "customFields"}:
            return self._custom(custom, date_format)
        rule = self.schema.rule(name)
        if rule is None and loose:
            rule = self.schema.rule(folded(name).replace(" ", "_").replace("-", "_"))
            if rule is None:
                rule = next((one for one in self.schema.rules if one.wire.lower() == name.strip().lower()), None)
        if rule is None:
            raise self._unknown(name)
        if rule.kind == "custom_fields":
            return Field(CUSTOM, _no_whole, CUSTOM, nullable=True)
        kind = "name" if rule.name in _PERSON and rule.kind == "text" else rule.kind
        check = self._rules.of_field(kind)
        return Field(rule.name, check, rule.kind, rule.nullable)

    def names(self) -> list[str]:
        """Return the names of all fields."""
        known = [rule.name for rule in self.schema.rules if rule.kind != "custom_fields"]
        if not self.has_custom:
            return known
        rule = self.schema.rule(CUSTOM)
        if rule is None or rule.items is None:
            return [*known, f"{CUSTOM}.NAME"]
        return [*known, *(f"{CUSTOM}.{name}" for name in sorted({item.name for item in rule.items.values()}))]

    def _unknown(self, name: str) -> UnknownFieldError:
        provider = self.schema.provider
        if name in {*self.schema.read_only, *self.schema.read_only.values()}:
            return UnknownFieldError(name, f"{provider} shows {name} but takes no changes to it", read_only=True)
        near = difflib.get_close_matches(folded(name).replace(" ", "_"), self.names(), 1, 0.75)
        guess = f" (did you mean {near[0]}?)" if near else ""
        return UnknownFieldError(name, f"is no field of {provider}{guess}", near=near[0] if near else None)

    def _custom(self, custom: str, date_format: str | None) -> Field:
        if not self.has_custom:
            words = f"{self.schema.provider} has no custom fields"
            raise UnknownFieldError(f"{CUSTOM}.{custom}", words, read_only=True)
        name, colon, kind = custom.rpartition(":")
        typed: str | None = "text"
        stated = False
        if colon and kind in CUSTOM_TYPES:
            custom, typed, stated = name, kind, True
        elif colon and kind == UNTYPED:
            custom, typed = name, None
        elif colon and kind.isalpha() and name:
            raise MappingError(
                f"{kind!r} is not a type of a custom field; the types are {', '.join(CUSTOM_TYPES)} "
                "(for a name with a colon, add :text)"
            )
        if not custom.strip():
            raise MappingError("the custom field has no name")
        rule = self.schema.rule(CUSTOM)
        if rule is None or rule.items is None:
            check = self._rules.of_custom(typed, date_format)
            return Field(f"{CUSTOM}.{custom}", check, typed or "text", nullable=True)
        return self._defined(custom, rule.items, typed if stated else None, date_format)

    def _defined(
        self, custom: str, items: Mapping[str, ItemRule], stated: str | None, date_format: str | None
    ) -> Field:
        """Return the account's custom field of this name. `stated`: the type from the caller."""
        item = items.get(custom)
        if item is None:
            folded_names = {name.casefold(): name for name in items}
            near = difflib.get_close_matches(custom.casefold(), folded_names, 1, 0.6)
            guess = f"{CUSTOM}.{folded_names[near[0]]}" if near else None
            hint = f" (did you mean {guess}?)" if guess else ""
            words = f"is no custom field of this {self.schema.provider} account{hint}"
            raise UnknownFieldError(f"{CUSTOM}.{custom}", words, near=guess)
        if stated is not None and stated != item.kind:
            raise MappingError(f"the custom field {item.name!r} is of the type {item.kind}, not {stated}")
        kind = item.kind if item.kind in CUSTOM_TYPES else "text"
        check = self._rules.of_custom(kind, date_format)
        if item.options:
            check = one_of(check, item.options)
        return Field(f"{CUSTOM}.{item.name}", check, kind, nullable=True)


def _no_whole(_: Any) -> Any:
    raise CellError("give each custom field its own column: custom_fields.NAME")
