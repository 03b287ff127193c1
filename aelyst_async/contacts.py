"""The models: a contact as an API returns it, and the fields to write.

A field of `ContactFields` has one of three states: a value, `None` (sent as JSON ``null``, which clears the field), or
`UNSET` (not sent, so the server keeps its value). `UNSET` is separate from `None` because a client that mixes them up
either deletes data or cannot clear a field.

All models are frozen, slotted attrs classes. All but `Tag` are keyword-only. A provider's subclass adds the fields that
only its API has. ``raw`` holds the whole response; it is not part of ``repr`` and equality.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

if TYPE_CHECKING:
    from aelyst_async.identifiers import Identifier

__all__ = ["UNSET", "Contact", "ContactFields", "Message", "Tag", "Unset", "WriteReceipt"]


class Unset(enum.Enum):
    """The type of `UNSET`: an `Enum` of one member, so that type checkers narrow ``x is UNSET``, and pickle and copy
    keep its identity. It is falsy.
    """

    UNSET = "UNSET"

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET
"""Not given: the field is not sent, so the server keeps its value. `None`, by contrast, is sent as null."""


@attrs.frozen
class Tag:
    """A label on a contact. Its values may be passed by position: ``Tag("vip", "pays on time")``."""

    name: str
    description: str | None = None


@attrs.frozen(kw_only=True)
class Message:
    """One message of a conversation. An attribute is `None` if the API does not return it.

    ``created_at`` is an aware datetime. ``raw`` is the decoded JSON of the message.
    """

    id: str | None = None
    text: str | None = None
    direction: str | None = None
    created_at: datetime | None = None
    raw: Any = attrs.field(default=None, repr=False, eq=False)


@attrs.frozen(kw_only=True)
class Contact:
    """A contact as an API returns it. Only ``id`` is always present; any other field may be missing in real data.

    Values are not changed (a trailing space in a name stays). ``created_at`` and ``updated_at`` are aware datetimes.
    ``raw`` is the whole decoded JSON. Source: the vendors' pages *Get a contact*.
    """

    id: str
    first_name: str | None = None
    last_name: str | None = None
    phone: str | None = None
    email: str | None = None
    tags: tuple[str, ...] = ()
    created_at: datetime | None = None
    updated_at: datetime | None = None
    raw: Any = attrs.field(default=None, repr=False, eq=False)


@attrs.frozen(kw_only=True)
class ContactFields:
    """The fields to write. A field that is `UNSET` is not sent. `None` is sent as null and clears the field.

    ``phone``: ``+`` and digits with the country code. ``email``: one address. Gateways check both before they send.
    """

    first_name: str | Unset | None = UNSET
    last_name: str | Unset | None = UNSET
    phone: str | Unset | None = UNSET
    email: str | Unset | None = UNSET

    def given(self) -> Iterator[tuple[str, Any]]:
        """Yield (name, value) of each field that is not `UNSET`, in the order of declaration."""
        for attribute in attrs.fields(type(self)):
            value = getattr(self, attribute.name)
            if value is not UNSET:
                yield attribute.name, value


@attrs.frozen(kw_only=True)
class WriteReceipt:
    """The answer of an API to a write.

    ``contact_id`` is `None` if the API does not return it. ``created`` is `True`, `False`, or `None` if it is
    unknown. ``message`` is the vendor's text. ``raw`` is the whole decoded JSON. ``not_applied`` names the fields of an
    upsert that the API accepts only in a create, and that were left out because the contact existed.
    """

    identifier: Identifier
    contact_id: str | None = None
    created: bool | None = None
    message: str | None = None
    not_applied: tuple[str, ...] = ()
    raw: Any = attrs.field(default=None, repr=False, eq=False)
