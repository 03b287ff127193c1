"""Whether a contact that the vendor shows already has what a row says."""

from __future__ import annotations

from typing import Any

from aelyst_async.contacts import UNSET, Contact, ContactFields
from aelyst_async.schema import ContactSchema, FieldRule

__all__ = ["matches"]


def matches(schema: ContactSchema, contact: Contact, fields: ContactFields) -> bool:
    """Whether the contact has all that `fields` say. What the API does not show does not match."""
    for name, value in fields.given():
        shown: Any = getattr(contact, name, UNSET)
        rule = schema.rule(name)
        if rule is not None and rule.kind == "custom_fields":
            if value is None or not shown:
                if value or shown:
                    return False
                continue
            has = dict(_encoded(rule, item) for item in shown)
            wanted = {item["name"]: item["value"] for item in rule.encode(value)}
            if any(name not in has or not _same(has[name], item) for name, item in wanted.items()):
                return False
        elif value is None or value == "":
            if shown not in {None, "", UNSET}:
                return False
        elif not _same(shown, value):
            return False
    return True


def _encoded(rule: FieldRule, item: Any) -> tuple[str, Any]:
    """Return a named value that a contact has as it would be written; as it is, where it could not be written."""
    try:
        [wire] = rule.encode((item,))
    except ValueError:
        return item.name, item.value
    return wire["name"], wire["value"]


def _same(shown: Any, sent: Any) -> bool:
    if isinstance(shown, bool) or isinstance(sent, bool):
        return shown is sent
    return bool(shown == sent)
