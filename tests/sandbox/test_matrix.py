"""Our gateways over the matrix of assumptions: a caller gets the same result for every value of each switch."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from aelyst_async import ContactFields, RetryPolicy, errors
from aelyst_async.sandbox import Account, Sandbox
from aelyst_async.sandbox.vendors import vendors
from aelyst_providers.aelyst import AelystGateway
from aelyst_providers.callab import CallabGateway
from aelyst_providers.dmchamp import DmChampGateway

QUICK = RetryPolicy(max_attempts=3, base=0.01, cap=0.02, queued_base=0.01, queued_cap=0.02)


def _single(vendor: str) -> Iterator[dict[str, str]]:
    """Yield each value of each switch, one at a time. Quotas have their own tests."""
    for behaviour in vendors()[vendor].behaviours:
        if behaviour.switch and behaviour.parse is None and "quota" not in behaviour.name:
            for value in behaviour.values:
                yield {behaviour.name: value}


def _pairs(vendor: str, *names: str) -> Iterator[dict[str, str]]:
    """Yield all combinations of the values of these switches."""
    switches = {one.name: one.values for one in vendors()[vendor].behaviours}
    full = [f"{vendor}.{name}" for name in names]
    for values in itertools.product(*(switches[name] for name in full)):
        yield dict(zip(full, values, strict=True))


def _cases(*groups: Iterator[dict[str, str]]) -> list[Any]:
    unique = {tuple(sorted(case.items())): case for case in itertools.chain(*groups)}
    return [
        pytest.param(case, id=",".join(f"{name.partition('.')[2]}={value}" for name, value in case.items()))
        for case in unique.values()
    ]


@pytest.mark.parametrize(
    "switches", _cases(_single("aelyst"), _pairs("aelyst", "put_missing", "create_existing", "unknown_fields"))
)
async def test_aelyst_gateway_works_with_every_switch_value(sandbox: Sandbox, switches: Mapping[str, str]) -> None:
    sandbox.assume(switches)
    async with AelystGateway(
        sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"), retry=QUICK, settle=0
    ) as gateway:
        for turn in ("First", "Second"):
            for number in range(3):
                fields = ContactFields(first_name=f"{turn} {number}", phone=f"+60123{number}00")
                await gateway.upsert(f"email:p{number}+x@example.com", fields)
        contact = await gateway.get("email:p1+x@example.com")
        by_id = await gateway.get(f"id:{contact.id}")
        with pytest.raises(errors.ContactNotFoundError):
            await gateway.get("email:nobody@example.com")
    assert (contact.first_name, by_id) == ("Second 1", contact)
    assert sorted((one["email"], one["firstName"], one["phone"]) for one in sandbox.contacts("aelyst")) == [
        (f"p{number}+x@example.com", f"Second {number}", f"+60123{number}00") for number in range(3)
    ]


@pytest.mark.parametrize(
    "switches",
    _cases(
        _single("dmchamp"),
        _pairs("dmchamp", "create_existing", "id_field"),
        _pairs("dmchamp", "get_answer", "id_field"),
    ),
)
async def test_dmchamp_gateway_works_with_every_switch_value(sandbox: Sandbox, switches: Mapping[str, str]) -> None:
    sandbox.assume(switches)
    async with DmChampGateway(sandbox.token("dmchamp"), base_url=sandbox.base_url("dmchamp"), retry=QUICK) as gateway:
        for turn in ("First", "Second"):
            for number in range(3):
                await gateway.upsert(f"phone:+60123{number}00", ContactFields(first_name=f"{turn} {number}"))
        contact = await gateway.get("phone:+60123100")
        await gateway.add_to_list("phone:+60123100", "vip")
        assert sandbox.members("dmchamp", "vip") == [contact.id]
        await gateway.remove_from_list(f"id:{contact.id}", "vip")
        assert await gateway.tags("phone:+60123100") == ()
        assert await gateway.messages("phone:+60123100") == ()
        with pytest.raises(errors.ContactNotFoundError):
            await gateway.get("phone:+1")
    stored = sandbox.contacts("dmchamp")
    assert contact.id == stored[1]["id"]
    assert [(one["phoneNumber"], one["firstName"]) for one in stored] == [
        (f"+60123{number}00", f"Second {number}") for number in range(3)
    ]


@pytest.mark.parametrize("switches", _cases(_pairs("callab", "error_status", "timestamps"), _single("callab")))
async def test_callab_gateway_works_with_every_switch_value(sandbox: Sandbox, switches: Mapping[str, str]) -> None:
    contact_id = sandbox.add_contact("callab", {"firstname": "Ann", "created_at": "2023-11-07T05:31:56Z"})
    sandbox.assume(switches)
    path = "/contacts/{id}" if switches.get("callab.path") == "contacts" else "/contact/{id}"
    async with CallabGateway(
        sandbox.token("callab"), base_url=sandbox.base_url("callab"), contact_path=path, retry=QUICK
    ) as gateway:
        contact = await gateway.get(f"id:{contact_id}")
        with pytest.raises(errors.ContactNotFoundError):
            await gateway.get("id:3c90c3cc-0d44-4b50-8888-8dd25736052a")
    assert contact.first_name == "Ann"
    assert contact.created_at is not None
    assert contact.created_at.isoformat() == "2023-11-07T05:31:56+00:00"


async def test_every_call_succeeds_under_every_kind_of_quota(sandbox: Sandbox) -> None:
    """All 36 kinds of quota run concurrently, each in its own account."""

    async def one(form: str, window: str, headers: str) -> None:
        account = sandbox.account(f"{form}-{window}-{headers}")
        account.assume(quota="5/0.3s", quota_window=window, quota_headers=headers, retry_after=form)
        account.add_contact("aelyst", {"email": "a@b.c"})
        account.clock.freeze()  # until the quota is used up, so that a slow machine reaches it too
        resumed = asyncio.create_task(resume_when_refused(account))
        retry = RetryPolicy(max_attempts=8, base=0.1, cap=0.5)
        async with AelystGateway(account.token("aelyst"), base_url=account.base_url("aelyst"), retry=retry) as gateway:
            for _ in range(7):
                await gateway.get("email:a@b.c")
        await resumed
        assert account.counters.count(status=200) == 7

    async def resume_when_refused(account: Account) -> None:
        while not account.evidence.counters({}, {}).refused:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.02)
        account.clock.resume()

    forms, windows, headers = (
        next(rule for rule in vendors()["aelyst"].behaviours if rule.name == f"aelyst.{name}").values
        for name in ("retry_after", "quota_window", "quota_headers")
    )
    cases = list(itertools.product(forms, windows, headers))
    assert len(cases) == 36
    await asyncio.gather(*(one(*case) for case in cases))
