# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""Read by mypy --strict and pyright, never run: typical code of users, and mistakes that both must report.

Each mistake has a `type: ignore`, which silences both checkers. Both report an unnecessary one, so each such
line is an error to mypy and to pyright.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from functools import partial

import pytest
from typing_extensions import Self, assert_type

from aelyst_async import (
    UNSET,
    Contact,
    ContactFields,
    ContactGateway,
    ContactId,
    ContactReader,
    Email,
    ListGateway,
    Phone,
    RateLimiter,
    RawResponse,
    RetryPolicy,
    Tag,
    Unset,
    WriteReceipt,
    errors,
    open_gateway,
)
from aelyst_async.export import ExportReport, export_contacts
from aelyst_async.fastapi import AppGateway
from aelyst_async.identifiers import Identifier
from aelyst_async.pytest_plugin import SandboxFixture
from aelyst_async.sandbox import Account, Counters, LoggedRequest, Sandbox
from aelyst_async.sync import ContactSync, MirrorPlan
from aelyst_providers.aelyst import AelystContact, AelystFields, AelystGateway, CustomField, CustomFields, Field
from aelyst_providers.callab import CallabContact, CallabGateway
from aelyst_providers.dmchamp import DmChampContact, DmChampFields, DmChampGateway

# --- opening a gateway -----------------------------------------------------------------------------------------------


async def built_in_gateways_by_name() -> None:
    async with open_gateway("aelyst") as aelyst:
        assert_type(aelyst, AelystGateway)
        contact = await aelyst.get("email:ann@example.com")
        assert_type(contact, AelystContact)
        assert_type(contact.custom_fields, tuple[CustomField, ...])
        assert_type(await aelyst.create(ContactFields(first_name="Ann", phone="+601")), WriteReceipt)
        await aelyst.gte("email:ann@example.com")  # type: ignore[attr-defined]
        await aelyst.add_to_list("id:1", "list")  # type: ignore[attr-defined]
        _ = contact.frist_name  # type: ignore[attr-defined]
        await aelyst.get(12345)  # type: ignore[arg-type]
        await aelyst.update("id:1", {"first_name": "Ann"})  # type: ignore[arg-type]
    async with open_gateway("dmchamp", timeout=5) as dmchamp:
        assert_type(dmchamp, DmChampGateway)
        assert_type(await dmchamp.get("phone:+601"), DmChampContact)
        assert_type(await dmchamp.tags("id:abc"), tuple[Tag, ...])
        await dmchamp.add_to_list("id:abc", "list")
        await dmchamp.tagz("id:abc")  # type: ignore[attr-defined]
    async with open_gateway("callab", contact_path="/contacts/{id}") as callab:
        assert_type(callab, CallabGateway)
        assert_type((await callab.get(ContactId("1"))).last_call_at, datetime | None)
        await callab.create(ContactFields(first_name="Ann"))  # type: ignore[attr-defined]


async def shared_settings() -> None:
    limiter = RateLimiter()
    gateway = open_gateway("aelyst", token="t", limiter=limiter, retry=RetryPolicy(max_attempts=1))
    assert_type(gateway.limiter, RateLimiter)
    await gateway.aclose()
    AelystGateway("t", retyr=RetryPolicy())  # type: ignore[call-arg]
    open_gateway()  # type: ignore[call-overload]
    open_gateway(5)  # type: ignore[call-overload]


class AcmeContact(Contact):
    """A third party's model."""


class AcmeGateway:
    """A third party's gateway. It satisfies the protocol and derives from nothing of this library."""

    provider = "acme"

    def __init__(self, api_key: str, *, region: str = "eu") -> None:
        self.region = region

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def get(self, identifier: Identifier | str) -> AcmeContact:
        return AcmeContact(id=str(identifier))


class NoGateway:
    def __init__(self, api_key: str) -> None: ...


