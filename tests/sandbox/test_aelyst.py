"""Aelyst's create, get and update as the vendor's pages describe them, over plain HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from aelyst_async.sandbox import Sandbox
from tests.sandbox.plain_http import Http

SEED_BODY: dict[str, Any] = {
    "firstName": "Muhammad ",
    "lastName": "Mahin",
    "phone": "+60123456789",
    "email": "test@example.com",
    "language": "ms",
    "profilePic": "https://cdn.aelyst.ai/profile_avatar.png",
    "countryCode": "MY",
    "custom_fields": [{"name": "Company Website", "value": "https://example.com"}],
}


async def test_documented_create_returns_the_documented_response(http: Http) -> None:
    created = await http("aelyst", "POST", "/contact/email:test@example.com", SEED_BODY)
    assert (created.status, created.json) == (200, {"code": "200", "message": "Contact added successfully!"})
    read = (await http("aelyst", "GET", "/contact/phone:%2B60123456789")).json
    assert {name: read[name] for name in SEED_BODY} == SEED_BODY
    assert isinstance(read["id"], int)
    assert isinstance(read["created_at"], int)
    assert (read["status"], read["tags"], read["assignee"], read["isBlocked"]) == ("open", [], None, False)
    by_id = (await http("aelyst", "GET", f"/contact/id:{read['id']}")).json
    assert by_id == read


async def test_update_changes_given_fields_and_null_clears(http: Http) -> None:
    await http("aelyst", "POST", "/contact/email:test@example.com", SEED_BODY)
    answer = await http("aelyst", "PUT", "/contact/email:test@example.com", {"lastName": "Dar", "phone": None})
    read = (await http("aelyst", "GET", "/contact/email:test@example.com")).json
    assert (answer.status, answer.json) == (200, {"contactId": read["id"]})
    assert read["lastName"] == "Dar"
    assert read["phone"] is None
    assert read["firstName"] == "Muhammad "
    assert (await http("aelyst", "GET", "/contact/phone:%2B60123456789")).status == 404


async def test_get_and_update_use_the_first_of_duplicates(http: Http, sandbox: Sandbox) -> None:
    for name in ("First", "Second"):
        await http("aelyst", "POST", "/contact/email:twin@example.com", {"firstName": name})
    assert sandbox.counters.duplicates["aelyst"] == 1
    await http("aelyst", "PUT", "/contact/email:twin@example.com", {"lastName": "Changed"})
    assert [(one["firstName"], one["lastName"]) for one in sandbox.contacts("aelyst")] == [
        ("First", "Changed"),
        ("Second", None),
    ]


async def test_create_takes_a_missing_email_or_phone_from_the_identifier(http: Http, sandbox: Sandbox) -> None:
    await http("aelyst", "POST", "/contact/phone:%2B6011", {"firstName": "A"})
    await http("aelyst", "POST", "/contact/email:a%2Bb@c.d", {"firstName": "B", "email": "other@c.d"})
    assert [(one["phone"], one["email"]) for one in sandbox.contacts("aelyst")] == [
        ("+6011", None),
        (None, "other@c.d"),
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/contact/email:a%2Bb@example.com",
        "/contact/email:a+b@example.com",
        "/contact/email:a+b%40example.com",
        "/contact/email%3Aa%2Bb%40example.com",
        "/contact/email:A%2BB@EXAMPLE.COM",
    ],
)
async def test_get_finds_an_email_with_plus_in_every_path_encoding(http: Http, sandbox: Sandbox, path: str) -> None:
    sandbox.add_contact("aelyst", {"email": "a+b@example.com", "firstName": "A"})
    assert (await http("aelyst", "GET", path)).status == 200


@pytest.mark.parametrize(
    ("encoded", "plain"),
    [
        ("a%2Fb%3Fc%23d@e.f", "a/b?c#d@e.f"),
        ("..%2F..%2Fcontact%2Flist@e.f", "../../contact/list@e.f"),
        ("%25252F@e.f", "%252F@e.f"),
        ("%D0%B8%D0%B2%D0%B0%D0%BD@%D0%BF%D0%BE%D1%87%D1%82%D0%B0.%D1%80%D1%84", "иван@почта.рф"),
        ("a%20%22quoted%22@e.f", 'a "quoted"@e.f'),
        ("a%00b@e.f", "a\0b@e.f"),
    ],
)
async def test_create_decodes_an_encoded_identifier_once(
    http: Http, sandbox: Sandbox, encoded: str, plain: str
) -> None:
    made = await http("aelyst", "POST", f"/contact/email:{encoded}", {"firstName": "Odd"})
    assert made.status == 200
    assert [one["email"] for one in sandbox.contacts("aelyst")] == [plain]
    assert (await http("aelyst", "GET", f"/contact/email:{encoded}")).json["email"] == plain


@pytest.mark.parametrize("phone", ["%2B60123456789", "+60123456789", "%2B60%2012-345%20(6789)"])
async def test_get_finds_a_phone_in_every_notation(http: Http, sandbox: Sandbox, phone: str) -> None:
    sandbox.add_contact("aelyst", {"phone": "+60 12-345 6789"})
    assert (await http("aelyst", "GET", f"/contact/phone:{phone}")).status == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/contact/email:nobody@example.com", None, 404),
        ("GET", "/contact/id:999", None, 404),
        ("GET", "/contact/id:99999999999999999999999999999999", None, 404),
        ("GET", "/contact/id:abc", None, 400),
        ("GET", "/contact/id:%D9%A3", None, 400),
        ("GET", "/contact/email:", None, 400),
        ("GET", "/contact/%FF", None, 400),
        ("GET", "/contact/", None, 404),
        ("GET", "/contact", None, 404),
        ("GET", "/contact/id:1/extra", None, 404),
        ("POST", "/contact/id:5", b'{"firstName": "A"}', 400),
        ("POST", "/contact/email:a@b.c", b"", 400),
        ("POST", "/contact/email:a@b.c", b"{bad", 400),
        ("POST", "/contact/email:a@b.c", b"\xff\xfe", 400),
        ("POST", "/contact/email:a@b.c", b"[]", 400),
        ("POST", "/contact/email:a@b.c", b'{"firstName": NaN}', 400),
        ("POST", "/contact/email:a@b.c", b"[" * 100_000, 400),
        ("POST", "/contact/email:a@b.c", b'{"lastName": "no first name"}', 400),
        ("POST", "/contact/email:a@b.c", b'{"firstName": null}', 400),
        ("POST", "/contact/email:a@b.c", b'{"firstName": 5}', 400),
        ("POST", "/contact/email:a@b.c", b'{"firstName": "A", "custom_fields": {}}', 400),
        ("POST", "/contact/email:a@b.c", b'{"firstName": "A", "custom_fields": [{"value": "x"}]}', 400),
        ("POST", "/contact/email:a@b.c", b'{"firstName": "A", "custom_fields": [{"name": "x", "value": []}]}', 400),
        ("PUT", "/contact/email:a@b.c", b'{"firstName": null}', 400),
        ("PUT", "/contact/email:a@b.c", b"{}" + b" " * (1 << 20), 413),
        ("PATCH", "/contact/email:a@b.c", b"{}", 405),
        ("DELETE", "/contact/email:a@b.c", None, 404),
        ("PATCH", "/contact/list", b"{}", 405),
    ],
)
async def test_invalid_requests_get_an_error_with_code_and_message(
    http: Http, sandbox: Sandbox, method: str, path: str, body: bytes | None, status: int
) -> None:
    answer = await http("aelyst", method, path, data=body)
    assert answer.status == status
    assert answer.json["code"] == status
    assert isinstance(answer.json["message"], str)
    assert answer.headers["X-Sandbox"] == "aelyst-async"
    assert sandbox.contacts("aelyst") == []


async def test_create_keeps_a_lone_surrogate(http: Http) -> None:
    body = b'{"firstName": "\\ud800", "email": "\\udfff@b.c"}'
    assert (await http("aelyst", "POST", "/contact/phone:%2B601", data=body)).status == 200
    assert (await http("aelyst", "GET", "/contact/phone:%2B601")).json["firstName"] == "\ud800"


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic sandbox-token"}])
async def test_request_without_a_valid_token_gets_401(http: Http, headers: dict[str, str]) -> None:
    answer = await http("aelyst", "GET", "/contact/id:1", token=None, headers=headers)
    assert (answer.status, answer.json) == (401, {"code": 401, "message": "UN_AUTHORIZED"})


async def test_set_tokens_replaces_the_accepted_token(http: Http, sandbox: Sandbox) -> None:
    sandbox.add_contact("aelyst", {"email": "a@b.c"})
    sandbox.set_tokens("aelyst", "new")
    assert (await http("aelyst", "GET", "/contact/email:a@b.c")).status == 401
    assert (await http("aelyst", "GET", "/contact/email:a@b.c", token=sandbox.token("aelyst"))).status == 200
