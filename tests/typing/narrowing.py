"""Read by mypy and pyright, never run: UNSET narrows, and results have precise types."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from typing_extensions import assert_type

from aelyst_async import (
    UNSET,
    Contact,
    ContactFields,
    ContactGateway,
    Failure,
    Outcome,
    Success,
    WriteReceipt,
    get_many,
    upsert_many,
)
from aelyst_async.contacts import Unset
from aelyst_async.errors import ApiError, ContactsError, ServerError, TransportError
from aelyst_async.identifiers import Identifier
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


def unset_and_none_are_excluded(value: str | Unset | None) -> str:
    if value is not UNSET and value is not None:
        return value
    return "nothing"


async def gateways_return_their_own_contacts(
    aelyst: AelystGateway, dmchamp: DmChampGateway, callab: CallabGateway
) -> None:
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


async def outcomes(aelyst: AelystGateway, callab: CallabGateway, any_gateway: ContactGateway) -> None:
    async for outcome in get_many(aelyst, ["id:1"]):
        assert_type(outcome, Success[AelystContact] | Failure)
        if outcome.ok:
            assert_type(outcome.value, AelystContact)
            assert_type(outcome.value.custom_fields, tuple[CustomField, ...])
        else:
            assert_type(outcome.error, ContactsError)
        if not outcome.ok:
            assert_type(outcome.error, ContactsError)
            continue
        assert_type(outcome.value, AelystContact)
    async for again in get_many(aelyst, ["id:1"]):
        if again.ok is True:
            assert_type(again, Success[AelystContact])
        if isinstance(again, Failure):
            assert_type(again.error, ContactsError)
        else:
            assert_type(again, Success[AelystContact])
    async for other in get_many(callab, ["id:1"]):
        match other:
            case Success(identifier, contact):
                assert_type(identifier, Identifier | str)
                assert_type(contact, CallabContact)
            case Failure(identifier, error):
                assert_type(error, ContactsError)
    async for base in get_many(any_gateway, ["id:1"]):
        assert_type(base, Success[Contact] | Failure)
    async for written in upsert_many(aelyst, [("id:1", ContactFields())]):
        if written.ok:
            assert_type(written.value, WriteReceipt)


def first_name(outcome: Outcome[AelystContact]) -> str | None:
    return outcome.value.first_name if outcome.ok else str(outcome.error)


def errors_have_typed_attributes(error: ContactsError) -> None:
    if isinstance(error, ApiError):
        assert_type(error.status, int)
        assert_type(error.retry_after, float | None)
    if isinstance(error, (ServerError, TransportError)):
        assert_type(error.may_have_been_applied, bool)
