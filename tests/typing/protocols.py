"""Read by mypy and pyright, never run: the gateways fit the protocols, and what does not fit is refused."""

from __future__ import annotations

from aelyst_async import Contact, ContactGateway, ContactReader, ListGateway, MessageGateway, TagGateway, get_many
from aelyst_async.identifiers import Identifier
from aelyst_providers.aelyst import AelystGateway
from aelyst_providers.callab import CallabGateway
from aelyst_providers.dmchamp import DmChampGateway


def aelyst_fits(gateway: AelystGateway) -> tuple[ContactReader, ContactGateway, TagGateway]:
    return gateway, gateway, gateway


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
    """A third party's reader needs nothing of ours."""

    provider = "mine"

    async def get(self, identifier: Identifier | str) -> Contact:
        return Contact(id=str(identifier))


async def anybodys_reader_will_do() -> None:
    async for outcome in get_many(Mine(), ["id:1"]):
        assert outcome.ok


def ask(gateway: ContactReader) -> None:
    if isinstance(gateway, ListGateway):
        gateway.add_to_list  # noqa: B018
