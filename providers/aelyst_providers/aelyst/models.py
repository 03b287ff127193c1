"""Models with the fields that only Aelyst has."""

from __future__ import annotations

import attrs

from aelyst_async.contacts import UNSET, Contact, ContactFields, Unset
from aelyst_providers.aelyst.custom_fields import CustomField, to_tuple

__all__ = ["AelystContact", "AelystFields", "Assignee"]


@attrs.frozen(kw_only=True)
class Assignee:
    """The user to whom a contact is assigned. Any attribute may be missing in real data."""

    id: int | None = None
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None


@attrs.frozen(kw_only=True)
class AelystContact(Contact):
    """A contact of Aelyst (seed page *Get a contact*).

    ``language``: ISO 639-1. ``country_code``: ISO 3166-1 alpha-2. ``status``: an open set; seen are ``open``,
    ``closed``, ``blocked``, ``close``, ``done``, ``snoozed``, ``unsnoozed``. ``lifecycle``: the name of the stage.
    """

    language: str | None = None
    profile_pic: str | None = None
    country_code: str | None = None
    custom_fields: tuple[CustomField, ...] = ()
    status: str | None = None
    assignee: Assignee | None = None
    lifecycle: str | None = None
    is_blocked: bool | None = None


@attrs.frozen(kw_only=True)
class AelystFields(ContactFields):
    """The writable fields of Aelyst's create and update. ``first_name`` cannot be None; create requires it.

    ``custom_fields`` takes a mapping of names to values (``{"Seats": 3}``) or any iterable of `CustomField`: a list, a
    tuple, a set, a generator. The attribute is always a tuple of `CustomField`, `UNSET` or `None`. Raises
    `UnsupportedFieldError`, naming the custom field, for a value that Aelyst cannot represent.
    """

    language: str | Unset | None = UNSET
    profile_pic: str | Unset | None = UNSET
    country_code: str | Unset | None = UNSET
    custom_fields: tuple[CustomField, ...] | Unset | None = attrs.field(default=UNSET, converter=to_tuple)
