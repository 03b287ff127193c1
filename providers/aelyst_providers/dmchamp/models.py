"""Models with the fields that only DM Champ has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from aelyst_async.contacts import UNSET, Contact, ContactFields, Unset

__all__ = ["DmChampContact", "DmChampFields"]


@attrs.frozen(kw_only=True)
class DmChampContact(Contact):
    """A contact of DM Champ. Only the id is documented in the response to a get; any other field may be missing."""

    instagram_id: str | None = None
    current_campaign: str | None = None
    current_campaign_data: Mapping[str, Any] | None = attrs.field(default=None, hash=False)
    channel: str | None = None
    is_chat_window_open: bool | None = None
    external_id: str | None = None
    custom_channel: str | None = None
    chat_widget_id: str | None = None
    is_bot_active: bool | None = None
    do_not_disturb: bool | None = None

    @property
    def phone_number(self) -> str | None:
        """The vendor's name for `phone`."""
        return self.phone


@attrs.frozen(kw_only=True)
class DmChampFields(ContactFields):
    """The fields of DM Champ's create (seed page *Create New Contact*), which requires ``phone``.

    Update accepts only ``first_name``, ``last_name``, ``email``, ``is_bot_active`` and ``do_not_disturb``. A create
    sets the other fields to the server's defaults (``Unknown``, false, true).
    """

    instagram_id: str | Unset | None = UNSET
    current_campaign: str | Unset | None = UNSET
    current_campaign_data: Mapping[str, Any] | Unset | None = attrs.field(default=UNSET, hash=False)
    channel: str | Unset | None = UNSET
    is_chat_window_open: bool | Unset = UNSET
    external_id: str | Unset | None = UNSET
    custom_channel: str | Unset | None = UNSET
    chat_widget_id: str | Unset | None = UNSET
    is_bot_active: bool | Unset = UNSET
    do_not_disturb: bool | Unset = UNSET
