"""Aelyst: get, create, update and upsert contacts, read their tags. Bearer token."""

from aelyst_providers.aelyst.gateway import AelystGateway
from aelyst_providers.aelyst.models import AelystContact, AelystFields, Assignee, CustomField

__all__ = ["AelystContact", "AelystFields", "AelystGateway", "Assignee", "CustomField"]
