"""A fake Aelyst account in memory, with the listing and the deletes of the real gateway."""

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
    """Return a contact with a unique e-mail address and name."""
    values = {"email": f"p{number}@example.com", "first_name": f"P{number}", **values}
    return AelystContact(id=str(number), **values)


@attrs.define
class Definition:
    name: str
    data_type: str


class Account:
    """Contacts by id. ``calls`` counts by method. ``fault`` may raise, or return ``"lost"``: applied, no response."""

    provider = "aelyst"
    schema: ContactSchema = SCHEMA

    def __init__(self, contacts: Iterable[AelystContact] = (), page: int = 3) -> None:
        self.contacts_by_id = {contact.id: contact for contact in contacts}
        self.page = page
        self.calls: Counter[str] = Counter()
        self.deleted: list[str] = []
        self.fault: Callable[[str, str], str | BaseException | None] = lambda method, target: None
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
            self._count("LIST", str(at))
            await asyncio.sleep(0)
            items = list(self.contacts_by_id.values())
            start = int(at or 0)
            more = start + self.page < len(items)
            return Page(tuple(items[start : start + self.page]), str(start + self.page) if more else None)

        return Listing(fetch, cursor)

    async def get(self, identifier: Identifier | str) -> AelystContact:
        target = parse_identifier(identifier)
        self._count("GET", str(target))
        return self._find(target)

    async def create(self, fields: ContactFields, *, identifier: Identifier | str | None = None) -> WriteReceipt:
        self._count("POST", str(identifier))
        number = str(max((int(one) for one in self.contacts_by_id), default=0) + 1)
        self.contacts_by_id[number] = AelystContact(id=number, **dict(fields.given()))
        return WriteReceipt(identifier=parse_identifier(identifier or f"id:{number}"), created=True)

    async def update(self, identifier: Identifier | str, fields: ContactFields) -> WriteReceipt:
        target = parse_identifier(identifier)
        self._count("PUT", str(target))
        contact = self._find(target)
        given = dict(fields.given())
        if "custom_fields" in given:
            customs = {one.name: one for one in (*contact.custom_fields, *given["custom_fields"])}
            given["custom_fields"] = tuple(customs.values())
        self.contacts_by_id[contact.id] = attrs.evolve(contact, **given)
        return WriteReceipt(identifier=target, contact_id=contact.id, created=False)

    async def upsert(self, identifier: Identifier | str, fields: ContactFields) -> WriteReceipt:
        try:
            return await self.update(identifier, fields)
        except errors.ContactNotFoundError:
            return await self.create(fields, identifier=identifier)

    async def delete(self, identifier: Identifier | str) -> WriteReceipt:
        target = parse_identifier(identifier)
        verdict = self._verdict("DELETE", str(target))
        contact = self._find(target)
        del self.contacts_by_id[contact.id]
        self.deleted.append(contact.id)
        if verdict == "lost":
            raise errors.TransportError(message="reset", may_have_been_applied=True, method="DELETE")
        return WriteReceipt(identifier=target, contact_id=contact.id)

    def _count(self, method: str, target: str) -> None:
        self._verdict(method, target)

    def _verdict(self, method: str, target: str) -> str | None:
        self.calls[method] += 1
        verdict = self.fault(method, target)
        if isinstance(verdict, BaseException):
            raise verdict
        return verdict

    def _find(self, target: Identifier) -> AelystContact:
        for contact in self.contacts_by_id.values():
            known = (
                contact.id
                if isinstance(target, ContactId)
                else contact.email
                if isinstance(target, Email)
                else contact.phone
            )
            if known == target.value:
                return contact
        raise errors.ContactNotFoundError(status=404, message="Contact not found", method="PUT")
