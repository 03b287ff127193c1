"""Listing: requests for pages, and the cursors between them.

``pagination.next`` is a full URL. Its host is not trusted, and its path lacks the version of the API. So only its
``cursorId`` is used, and every request is sent to our own base URL. It may be null, absent or empty on the last page.

A cursor for callers begins with a hash of its search, because the vendor's cursor in another search would skip contacts
without an error.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs

from aelyst_async.codec import as_id
from aelyst_async.errors import ConfigurationError
from aelyst_async.listing import Page
from aelyst_async.schema import text
from aelyst_async.transport.messages import Request, Response
from aelyst_providers.aelyst.conditions import filter_of
from aelyst_providers.aelyst.definitions import CustomFieldDefinition, CustomFieldTypes
from aelyst_providers.aelyst.models import AelystContact
from aelyst_providers.aelyst.wire import checked, contact_of, definitions_of

__all__ = ["Query", "definitions_request", "read_definitions"]

_MAX_PAGE = 99
"""Largest number of contacts on a page (vendor's documentation: limit 1 to 99)."""

_MAX_CURSOR = 500
"""Largest number of characters of a server's cursor."""


@attrs.frozen
class Query:
    """One search: the body of its requests, and the prefix of its cursors."""

    body: dict[str, Any]
    limit: int
    mark: str

    @classmethod
    def of(cls, search: object, where: object, *, page_size: object, timezone: object) -> Query:
        """Return the query. Raises `ConfigurationError` for arguments that the API does not accept."""
        if not isinstance(page_size, int) or isinstance(page_size, bool) or not 1 <= page_size <= _MAX_PAGE:
            raise ConfigurationError(f"page_size must be a whole number from 1 to {_MAX_PAGE}, not {page_size!r:.80}")
        words = _checked("search", "" if search is None else search)
        zone = _checked("timezone", timezone)
        if not zone:
            raise ConfigurationError("timezone must be the name of a time zone such as Asia/Kuala_Lumpur")
        body = {"search": words, "timezone": zone, "filter": filter_of(where)}
        return cls(body, page_size, blake2b(json.dumps(body, sort_keys=True).encode(), digest_size=6).hexdigest())

    def start(self, cursor: object) -> str | None:
        """Return the vendor's cursor from one of ours. Raises `ConfigurationError` for a cursor of another search."""
        if cursor is None:
            return None
        mark, colon, vendors = cursor.partition(":") if isinstance(cursor, str) else ("", "", "")
        if not colon or mark != self.mark or as_id(vendors) is None:
            raise ConfigurationError("cursor: must be from a Page with the same search, conditions and time zone")
        return vendors

    def request(self, cursor: str | None) -> Request:
        """Return the request for the page at the vendor's `cursor`. It only reads, so it may be repeated."""
        return Request(
            method="POST",
            endpoint="/contact/list",
            path="/contact/list",
            query=_paging(self.limit, cursor),
            json=self.body,
            semantics="GET",
        )

    def read(self, response: Response, types: CustomFieldTypes | None) -> Page[AelystContact]:
        """Return a page with a cursor of our form. Raises `ApiError`, `ResponseDecodeError`."""
        body = checked(response)
        items = body.get("items") if isinstance(body, dict) else None
        if not isinstance(items, list):
            raise response.undecodable("$.items: expected an array of contacts")
        contacts = tuple(contact_of(response, item, types, f"$.items[{index}]") for index, item in enumerate(items))
        cursor = _next(response, body)
        return Page(contacts, None if cursor is None else f"{self.mark}:{cursor}")


def definitions_request(cursor: str | None) -> Request:
    """Return the request for the page of custom field definitions at `cursor`."""
    route = "/space/custom_field"
    return Request(method="GET", endpoint=route, path=route, query=_paging(_MAX_PAGE, cursor))


def read_definitions(response: Response) -> tuple[list[CustomFieldDefinition], str | None]:
    """Return a page of definitions and the next cursor. The response is an array or ``{items, pagination}``.

    Raises `ApiError`, `ResponseDecodeError`.
    """
    body = checked(response)
    items = body.get("items") if isinstance(body, dict) else body
    if not isinstance(items, list):
        raise response.undecodable("$.items: expected an array of custom fields")
    return definitions_of(items), _next(response, body)


def _paging(limit: int, cursor: str | None) -> tuple[tuple[str, str], ...]:
    return (("limit", str(limit)),) if cursor is None else (("limit", str(limit)), ("cursorId", cursor))


def _checked(name: str, value: object) -> str:
    try:
        return text(value)
    except ValueError as refusal:
        problem = f"{name}: {refusal}"
    raise ConfigurationError(problem)


def _next(response: Response, body: Any) -> str | None:
    pagination = body.get("pagination") if isinstance(body, dict) else None
    link = pagination.get("next") if isinstance(pagination, dict) else None
    if not link:
        return None
    cursor = None
    if isinstance(link, str):
        try:
            [cursor, *_] = parse_qs(urlsplit(link).query, keep_blank_values=True, max_num_fields=100)["cursorId"]
        except (ValueError, KeyError):
            cursor = None
        if cursor == "":
            return None
    if cursor is None or as_id(cursor) is None or len(cursor) > _MAX_CURSOR:
        raise response.undecodable("$.pagination.next: expected a URL with a cursorId")
    return cursor
