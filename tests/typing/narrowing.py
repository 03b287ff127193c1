"""Read by mypy and pyright, never run: UNSET narrows, and models say what they hold."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from typing_extensions import assert_type

from aelyst_async import UNSET, Contact, ContactFields, Outcome, WriteReceipt, get_many, upsert_many
from aelyst_async.contacts import Unset
from aelyst_async.errors import ApiError, ContactsError, ServerError, TransportError
from aelyst_providers.aelyst import AelystContact, AelystGateway, Assignee, CustomField
from aelyst_providers.callab import CallabContact, CallabGateway
from aelyst_providers.dmchamp import DmChampContact, DmChampGateway


def unset_narrows(fields: ContactFields) -> None:
    if fields.email is UNSET:
        assert_type(fields.email, Literal[Unset.UNSET])
    elif fields.email is None:
        assert_type(fields.email, None)
    else:
        assert_type(fields.email, str)


def unset_narrows_the_other_way(value: str | Unset | None) -> str:
    if value is not UNSET and value is not None:
        return value
    return "nothing"


async def what_gateways_return(aelyst: AelystGateway, dmchamp: DmChampGateway, callab: CallabGateway) -> None:
    contact = await aelyst.get("id:1")
    assert_type(contact, AelystContact)
    assert_type(contact.custom_fields, tuple[CustomField, ...])
    assert_type(contact.assignee, Assignee | None)
    assert_type(contact.created_at, datetime | None)
    assert_type(await dmchamp.get("phone:+1"), DmChampContact)
    assert_type(await callab.get("id:1"), CallabContact)
    assert_type(await aelyst.upsert("id:1", ContactFields()), WriteReceipt)
    async with aelyst as opened:
        assert_type(opened, AelystGateway)
    assert_type(aelyst.with_retry(aelyst._retry), AelystGateway)


async def outcomes(aelyst: AelystGateway) -> None:
    async for outcome in get_many(aelyst, ["id:1"]):
        assert_type(outcome, Outcome[Contact])
        assert_type(outcome.value, Contact | None)
        assert_type(outcome.error, ContactsError | None)
    async for written in upsert_many(aelyst, [("id:1", ContactFields())]):
        assert_type(written.value, WriteReceipt | None)


def what_errors_hold(error: ContactsError) -> None:
    if isinstance(error, ApiError):
        assert_type(error.status, int)
        assert_type(error.retry_after, float | None)
    if isinstance(error, (ServerError, TransportError)):
        assert_type(error.may_have_been_applied, bool)
