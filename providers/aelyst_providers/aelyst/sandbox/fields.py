"""The definitions of custom fields at ``/space/custom_field``, and their checks of writes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, time
from typing import Any

from aelyst_async.sandbox.vendor import Call, Record, Refusal, Reply, reply
from aelyst_providers.aelyst.sandbox.answers import error, page, paging

__all__ = ["check_values", "create_field", "get_field", "list_fields", "value_of"]

_TYPES = ("text", "list", "checkbox", "email", "number", "url", "date", "time")
_KIND = "custom_field"


def list_fields(call: Call) -> Reply:
    """GET /space/custom_field."""
    limit, cursor = paging(call, 100)
    found = [one for one in _definitions(call) if one["id"] > cursor]
    shown = [_shown(call, one) for one in found[:limit]]
    if call.switch("custom_field_list") == "array":
        return reply(200, [_shown(call, one) for one in found])
    following = found[limit - 1]["id"] if len(found) > limit else None
    return page(call, "/space/custom_field", shown, limit, following)


def get_field(call: Call) -> Reply:
    """GET /space/custom_field/{id}."""
    for one in _definitions(call):
        if str(one["id"]) == call.params["id"]:
            return reply(200, _shown(call, one))
    return reply(404, {"code": 404, "message": "Custom field not found"})


def create_field(call: Call) -> Reply:
    """POST /space/custom_field: define a custom field."""
    body = call.json_object(error)
    name, kind, slug = body.get("name"), body.get("dataType"), body.get("slug") or None
    options = body.get("allowedValues") or []
    if not isinstance(name, str) or not name.strip():
        raise Refusal(error(400, "name is required"))
    if kind not in _TYPES:
        raise Refusal(error(400, f"dataType is one of {', '.join(_TYPES)}"))
    strings = isinstance(options, list) and all(isinstance(one, str) for one in options)
    if not strings or (kind == "list" and not options):
        raise Refusal(error(400, "allowedValues is an array of strings, which a list needs"))
    if not isinstance(slug, str | None):
        raise Refusal(error(400, "slug is not a string"))
    if any({name, slug} & {one["name"], one["slug"]} - {None} for one in _definitions(call)):
        raise Refusal(error(409))
    document = {"name": name, "slug": slug, "description": body.get("description") or "", "dataType": kind}
    if kind == "list":
        document["allowedValues"] = options
    number = call.store.add_extra(call.account, call.vendor, _KIND, document)
    return reply(200, _shown(call, {"id": number, **document}))


def _definitions(call: Call) -> list[dict[str, Any]]:
    return [{"id": number, **one} for number, one in call.store.extras(call.account, call.vendor, _KIND)]


def _shown(call: Call, definition: dict[str, Any]) -> dict[str, Any]:
    options = definition.get("allowedValues")
    if options is not None and call.switch("allowed_values") == "object":
        return {**definition, "allowedValues": {"listValues": options}}
    return definition


def check_values(call: Call, value: Any) -> list[dict[str, Any]]:
    """Return custom fields as they are stored, each under its definition's name. Raises `Refusal` with 400."""
    if not isinstance(value, list):
        raise Refusal(error(400, "custom_fields is not an array"))
    definitions = _definitions(call)
    known = {one["slug"]: one for one in definitions if one["slug"]} | {one["name"]: one for one in definitions}
    return list(_checked(call, value, known))


def _checked(call: Call, items: list[Any], known: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for item in items:
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str):
            raise Refusal(error(400, "custom_fields: each needs a name"))
        if isinstance(item.get("value"), (dict, list)):
            raise Refusal(error(400, f"custom_fields: the value of {name!r} is not a scalar"))
        definition = known.get(name)
        if definition is not None:
            if not _fits(definition, item.get("value")):
                raise Refusal(error(400, f"custom_fields: the value of {name!r} is no {definition['dataType']}"))
            yield {**item, "name": definition["name"]}
        elif not known or call.switch("unknown_custom_fields") == "keep":
            yield item
        elif call.switch("unknown_custom_fields") == "400":
            raise Refusal(error(400, f"custom_fields: there is no field {name!r}"))


def _fits(definition: dict[str, Any], value: Any) -> bool:
    """Whether a value follows the "Formatting rules" of the create page."""
    kind = definition["dataType"]
    if value is None or value == "":
        return True
    if kind == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "checkbox":
        return isinstance(value, bool)
    if not isinstance(value, str):
        return False
    try:
        if kind == "date":
            return date.fromisoformat(value).isoformat() == value
        if kind == "time":
            return time.fromisoformat(value).strftime("%H:%M") == value
    except ValueError:
        return False
    return kind != "list" or value in definition["allowedValues"]


def value_of(record: Record, field: str) -> Any:
    """Return a contact's value of a field of the API, else of a custom field of this name."""
    if field == "assigneeUserId":
        assignee = record.document.get("assignee")
        return assignee.get("id") if isinstance(assignee, dict) else None
    if field in record.document and field != "custom_fields":
        return record.document[field]
    for item in record.document.get("custom_fields") or ():
        if isinstance(item, dict) and item.get("name") == field:
            return item.get("value")
    return None
