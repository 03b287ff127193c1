"""Converts between DM Champ's JSON and our models. Pure functions.

Reading is tolerant, because real responses vary. The id has one of several names, at the top level or one or two
objects deep. A whole contact may be returned where only an id is documented, and is decoded. An array may be the whole
body or in an envelope. An error may be a JSON string, ``{error}`` or ``{success: false, message}``. ``success: false``
or an ``error_code`` is an error with any status, also 200.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aelyst_async.codec import Reader, as_id, as_moment
from aelyst_async.contacts import Message, Tag, WriteReceipt
from aelyst_async.errors import (
    ApiError,
    ConflictError,
    ContactNotFoundError,
    InvalidIdentifierError,
    error_class_for,
)
from aelyst_async.identifiers import ContactId, Identifier, Phone
from aelyst_async.schema import ContactSchema, FieldRule, boolean, json_object
from aelyst_async.transport.messages import Response
from aelyst_providers.dmchamp.models import DmChampContact, DmChampFields

__all__ = [
    "SCHEMA",
    "checked_id",
    "read_contact",
    "read_created",
    "read_done",
    "read_error",
    "read_id",
    "read_messages",
    "read_tags",
]


def _phone(value: Any) -> str:
    return Phone(value).value


SCHEMA = ContactSchema(
    provider="dmchamp",
    fields_type=DmChampFields,
    rules=(
        FieldRule(
            name="phone", wire="phoneNumber", kind="phone", nullable=False, update=False, required=True, encode=_phone
        ),
        FieldRule(name="first_name", wire="firstName", nullable=False),
        FieldRule(name="last_name", wire="lastName", nullable=False),
        FieldRule(name="email", wire="email", kind="email", nullable=False),
        FieldRule(name="instagram_id", wire="instagramId", update=False),
        FieldRule(name="current_campaign", wire="currentCampaign", update=False),
        FieldRule(
            name="current_campaign_data", wire="currentCampaignData", kind="object", update=False, encode=json_object
        ),
        FieldRule(name="channel", wire="channel", update=False),
        FieldRule(
            name="is_chat_window_open", wire="isChatWindowOpen", kind="bool",
            nullable=False, update=False, encode=boolean,
        ),
        FieldRule(name="external_id", wire="externalId", update=False),
        FieldRule(name="custom_channel", wire="customChannel", update=False),
        FieldRule(name="chat_widget_id", wire="chatWidgetId", update=False),
        FieldRule(name="is_bot_active", wire="is_bot_active", kind="bool", nullable=False, encode=boolean),
        FieldRule(name="do_not_disturb", wire="do_not_disturb", kind="bool", nullable=False, encode=boolean),
    ),
    read_only={"contactId": "id", "tags": "tags", "createdAt": "created_at", "updatedAt": "updated_at"},
)  # fmt: skip

_RESERVED = frozenset({"lists", "tags", "messages"})
"""Names of the API's routes at the position of an id in the path."""

_ID_NAMES = ("contactId", "contact_id", "id", "_id")

_DEPTH = 3
"""Depth to which a response is searched for an id or a message, so that it cannot cause unlimited recursion."""


_TYPES: dict[str, type] = {
    "current_campaign_data": dict, "is_chat_window_open": bool, "is_bot_active": bool, "do_not_disturb": bool,
}  # fmt: skip

_TYPED = tuple((rule.name, rule.wire, _TYPES.get(rule.name, str)) for rule in SCHEMA.rules)


def _tag_names(read: Reader) -> tuple[str, ...]:
    """Read the tags of a whole contact: names, or objects with a name (not documented)."""
    items = read.items("tags")
    names = [item.get("name") if item.__class__ is dict else item for item in items]
    found = tuple([name for name in names if isinstance(name, str)])
    if len(found) != len(items):
        read.odd.append("tags")
    return found


def _words(body: Any, depth: int = _DEPTH) -> str | None:
    """Return the message of an error body: a JSON string, ``message``, ``error`` or ``error.message``."""
    if isinstance(body, str):
        return body
    if isinstance(body, dict) and depth:
        for name in ("message", "error", "data"):
            if (words := _words(body.get(name), depth - 1)) is not None:
                return words
    return None


