"""The control API below ``/_sandbox``: what the code can do with an account, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from aelyst_async.sandbox.vendors.base import Reply, reply

if TYPE_CHECKING:
    from aelyst_async.sandbox.server import Sandbox

__all__ = ["Control"]


class Control:
    """Answers the control API of a sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def handle(self, request: web.BaseRequest, path: str, query: str) -> web.StreamResponse:
        """Answer a request below ``/_sandbox``."""
        answer: Reply = reply(404, {"message": "not there yet"})
        return web.Response(
            status=answer.status,
            body=answer.body,
            content_type="application/json",
            headers={"X-Sandbox": "aelyst-async"},
        )
