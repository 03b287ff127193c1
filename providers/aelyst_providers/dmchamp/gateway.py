"""The adapter for DM Champ: the seven operations of its page, and upsert.

The API addresses a contact by its id, and finds the id by phone or e-mail. So every method but ``get`` accepts any
identifier: an id is sent unchanged; a phone or an e-mail is looked up first, which costs a request.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

import attrs

from aelyst_async.adapter import HttpGateway
from aelyst_async.contacts import UNSET, ContactFields, Message, Tag, WriteReceipt
from aelyst_async.errors import (
    ApiError,
    ConflictError,
    ContactNotFoundError,
    InvalidIdentifierError,
    ResponseDecodeError,
    TransportError,
    UnsupportedFieldError,
)
from aelyst_async.identifiers import ContactId, Email, Identifier, Phone, encode_segment, parse_identifier
from aelyst_async.ratelimit import RateLimiter
from aelyst_async.schema import ContactSchema, check_fields
from aelyst_async.transport.credentials import CredentialSource, QueryAuth, sealed
from aelyst_async.transport.messages import Request, Response
from aelyst_async.transport.retry import RetryPolicy
from aelyst_async.transport.settings import masked_url
from aelyst_providers.dmchamp import wire
from aelyst_providers.dmchamp.models import DmChampContact

if TYPE_CHECKING:
    from aiohttp import ClientSession, ClientTimeout

__all__ = ["DmChampGateway"]


class DmChampGateway(HttpGateway):
    """DM Champ's contacts: a `ContactGateway`, `ListGateway`, `TagGateway` and `MessageGateway`.

    `api_key`: a `str`, or a callable (plain or async) that returns one; it is sent in the query, so URLs of this
    gateway are never shown with their query. The other settings are as in `AelystGateway`. Raises `ConfigurationError`.
    """

    provider: str = "dmchamp"
    schema: ClassVar[ContactSchema] = wire.SCHEMA

    def __init__(
        self,
        api_key: CredentialSource,
        *,
        base_url: str = "https://api.dmchamp.com/v1",
        session: ClientSession | None = None,
        limiter: RateLimiter | None = None,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        timeout: float | ClientTimeout | None = 30.0,
        settle: float = 0.0,
        allow_insecure: bool = False,
    ) -> None:
        api_key, base_url = sealed(api_key), masked_url(base_url)  # before any code that may raise
        super().__init__(
            QueryAuth("apiKey"),
            api_key,
            credential_name="api_key",
            base_url=base_url,
            session=session,
            limiter=limiter,
            retry=retry,
            timeout=timeout,
            settle=settle,
            allow_insecure=allow_insecure,
        )

    def _error_in(self, response: Response) -> ApiError | None:
        return wire.read_error(response)

    async def get(self, identifier: Identifier | str) -> DmChampContact:
        """Return the contact with this phone or e-mail; the API cannot get one by id. Raises `ContactNotFoundError`,
        `InvalidIdentifierError`.
        """
        who = parse_identifier(identifier)
        if isinstance(who, ContactId):
            raise InvalidIdentifierError("dmchamp: a contact is found by phone: or email:, not by id:")
        return await self._call(_search(who), wire.read_contact, about=who)

    async def create(
        self, fields: ContactFields, *, identifier: Identifier | str | None = None, wait: bool = False
    ) -> WriteReceipt:
        """Create a contact. The API requires a phone: that of `fields`, or `identifier` itself.

        ``receipt.created`` is None if the response may describe a contact that existed before. With `wait`, the call
        returns when the contact can be read. Raises `UnsupportedFieldError`, `InvalidIdentifierError`, `ConflictError`.
        """
        fields, who = _complete(fields, identifier)
        body = self.schema.encode(fields, "create")
        request = Request(method="POST", endpoint="/contacts", path="/contacts", json=body)
        receipt = await self._call(request, lambda response: wire.read_created(response, who), about=who)
        self._settling.begin([who, Phone(body["phoneNumber"])])
        if receipt.contact_id is not None:
            with suppress(InvalidIdentifierError):  # an invalid id cannot be used in later calls
                self._settling.begin([ContactId(receipt.contact_id)])
        if wait:
            await self._until_readable(who)
        return receipt

    async def update(self, identifier: Identifier | str, fields: ContactFields) -> WriteReceipt:
        """Change the given fields: names, e-mail, ``is_bot_active``, ``do_not_disturb``. The phone cannot be changed.

        Raises `UnsupportedFieldError` (also if no field is given), `InvalidIdentifierError`, `ContactNotFoundError`.
        """
        who = parse_identifier(identifier)
        body = self.schema.encode_update(fields)
        contact_id = await self._id_of(who)
        request = Request(
            method="PUT",
            endpoint="/contacts/{contactId}",
            path=f"/contacts/{encode_segment(contact_id)}",
            json=body,
        )
        return await self._call(
            request, lambda response: wire.read_done(response, who, contact_id, created=False), about=who
        )

    async def upsert(self, identifier: Identifier | str, fields: ContactFields) -> WriteReceipt:
        """Look the contact up, then update it or create it.

        An existing contact keeps its phone and other fields that only a create accepts; ``receipt.not_applied`` names
        the fields that were left out. An id can only be updated. Raises `UnsupportedFieldError`,
        `InvalidIdentifierError`.
        """
        who = parse_identifier(identifier)
        kept = self.schema.create_only(fields)
        changes = attrs.evolve(fields, **dict.fromkeys(kept, UNSET))
        # Update and create are both checked before the look-up.
        if isinstance(who, ContactId):
            self.schema.encode_update(changes)
        else:
            self.schema.encode(changes, "update")
        if isinstance(who, Phone):
            self.schema.encode(_complete(fields, who)[0], "create")
            kept = tuple(name for name in kept if name != "phone")  # the contact has this phone already
        elif isinstance(who, Email) and isinstance(fields.phone, str):
            self.schema.encode(fields, "create")
        contact_id = await self._lookup(who)
        perhaps_created = False
        if contact_id is None:
            try:
                receipt = await self.create(fields, identifier=who)
            except ConflictError:
                pass  # created meanwhile, or not visible at the time of the look-up
            else:
                if receipt.created or wire.holds(receipt.raw, self.schema.encode(_complete(fields, who)[0], "create")):
                    return receipt
                # The response to a create may be a contact that existed before. Then nothing has been written yet.
                contact_id = receipt.contact_id
                perhaps_created = receipt.created is None
            contact_id = contact_id or await self._id_of(who)
        if not isinstance(who, ContactId) and not any(changes.given()):
            return WriteReceipt(identifier=who, contact_id=contact_id, created=False, not_applied=kept)
        try:
            receipt = await self.update(ContactId(contact_id), changes)
        except (ApiError, ResponseDecodeError, TransportError) as error:
            error.may_have_been_applied |= perhaps_created
            raise
        return attrs.evolve(receipt, identifier=who, not_applied=kept)

    async def add_to_list(self, contact: Identifier | str, list_id: str) -> WriteReceipt:
        """Add the contact to a list. Raises `ContactNotFoundError`, `InvalidIdentifierError`."""
        return await self._change_list("POST", contact, list_id)

    async def remove_from_list(self, contact: Identifier | str, list_id: str) -> WriteReceipt:
        """Remove the contact from a list. Raises `ContactNotFoundError`, `InvalidIdentifierError`."""
        return await self._change_list("DELETE", contact, list_id)

    async def tags(self, contact: Identifier | str) -> tuple[Tag, ...]:
        """Return the contact's tags. Raises `ContactNotFoundError`, `InvalidIdentifierError`."""
        who = parse_identifier(contact)
        contact_id = encode_segment(await self._id_of(who))
        request = Request(method="GET", endpoint="/contacts/tags/{contactId}", path=f"/contacts/tags/{contact_id}")
        return await self._call(request, wire.read_tags, about=who)

    async def messages(self, contact: Identifier | str) -> tuple[Message, ...]:
        """Return the contact's messages. Raises `ContactNotFoundError`, `InvalidIdentifierError`."""
        who = parse_identifier(contact)
        contact_id = encode_segment(await self._id_of(who))
        request = Request(
            method="GET", endpoint="/contacts/messages/{contactId}", path=f"/contacts/messages/{contact_id}"
        )
        return await self._call(request, wire.read_messages, about=who)

    async def _change_list(self, method: str, contact: Identifier | str, list_id: str) -> WriteReceipt:
        who = parse_identifier(contact)
        list_id = _checked_list_id(list_id)
        contact_id = await self._id_of(who)
        request = Request(
            method=method,
            endpoint="/contacts/lists",
            path="/contacts/lists",
            json={"contactId": contact_id, "listId": list_id},
        )
        return await self._call(
            request, lambda response: wire.read_done(response, who, contact_id, created=None), about=who
        )

    async def _lookup(self, who: Identifier) -> str | None:
        try:
            return await self._id_of(who)
        except ContactNotFoundError:
            return None

    async def _id_of(self, who: Identifier) -> str:
        """Return the contact's id, looked up if `who` is a phone or an e-mail. Raises `ContactNotFoundError`."""
        if isinstance(who, ContactId):
            return wire.checked_id(who.value)
        return await self._call(_search(who), wire.read_id, about=who)


