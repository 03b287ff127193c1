"""Each example of the vendors' pages, with aioresponses and over a socket to an aiohttp.web server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote

import attrs
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from aelyst_async import ContactId, errors
from aelyst_providers.aelyst import AelystFields
from aelyst_providers.dmchamp import DmChampFields
from tests.providers.conftest import TOKEN, Opener
from tests.providers.seeds import EXAMPLES, REFUSALS, Example, Refusal

BASE = {
    "aelyst": "https://api.aelyst.ai/v1",
    "dmchamp": "https://api.dmchamp.com/v1",
    "callab": "https://api.callab.ai/v1",
}


def with_key(provider: str, target: str) -> str:
    """Return the target, with the credential if the vendor expects it in the query."""
    if provider != "dmchamp":
        return target
    return f"{target}{'&' if '?' in target else '?'}apiKey={quote(TOKEN, safe='')}"


def body_of(answer: Any) -> dict[str, Any]:
    return {"body": answer} if isinstance(answer, bytes) else {"payload": answer}


@attrs.define
class Recorder:
    """An aiohttp.web server that sends one response and keeps the request."""

    status: int = 200
    answer: Any = None
    request: Any = None
    json: Any = None
    server: TestServer = attrs.field(init=False)

    async def handle(self, request: web.Request) -> web.Response:
        self.request = request
        self.json = await request.json() if request.can_read_body else None
        if isinstance(self.answer, bytes):
            return web.Response(status=self.status, body=self.answer)
        return web.json_response(self.answer, status=self.status)


@pytest_asyncio.fixture
async def recorder() -> AsyncIterator[Recorder]:
    recorder = Recorder()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", recorder.handle)
    recorder.server = TestServer(app)
    async with recorder.server:
        yield recorder


@pytest.mark.parametrize("name", EXAMPLES)
async def test_documented_example_works_over_a_socket(recorder: Recorder, gateway: Opener, name: str) -> None:
    example: Example = EXAMPLES[name]
    recorder.status, recorder.answer = example.status, example.answer
    result = await example.call(gateway(example.provider, base_url=f"http://127.0.0.1:{recorder.server.port}/v1"))
    request = recorder.request
    assert request.method == example.method
    assert request.raw_path == "/v1" + with_key(example.provider, example.target)
    assert recorder.json == example.sent
    bearer = None if example.provider == "dmchamp" else f"Bearer {TOKEN}"
    assert request.headers.get("Authorization") == bearer
    assert request.headers.get("Content-Type") == (None if example.sent is None else "application/json")
    assert request.headers["Accept"] == "application/json"
    assert request.headers["User-Agent"].startswith("aelyst-async/")
    assert result == example.result
    assert type(result) is type(example.result)
    if not isinstance(result, tuple):
        assert result.raw == example.answer


@pytest.mark.parametrize("name", EXAMPLES)
async def test_documented_example_works_with_aioresponses(
    answers: Callable[..., Any], gateway: Opener, name: str
) -> None:
    example: Example = EXAMPLES[name]
    url = BASE[example.provider] + with_key(example.provider, example.target)
    mocked = answers(example.method, url, status=example.status, **body_of(example.answer))
    assert await example.call(gateway(example.provider)) == example.result
    ((method, _),) = mocked.requests
    assert method == example.method


@pytest.mark.parametrize("name", REFUSALS)
async def test_documented_error_raises_its_class_for_every_operation(
    recorder: Recorder, gateway: Opener, name: str
) -> None:
    refusal: Refusal = REFUSALS[name]
    recorder.status, recorder.answer = refusal.status, refusal.answer
    opened = gateway(refusal.provider, base_url=f"http://127.0.0.1:{recorder.server.port}/v1")
    for example in EXAMPLES.values():
        if example.provider != refusal.provider:
            continue
        with pytest.raises(errors.ApiError) as caught:
            await example.call(opened)
        error = caught.value
        assert type(error) is refusal.kind
        assert (error.status, error.message, error.code) == (refusal.status, refusal.message, refusal.code)
        assert (error.method, error.attempts) == (example.method, 1)
        assert error.url.endswith("/v1" + example.target)
        assert error.headers["content-length"]


async def test_rate_limited_error_has_the_response_headers(answers: Callable[..., Any], gateway: Opener) -> None:
    """Vendor page *Get a contact*: a 429 has Retry-After and two X-RateLimit headers."""
    headers = {"Retry-After": "1", "X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "5"}
    answers(
        "GET", f"{BASE['aelyst']}/contact/id:1", status=429, headers=headers,
        payload={"code": 429, "message": "Too Many Requests"},
    )  # fmt: skip
    with pytest.raises(errors.RateLimitedError) as caught:
        await gateway("aelyst").get(ContactId("1"))
    assert caught.value.retry_after == 1
    assert caught.value.headers["x-ratelimit-limit"] == "10"
    assert caught.value.headers["X-RATELIMIT-REMAINING"] == "5"


async def test_aioresponses_sees_the_url_as_it_is_sent(answers: Callable[..., Any], gateway: Opener) -> None:
    mocked = answers("GET", f"{BASE['callab']}/contact/a%2Fb%3Fc", payload={"status": "ok", "data": {"id": "a/b?c"}})
    assert (await gateway("callab").get("id:a/b?c")).id == "a/b?c"
    assert list(mocked.requests) == [("GET", URL(f"{BASE['callab']}/contact/a%2Fb%3Fc", encoded=True))]


async def test_callab_contact_path_can_be_changed(recorder: Recorder, gateway: Opener) -> None:
    recorder.answer = {"status": "ok", "data": {"id": "x"}}
    opened = gateway("callab", base_url=f"http://127.0.0.1:{recorder.server.port}/v1", contact_path="/contacts/{id}")
    await opened.get("id:x")
    assert recorder.request.raw_path == "/v1/contacts/x"


@pytest.mark.parametrize("identifier", ["phone:+1234567890", "email:ann@example.com"])
async def test_dmchamp_operations_look_up_the_id_first(
    answers: Callable[..., Any], gateway: Opener, identifier: str
) -> None:
    name = "phoneNumber=%2B1234567890" if identifier.startswith("phone") else "email=ann%40example.com"
    key = f"apiKey={quote(TOKEN, safe='')}"
    base = BASE["dmchamp"]
    done = {"success": True, "message": "ok"}
    mocked: Any = None
    for method, path, payload in [
        ("PUT", "/contacts/abc", done), ("POST", "/contacts/lists", done), ("DELETE", "/contacts/lists", done),
        ("GET", "/contacts/tags/abc", []), ("GET", "/contacts/messages/abc", {"success": True, "data": []}),
    ]:  # fmt: skip
        mocked = answers("GET", f"{base}/contacts?{name}&{key}", payload={"success": True, "contactId": "abc"})
        mocked = answers(method, f"{base}{path}?{key}", payload=payload)
    opened = gateway("dmchamp")
    receipt = await opened.update(identifier, DmChampFields(first_name="A"))
    assert (str(receipt.identifier), receipt.contact_id) == (identifier, "abc")
    await opened.add_to_list(identifier, "l")
    await opened.remove_from_list(identifier, "l")
    assert await opened.tags(identifier) == ()
    assert await opened.messages(identifier) == ()
    assert sum(len(calls) for calls in mocked.requests.values()) == 10


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda g: g["callab"].get("phone:+1"), errors.InvalidIdentifierError),
        (lambda g: g["callab"].get("email:a@b.c"), errors.InvalidIdentifierError),
        (lambda g: g["dmchamp"].get("id:1"), errors.InvalidIdentifierError),
        (lambda g: g["dmchamp"].create(DmChampFields(phone="+1"), identifier="id:1"), errors.InvalidIdentifierError),
        (lambda g: g["dmchamp"].create(DmChampFields(phone="12")), errors.InvalidIdentifierError),
        (lambda g: g["dmchamp"].create(DmChampFields(email="a@b.c")), errors.UnsupportedFieldError),
        (lambda g: g["dmchamp"].create(DmChampFields(phone="+1"), identifier="phone:+2"), errors.UnsupportedFieldError),
        (lambda g: g["dmchamp"].update("id:1", DmChampFields(phone="+1")), errors.UnsupportedFieldError),
        (lambda g: g["dmchamp"].update("id:1", DmChampFields(first_name=None)), errors.UnsupportedFieldError),
        (lambda g: g["dmchamp"].update("id:1", AelystFields(language="ms")), errors.UnsupportedFieldError),
        (lambda g: g["dmchamp"].add_to_list("id:1", ""), errors.InvalidIdentifierError),
        (lambda g: g["dmchamp"].add_to_list("id:1", 5), errors.InvalidIdentifierError),
        (lambda g: g["dmchamp"].add_to_list("id:1", "\ud800"), errors.InvalidIdentifierError),
        (lambda g: g["aelyst"].get("id:abc"), errors.InvalidIdentifierError),
        (lambda g: g["aelyst"].get("id:١"), errors.InvalidIdentifierError),
        (lambda g: g["aelyst"].get("123"), errors.InvalidIdentifierError),
        (lambda g: g["aelyst"].create(AelystFields(first_name="A")), errors.UnsupportedFieldError),
        (lambda g: g["aelyst"].create(AelystFields(phone="+1")), errors.UnsupportedFieldError),
        (lambda g: g["aelyst"].create(AelystFields(first_name="A"), identifier="id:1"), errors.InvalidIdentifierError),
        (lambda g: g["aelyst"].create(AelystFields(first_name="A", phone="12")), errors.InvalidIdentifierError),
        (lambda g: g["aelyst"].update("id:1", AelystFields(first_name=None)), errors.UnsupportedFieldError),
        (lambda g: g["aelyst"].update("id:1", AelystFields(last_name=5)), errors.UnsupportedFieldError),  # type: ignore[arg-type]
        (lambda g: g["aelyst"].update("id:1", DmChampFields(channel="x")), errors.UnsupportedFieldError),
    ],
)  # fmt: skip
async def test_operations_reject_invalid_input_before_anything_is_sent(
    recorder: Recorder, gateway: Opener, call: Callable[[dict[str, Any]], Any], kind: type[Exception]
) -> None:
    url = f"http://127.0.0.1:{recorder.server.port}"
    with pytest.raises(kind):
        await call({provider: gateway(provider, base_url=url) for provider in BASE})
    assert recorder.request is None
