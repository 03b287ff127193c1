"""The models: what an API tells about a contact, and what a caller wants written.

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
    """One message of a conversation. Each attribute is `None` where the API does not tell it.

    ``created_at`` is an aware datetime; ``raw`` is the item as it came.
    """

    id: str | None = None
    text: str | None = None
    direction: str | None = None
    created_at: datetime | None = None
    raw: Any = attrs.field(default=None, repr=False, eq=False)


@attrs.frozen(kw_only=True)
class Contact:
    """A contact as an API describes it. Only ``id`` is certain: any other field may be missing in real data.

    Values are kept as they came (a trailing space in a name stays). ``created_at`` and ``updated_at`` are aware
    datetimes. ``raw`` is the whole decoded JSON.
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
    """What to write. A field left `UNSET` is not sent; `None` is sent as null and clears."""

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
    """What an API answered to a write.

    ``contact_id`` is `None` where the API does not tell it (Aelyst's create). ``created`` is `True`, `False`, or
    `None` where it cannot be known. ``not_applied`` names the fields of an upsert that the API takes only when it
    creates a contact and that were left out because the contact existed.
    """

    identifier: Identifier
    contact_id: str | None = None
    created: bool | None = None
    message: str | None = None
    not_applied: tuple[str, ...] = ()
    raw: Any = attrs.field(default=None, repr=False, eq=False)