def _search(who: Email | Phone) -> Request:
    name = "phoneNumber" if isinstance(who, Phone) else "email"
    return Request(method="GET", endpoint="/contacts", path="/contacts", query=((name, who.value),))


def _complete(fields: ContactFields, identifier: Identifier | str | None) -> tuple[ContactFields, Identifier]:
    """Return the fields of a create, with the value of `identifier` added, and the identifier of the new contact."""
    check_fields(fields, "dmchamp")
    who = None if identifier is None else parse_identifier(identifier)
    if isinstance(who, ContactId):
        raise InvalidIdentifierError("dmchamp: create needs a phone: identifier; the server assigns the id")
    if isinstance(who, Phone):
        if fields.phone is UNSET:
            fields = attrs.evolve(fields, phone=who.value)
        elif isinstance(fields.phone, str) and Phone(fields.phone) != who:
            raise UnsupportedFieldError("dmchamp create: the phone of the fields is not that of the identifier")
    if isinstance(who, Email):
        if fields.email is UNSET:
            fields = attrs.evolve(fields, email=who.value)
        elif isinstance(fields.email, str) and fields.email != who.value:
            raise UnsupportedFieldError("dmchamp create: the email of the fields is not that of the identifier")
    if not isinstance(fields.phone, str):
        raise UnsupportedFieldError("dmchamp create: phone is required to create a contact")
    return fields, who or Phone(fields.phone)


def _checked_list_id(list_id: str) -> str:
    if not isinstance(list_id, str) or not list_id.strip():
        raise InvalidIdentifierError(f"dmchamp: list_id must be a non-empty str, not {list_id!r}")
    try:
        return ContactId(list_id).value  # the same rules: no control characters, no lone surrogate
    except InvalidIdentifierError as refusal:
        problem = str(refusal).removeprefix("id: ")
    raise InvalidIdentifierError(f"dmchamp: list_id: {problem}")
