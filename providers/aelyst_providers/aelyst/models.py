"""What only Aelyst's contacts have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, time
from decimal import Decimal
from typing import Any, TypeAlias

import attrs

from aelyst_async.contacts import UNSET, Contact, ContactFields, Unset

__all__ = ["AelystContact", "AelystFields", "Assignee", "CustomField", "CustomValue"]

CustomValue: TypeAlias = str | int | float | Decimal | bool | date | time | None


@attrs.frozen
class CustomField:
    """A custom field: ``CustomField("Company Website", "https://example.com")``.

    Read, ``value`` is a `str`, a number, a boolean or None, as it came. Written, it may also be a `datetime.date`
    (sent as ``yyyy-mm-dd``), a `datetime.time` (``HH:MM``) or a `decimal.Decimal`.
    """

    name: str
    value: CustomValue = None


@attrs.frozen(kw_only=True)
class Assignee:
    """The user to whom a contact is assigned. Everything may be missing in real data."""

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


def _as_tuple(value: Any) -> Any:
    # A generator could be read only once, yet an upsert may send twice. What is no series is refused when it is sent.
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping)) else value


@attrs.frozen(kw_only=True)
class AelystFields(ContactFields):
    """What Aelyst's create and update take. ``first_name`` cannot be None; create requires it."""

    language: str | Unset | None = UNSET
    profile_pic: str | Unset | None = UNSET
    country_code: str | Unset | None = UNSET
    custom_fields: tuple[CustomField, ...] | Unset | None = attrs.field(default=UNSET, converter=_as_tuple)
