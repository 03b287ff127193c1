"""DM Champ: contacts by phone or e-mail, lists, tags, messages. API key in the query."""

from aelyst_providers.dmchamp.gateway import DmChampGateway
from aelyst_providers.dmchamp.models import DmChampContact, DmChampFields

__all__ = ["DmChampContact", "DmChampFields", "DmChampGateway"]
