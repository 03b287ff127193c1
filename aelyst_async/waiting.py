"""Waiting for what must have ended before something else is closed."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["uninterrupted"]


async def uninterrupted(future: asyncio.Future[Any]) -> None:
    """Wait until `future` is done; look at its result yourself. A cancellation meanwhile is raised afterwards."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:  # noqa: PERF203
            cancelled = error
    if cancelled is not None:
        try:
            raise cancelled
        finally:
            del cancelled  # else the exception and this frame refer to each other
