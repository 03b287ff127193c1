"""Callab AI: read the contacts of call campaigns by id. Bearer token."""

from aelyst_providers.callab.gateway import CallabGateway
from aelyst_providers.callab.models import CallabContact

__all__ = ["CallabContact", "CallabGateway"]
