"""Aelyst: get, create, update and upsert contacts, read their tags. Bearer token."""

from aelyst_providers.aelyst.custom_fields import CustomField, CustomFields, CustomValue
from aelyst_providers.aelyst.gateway import AelystGateway
from aelyst_providers.aelyst.models import AelystContact, AelystFields, Assignee

__all__ = [
    "AelystContact",
    "AelystFields",
    "AelystGateway",
    "Assignee",
    "CustomField",
    "CustomFields",
    "CustomValue",
]
