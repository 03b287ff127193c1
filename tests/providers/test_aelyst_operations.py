"""Aelyst's delete, tags, lifecycle and merge: requests, rejected input, retries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from aelyst_async import ContactId, RetryPolicy, Tag, errors
from aelyst_providers.aelyst import AelystFields, RespondIoGateway
from tests.doubles import Answer, ScriptedSession, scripted
from tests.providers.conftest import make
from tests.virtual_time import run, virtual

IDENTIFIER = "email:a+b@c.d"
PATH = "/contact/email:a%2Bb@c.d"
DONE = Answer(200, {"contactId": 7})
MISSING = Answer(404, {"code": 404, "message": "Contact not found"})


def play(script: Any, **settings: Any) -> tuple[ScriptedSession, Any]:
    session, lent = scripted(script)
    return session, make("aelyst", session=lent, base_url="http://127.0.0.1:9", **settings)


@pytest.mark.parametrize(
    ("call", "method", "path", "body"),
    [
        (lambda gateway: gateway.delete(IDENTIFIER), "DELETE", PATH, None),
        (lambda gateway: gateway.delete("id:7"), "DELETE", "/contact/id:7", None),
        (
            lambda gateway: gateway.add_tags(IDENTIFIER, ["a, b", Tag("vip"), "vip"]),
            "POST",
            f"{PATH}/tag",
            ["a, b", "vip"],
        ),
        (lambda gateway: gateway.remove_tags(IDENTIFIER, iter(["a"])), "DELETE", f"{PATH}/tag", ["a"]),
        (
            lambda gateway: gateway.set_lifecycle(IDENTIFIER, "Hot Lead"),
            "POST",
            f"{PATH}/lifecycle/update",
            {"name": "Hot Lead"},
        ),
        (lambda gateway: gateway.set_lifecycle(IDENTIFIER, None), "POST", f"{PATH}/lifecycle/update", {"name": None}),
        (lambda gateway: gateway.merge("id:9", "id:7"), "POST", "/contact/merge", {"contactIds": [9, 7]}),
        (
            lambda gateway: gateway.merge(ContactId(7), ContactId("8"), AelystFields(last_name=None)),
            "POST",
            "/contact/merge",
            {"contactIds": [7, 8], "lastName": None},
        ),
    ],
)
@virtual
async def test_operation_sends_the_documented_request(
    call: Callable[[Any], Any], method: str, path: str, body: Any
) -> None:
    session, gateway = play([Answer(200, {"contactId": 7, "code": 200, "message": "ok"})])
    receipt = await call(gateway)
    [sent] = session.sent
    assert (sent.method, sent.path) == (method, path)
    assert (None if sent.body is None else sent.json) == body
    assert (receipt.contact_id, receipt.created) == ("7", False)


def names(count: int) -> list[str]:
    return [f"tag {number}" for number in range(count)]


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (10, [10]), (11, [10, 1]), (25, [10, 10, 5])])
@virtual
async def test_tags_are_sent_in_batches_of_ten(count: int, sizes: list[int]) -> None:
    for operation in ("add_tags", "remove_tags"):
        session, gateway = play([DONE])
        await getattr(gateway, operation)(IDENTIFIER, names(count))
        assert [len(sent.json) for sent in session.sent] == sizes
        assert [tag for sent in session.sent for tag in sent.json] == names(count)


@virtual
async def test_partial_failure_of_tags_lists_applied_and_remaining_tags() -> None:
    session, gateway = play([DONE, Answer(500, {"code": 500, "message": "no"})])
    with pytest.raises(errors.PartialChangeError) as caught:
        await gateway.add_tags(IDENTIFIER, names(25))
    assert (caught.value.done, caught.value.left) == (tuple(names(25)[:10]), tuple(names(25)[10:]))
    failure = caught.value.failure
    assert isinstance(failure, errors.ServerError)
    assert (failure.may_have_been_applied, str(failure.identifier)) == (True, IDENTIFIER)
    assert caught.value.__context__ is caught.value.__cause__ is None
    assert len(session.sent) == 2


@virtual
async def test_failure_of_the_first_tag_request_raises_its_error() -> None:
    _, gateway = play([MISSING])
    with pytest.raises(errors.ContactNotFoundError):
        await gateway.add_tags(IDENTIFIER, names(25))


REFUSED: list[tuple[Callable[[Any], Any], type[errors.ContactsError], str]] = [
    (lambda gateway: gateway.add_tags(IDENTIFIER, []), errors.UnsupportedFieldError, "no tag is given"),
    (lambda gateway: gateway.remove_tags(IDENTIFIER, ()), errors.UnsupportedFieldError, "remove_tags: no tag is given"),
    (lambda gateway: gateway.add_tags(IDENTIFIER, "vip"), errors.UnsupportedFieldError, "in a list, got str"),
    (lambda gateway: gateway.add_tags(IDENTIFIER, {"vip": 1}), errors.UnsupportedFieldError, "in a list, got dict"),
    (lambda gateway: gateway.add_tags(IDENTIFIER, 5), errors.UnsupportedFieldError, "in a list, got int"),
    (lambda gateway: gateway.add_tags(IDENTIFIER, ["ok", 5]), errors.UnsupportedFieldError, "a tag is a name or a Tag"),
    (lambda gateway: gateway.add_tags(IDENTIFIER, [" "]), errors.UnsupportedFieldError, "1 to 255 characters"),
    (lambda gateway: gateway.add_tags(IDENTIFIER, ["x" * 256]), errors.UnsupportedFieldError, "one has 256"),
    (lambda gateway: gateway.add_tags(IDENTIFIER, ["\ud800"]), errors.UnsupportedFieldError, "lone surrogate"),
    (lambda gateway: gateway.add_tags("vip", ["a"]), errors.InvalidIdentifierError, "does not begin with"),
    (lambda gateway: gateway.delete("id:x"), errors.InvalidIdentifierError, "digits only"),
    (lambda gateway: gateway.set_lifecycle(IDENTIFIER, ""), errors.UnsupportedFieldError, "pass None to remove"),
    (lambda gateway: gateway.set_lifecycle(IDENTIFIER, 5), errors.UnsupportedFieldError, "expected text, got int"),
    (lambda gateway: gateway.merge("id:7", "id:7"), errors.InvalidIdentifierError, "needs two different ids"),
    (lambda gateway: gateway.merge("id:7", "id:007"), errors.InvalidIdentifierError, "needs two different ids"),
    (lambda gateway: gateway.merge("id:7", IDENTIFIER), errors.InvalidIdentifierError, "merge needs two ids"),
    (lambda gateway: gateway.merge("id:7", "id:8", AelystFields()), errors.UnsupportedFieldError, "no field is given"),
    (lambda gateway: gateway.merge("id:7", "id:8", {"a": 1}), errors.UnsupportedFieldError, "expected ContactFields"),
]


@pytest.mark.parametrize(("call", "kind", "words"), REFUSED)
@virtual
async def test_operation_rejects_invalid_input_before_anything_is_sent(call: Any, kind: Any, words: str) -> None:
    session, gateway = play([DONE])
    with pytest.raises(kind, match=words):
        await call(gateway)
    assert session.sent == []


REPEATED = [
    lambda gateway: gateway.delete(IDENTIFIER),
    lambda gateway: gateway.add_tags(IDENTIFIER, ["a"]),
    lambda gateway: gateway.remove_tags(IDENTIFIER, ["a"]),
    lambda gateway: gateway.set_lifecycle(IDENTIFIER, "Hot"),
]
LOST: list[Any] = [aiohttp.ServerDisconnectedError(), Answer(502, b"")]


@pytest.mark.parametrize("call", REPEATED)
@pytest.mark.parametrize("lost", LOST)
@virtual
async def test_idempotent_operations_are_retried(call: Any, lost: Any) -> None:
    done = Answer(200, {"contactId": 7, "code": 200, "message": "ok"})
    session, gateway = play([lost, done], retry=RetryPolicy())
    assert (await call(gateway)).contact_id == "7"
    assert len(session.sent) == 2


@pytest.mark.parametrize("lost", LOST)
@virtual
async def test_merge_is_not_retried_and_may_have_been_applied(lost: Any) -> None:
    session, gateway = play([lost, DONE], retry=RetryPolicy())
    with pytest.raises((errors.TransportError, errors.ServerError)) as caught:
        await gateway.merge("id:7", "id:8")
    failure: Any = caught.value
    assert (failure.may_have_been_applied, failure.repeatable) == (True, False)
    assert len(session.sent) == 1


@virtual
async def test_retried_delete_that_finds_no_contact_may_have_been_applied() -> None:
    _, gateway = play([Answer(502, b""), MISSING], retry=RetryPolicy())
    with pytest.raises(errors.ContactNotFoundError) as caught:
        await gateway.delete(IDENTIFIER)
    assert (caught.value.may_have_been_applied, caught.value.attempts) == (True, 2)


@pytest.mark.parametrize(
    "body", [{"contactId": 9}, {"contactId": "9"}, {"contactId": None}, {}, [], {"contactId": "x"}]
)
@virtual
async def test_merge_rejects_a_response_about_another_contact(body: Any) -> None:
    _, gateway = play([Answer(200, body)])
    with pytest.raises(errors.ResponseDecodeError) as caught:
        await gateway.merge("id:7", "id:8")
    assert caught.value.may_have_been_applied is True


@virtual
async def test_merge_receipt_names_the_primary_contact() -> None:
    _, gateway = play([Answer(200, {"contactId": "8"})])
    receipt = await gateway.merge("id:7", "id:008")
    assert (receipt.contact_id, str(receipt.identifier)) == ("8", "id:008")


def test_respondio_gateway_has_its_own_name_and_base_url() -> None:
    async def main() -> None:
        session, lent = scripted([Answer(200, {"id": 1})])
        gateway = RespondIoGateway("t", session=lent)
        assert (gateway.provider, gateway.schema.provider) == ("respondio", "respondio")
        assert (await gateway.get("id:1")).id == "1"
        assert session.sent[0].url == "https://api.respond.io/v2/contact/id:1"
        with pytest.raises(errors.UnsupportedFieldError, match="respondio update: no field"):
            await gateway.update("id:1", AelystFields())

    run(main())
