"""Asynchronous client for contacts APIs: gateways, models, identifiers, errors and bulk functions.

A name is imported when it is first used (PEP 562). aiohttp and cattrs, which are slow to import, are loaded with the
first request.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aelyst_async import errors
    from aelyst_async.blocking import BlockingGateway
    from aelyst_async.bulk import (
        Failure,
        Outcome,
        Success,
        add_tags_many,
        delete_many,
        get_many,
        update_many,
        upsert_many,
    )
    from aelyst_async.contacts import UNSET, Contact, ContactFields, Message, Tag, Unset, WriteReceipt
    from aelyst_async.gateway import (
        ContactGateway,
        ContactReader,
        DeletingGateway,
        ListGateway,
        ListingGateway,
        MessageGateway,
        TagGateway,
        TaggingGateway,
    )
    from aelyst_async.identifiers import ContactId, Email, Phone, parse_identifier
    from aelyst_async.listing import Page
    from aelyst_async.ratelimit import Quota, RateLimiter
    from aelyst_async.registry import open_gateway
    from aelyst_async.transport import RetryPolicy
    from aelyst_async.transport.raw import RawResponse

__all__ = [
    "UNSET",
    "BlockingGateway",
    "Contact",
    "ContactFields",
    "ContactGateway",
    "ContactId",
    "ContactReader",
    "DeletingGateway",
    "Email",
    "Failure",
    "ListGateway",
    "ListingGateway",
    "Message",
    "MessageGateway",
    "Outcome",
    "Page",
    "Phone",
    "Quota",
    "RateLimiter",
    "RawResponse",
    "RetryPolicy",
    "Success",
    "Tag",
    "TagGateway",
    "TaggingGateway",
    "Unset",
    "WriteReceipt",
    "add_tags_many",
    "delete_many",
    "errors",
    "get_many",
    "open_gateway",
    "parse_identifier",
    "update_many",
    "upsert_many",
]

_HOMES = (
    "contacts",
    "identifiers",
    "gateway",
    "transport",
    "ratelimit",
    "registry",
    "bulk",
    "listing",
    "blocking",
    "transport.raw",
)
"""The module of each public name, the fastest import first."""


def __getattr__(name: str) -> object:
    if name == "errors":
        return import_module("aelyst_async.errors")  # which binds it here
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"aelyst_async.{home}")
            if name in module.__all__:
                globals()[name] = value = getattr(module, name)
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