def _told(response: Response, body: Any) -> str | None:
    """Return what a success says, redacted: a server or a proxy may echo the credential there too."""
    words = _words(body)
    return None if words is None else response.shown(words)


def _code(body: Any) -> int | str | None:
    code = body.get("error_code") if isinstance(body, dict) else None
    if isinstance(code, str) and code.isascii() and code.isdigit():
        code = int(code[:9])
    if not isinstance(code, (int, str)) or isinstance(code, bool) or code in {0, ""}:
        return None
    return None if isinstance(code, int) and 200 <= code <= 299 else code


def read_error(response: Response) -> ApiError | None:
    """Return the error in a response, with any status, or None for a success."""
    body = response.json_or_none()
    code = _code(body)
    words = _words(body)
    if not response.ok:
        return response.error(words, code=code)
    if not _refused(body) and code is None:
        return None
    kind: type[ApiError] = ApiError
    if isinstance(code, int):
        kind = error_class_for(code)
    elif words is not None and "not found" in words.lower():
        kind = ContactNotFoundError
    elif words is not None and "already exist" in words.lower():
        kind = ConflictError
    return response.error(words, code=code, kind=kind)


def _refused(body: Any) -> bool:
    """Whether a 2xx is an error: ``success: false``, or an ``error`` without ``success: true``."""
    if not isinstance(body, dict):
        return False
    success = body.get("success")
    return str(success).lower() in {"false", "0"} or (bool(body.get("error")) and success is not True)


def _success(response: Response) -> Any:
    error = read_error(response)
    if error is not None:
        raise error
    return response.json()


def _contact_objects(body: Any, depth: int = _DEPTH) -> Iterator[dict[str, Any]]:
    """Yield the objects that may be the contact or contain its id, the most specific first."""
    if isinstance(body, list):
        body = body[0] if len(body) == 1 else None
    if not isinstance(body, dict):
        return
    if depth:
        for name in ("contact", "data"):
            yield from _contact_objects(body.get(name), depth - 1)
    yield body


def _contact_id(candidate: dict[str, Any]) -> str | None:
    # Any `str`, because a receipt must not fail for it. `checked_id` checks it before use.
    for name in _ID_NAMES:
        value = candidate.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, str) and value:
            return value
    return None


def _find_contact(body: Any) -> tuple[str, dict[str, Any]] | None:
    for candidate in _contact_objects(body):
        if (contact_id := _contact_id(candidate)) is not None:
            return contact_id, candidate
    return None


def _found(response: Response, body: Any) -> tuple[str, dict[str, Any]]:
    """Return the id and the fields of the contact in the response to a get. Raises `ContactNotFoundError`,
    `ResponseDecodeError`.
    """
    found = _find_contact(body)
    if found is not None:
        return found
    if _is_none(body):
        raise response.error("Contact not found", kind=ContactNotFoundError)
    raise response.undecodable("no contact id under any of its known names")


def read_contact(response: Response) -> DmChampContact:
    """Return the contact in the response to a get: its id, and the other fields of the response. Raises `ApiError`,
    `ResponseDecodeError`.
    """
    body = _success(response)
    contact_id, fields = _found(response, body)
    read = Reader(fields)
    contact = DmChampContact(
        id=contact_id,
        **read.typed(_TYPED),
        tags=_tag_names(read),
        created_at=read.moment("createdAt"),
        updated_at=read.moment("updatedAt"),
        raw=body,
    )
    read.log("dmchamp")
    return contact


def checked_id(contact_id: str) -> str:
    """Return an id that is valid in a path. Raises `InvalidIdentifierError`."""
    if contact_id in _RESERVED:
        raise InvalidIdentifierError(f"dmchamp: {contact_id!r} is a route of the API, not a contact's id")
    return ContactId(contact_id).value