async def third_party_gateway_by_its_class() -> None:
    async with open_gateway(AcmeGateway, region="us") as acme:
        assert_type(acme, AcmeGateway)
        assert_type(await acme.get("id:1"), AcmeContact)
        await acme.upsert("id:1", ContactFields())  # type: ignore[attr-defined]
    assert_type(open_gateway(AelystGateway), AelystGateway)
    open_gateway(NoGateway)  # type: ignore[type-var]


async def gateway_by_a_name_from_settings(name: str) -> Contact:
    gateway: ContactReader = open_gateway(name)
    if isinstance(gateway, ListGateway):
        await gateway.add_to_list("id:1", "list")
    await gateway.upsert("id:1", ContactFields())  # type: ignore[attr-defined]
    return await gateway.get("id:1")


APP_GATEWAY = AppGateway[AelystGateway](partial(open_gateway, "aelyst"))


def mine(gateway: AelystGateway, other: DmChampGateway) -> list[ContactGateway]:
    return [gateway, other]


# --- fields and receipts ---------------------------------------------------------------------------------------------


async def fields_and_receipts(gateway: AelystGateway) -> None:
    receipt = await gateway.upsert(Email("ann@example.com"), AelystFields(first_name="Ann", custom_fields={"Seats": 3}))
    assert_type(receipt.created, bool | None)
    assert_type(receipt.contact_id, str | None)
    await gateway.update(Phone("+60121233112"), ContactFields(last_name=None, email=UNSET))
    ContactFields(frist_name="Ann")  # type: ignore[call-arg]
    ContactFields("Ann")  # type: ignore[call-arg]
    ContactFields(first_name=5)  # type: ignore[arg-type]
    DmChampFields(custom_fields={"Seats": 3})  # type: ignore[call-arg]
    receipt.created = True  # type: ignore[misc]


def custom_fields_of_every_shape(prices: dict[str, Decimal]) -> AelystFields:
    seats = CustomField("Seats", 3)

    def each() -> Iterator[CustomField]:
        yield seats

    values: CustomFields = {"Seats": 3, "Plan": "pro", "Vip": True, "Rate": 1.5, "Price": Decimal("9.90"), "Gone": None}
    AelystFields(custom_fields=values)
    AelystFields(custom_fields={"Renewal": date(2024, 2, 29), "Call at": time(13, 0)})
    AelystFields(custom_fields={"Seats": 3, "Plan": "pro", "Vip": True, "Gone": None})
    AelystFields(custom_fields={})
    AelystFields(custom_fields=[])
    AelystFields(custom_fields=prices)
    AelystFields(custom_fields=[seats])
    AelystFields(custom_fields=(seats, CustomField("Plan")))
    AelystFields(custom_fields={seats})
    AelystFields(custom_fields=frozenset({seats}))
    AelystFields(custom_fields=each())
    AelystFields(custom_fields=None)
    fields = AelystFields(custom_fields=UNSET)
    assert_type(fields.custom_fields, tuple[CustomField, ...] | Unset | None)
    AelystFields(custom_fields="Seats")  # type: ignore[arg-type]
    AelystFields(custom_fields=3)  # type: ignore[arg-type]
    AelystFields(custom_fields={"Seats": b"3"})  # type: ignore[dict-item]
    AelystFields(custom_fields={1: "Seats"})  # type: ignore[dict-item]
    AelystFields(custom_fields=["Seats"])  # type: ignore[list-item]
    CustomField("Seats", object())  # type: ignore[arg-type]
    return fields


def tags() -> list[Tag]:
    return [Tag("vip"), Tag("vip", "pays on time"), Tag(5)]  # type: ignore[arg-type]


async def errors_have_their_attributes(gateway: AelystGateway) -> float | None:
    try:
        await gateway.get("id:1")
    except errors.ContactNotFoundError as error:
        assert_type(error.status, int)
    except errors.RateLimitedError as error:
        return error.retry_after
    except errors.TransportError as error:
        assert_type(error.may_have_been_applied, bool)
        _ = error.retry_after  # type: ignore[attr-defined]
    return None


