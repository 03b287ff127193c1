# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""Read by mypy --strict and pyright, never run: a blocking facade has the signatures of its gateway, without async."""

from __future__ import annotations

from collections.abc import AsyncIterator

from typing_extensions import assert_type

from aelyst_async import BlockingGateway, Contact, ContactFields, Failure, Success, Tag, WriteReceipt, open_gateway
from aelyst_async.identifiers import Identifier
from aelyst_async.sync import SyncReport
from aelyst_providers.aelyst import AelystContact, AelystGateway
from aelyst_providers.callab import CallabContact, CallabGateway
from aelyst_providers.dmchamp import DmChampGateway


def facade_has_the_signatures_of_its_gateway() -> None:
    with open_gateway("aelyst").blocking() as aelyst:
        assert_type(aelyst, BlockingGateway[AelystGateway])
        assert_type(aelyst.gateway, AelystGateway)
        assert_type(aelyst.get("email:ann@example.com"), AelystContact)
        assert_type(aelyst.get(identifier="id:1"), AelystContact)
        assert_type(aelyst.create(ContactFields(first_name="Ann"), wait=True), WriteReceipt)
        assert_type(aelyst.tags("id:1"), tuple[Tag, ...])
        assert_type(aelyst.delete("id:1"), WriteReceipt)
        assert_type(aelyst.run(aelyst.gateway.account), str)
        for contact in aelyst.contacts("ann", page_size=10):
            assert_type(contact, AelystContact)
        assert_type(aelyst.sync("people.csv", journal="state.db"), SyncReport)
        aelyst.get(12345)  # type: ignore[arg-type]
        aelyst.get("id:1", deep=True)  # type: ignore[call-arg]
        aelyst.create(ContactFields(), wiat=True)  # type: ignore[call-arg]
        aelyst.add_to_list("id:1", "list")  # type: ignore[misc, arg-type]
        aelyst.gte("id:1")  # type: ignore[attr-defined]


def missing_operations_are_errors(dmchamp: DmChampGateway, callab: CallabGateway) -> None:
    BlockingGateway(dmchamp).add_to_list("id:abc", "list")
    assert_type(callab.blocking().get("id:1"), CallabContact)
    callab.blocking().upsert("id:1", ContactFields())  # type: ignore[misc, arg-type]


def outcomes_have_the_contact_type_of_the_provider(aelyst: BlockingGateway[AelystGateway]) -> None:
    for outcome in aelyst.get_many(["id:1"], concurrency=8):
        assert_type(outcome, Success[AelystContact] | Failure)
    for deleted in aelyst.delete_many(["id:1"]):
        assert_type(deleted, Success[WriteReceipt] | Failure)
    for written in aelyst.upsert_many([("id:1", ContactFields())]):
        assert_type(written, Success[WriteReceipt] | Failure)


class Mine:
    """A third party's gateway, with an additional operation."""

    provider = "mine"

    async def get(self, identifier: Identifier | str, *, fresh: bool = False) -> Contact:
        return Contact(id=str(identifier))

    async def contacts(self, limit: int = 10) -> AsyncIterator[Contact]:
        yield Contact(id="1")

    async def archive(self, name: str) -> int:
        return len(name)

    async def events(self, since: float) -> AsyncIterator[bytes]:
        yield b""


def third_party_gateways_are_accepted() -> None:
    with BlockingGateway(Mine()) as mine:
        assert_type(mine.get("id:1", fresh=True), Contact)
        for contact in mine.contacts(limit=5):
            assert_type(contact, Contact)
        assert_type(mine.run(mine.gateway.archive, "name"), int)
        for event in mine.iterate(mine.gateway.events, since=1.5):
            assert_type(event, bytes)
        mine.run(mine.gateway.archive, 5)  # type: ignore[arg-type]
