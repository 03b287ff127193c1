"""Async-first client for contacts APIs: one gateway protocol, one learning rate limiter, a bulk sync, a sandbox.

Importing this package imports neither aiohttp nor cattrs: both are slow to import and are loaded when a request is
first made.
"""

from aelyst_async import errors
from aelyst_async.bulk import Outcome, get_many, upsert_many
from aelyst_async.contacts import UNSET, Contact, ContactFields, Message, Tag, Unset, WriteReceipt
from aelyst_async.gateway import ContactGateway, ContactReader, ListGateway, MessageGateway, TagGateway
from aelyst_async.identifiers import ContactId, Email, Phone, parse_identifier
from aelyst_async.ratelimit import RateLimiter
from aelyst_async.registry import open_gateway
from aelyst_async.transport import RetryPolicy

__all__ = [
    "UNSET",
    "Contact",
    "ContactFields",
    "ContactGateway",
    "ContactId",
    "ContactReader",
    "Email",
    "ListGateway",
    "Message",
    "MessageGateway",
    "Outcome",
    "Phone",
    "RateLimiter",
    "RetryPolicy",
    "Tag",
    "TagGateway",
    "Unset",
    "WriteReceipt",
    "errors",
    "get_many",
    "open_gateway",
    "parse_identifier",
    "upsert_many",
]
