"""POST /contact/list with its filter, and the channels of a contact (always empty)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from aelyst_async.sandbox.vendor import Call, Record, Refusal, Reply
from aelyst_providers.aelyst.sandbox.answers import error, page, paging
from aelyst_providers.aelyst.sandbox.contacts import find, shown
from aelyst_providers.aelyst.sandbox.fields import value_of

__all__ = ["list_channels", "list_contacts"]

_SEARCHED = ("firstName", "lastName", "email", "phone")


def list_contacts(call: Call) -> Reply:
    """POST /contact/list: the contacts that match, oldest first."""
    limit, cursor = paging(call, 99)
    body = call.json_object(error)
    matches = _matcher(call, body)
    found: list[Record] = []
    for record in call.store.every(call.account, call.vendor, after=cursor):
        if call.visible(record) and matches(record):
            found.append(record)
            if len(found) > limit:
                break
    following = found[limit - 1].seq if len(found) > limit else None
    return page(call, "/contact/list", [shown(call, record) for record in found[:limit]], limit, following)


def list_channels(call: Call) -> Reply:
    """GET /contact/{identifier}/channels: an empty page, since the sandbox has no channels."""
    limit, _ = paging(call, 100)
    if find(call) is None:
        return error(404)
    return page(call, f"/contact/{call.params['identifier']}/channels", [], limit, None)


def _matcher(call: Call, body: dict[str, Any]) -> Callable[[Record], bool]:
    search = body.get("search", "")
    if search is None:
        search = ""
    if not isinstance(search, str) or not isinstance(body.get("timezone", ""), str):
        raise Refusal(error(400, "search and timezone are strings"))
    spec = body.get("filter", {"$and": []})
    if not isinstance(spec, dict) or len(spec) != 1 or not {"$and", "$or"} & spec.keys():
        raise Refusal(error(400, "filter is an object with $and or $or"))
    [(joint, conditions)] = spec.items()
    if not isinstance(conditions, list):
        raise Refusal(error(400, f"{joint} is not an array"))
    tests = [_test(call, condition) for condition in conditions]
    joined = all if joint == "$and" or not tests else any
    words = search.strip().casefold()

    def matches(record: Record) -> bool:
        if words and not any(words in str(record.document.get(name) or "").casefold() for name in _SEARCHED):
            return False
        return joined(test(record) for test in tests)

    return matches


def _test(call: Call, condition: Any) -> Callable[[Record], bool]:
    operator = condition.get("operator") if isinstance(condition, dict) else None
    if not isinstance(operator, str):
        raise Refusal(error(400, "filter: a condition is an object with an operator"))
    category, field = condition.get("category"), condition.get("field")
    value = condition.get("value")
    if category == "contactTag" and operator in _OF_TAGS:
        tags = value if isinstance(value, list) else []
        if not tags or not all(isinstance(tag, str) for tag in tags) or not isinstance(field, str | None):
            raise Refusal(error(400, "filter: tags are an array of strings"))
        wanted, compare = set(tags), _OF_TAGS[operator]
        return lambda record: compare(wanted, set(record.document.get("tags") or ()))
    if category != "contactField" or not isinstance(field, str) or not field:
        raise Refusal(error(400, "filter: category is contactField with a field, or contactTag"))
    if operator in {"exists", "doesNotExist"}:
        return lambda record: (value_of(record, field) in (None, "")) is (operator == "doesNotExist")
    return _comparison(call, field, operator, value)


def _comparison(call: Call, field: str, operator: str, value: Any) -> Callable[[Record], bool]:
    if operator == "contains" and call.switch("contains") == "400":
        raise Refusal(error(400, "filter: no operator 'contains'"))
    make = _OF_FIELDS.get(operator)
    if make is None:
        raise Refusal(error(400, f"filter: no operator {operator!r:.40} for a field"))
    try:
        test = make(value)
    except (ValueError, TypeError, KeyError, OverflowError):
        raise Refusal(error(400, f"filter: the value does not fit the operator {operator!r}")) from None

    def matches(record: Record) -> bool:
        shown = value_of(record, field)
        try:
            return shown is not None and test(shown)
        except (ValueError, TypeError, OverflowError):
            return False

    return matches


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, (str, int, float)):
        raise TypeError("not a scalar")
    return str(value)


def _moment(value: Any) -> float:
    """Return Unix seconds for a Unix time, a date or a datetime (UTC where it has no zone)."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    made = datetime.fromisoformat(str(value))
    return (made if made.tzinfo else made.replace(tzinfo=timezone.utc)).timestamp()


def _equal(value: Any) -> Callable[[Any], bool]:
    wanted = _text(value)
    return lambda shown: _text(shown) == wanted


def _unequal(value: Any) -> Callable[[Any], bool]:
    wanted = _text(value)
    return lambda shown: _text(shown) != wanted


def _contains(value: Any) -> Callable[[Any], bool]:
    wanted = _text(value).casefold()
    return lambda shown: wanted in _text(shown).casefold()


def _above(read: Callable[[Any], float]) -> Callable[[Any], Callable[[Any], bool]]:
    def make(value: Any) -> Callable[[Any], bool]:
        bound = read(value)
        return lambda shown: read(shown) > bound

    return make


def _below(read: Callable[[Any], float]) -> Callable[[Any], Callable[[Any], bool]]:
    def make(value: Any) -> Callable[[Any], bool]:
        bound = read(value)
        return lambda shown: read(shown) < bound

    return make


def _between(read: Callable[[Any], float]) -> Callable[[Any], Callable[[Any], bool]]:
    def make(value: Any) -> Callable[[Any], bool]:
        low, high = read(value["from"]), read(value["to"])
        return lambda shown: low <= read(shown) <= high

    return make


_OF_TAGS: dict[str, Callable[[set[str], set[str]], bool]] = {
    "hasAnyOf": lambda wanted, has: bool(wanted & has),
    "hasAllOf": lambda wanted, has: wanted <= has,
    "hasNoneOf": lambda wanted, has: not wanted & has,
}
_OF_FIELDS: dict[str, Callable[[Any], Callable[[Any], bool]]] = {
    "isEqualTo": _equal,
    "isNotEqualTo": _unequal,
    "contains": _contains,
    "isGreaterThan": _above(float),
    "isLessThan": _below(float),
    "isBetween": _between(float),
    "isTimestampAfter": _above(_moment),
    "isTimestampBefore": _below(_moment),
    "isTimestampBetween": _between(_moment),
}
