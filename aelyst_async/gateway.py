"""The protocols of gateways. Code that uses only these protocols works with every provider.

Every provider implements `ContactReader`; `ContactGateway` adds writing. Deleting, listing, lists, tags and messages
are separate protocols because not every API has them. All are ``runtime_checkable``: ``isinstance(gateway,
ListGateway)`` returns whether a gateway has these methods.

Every ``contact`` and ``identifier`` argument accepts an identifier object or its string form
(``"email:ann@example.com"``). Every method may raise any `aelyst_async.errors.ContactsError`; the docstrings below name
the errors that are specific to a method.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from aelyst_async.contacts import Contact, ContactFields, Message, Tag, WriteReceipt
from aelyst_async.identifiers import Identifier

if TYPE_CHECKING:
    from aelyst_async.listing import Listing  # imports asyncio

__all__ = [
    "ContactGateway",
    "ContactReader",
    "DeletingGateway",
    "ListGateway",
    "ListingGateway",
    "MessageGateway",
    "TagGateway",
    "TaggingGateway",
]


@runtime_checkable
class ContactReader(Protocol):
    """Reads one contact. ``provider`` is the name under which `open_gateway` finds the provider."""

    @property
    def provider(self) -> str:
        """The provider's name. A class attribute is sufficient."""
        ...

    async def get(self, identifier: Identifier | str) -> Contact:
        """Return the contact. Raises `ContactNotFoundError` if there is none."""
        ...


@runtime_checkable
class ContactGateway(ContactReader, Protocol):
    """Reads and writes contacts."""

    async def create(self, fields: ContactFields, *, identifier: Identifier | str | None = None) -> WriteReceipt:
        """Create a contact with the given `identifier`; the default is the phone in `fields`, else the e-mail.

        A create that may have reached the server is never repeated. ``may_have_been_applied`` of `TransportError` and
        `ServerError` says whether the contact may exist now. Raises `UnsupportedFieldError` and
        `InvalidIdentifierError` before anything is sent, and `ConflictError` if the API reports a duplicate.
        """
        ...

    async def update(self, identifier: Identifier | str, fields: ContactFields) -> WriteReceipt:
        """Change the given fields and keep the others.

        Raises `ContactNotFoundError` if there is no contact, and `UnsupportedFieldError` before anything is sent.
        """
        ...

    async def upsert(self, identifier: Identifier | str, fields: ContactFields) -> WriteReceipt:
        """Update the contact, or create it if there is none.

        ``receipt.created`` is `True` after a create, `False` after an update, and `None` if the API does not say.
        Raises `UnsupportedFieldError` before anything is sent.
        """
        ...


@runtime_checkable
class DeletingGateway(Protocol):
    """Deletes contacts."""

    async def delete(self, identifier: Identifier | str) -> WriteReceipt:
        """Delete the contact. Raises `ContactNotFoundError` if there is none.

        If its answer is lost, the delete is sent again. The second request may raise `ContactNotFoundError` for the
        contact that the first one deleted; ``may_have_been_applied`` of that error is True.
        """
        ...


@runtime_checkable
class ListingGateway(Protocol):
    """Lists the contacts of an account."""

    def contacts(
        self, search: str | None = None, where: Any = None, *, page_size: int = 99, cursor: str | None = None
    ) -> Listing[Any]:
        """Return an async iterable of the contacts that match `search` and `where` (a provider's condition).

        No request is sent before the iteration starts. ``cursor``, from a `Page` of the same search, resumes after that
        page.
        """
        ...


@runtime_checkable
class ListGateway(Protocol):
    """Puts contacts on lists."""

    async def add_to_list(self, contact: Identifier | str, list_id: str) -> WriteReceipt:
        """Add the contact to the list. Raises `ContactNotFoundError`."""
        ...

    async def remove_from_list(self, contact: Identifier | str, list_id: str) -> WriteReceipt:
        """Remove the contact from the list. Raises `ContactNotFoundError`."""
        ...


@runtime_checkable
class TagGateway(Protocol):
    """Reads the tags of a contact."""

    async def tags(self, contact: Identifier | str) -> tuple[Tag, ...]:
        """Return the contact's tags, in the server's order. Raises `ContactNotFoundError`."""
        ...


@runtime_checkable
class TaggingGateway(Protocol):
    """Changes the tags of a contact."""

    async def add_tags(self, identifier: Identifier | str, tags: Iterable[Tag | str]) -> WriteReceipt:
        """Add tags to the contact; its other tags stay. Raises `ContactNotFoundError`."""
        ...

    async def remove_tags(self, identifier: Identifier | str, tags: Iterable[Tag | str]) -> WriteReceipt:
        """Remove tags from the contact. Raises `ContactNotFoundError`."""
        ...


@runtime_checkable
class MessageGateway(Protocol):
    """Reads the messages of a contact."""

    async def messages(self, contact: Identifier | str) -> tuple[Message, ...]:
        """Return the contact's messages, in the server's order. Raises `ContactNotFoundError`."""
        ...
