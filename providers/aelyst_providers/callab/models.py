"""A contact of Callab AI: a person in a call campaign."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from aelyst_async.contacts import Contact

__all__ = ["CallabContact"]


@attrs.frozen(kw_only=True)
class CallabContact(Contact):
    """Every key of the vendor's page under its own name; all but the id may be None.

    ``last_call_duration``: seconds. ``status`` and ``last_call_status`` are open sets;
    ``number_country_code`` is opaque (``+1``, ``US``). ``tags`` contains ``tag_name`` if there is one.
    """

    company_id: str | None = None
    metadata: Mapping[str, Any] | None = attrs.field(default=None, hash=False)
    number_country_code: str | None = None
    last_call_status: str | None = None
    last_call_at: datetime | None = None
    last_call_duration: float | None = None
    last_call_feedback: str | None = None
    source_name: str | None = None
    tag_name: str | None = None
    category_name: str | None = None
    notes: str | None = None
    campaign_id: str | None = None
    status: str | None = None

    @property
    def firstname(self) -> str | None:
        """The vendor's name for `first_name`."""
        return self.first_name

    @property
    def lastname(self) -> str | None:
        """The vendor's name for `last_name`."""
        return self.last_name

    @property
    def phone_number(self) -> str | None:
        """The vendor's name for `phone`."""
        return self.phone
