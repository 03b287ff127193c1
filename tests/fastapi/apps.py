"""Runs an app in the test's own loop: its lifespan, and a client that needs no socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI

__all__ = ["client", "served"]


def client(app: FastAPI) -> httpx.AsyncClient:
    """Return a client for `app`. Unhandled errors become a 500, as with a real server."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://app")


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Run the app's lifespan, as a server does, and yield a client."""
    async with app.router.lifespan_context(app), client(app) as connected:
        yield connected
