"""Contacts page by page, over any API that lists them with a cursor.

A provider passes one function to `Listing`. It fetches the page at a cursor (`None`: the first page) and returns the
contacts with the cursor of the next page. While the caller processes one page, the next page is fetched. The listing
ends at a page without a cursor. It also ends at a cursor that occurred before, because the listing would never end
otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, TypeVar

import attrs

from aelyst_async.contacts import Contact
from aelyst_async.transport.events import logger
from aelyst_async.waiting import uninterrupted

__all__ = ["Listing", "Page"]

C = TypeVar("C", bound=Contact)


@attrs.frozen
class Page(Generic[C]):
    """One page of a listing. ``cursor`` names the page after it, `None` at the end.

    ``complete`` is `False` on a last page after which the server repeated a cursor: contacts may be missing.
    """

    items: tuple[C, ...]
    cursor: str | None = None
    complete: bool = True


class Listing(Generic[C]):
    """The contacts of a listing, for ``async for``; `pages` has them page by page.

    Each iteration starts at `cursor` again. Memory: two pages, and one hash for each page. Close an iteration that you
    leave early (``contextlib.aclosing``): the request for the next page is then cancelled at once.
    """

    def __init__(self, fetch: Callable[[str | None], Awaitable[Page[C]]], cursor: str | None = None) -> None:
        self._fetch = fetch
        self._cursor = cursor

    async def __aiter__(self) -> AsyncGenerator[C, None]:
        pages = self.pages()
        try:
            async for page in pages:
                for contact in page.items:
                    yield contact
        finally:
            await pages.aclose()

    async def pages(self) -> AsyncGenerator[Page[C], None]:
        """Yield the pages, each with the cursor that resumes the listing after it.

        Raises what a request raises; the pages before it have been yielded. Pages may be empty.
        """
        used = {hash(self._cursor)}
        page = await self._fetch(self._cursor)
        while page.cursor is not None:
            if hash(page.cursor) in used:
                logger.warning("a listing ended early: the server repeated the cursor of a page")
                page = attrs.evolve(page, cursor=None, complete=False)
                break
            used.add(hash(page.cursor))
            following = asyncio.ensure_future(self._fetch(page.cursor))
            try:
                yield page
                page = await following
            finally:
                if not following.done():
                    following.cancel()
                    await uninterrupted(asyncio.gather(following, return_exceptions=True))
                elif not following.cancelled():
                    following.exception()  # the caller has left, so nobody else retrieves the exception
        yield page
