"""respond.io, whose Developer API v2 Aelyst's mirrors: the same adapter under another name and base URL."""

from __future__ import annotations

from typing import ClassVar

from aelyst_providers.aelyst.gateway import AelystGateway

__all__ = ["RespondIoGateway"]


class RespondIoGateway(AelystGateway):
    """The contacts of respond.io, by `AelystGateway`. `open_gateway("respondio")` reads ``RESPONDIO_TOKEN``."""

    provider: str = "respondio"
    default_base_url: ClassVar[str] = "https://api.respond.io/v2"