def read_id(response: Response) -> str:
    """Return the id in the response to a get. Raises `ApiError`, and `ResponseDecodeError`, also for an id that is not
    valid in a path.
    """
    try:
        return checked_id(_found(response, _success(response))[0])
    except InvalidIdentifierError as refusal:
        problem = str(refusal)
    raise response.undecodable(f"the contact's id cannot be used: {problem}")


def read_created(response: Response, identifier: Identifier) -> WriteReceipt:
    """Return the receipt of a create. ``created`` is None if the response is a whole contact, which may have existed
    before.

    Raises `ApiError`, `ResponseDecodeError`.
    """
    body = _success(response)
    found = _find_contact(body)
    if found is None:
        raise response.undecodable("no contact id under any of its known names")
    contact_id, fields = found
    words = _told(response, body)
    whole = any(rule.wire in fields for rule in SCHEMA.rules)
    created = None if whole and response.status != 201 else True
    if words is not None and "already exist" in words.lower():
        created = False
    return WriteReceipt(identifier=identifier, contact_id=contact_id, created=created, message=words, raw=body)


def holds(answer: Any, sent: Mapping[str, Any]) -> bool:
    """Whether the contact in `answer` has every value of `sent`."""
    found = _find_contact(answer)
    return found is not None and all(found[1].get(name, ...) == value for name, value in sent.items())


def _is_none(body: Any) -> bool:
    """Whether a success means that there is no contact: the contact or its id is missing or empty."""
    if isinstance(body, dict):
        return any(name in body and body[name] in (None, [], {}) for name in ("contact", "data", *_ID_NAMES))
    return isinstance(body, list) and not body


def read_done(response: Response, identifier: Identifier, contact_id: str, *, created: bool | None) -> WriteReceipt:
    """Return the receipt of an update or of a change of lists. Raises `ApiError`, `ResponseDecodeError`."""
    if response.status == 204:
        return WriteReceipt(identifier=identifier, contact_id=contact_id, created=created)
    body = _success(response)
    if not isinstance(body, dict):
        raise response.undecodable("expected a JSON object")
    for candidate in _contact_objects(body):
        for name in ("contactId", "contact_id"):  # other names may be the id of the list
            if (told := as_id(candidate.get(name))) is not None:
                response.check_about(told, contact_id)
    return WriteReceipt(
        identifier=identifier, contact_id=contact_id, created=created, message=_told(response, body), raw=body
    )


def _items(response: Response) -> list[Any]:
    body = _success(response)
    items = body.get("data") if isinstance(body, dict) else body
    if not isinstance(items, list):
        raise response.undecodable("expected an array, bare or under $.data")
    return items


def read_tags(response: Response) -> tuple[Tag, ...]:
    """Return the tags. Raises `ApiError`, `ResponseDecodeError`."""
    tags: list[Tag] = []
    for position, item in enumerate(_items(response)):
        name = item.get("name") if isinstance(item, dict) else item
        description = item.get("description") if isinstance(item, dict) else None
        if not isinstance(name, str) or not (description is None or isinstance(description, str)):
            raise response.undecodable(f"$[{position}]: expected a tag with a name and perhaps a description")
        tags.append(Tag(name, description))
    return tuple(tags)


def read_messages(response: Response) -> tuple[Message, ...]:
    """Return the messages. Their format is not documented, so each is complete in ``raw``; the attributes are read from
    keys with usual names. Raises `ApiError`, `ResponseDecodeError`.
    """
    return tuple(_message(item) for item in _items(response))


def _message(item: Any) -> Message:
    if not isinstance(item, dict):
        return Message(text=item if isinstance(item, str) else None, raw=item)

    def first(*names: str) -> Any:
        return next((item[name] for name in names if item.get(name) is not None), None)

    def words(value: Any) -> str | None:
        return value if isinstance(value, str) else None

    return Message(
        id=as_id(first("id", "_id", "messageId")),
        text=words(first("text", "message", "body", "content")),
        direction=words(first("direction")),
        created_at=as_moment(first("createdAt", "created_at", "timestamp")),
        raw=item,
    )
