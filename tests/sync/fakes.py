"""A gateway in memory. It allows duplicates, as the vendors do, and fails on demand."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs

from aelyst_async import errors
from aelyst_async.contacts import Contact, ContactFields, WriteReceipt
from aelyst_async.identifiers import ContactId, Email, Identifier, parse_identifier


@attrs.define
class Stored:
    """One contact. `visible`: loop time in seconds from which it can be found."""

    id: str
    fields: dict[str, Any]
    visible: float = 0.0


class FakeGateway:
    """Implements `ContactGateway` over a list. `fault` is called before each request.

    ``fault(method, key, count)`` returns an exception, which is raised before the request is applied; or ``"lost"``:
    the request is applied and then fails like a reset connection; or None.
    """

    provider = "fake"

    def __init__(self, fault: Callable[[str, str, int], BaseException | str | None] | None = None) -> None:
        self.contacts: list[Stored] = []
        self.calls: list[tuple[str, str]] = []
        self.fault = fault
        self.visible_after = 0.0
        self.latency = 0.0
        self.in_flight = 0
        self.peak = 0
        self.keys_in_flight: Counter[str] = Counter()
        self.overlaps = 0

    async def get(self, identifier: Identifier | str) -> Contact:
        who = parse_identifier(identifier)
        async with _Call(self, "GET", who):
            stored = self._find(who)
            return Contact(id=stored.id, **stored.fields)

    async def create(self, fields: ContactFields, *, identifier: Identifier | str | None = None) -> WriteReceipt:
        assert identifier is not None
        who = parse_identifier(identifier)
        async with _Call(self, "POST", who):
            now = asyncio.get_running_loop().time()
            self.contacts.append(Stored(str(len(self.contacts) + 1), dict(fields.given()), now + self.visible_after))
            return WriteReceipt(identifier=who, created=True)

    async def update(self, identifier: Identifier | str, fields: ContactFields) -> WriteReceipt:
        who = parse_identifier(identifier)
        async with _Call(self, "PUT", who):
            stored = self._find(who)
            stored.fields.update(fields.given())
            return WriteReceipt(identifier=who, contact_id=stored.id, created=False)

    async def upsert(self, identifier: Identifier | str, fields: ContactFields) -> WriteReceipt:
        try:
            return await self.update(identifier, fields)
        except errors.ContactNotFoundError:
            pass
        return await self.create(fields, identifier=identifier)

    def writes(self) -> int:
        return sum(method in {"PUT", "POST"} for method, _ in self.calls)

    def emails(self) -> Counter[str]:
        return Counter(str(stored.fields.get("email")) for stored in self.contacts)

    def by_email(self) -> dict[str, dict[str, Any]]:
        return {str(stored.fields["email"]): stored.fields for stored in self.contacts}

    def _find(self, who: Identifier) -> Stored:
        now = asyncio.get_running_loop().time()
        for stored in self.contacts:
            if stored.visible > now:
                continue
            if isinstance(who, ContactId):
                found = stored.id == who.value
            else:
                found = stored.fields.get("email" if isinstance(who, Email) else "phone") == who.value
            if found:
                return stored
        raise errors.ContactNotFoundError(status=404, message="Contact not found", method="PUT")


class _Call:
    """One request: counts it, delays it, and applies its fault."""

    def __init__(self, gateway: FakeGateway, method: str, who: Identifier) -> None:
        self.gateway = gateway
        self.method = method
        self.key = str(who)
        self.verdict: BaseException | str | None = None

    async def __aenter__(self) -> None:
        gateway = self.gateway
        gateway.calls.append((self.method, self.key))
        gateway.in_flight += 1
        gateway.peak = max(gateway.peak, gateway.in_flight)
        gateway.keys_in_flight[self.key] += 1
        gateway.overlaps += gateway.keys_in_flight[self.key] > 1
        try:
            if gateway.latency:
                await asyncio.sleep(gateway.latency)
            if gateway.fault is not None:
                self.verdict = gateway.fault(self.method, self.key, gateway.calls.count((self.method, self.key)))
            if isinstance(self.verdict, BaseException):
                raise self.verdict  # noqa: TRY301
        except BaseException:
            self._leave()
            raise

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._leave()
        if kind is None and self.verdict == "lost":
            raise errors.TransportError(message="connection reset", may_have_been_applied=True, method=self.method)

    def _leave(self) -> None:
        self.gateway.in_flight -= 1
        self.gateway.keys_in_flight[self.key] -= 1
