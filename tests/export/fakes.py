"""An account of Aelyst's contacts in memory, with the listing and the deletes of the real gateway."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from aelyst_async import ContactFields, WriteReceipt, errors, parse_identifier
from aelyst_async.identifiers import ContactId, Email, Identifier
from aelyst_async.listing import Listing, Page
from aelyst_async.schema import ContactSchema
from aelyst_providers.aelyst import AelystContact
from aelyst_providers.aelyst.wire import SCHEMA

__all__ = ["Account", "aelyst_contact"]


def aelyst_contact(number: int, **values: Any) -> AelystContact:
    """Return a contact with an e-mail address and a name of its own."""
    values = {"email": f"p{number}@example.com", "first_name": f"P{number}", **values}
    return AelystContact(id=str(number), **values)


@attrs.define
class Definition:
    name: str
    data_type: str


class Account:
    """Contacts by id. ``calls`` counts by method; ``fault`` may raise, or return ``"lost"``: applied, not answered."""

    provider = "aelyst"
    schema: ContactSchema = SCHEMA

    def __init__(self, contacts: Iterable[AelystContact] = (), page: int = 3) -> None:
        self.contacts_by_id = {contact.id: contact for contact in contacts}
        self.page = page
        self.calls: Counter[str] = Counter()
        self.deleted: list[str] = []
        self.fault: Callable[[str, str], str | BaseException | None] = lambda method, who: None
        self.asked: list[tuple[Any, Any]] = []
        self.definitions: list[Definition] = []

    @property
    def writes(self) -> int:
        return sum(count for name, count in self.calls.items() if name not in {"GET", "LIST"})

    async def custom_fields(self) -> list[Definition]:
        return self.definitions

    def contacts(
        self, search: str | None = None, where: Any = None, *, page_size: int = 99, cursor: str | None = None
    ) -> Listing[AelystContact]:
        self.asked.append((search, where))

        async def fetch(at: str | None) -> Page[AelystContact]:
            self._meet("LIST", str(at))
            await asyncio.sleep(0)
            items = list(self.contacts_by_id.values())
            start = int(at or 0)
            more = start + self.page < len(items)
            return Page(tuple(items[start : start + self.page]), str(start + self.page) if more else None)

        return Listing(fetch, cursor)

    async def get(self, identifier: Identifier | str) -> AelystContact:
        who = parse_identifier(identifier)
        self._meet("GET", str(who))
        return self._find(who)

    async def create(self, fields: ContactFields, *, identifier: Identifier | str | None = None) -> WriteReceipt:
        self._meet("POST", str(identifier))
        number = str(max((int(one) for one in self.contacts_by_id), default=0) + 1)
        self.contacts_by_id[number] = AelystContact(id=number, **dict(fields.given()))
        return WriteReceipt(identifier=parse_identifier(identifier or f"id:{number}"), created=True)

    async def update(self, identifier: Identifier | str, fields: ContactFields) -> WriteReceipt:
        who = parse_identifier(identifier)
        self._meet("PUT", str(who))
        contact = self._find(who)
        given = dict(fields.given())
        if "custom_fields" in given:
            customs = {one.name: one for one in (*contact.custom_fields, *given["custom_fields"])}
            given["custom_fields"] = tuple(customs.values())
        self.contacts_by_id[contact.id] = attrs.evolve(contact, **given)
        return WriteReceipt(identifier=who, contact_id=contact.id, created=False)

    async def upsert(self, identifier: Identifier | str, fields: ContactFields) -> WriteReceipt:
        try:
            return await self.update(identifier, fields)
        except errors.ContactNotFoundError:
            return await self.create(fields, identifier=identifier)

    async def delete(self, identifier: Identifier | str) -> WriteReceipt:
        who = parse_identifier(identifier)
        verdict = self._verdict("DELETE", str(who))
        contact = self._find(who)
        del self.contacts_by_id[contact.id]
        self.deleted.append(contact.id)
        if verdict == "lost":
            raise errors.TransportError(message="reset", may_have_been_applied=True, method="DELETE")
        return WriteReceipt(identifier=who, contact_id=contact.id)

    def _meet(self, method: str, who: str) -> None:
        self._verdict(method, who)

    def _verdict(self, method: str, who: str) -> str | None:
        self.calls[method] += 1
        verdict = self.fault(method, who)
        if isinstance(verdict, BaseException):
            raise verdict
        return verdict

    def _find(self, who: Identifier) -> AelystContact:
        for contact in self.contacts_by_id.values():
            known = (
                contact.id if isinstance(who, ContactId) else contact.email if isinstance(who, Email) else contact.phone
            )
            if known == who.value:
                return contact
        raise errors.ContactNotFoundError(status=404, message="Contact not found", method="PUT")
