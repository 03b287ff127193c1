"""Settling after a create: only calls for that contact wait, and the wait is bounded. In virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aelyst_async import RetryPolicy, errors
from aelyst_async.adapter import READABLE_WITHIN, Settling
from aelyst_async.identifiers import Email, Phone
from aelyst_providers.aelyst import AelystFields
from aelyst_providers.dmchamp import DmChampFields
from tests.doubles import Answer, Handler, ScriptedSession, Sent, scripted
from tests.providers.conftest import make
from tests.virtual_time import virtual

ANN = AelystFields(first_name="Ann", phone="+60 1", email="ann@example.com")
CREATED = Answer(200, {"code": "200", "message": "ok"})
FOUND = Answer(200, {"id": 1})
MISSING = Answer(404, {"code": 404, "message": "Contact not found"})


def play(handler: Handler, **settings: Any) -> tuple[ScriptedSession, Any]:
    session, lent = scripted(handler)
    return session, make("aelyst", session=lent, base_url="http://127.0.0.1:9", **{"settle": 1.0, **settings})


def post_then_found(sent: Sent) -> Answer:
    return CREATED if sent.method == "POST" else Answer(200, {"id": 1, "contactId": 1})


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual
async def test_only_calls_for_the_created_contact_wait() -> None:
    session, gateway = play(post_then_found)
    await gateway.create(ANN)
    created = now()
    await gateway.get("phone:+2")
    await gateway.get("id:1")
    assert now() - created < 0.01
    # Under its other identifier too, and for writes as for reads.
    await asyncio.gather(
        gateway.get("phone:+601"), gateway.get("email:ann@example.com"), gateway.update("phone:+601", ANN)
    )
    assert [sent.at - created for sent in session.sent[-3:]] == pytest.approx([1.0, 1.0, 1.0], abs=0.01)
    await gateway.get("phone:+601")
    assert now() - created == pytest.approx(1.0, abs=0.02)


@virtual
async def test_settle_zero_disables_waiting() -> None:
    session, gateway = play(post_then_found, settle=0)
    await gateway.create(ANN)
    await gateway.get("phone:+601")
    assert session.gaps[0] < 0.01


@virtual
async def test_create_that_may_have_been_applied_settles() -> None:
    session, gateway = play(lambda sent: Answer(500) if sent.method == "POST" else FOUND)
    with pytest.raises(errors.ServerError) as caught:
        await gateway.create(ANN)
    assert caught.value.may_have_been_applied is True
    await gateway.get("phone:+601")
    assert session.gaps[0] >= 1.0


@virtual
async def test_rejected_create_does_not_settle() -> None:
    session, gateway = play(lambda sent: Answer(400) if sent.method == "POST" else FOUND)
    with pytest.raises(errors.BadRequestError):
        await gateway.create(ANN)
    await gateway.get("phone:+601")
    assert session.gaps[0] < 0.01


@virtual
async def test_with_retry_view_shares_settling_contacts() -> None:
    session, gateway = play(post_then_found)
    await gateway.with_retry(RetryPolicy(max_attempts=1)).create(ANN)
    await gateway.get("phone:+601")
    assert session.gaps[0] >= 1.0


@virtual
async def test_settling_forgets_expired_identifiers() -> None:
    settling = Settling(1.0)
    for number in range(5_000):
        settling.begin([Phone(f"+{number}"), Email(f"{number}@x.y")])
        await asyncio.sleep(0.01)
    assert len(settling.until) <= 2 * 101
    settling.begin([Phone("+4999")])  # restarted: it now expires last
    assert next(reversed(settling.until)) == Phone("+4999")


def visible_after(seconds: float, refusal: Answer) -> Handler:
    born: list[float] = []

    def handler(sent: Sent) -> Answer:
        if sent.method == "POST":
            born.append(sent.at)
            return CREATED
        return FOUND if sent.at - born[0] >= seconds else refusal

    return handler


@pytest.mark.parametrize("refusal", [MISSING, Answer(449, b"in queue")], ids=["404", "449"])
@pytest.mark.parametrize("seconds", [0.0, 1.5, 7.0, 40.0])
@virtual
async def test_create_with_wait_returns_once_the_contact_is_readable(seconds: float, refusal: Answer) -> None:
    session, gateway = play(visible_after(seconds, refusal))
    receipt = await gateway.create(ANN, wait=True)
    assert receipt.created is True
    assert session.methods.count("POST") == 1
    assert max(seconds, 1.0) <= now() - session.sent[0].at <= max(seconds, 1.0) + 6
    assert session.methods.count("GET") < 40


@pytest.mark.parametrize("refusal", [MISSING, Answer(449, b"in queue")], ids=["404", "449"])
@virtual
async def test_create_with_wait_times_out(refusal: Answer) -> None:
    session, gateway = play(visible_after(1e9, refusal))
    began = now()
    with pytest.raises(errors.RequestTimeoutError, match="created, but not readable") as caught:
        await gateway.create(ANN, wait=True)
    assert READABLE_WITHIN - 6 <= now() - began <= READABLE_WITHIN + 1
    assert caught.value.may_have_been_applied is True
    assert session.methods.count("POST") == 1


@virtual
async def test_create_with_wait_times_out_while_reads_are_retried() -> None:
    def handler(sent: Sent) -> Answer:
        return CREATED if sent.method == "POST" else Answer(503)

    session, gateway = play(handler)
    began = now()
    with pytest.raises(errors.ContactsError) as caught:
        await gateway.create(ANN, wait=True)
    assert now() - began <= READABLE_WITHIN + 1
    assert caught.value.may_have_been_applied is True  # type: ignore[attr-defined]
    assert session.methods.count("POST") == 1


@virtual
async def test_dmchamp_settles_if_configured() -> None:
    def handler(sent: Sent) -> Answer:
        return Answer(200, {"success": True, "contactId": "a b"} if sent.method == "POST" else {"contactId": "c"})

    session, lent = scripted(handler)
    gateway = make("dmchamp", session=lent, base_url="http://127.0.0.1:9", settle=2.0)
    receipt = await gateway.create(DmChampFields(phone="+1"))
    await gateway.get("phone:+1")
    assert session.gaps[0] >= 2.0
    assert receipt.contact_id == "a b"


@pytest.mark.parametrize("contact_id", [" odd ", "..", "\ud800", "x" * 1000])
@virtual
async def test_create_succeeds_with_an_id_that_cannot_be_addressed(contact_id: str) -> None:
    _, lent = scripted([Answer(200, {"success": True, "contactId": contact_id})])
    gateway = make("dmchamp", session=lent, base_url="http://127.0.0.1:9", settle=2.0)
    assert (await gateway.create(DmChampFields(phone="+1"))).contact_id == contact_id
