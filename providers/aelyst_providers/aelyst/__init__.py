"""Aelyst's contact API: contacts, tags, lifecycle stages, listings, custom fields. Bearer token."""

from aelyst_providers.aelyst.conditions import Condition, Field, HasTag
from aelyst_providers.aelyst.custom_fields import CustomField, CustomFields, CustomValue
from aelyst_providers.aelyst.definitions import CustomFieldDefinition
from aelyst_providers.aelyst.gateway import AelystGateway, UpsertMode
from aelyst_providers.aelyst.models import AelystContact, AelystFields, Assignee
from aelyst_providers.aelyst.respondio import RespondIoGateway

__all__ = [
    "AelystContact",
    "AelystFields",
    "AelystGateway",
    "Assignee",
    "Condition",
    "CustomField",
    "CustomFieldDefinition",
    "CustomFields",
    "CustomValue",
    "Field",
    "HasTag",
    "RespondIoGateway",
    "UpsertMode",
]