# --- tests with the sandbox ------------------------------------------------------------------------------------------


@pytest.mark.sandbox(quota="10/s")
async def test_a_lead_is_stored(sandbox: SandboxFixture) -> None:
    assert_type(sandbox.aelyst, AelystGateway)
    assert_type(sandbox.dmchamp, DmChampGateway)
    assert_type(await sandbox.callab.get("id:1"), CallabContact)
    assert_type(sandbox.counters, Counters)
    assert_type(sandbox.requests, tuple[LoggedRequest, ...])
    assert_type(sandbox.environment(), dict[str, str])
    sandbox.fail_next(503, times=2, endpoint="GET /contact/{identifier}")
    sandbox.advance(60)
    sandbox.fial_next(503)  # type: ignore[attr-defined]
    sandbox.advance("60")  # type: ignore[arg-type]


async def test_with_an_own_sandbox() -> None:
    async with Sandbox(quota="none") as sandbox:
        account: Account = sandbox.account("ci")
        assert_type(account.add_contact("callab", {"firstname": "Ann"}), str)
        sandbox.base_url()  # type: ignore[call-arg]


# --- options, routes that are not wrapped, raw responses --------------------------------------------------------------


async def options_and_raw_responses(gateway: AelystGateway) -> None:
    view = gateway.with_options(timeout=5, retry=RetryPolicy(), headers={"X-Trace": "1"})
    assert_type(view, AelystGateway)
    gateway.with_options(header={})  # type: ignore[call-arg]
    gateway.with_options(headers={"X-Trace": 1})  # type: ignore[dict-item]
    await gateway.request("GET", "/space/channel", params={"limit": 3, "tags": ["a", "b"]}, json={"a": 1})
    await gateway.request("GET", "/contact/{who}", fields={"who": Email("a@x.com")})
    await gateway.request("GET")  # type: ignore[call-arg]
    raw = await gateway.with_raw_response.get("id:1")
    assert_type(raw, RawResponse[AelystContact])
    assert_type(raw.value, AelystContact)
    assert_type(raw.status, int)
    assert_type(raw.body, bytes)
    await gateway.with_raw_response.get(5)  # type: ignore[arg-type]
    await gateway.with_raw_response.gte("id:1")  # type: ignore[attr-defined]
    written = await gateway.with_raw_response.create(
        AelystFields(first_name="Ann"), identifier="email:a@x.com", wait=True
    )
    assert_type(written, RawResponse[WriteReceipt])
    gateway.with_raw_response.messages  # type: ignore[misc]  # noqa: B018
    named = await gateway.with_raw_response(AelystGateway.set_lifecycle, "id:1", "Lead")
    assert_type(named.value, WriteReceipt)
    await gateway.with_raw_response(AelystGateway.set_lifecycle, "id:1", 5)  # type: ignore[arg-type]
    assert_type(errors.ServerError(status=500).request_id, str | None)


# --- export and mirror -----------------------------------------------------------------------------------------------


async def export_and_mirror(gateway: AelystGateway, reader: CallabGateway) -> None:
    report = await export_contacts(gateway, "people.csv", search="ann", where=Field("email").exists(), journal="j.db")
    assert_type(report, ExportReport)
    assert_type(report.columns, tuple[str, ...] | None)
    await export_contacts(reader, "people.csv")  # type: ignore[arg-type]
    await export_contacts(gateway)  # type: ignore[call-arg]

    async def confirm(plan: MirrorPlan) -> bool:
        return plan.missing < 10

    sync = ContactSync(gateway, journal="j.db", delete_missing=True, max_deletes=0.05, confirm=confirm)
    assert_type((await sync.run("people.csv")).deleted, int)
    ContactSync(gateway, confirm=lambda: True)  # type: ignore[misc, arg-type]
