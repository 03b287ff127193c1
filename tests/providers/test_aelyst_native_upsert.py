"""Aelyst's native upsert: one request, retried without a lookup, and the fallback for servers without the route."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from aelyst_async import RetryPolicy, errors
from aelyst_providers.aelyst import AelystFields, AelystGateway
from tests.doubles import Answer, ScriptedSession, Sent, scripted
from tests.providers.conftest import make
from tests.virtual_time import virtual

IDENTIFIER = "phone:+601"
ANN = AelystFields(first_name="Ann", email="ann@example.com")
DONE = Answer(200, {"contactId": 7})
NO_CONTACT = Answer(404, {"code": 404, "message": "Contact not found"})
NO_ROUTE = [
    Answer(404, b"<html>404</html>"),
    Answer(404, {"statusCode": 404, "message": "Cannot POST /v1/contact/create_or_update/phone:+601"}),
    Answer(404, {"message": "Contact not found"}),  # no code, so not an error of this API
    Answer(405, {"code": 405, "message": "Method Not Allowed"}),
    Answer(405, b""),
]


def play(script: Any, **settings: Any) -> tuple[ScriptedSession, Any]:
    session, lent = scripted(script)
    return session, make("aelyst", session=lent, base_url="http://127.0.0.1:9", **settings)


def server(native: Answer, *, known: bool = False) -> Any:
    """Return a server whose create_or_update answers `native`. With `known`, an update finds the contact."""

    def answer(sent: Sent) -> Answer:
        if "create_or_update" in sent.path:
            return native
        if sent.method == "PUT":
            return DONE if known else NO_CONTACT
        return Answer(200, {"code": "200", "message": "ok"})

    return answer


@pytest.mark.parametrize("mode", ["auto", "native"])
@virtual
async def test_native_upsert_sends_one_request_and_leaves_created_unknown(mode: str) -> None:
    session, gateway = play([DONE], upsert=mode)
    receipt = await gateway.upsert(IDENTIFIER, ANN)
    [sent] = session.sent
    assert (sent.method, sent.path) == ("POST", "/contact/create_or_update/phone:%2B601")
    assert sent.json == {"firstName": "Ann", "email": "ann@example.com"}
    assert (receipt.contact_id, receipt.created) == ("7", None)


@pytest.mark.parametrize("lost", [aiohttp.ServerDisconnectedError(), Answer(502, b""), Answer(500, {"code": 500})])
@virtual
async def test_native_upsert_is_retried_without_a_lookup(lost: Any) -> None:
    session, gateway = play([lost, DONE], retry=RetryPolicy())
    assert (await gateway.upsert(IDENTIFIER, ANN)).contact_id == "7"
    assert session.methods == ["POST", "POST"]
    session, gateway = play([lost])
    with pytest.raises((errors.TransportError, errors.ServerError)) as caught:
        await gateway.upsert(IDENTIFIER, ANN)
    failure: Any = caught.value
    assert (failure.may_have_been_applied, failure.repeatable) == (True, True)


@pytest.mark.parametrize("native", NO_ROUTE)
@pytest.mark.parametrize("known", [False, True])
@virtual
async def test_auto_upsert_falls_back_for_good_and_logs_once_without_the_route(
    native: Answer, known: bool, caplog: pytest.LogCaptureFixture
) -> None:
    session, gateway = play(server(native, known=known))
    view = gateway.with_retry(RetryPolicy(max_attempts=1))
    composed = ["PUT"] if known else ["PUT", "POST"]
    assert (await gateway.upsert(IDENTIFIER, ANN)).created is not known
    assert (await view.upsert(IDENTIFIER, ANN)).created is not known
    assert session.methods == ["POST", *composed, *composed]
    [record] = [one for one in caplog.records if "create_or_update" in one.getMessage()]
    assert record.levelname == "WARNING"
    assert "601" not in record.getMessage()


@virtual
async def test_auto_upsert_composes_one_call_if_the_contact_is_missing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    session, gateway = play(server(NO_CONTACT))
    for _ in range(2):
        assert (await gateway.upsert(IDENTIFIER, ANN)).created is True
    assert session.methods == ["POST", "PUT", "POST"] * 2
    assert caplog.records == []


@virtual
async def test_auto_upsert_does_not_fall_back_after_a_native_success() -> None:
    session, gateway = play([DONE, NO_ROUTE[0]])
    await gateway.upsert(IDENTIFIER, ANN)
    with pytest.raises(errors.ContactNotFoundError):
        await gateway.upsert(IDENTIFIER, ANN)
    assert session.methods == ["POST", "POST"]


@pytest.mark.parametrize("native", [*NO_ROUTE, NO_CONTACT])
@virtual
async def test_native_upsert_never_falls_back(native: Answer) -> None:
    session, gateway = play(server(native), upsert="native")
    with pytest.raises(errors.ApiError):
        await gateway.upsert(IDENTIFIER, ANN)
    assert session.methods == ["POST"]


@pytest.mark.parametrize("status", [401, 409, 429, 500])
@virtual
async def test_auto_upsert_raises_other_error_statuses(status: int) -> None:
    session, gateway = play(server(Answer(status, {"code": status, "message": "no"})))
    with pytest.raises(errors.ApiError) as caught:
        await gateway.upsert(IDENTIFIER, ANN)
    assert (caught.value.status, session.methods) == (status, ["POST"])


@virtual
async def test_auto_upsert_falls_back_if_only_the_native_route_answers_400(
    caplog: pytest.LogCaptureFixture,
) -> None:
    session, gateway = play(server(Answer(400, {"code": 400, "message": "Validation error."})))
    for _ in range(2):
        assert (await gateway.upsert(IDENTIFIER, ANN)).created
    assert [sent.method for sent in session.sent] == ["POST", "PUT", "POST", "PUT", "POST"]
    assert caplog.text.count("no create_or_update (400)") == 1


@virtual
async def test_auto_upsert_raises_400_for_bad_data_and_keeps_the_native_route() -> None:
    bad = Answer(400, {"code": 400, "message": "Validation error."})
    session, gateway = play(lambda sent: NO_CONTACT if sent.method == "GET" else bad)
    for _ in range(2):
        with pytest.raises(errors.BadRequestError):
            await gateway.upsert(IDENTIFIER, ANN)
    assert sum("create_or_update" in sent.path for sent in session.sent) == 2


@virtual
async def test_native_upsert_of_a_missing_id_raises_after_one_request() -> None:
    session, gateway = play(server(NO_CONTACT))
    with pytest.raises(errors.ContactNotFoundError):
        await gateway.upsert("id:7", ANN)
    assert session.methods == ["POST"]


@virtual
async def test_auto_upsert_composes_if_a_create_would_lack_a_required_field() -> None:
    session, gateway = play(server(DONE, known=True))
    await gateway.upsert(IDENTIFIER, AelystFields(last_name="Lee"))
    assert session.methods == ["PUT"]
    session, gateway = play(server(DONE))
    with pytest.raises(errors.UnsupportedFieldError, match="first_name: is required"):
        await gateway.upsert(IDENTIFIER, AelystFields(last_name="Lee"))


@virtual
async def test_contact_settles_after_a_native_upsert() -> None:
    session, gateway = play([DONE, Answer(200, {"id": 7})], settle=1.0)
    await gateway.upsert(IDENTIFIER, ANN)
    await gateway.get("email:ann@example.com")
    assert session.gaps[0] == pytest.approx(1.0, abs=0.01)


@virtual
async def test_native_upsert_rejects_a_response_about_another_id() -> None:
    _, gateway = play([DONE])
    with pytest.raises(errors.ResponseDecodeError):
        await gateway.upsert("id:8", ANN)


@pytest.mark.parametrize("mode", ["", "Native", None, 1, True])
def test_gateway_rejects_unknown_upsert_modes(mode: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match="upsert must be auto, native or compose"):
        AelystGateway("t", upsert=mode)
