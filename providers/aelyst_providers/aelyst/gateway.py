"""The adapter for Aelyst: get, create, update, and what follows from them (upsert, tags).

Upsert. The vendor's pages do not say what an update of a contact that does not exist answers. 404 is the plain case.
A 400 may mean bad data or a missing contact: one get tells. A 200 that names no contact is asked in the same way.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from aelyst_async.adapter import HttpGateway
from aelyst_async.contacts import ContactFields, Tag, WriteReceipt
from aelyst_async.errors import (
    ApiError,
    BadRequestError,
    ConflictError,
    ContactNotFoundError,
    ContactsError,
    InvalidIdentifierError,
    ResponseDecodeError,
    TransportError,
    UnsupportedFieldError,
)
from aelyst_async.identifiers import ContactId, Email, Identifier, Phone, encode_segment, parse_identifier
from aelyst_async.ratelimit import RateLimiter
from aelyst_async.schema import ContactSchema, check_fields
from aelyst_async.transport.credentials import BearerAuth, CredentialSource, sealed
from aelyst_async.transport.messages import Request, Response
from aelyst_async.transport.retry import RetryPolicy
from aelyst_async.transport.settings import masked_url
from aelyst_providers.aelyst import wire
from aelyst_providers.aelyst.models import AelystContact

if TYPE_CHECKING:
    from aiohttp import ClientSession, ClientTimeout

__all__ = ["AelystGateway"]

_ENDPOINT = "/contact/{identifier}"


class AelystGateway(HttpGateway):
    """Aelyst's contacts: a `ContactGateway` and `TagGateway`.

    `token`: a `str`, or a callable (plain or async) that returns one. ``timeout``: seconds for one attempt, or an
    `aiohttp.ClientTimeout`. ``settle``: seconds for which calls for a contact that was just created are held back.
    ``session``: used and left open. ``limiter``: may be shared with other gateways. ``allow_insecure``: permit
    ``http://`` beyond this machine. Raises `ConfigurationError`.
    """

    provider: str = "aelyst"
    schema: ClassVar[ContactSchema] = wire.SCHEMA

    def __init__(
        self,
        token: CredentialSource,
        *,
        base_url: str = "https://api.aelyst.ai/v1",
        session: ClientSession | None = None,
        limiter: RateLimiter | None = None,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        timeout: float | ClientTimeout | None = 30.0,
        settle: float = 1.0,
        allow_insecure: bool = False,
    ) -> None:
        token, base_url = sealed(token), masked_url(base_url)  # before anything can fail
        super().__init__(
            BearerAuth(),
            token,
            credential_name="token",
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

    async def get(self, identifier: Identifier | str) -> AelystContact:
        """Return the contact. Raises `ContactNotFoundError`."""
        who = parse_identifier(identifier)
        if isinstance(who, ContactId):
            _check_id(who)
        request = Request(method="GET", endpoint=_ENDPOINT, path=f"/contact/{who.prefix}:{encode_segment(who.value)}")
        return await self._call(request, partial(wire.read_contact, who=who), about=who)

    async def create(
        self, fields: ContactFields, *, identifier: Identifier | str | None = None, wait: bool = False
    ) -> WriteReceipt:
        """Create a contact, named by `identifier` (default: the phone of `fields`, else the e-mail; never an id).

        Aelyst tells no id, and needs a moment before the contact can be used: `wait` returns once it can be read.
        Raises `UnsupportedFieldError`, `InvalidIdentifierError`; `RequestTimeoutError` if it was created but could
        not be read within a minute.
        """
        check_fields(fields, self.provider)
        who = _creatable(fields, identifier)
        body = self.schema.encode(fields, "create")
        request = Request(
            method="POST", endpoint=_ENDPOINT, path=f"/contact/{who.prefix}:{encode_segment(who.value)}", json=body
        )
        names = {who, *_named_by(fields)}
        try:
            receipt = await self._call(request, lambda response: wire.read_created(response, who), about=who)
        except ContactsError as error:
            if getattr(error, "may_have_been_applied", False):
                self._settling.begin(names)
            raise
        self._settling.begin(names)
        if wait:
            await self._until_readable(who)
        return receipt

    async def update(self, identifier: Identifier | str, fields: ContactFields) -> WriteReceipt:
        """Change the fields given. Of several contacts with this identifier the first is changed; an id names one.

        Raises `UnsupportedFieldError` (also if no field is given), `InvalidIdentifierError`, `ContactNotFoundError`.
        """
        who = parse_identifier(identifier)
        if isinstance(who, ContactId):
            _check_id(who)
        request = Request(
            method="PUT",
            endpoint=_ENDPOINT,
            path=f"/contact/{who.prefix}:{encode_segment(who.value)}",
            json=self.schema.encode_update(fields),
        )
        return await self._call(request, lambda response: wire.read_updated(response, who), about=who)

    async def upsert(self, identifier: Identifier | str, fields: ContactFields) -> WriteReceipt:
        """Update the contact, or create it where there is none.

        Raises `UnsupportedFieldError` also when the contact turns out to be missing and `fields` lacks what a create
        requires, and `ContactNotFoundError` when it is missing and `identifier` is an id, which cannot be created.
        """
        who = parse_identifier(identifier)
        if isinstance(who, ContactId):
            _check_id(who)
        try:
            return await self.update(who, fields)
        except ContactNotFoundError as missing:
            reason: ContactsError = missing
        except (BadRequestError, ResponseDecodeError) as unclear:
            reason = unclear
        if not isinstance(reason, ContactNotFoundError) and await self._exists(who, reason):
            raise reason
        if isinstance(who, ContactId):
            raise reason
        refusal: BadRequestError | None = None
        try:
            return await self.create(fields, identifier=who)
        except ConflictError:
            pass  # created by another client in between
        except BadRequestError as error:
            refusal = error  # the same, at a server that says so with a 400; or bad data
        if refusal is not None and not await self._exists(who, refusal):
            raise refusal
        return await self.update(who, fields)

    async def tags(self, contact: Identifier | str) -> tuple[Tag, ...]:
        """Return the contact's tags, read from the contact. Raises `ContactNotFoundError`."""
        return tuple(Tag(name) for name in (await self.get(contact)).tags)

    async def _exists(self, who: Identifier, reason: ContactsError) -> bool:
        """Whether the contact is there, for a write that failed with `reason`. Where the look-up fails in the same way,
        `reason` is raised; where it fails otherwise, its own error, which then says of the write, too, whether it may
        have taken effect.
        """
        try:
            await self.get(who)
            return True
        except ContactNotFoundError:
            return False
        except (ApiError, ResponseDecodeError, TransportError) as failure:
            if type(failure) is not type(reason):
                failure.may_have_been_applied |= isinstance(reason, ResponseDecodeError)
                raise
        raise reason  # outside `except`: neither is the other's context


def _check_id(who: ContactId) -> None:
    if not (who.value.isascii() and who.value.isdigit()):
        raise InvalidIdentifierError("aelyst: an id is digits only", who)


def _named_by(fields: ContactFields) -> list[Identifier]:
    """Return the identifiers that the fields give the contact; what is no identifier is the server's to judge."""
    names: list[Identifier] = []
    for kind, value in ((Phone, fields.phone), (Email, fields.email)):
        if isinstance(value, str):
            with suppress(InvalidIdentifierError):
                names.append(kind(value))
    return names


def _creatable(fields: ContactFields, identifier: Identifier | str | None) -> Identifier:
    if identifier is not None:
        who = parse_identifier(identifier)
        if isinstance(who, ContactId):
            raise InvalidIdentifierError("aelyst: a contact is created by email: or phone:, the id is the server's")
        return who
    if isinstance(fields.phone, str):
        return Phone(fields.phone)
    if isinstance(fields.email, str):
        return Email(fields.email)
    raise UnsupportedFieldError("aelyst create: needs an identifier, a phone or an email")
