"""Aelyst's JSON and our models, both ways. Pure functions.

Reading is tolerant where real answers vary: every field but the id may be null or absent, the id may be a text of
digits, ``status`` is an open set, unknown keys are kept in ``raw`` only. A tag is never split: the page's own example
``"new_customer, sales"`` is one tag. Create answers ``{"code": "200", "message": …}`` with the code as a text and no
id; update answers ``{"contactId": 1}``.

Writing is strict; the rules for custom values are in `aelyst_providers.aelyst.custom_fields`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from aelyst_async.contacts import WriteReceipt
from aelyst_async.errors import ApiError, error_class_for
from aelyst_async.identifiers import Identifier
from aelyst_async.schema import ContactSchema, FieldRule
from aelyst_async.transport.messages import Response
from aelyst_providers.aelyst.custom_fields import CustomField, encode_custom_fields
from aelyst_providers.aelyst.models import AelystContact, AelystFields, Assignee

if TYPE_CHECKING:
    import cattrs

__all__ = ["SCHEMA", "read_contact", "read_created", "read_error", "read_updated"]


SCHEMA = ContactSchema(
    provider="aelyst",
    fields_type=AelystFields,
    rules=(
        FieldRule(name="first_name", wire="firstName", nullable=False, required=True),
        FieldRule(name="last_name", wire="lastName"),
        FieldRule(name="phone", wire="phone", kind="phone"),
        FieldRule(name="email", wire="email", kind="email"),
        FieldRule(name="language", wire="language", kind="language"),
        FieldRule(name="profile_pic", wire="profilePic", kind="url"),
        FieldRule(name="country_code", wire="countryCode", kind="country"),
        FieldRule(
            name="custom_fields",
            wire="custom_fields",
            kind="custom_fields",
            encode=encode_custom_fields,
            item=CustomField,
        ),
    ),
    read_only={
        "id": "id",
        "status": "status",
        "tags": "tags",
        "assignee": "assignee",
        "lifecycle": "lifecycle",
        "created_at": "created_at",
        "isBlocked": "is_blocked",
    },
)


def _scalar(value: Any) -> Any:
    if value is not None and not isinstance(value, (str, int, float, bool)):
        raise TypeError("expected a text, a number or a boolean")
    return value


@cache
def _converter() -> cattrs.Converter:
    from aelyst_async import codec

    def user_id(value: Any) -> int:
        return int(codec.numeric_id(value))

    converter = codec.make_converter()
    codec.rename(converter, CustomField, {}, value=_scalar)
    codec.rename(converter, Assignee, {"first_name": "firstName", "last_name": "lastName"}, id=user_id)
    codec.rename(
        converter,
        AelystContact,
        {
            **{rule.name: rule.wire for rule in SCHEMA.rules},
            **{ours: theirs for theirs, ours in SCHEMA.read_only.items()},
        },
        absent={"updated_at"},
        id=codec.numeric_id,
        created_at=codec.unix_datetime,
    )
    return converter


def read_error(response: Response) -> ApiError | None:
    """Return the error that an answer is (`{code, message}`, the body perhaps not JSON), or None for a success.

    A 2xx whose ``code`` is that of an error is one.
    """
    body = response.json_or_none()
    if not isinstance(body, dict):
        return None if response.ok else response.error()
    message = body.get("message")
    code = body.get("code")
    words = message if isinstance(message, str) else None
    code = code if isinstance(code, (int, str)) and not isinstance(code, bool) else None
    if not response.ok:
        return response.error(words, code=code)
    # Create answers with its code as a text. One that is not a success must not be taken for one.
    number = code if isinstance(code, int) else int(code[:9]) if code and code.isascii() and code.isdigit() else 200
    return response.error(words, code=code, kind=error_class_for(number)) if 400 <= number <= 599 else None


def _body(response: Response) -> dict[str, Any]:
    error = read_error(response)
    if error is not None:
        raise error
    body = response.json()
    if not isinstance(body, dict):
        raise response.undecodable("expected a JSON object")
    return body


def read_contact(response: Response) -> AelystContact:
    """Return the contact of a get. Raises `ApiError`, `ResponseDecodeError`."""
    from aelyst_async import codec

    body = _body(response)
    return codec.decode(_converter(), body, AelystContact, response, raw=body)


def read_created(response: Response, identifier: Identifier) -> WriteReceipt:
    """Return the receipt of a create. The page has a code and a message; one of the two will do. It has no id, but one
    that is there is taken. Raises `ApiError`, `ResponseDecodeError`.
    """
    body = _body(response)
    message = body.get("message")
    told = message if isinstance(message, str) else None
    if told is None and str(body.get("code")) not in {"200", "201"}:
        raise response.undecodable("$.message: expected text, or the code of a success under $.code")
    return WriteReceipt(
        identifier=identifier, contact_id=_optional_id(body.get("contactId")), created=True, message=told, raw=body
    )


def _optional_id(value: Any) -> str | None:
    from aelyst_async import codec

    try:
        return codec.numeric_id(value)
    except TypeError:
        return None


def read_updated(response: Response, identifier: Identifier) -> WriteReceipt:
    """Return the receipt of an update. Raises `ApiError`, `ResponseDecodeError`."""
    from aelyst_async import codec

    body = _body(response)
    try:
        contact_id = codec.numeric_id(body.get("contactId"))
    except TypeError as error:
        problem = f"$.contactId: {error}"
    else:
        message = body.get("message")
        return WriteReceipt(
            identifier=identifier,
            contact_id=contact_id,
            created=False,
            message=message if isinstance(message, str) else None,
            raw=body,
        )
    raise response.undecodable(problem)
