"""The people: what an API tells about a contact, and what a caller wants written.

Three states, not two. A field of `ContactFields` is either *given a value*, *given `None`* (sent as JSON
``null``: "clear it") or *not given* (`UNSET`: not sent, the server keeps what it has). Mixing up the last two is
how SDKs wipe data or cannot clear a field, so "not given" has a value of its own.

All models are attrs classes: frozen, slotted, keyword-only. A provider's subclass adds the fields that only its
API has. What the server said is kept whole in ``raw``, outside ``repr`` and equality.
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
    """The type of `UNSET`. An `Enum` of one member: checkers narrow ``x is UNSET``, and pickle and copy keep
    its identity. It is falsy, like "nothing was given".
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
    """A label on a contact. Takes its values by position too: ``Tag("vip", "pays on time")``."""

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
    """A person as an API describes them. Only ``id`` is certain: real data leaves out everything else.

    Values are kept as they came (a trailing blank in a name stays). ``created_at`` and ``updated_at`` are aware
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
