"""The adapter for Aelyst's contact API.

Upsert: the vendor has a call ``create_or_update``, one request that may be repeated without a look-up, because it
cannot create twice. ``upsert="auto"`` uses it. A server without this route responds with 404 or 405. Then an update is
sent, and a create if the contact does not exist.

The vendor's pages do not document the response to an update of a missing contact. After a 404 the contact is missing. A
400 may mean bad data or a missing contact, so a get finds out; so does a get after a 200 without a contact.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import attrs
from typing_extensions import Self

from aelyst_async.adapter import HttpGateway
from aelyst_async.contacts import ContactFields, Tag, WriteReceipt
from aelyst_async.errors import (
    ApiError,
    BadRequestError,
    ConfigurationError,
    ConflictError,
    ContactNotFoundError,
    ContactsError,
    InvalidIdentifierError,
    PartialChangeError,
    ResponseDecodeError,
    TransportError,
    UnsupportedFieldError,
)
from aelyst_async.identifiers import ContactId, Email, Identifier, Phone, encode_segment, parse_identifier
from aelyst_async.listing import Listing, Page
from aelyst_async.ratelimit import RateLimiter
from aelyst_async.schema import ContactSchema, check_fields, text
from aelyst_async.transport.credentials import BearerAuth, CredentialSource, sealed
from aelyst_async.transport.events import logger
from aelyst_async.transport.messages import Request, Response
from aelyst_async.transport.retry import RetryPolicy
from aelyst_async.transport.settings import masked_url
from aelyst_providers.aelyst import wire
from aelyst_providers.aelyst.conditions import Condition
from aelyst_providers.aelyst.definitions import CustomFieldDefinition, CustomFieldTypes
from aelyst_providers.aelyst.listing import Query, definitions_request, read_definitions
from aelyst_providers.aelyst.models import AelystContact

if TYPE_CHECKING:
    from aiohttp import ClientSession, ClientTimeout

__all__ = ["AelystGateway", "UpsertMode"]

UpsertMode: TypeAlias = Literal["auto", "native", "compose"]
"""The way of an upsert. ``native``: ``create_or_update``. ``compose``: an update, and a create if necessary. ``auto``:
``native`` if the server has it.
"""

_ENDPOINT = "/contact/{identifier}"
_MAX_TAGS = 10
"""Largest number of tags in one request (vendor's documentation: 1 to 10)."""


@attrs.define
class _Upserts:
    """Whether the server has ``create_or_update``, as far as known. All views of a gateway share it."""

    mode: UpsertMode
    confirmed: bool = False


class AelystGateway(HttpGateway):
    """Aelyst's contacts: a `ContactGateway` that also deletes, lists and tags.

    `token`: a `str`, or a callable (plain or async) that returns one. ``timeout``: seconds for one attempt, or an
    `aiohttp.ClientTimeout`. ``settle``: seconds by which calls for a contact that was just created are delayed.
    ``session``: used and left open. ``limiter``: may be shared with other gateways. ``upsert``: see `UpsertMode`.
    ``allow_insecure``: accept ``http://`` for other hosts than this machine. Raises `ConfigurationError`.
    """

    provider: str = "aelyst"
    default_base_url: ClassVar[str] = "https://api.aelyst.ai/v1"
    schema: ContactSchema = wire.SCHEMA
    _types: CustomFieldTypes | None = None

    def __init__(
        self,
        token: CredentialSource,
        *,
        base_url: str | None = None,
        session: ClientSession | None = None,
        limiter: RateLimiter | None = None,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        timeout: float | ClientTimeout | None = 30.0,
        settle: float = 1.0,
        upsert: UpsertMode = "auto",
        allow_insecure: bool = False,
    ) -> None:
        token, base_url = sealed(token), masked_url(base_url)  # before any code that may raise
        if upsert not in {"auto", "native", "compose"}:
            raise ConfigurationError(f"upsert must be auto, native or compose, not {upsert!r:.80}")
        super().__init__(
            BearerAuth(),
            token,
            credential_name="token",
            base_url=self.default_base_url if base_url is None else base_url,
            session=session,
            limiter=limiter,
            retry=retry,
            timeout=timeout,
            settle=settle,
            allow_insecure=allow_insecure,
        )
        self._upserts = _Upserts(upsert)
        if self.provider != wire.SCHEMA.provider:
            self.schema = wire.schema_of(self.provider, None)

    def with_custom_fields(self, definitions: Iterable[CustomFieldDefinition]) -> Self:
        """Return a view of this gateway with typed custom fields. It shares session, limiter, credential and life
        cycle.

        `definitions`: the account's definitions, from `custom_fields`. Values are read as dates, times, booleans and
        numbers. Unknown fields, and values that do not have their field's type, are refused before anything is sent,
        also by a sync. Raises `ConfigurationError`.
        """
        view = copy.copy(self)
        view._types = CustomFieldTypes(definitions)  # noqa: SLF001 - its own copy
        view.schema = wire.schema_of(self.provider, view._types)  # noqa: SLF001
        return view

    def _error_in(self, response: Response) -> ApiError | None:
        return wire.read_error(response)

    async def get(self, identifier: Identifier | str) -> AelystContact:
        """Return the contact. Raises `ContactNotFoundError`."""
        who = parse_identifier(identifier)
        if isinstance(who, ContactId):
            _check_id(who)
        request = Request(method="GET", endpoint=_ENDPOINT, path=f"/contact/{who.prefix}:{encode_segment(who.value)}")
        return await self._call(request, partial(wire.read_contact, who=who, types=self._types), about=who)

    @staticmethod
    def condition(said: str) -> Condition:
        """Parse a condition for `contacts`, such as ``email contains @example.com``.

        Raises `ConfigurationError`.
        """
        from aelyst_providers.aelyst.where import parse_condition

        return parse_condition(said)

    def contacts(
        self,
        search: str | None = None,
        where: Condition | Tag | None = None,
        *,
        page_size: int = 99,
        cursor: str | None = None,
        timezone: str = "UTC",
    ) -> Listing[AelystContact]:
        """Return the account's contacts, for ``async for``; its `pages` yields them page by page.

        `search`: a text that the vendor searches for. `where`: a condition such as
        ``Field("email").exists() & HasTag("vip")``. `page_size`: contacts in each request, 1 to 99. `cursor`: the
        ``cursor`` of a `Page` of the same search; the listing continues after that page. `timezone`: the time zone of
        dates in conditions. The next page is fetched while the caller processes one. Raises `ConfigurationError` before
        anything is sent.
        """
        query = Query.of(search, where, page_size=page_size, timezone=timezone)

        def fetch(at: str | None) -> Awaitable[Page[AelystContact]]:
            return self._call(query.request(query.start(at)), partial(query.read, types=self._types))

        query.start(cursor)
        return Listing(fetch, cursor)

    async def custom_fields(self) -> tuple[CustomFieldDefinition, ...]:
        """Return the definitions of the account's custom fields."""
        found: list[CustomFieldDefinition] = []
        used: set[str | None] = set()
        cursor: str | None = None
        while cursor not in used:
            used.add(cursor)
            page, cursor = await self._call(definitions_request(cursor), read_definitions)
            found += page
            if cursor is None:
                break
        return tuple(found)

    async def create(
        self, fields: ContactFields, *, identifier: Identifier | str | None = None, wait: bool = False
    ) -> WriteReceipt:
        """Create a contact with this `identifier` (default: the phone in `fields`, else the e-mail; never an id).

        Aelyst returns no id, and the contact cannot be used at once: with `wait`, the call returns when the contact can
        be read. Raises `UnsupportedFieldError`, `InvalidIdentifierError`; `RequestTimeoutError` if the contact was
        created but could not be read within a minute.
        """
        check_fields(fields, self.provider)
        who = _creatable(fields, identifier)
        body = self.schema.encode(fields, "create")
        request = Request(method="POST", endpoint=_ENDPOINT, path=_path(who), json=body)
        receipt = await self._settle_after(request, partial(wire.read_created, identifier=who), who, fields)
        if wait:
            await self._until_readable(who)
        return receipt

    async def _settle_after(
        self, request: Request, read: Callable[[Response], WriteReceipt], who: Identifier, fields: ContactFields
    ) -> WriteReceipt:
        """Make a call that may create a contact; delay later calls for it, by each of its identifiers."""
        names = {who, *_named_by(fields)}
        try:
            receipt = await self._call(request, read, about=who)
        except ContactsError as error:
            if getattr(error, "may_have_been_applied", False):
                self._settling.begin(names)
            raise
        self._settling.begin(names)
        return receipt

    async def update(self, identifier: Identifier | str, fields: ContactFields) -> WriteReceipt:
        """Change the given fields. If several contacts have this identifier, the first one is changed.

        Raises `UnsupportedFieldError` (also if no field is given), `InvalidIdentifierError`, `ContactNotFoundError`.
        """
        who = _parsed(identifier)
        request = Request(method="PUT", endpoint=_ENDPOINT, path=_path(who), json=self.schema.encode_update(fields))
        return await self._call(request, partial(wire.read_updated, identifier=who), about=who)

    async def delete(self, identifier: Identifier | str) -> WriteReceipt:
        """Delete the contact; the receipt has its id. If several contacts have this identifier, one is deleted.

        Raises `ContactNotFoundError`. If its response is lost, the delete is sent again. The second request may raise
        that error for the contact that the first one deleted; ``may_have_been_applied`` is then True.
        """
        who = _parsed(identifier)
        request = Request(method="DELETE", endpoint=_ENDPOINT, path=_path(who))
        return await self._call(request, partial(wire.read_updated, identifier=who), about=who)

    async def upsert(self, identifier: Identifier | str, fields: ContactFields) -> WriteReceipt:
        """Update the contact, or create it if there is none. ``receipt.created`` is None if the API does not say.

        Raises `UnsupportedFieldError` also if the contact does not exist and `fields` lacks a field that a create
        requires, and `ContactNotFoundError` if it does not exist and `identifier` is an id.
        """
        who = _parsed(identifier)
        mode = self._upserts.mode
        # If a field that a create requires is missing, only the composed upsert can report this.
        if mode == "native" or (mode == "auto" and not self.schema.problems(fields, "create")):
            made = await self._create_or_update(who, fields)
            if isinstance(made, WriteReceipt):
                return made
            receipt = await self._update_or_create(who, fields)
            if made == 400:
                self._compose_from_now_on(made)  # the data was valid, so the route is missing
            return receipt
        return await self._update_or_create(who, fields)

    async def _create_or_update(self, who: Identifier, fields: ContactFields) -> WriteReceipt | int:
        """Upsert with the vendor's own call. Return the status of a refusal after which the composed upsert may be
        tried.

        A 404 that says ``Contact not found`` may be about the contact, and a 400 about the data. Neither proves that
        the route is missing.
        """
        request = Request(
            method="POST",
            endpoint="/contact/create_or_update/{identifier}",
            path=f"/contact/create_or_update/{_segment(who)}",
            json=self.schema.encode_update(fields),
            semantics="PUT",
        )
        known = self._upserts
        try:
            receipt = await self._settle_after(
                request, partial(wire.read_updated, identifier=who, created=None), who, fields
            )
            known.confirmed = True
            return receipt
        except ApiError as refusal:
            if refusal.status not in {400, 404, 405} or known.mode == "native" or known.confirmed:
                raise
            if refusal.status == 400 or (refusal.status == 404 and wire.is_no_contact(refusal)):
                if isinstance(who, ContactId):
                    raise
            else:
                self._compose_from_now_on(refusal.status)
            return refusal.status

    def _compose_from_now_on(self, status: int) -> None:
        if self._upserts.mode == "auto":
            self._upserts.mode = "compose"
            logger.warning(
                "%s: the server has no create_or_update (%d); an upsert is an update, then a create if need be",
                self.provider, status,
            )  # fmt: skip

    async def _update_or_create(self, who: Identifier, fields: ContactFields) -> WriteReceipt:
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
            pass  # created by another client meanwhile
        except BadRequestError as error:
            refusal = error  # the same, reported with a 400; or bad data
        if refusal is not None and not await self._exists(who, refusal):
            raise refusal
        return await self.update(who, fields)

    async def tags(self, contact: Identifier | str) -> tuple[Tag, ...]:
        """Return the contact's tags, read from the contact. Raises `ContactNotFoundError`."""
        return tuple(Tag(name) for name in (await self.get(contact)).tags)

    async def add_tags(self, identifier: Identifier | str, tags: Iterable[Tag | str]) -> WriteReceipt:
        """Add tags to the contact; its other tags stay. More than 10 are sent in several requests.

        Raises `UnsupportedFieldError` for an invalid tag and for an empty list, `ContactNotFoundError`, and
        `PartialChangeError` if a request failed after others had succeeded.
        """
        return await self._change_tags("POST", "add_tags", identifier, tags)

    async def remove_tags(self, identifier: Identifier | str, tags: Iterable[Tag | str]) -> WriteReceipt:
        """Remove tags from the contact. More than 10 are sent in several requests. Raises as `add_tags` does."""
        return await self._change_tags("DELETE", "remove_tags", identifier, tags)

    async def _change_tags(
        self, method: str, operation: str, identifier: Identifier | str, tags: Iterable[Tag | str]
    ) -> WriteReceipt:
        who = _parsed(identifier)
        names = wire.encode_tags(tags, operation)
        receipt = await self._send_tags(method, who, names[:_MAX_TAGS])
        for start in range(_MAX_TAGS, len(names), _MAX_TAGS):
            failure: ContactsError | None = None
            try:
                receipt = await self._send_tags(method, who, names[start : start + _MAX_TAGS])
            except ContactsError as error:
                failure = error
            if failure is not None:  # raised outside `except`, so that it has no context
                raise PartialChangeError(tuple(names[:start]), tuple(names[start:]), failure)
        return receipt

    def _send_tags(self, method: str, who: Identifier, names: list[str]) -> Awaitable[WriteReceipt]:
        request = Request(
            method=method,
            endpoint=f"{_ENDPOINT}/tag",
            path=f"{_path(who)}/tag",
            json=names,
            semantics="PUT",  # idempotent: adding or removing a tag twice is the same as once
        )
        return self._call(request, partial(wire.read_updated, identifier=who), about=who)

    async def set_lifecycle(self, identifier: Identifier | str, name: str | None) -> WriteReceipt:
        """Move the contact to the lifecycle stage `name`; None removes its stage.

        Raises `UnsupportedFieldError` for an empty name, `ContactNotFoundError`.
        """
        who = _parsed(identifier)
        problem = "the name of the stage is empty; pass None to remove the stage" if name == "" else ""
        try:
            if name is not None:
                text(name)
        except ValueError as refusal:
            problem = str(refusal)
        if problem:
            raise UnsupportedFieldError(f"{self.provider} set_lifecycle: {problem}")
        request = Request(
            method="POST",
            endpoint=f"{_ENDPOINT}/lifecycle/update",
            path=f"{_path(who)}/lifecycle/update",
            json={"name": name},
            semantics="PUT",
        )
        return await self._call(request, partial(wire.read_changed, identifier=who), about=who)

    async def merge(self, a: ContactId | str, b: ContactId | str, fields: ContactFields | None = None) -> WriteReceipt:
        """Merge two contacts, given by id in any order. The older one becomes the primary contact.

        The receipt's ``contact_id`` is the id of the primary contact, which gets the `fields`. A merge is never
        repeated once it may have reached the server. Raises `InvalidIdentifierError` unless there are two different
        ids, `UnsupportedFieldError`, `ContactNotFoundError`.
        """
        one, other = (_parsed(identifier) for identifier in (a, b))
        if not (isinstance(one, ContactId) and isinstance(other, ContactId)):
            raise InvalidIdentifierError(
                f"{self.provider}: merge needs two ids, such as id:123; get returns a contact's id"
            )
        ids = [int(one.value), int(other.value)]
        if ids[0] == ids[1]:
            raise InvalidIdentifierError(f"{self.provider}: merge needs two different ids, not the same twice", a)
        body = {} if fields is None else self.schema.encode_update(fields)
        request = Request(
            method="POST", endpoint="/contact/merge", path="/contact/merge", json={"contactIds": ids, **body}
        )
        last = max(one, other, key=self._settling.left)
        return await self._call(request, partial(wire.read_merged, merged=(one, other)), about=last)

    async def _exists(self, who: Identifier, reason: ContactsError) -> bool:
        """Whether the contact exists, after a write that failed with `reason`.

        If the look-up fails in the same way, `reason` is raised. If it fails in another way, its own error is raised;
        ``may_have_been_applied`` of that error covers the write too.
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
        raise reason  # raised outside `except`, so that it has no context


def _parsed(identifier: Identifier | str) -> Identifier:
    who = parse_identifier(identifier)
    if isinstance(who, ContactId):
        _check_id(who)
    return who


def _check_id(who: ContactId) -> None:
    if not (who.value.isascii() and who.value.isdigit()):
        raise InvalidIdentifierError("aelyst: an id is digits only", who)


def _segment(who: Identifier) -> str:
    return f"{who.prefix}:{encode_segment(who.value)}"


def _path(who: Identifier) -> str:
    return f"/contact/{_segment(who)}"


def _named_by(fields: ContactFields) -> list[Identifier]:
    """Return the identifiers of the contact in the fields. Invalid ones are left out; the server decides about them."""
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
            raise InvalidIdentifierError("aelyst: create needs email: or phone:; the server assigns the id")
        return who
    if isinstance(fields.phone, str):
        return Phone(fields.phone)
    if isinstance(fields.email, str):
        return Email(fields.email)
    raise UnsupportedFieldError("aelyst create: needs an identifier, a phone or an email")
