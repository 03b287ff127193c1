"""Read by mypy and pyright, never run: which gateway satisfies which protocol."""

from __future__ import annotations

from typing_extensions import assert_type

from aelyst_async import (
    Contact,
    ContactGateway,
    ContactReader,
    DeletingGateway,
    ListGateway,
    ListingGateway,
    MessageGateway,
    Page,
    Tag,
    TagGateway,
    TaggingGateway,
    get_many,
    open_gateway,
)
from aelyst_async.identifiers import Identifier
from aelyst_providers.aelyst import AelystContact, AelystGateway, CustomFieldDefinition, Field, RespondIoGateway
from aelyst_providers.callab import CallabGateway
from aelyst_providers.dmchamp import DmChampGateway


def aelyst_fits(gateway: AelystGateway) -> tuple[ContactReader, ContactGateway, TagGateway]:
    return gateway, gateway, gateway


def aelyst_deletes_lists_and_tags(
    gateway: AelystGateway,
) -> tuple[DeletingGateway, ListingGateway, TaggingGateway]:
    return gateway, gateway, gateway


async def aelyst_return_types(gateway: AelystGateway) -> None:
    async for contact in gateway.contacts("ann", Field("email").exists() & Tag("vip")):
        assert_type(contact, AelystContact)
    async for page in gateway.contacts(where=Tag("vip") | Field("phone").missing()).pages():
        assert_type(page, Page[AelystContact])
    definitions = await gateway.custom_fields()
    assert_type(definitions, tuple[CustomFieldDefinition, ...])
    assert_type(gateway.with_custom_fields(definitions), AelystGateway)
    await gateway.add_tags("id:1", {"a", "b"})
    await gateway.add_tags("id:1", [Tag("a"), "b"])
    assert_type(open_gateway("respondio"), RespondIoGateway)


def dmchamp_fits(
    gateway: DmChampGateway,
) -> tuple[ContactReader, ContactGateway, ListGateway, TagGateway, MessageGateway]:
    return gateway, gateway, gateway, gateway, gateway


def callab_fits(gateway: CallabGateway) -> ContactReader:
    return gateway


def callab_does_not_write(gateway: CallabGateway) -> ContactGateway:
    return gateway  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def aelyst_has_no_lists(gateway: AelystGateway) -> ListGateway:
    return gateway  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


class Mine:
    """A third party's reader. It derives from nothing of this library."""

    provider = "mine"

    async def get(self, identifier: Identifier | str) -> Contact:
        return Contact(id=str(identifier))


async def third_party_readers_are_accepted() -> None:
    async for outcome in get_many(Mine(), ["id:1"]):
        assert outcome.ok


def ask(gateway: ContactReader) -> None:
    if isinstance(gateway, ListGateway):
        gateway.add_to_list  # noqa: B018
