"""For any identifier, the request reaches the intended route with exactly that identifier.

One aiohttp.web server serves all examples. It reads ``raw_path``, because `match_info` hides the encoding.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote

import attrs
import pytest
from aiohttp import web
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aelyst_async import ContactId, Email, Phone, errors
from aelyst_async.identifiers import Identifier
from aelyst_providers.aelyst import AelystFields, AelystGateway
from aelyst_providers.callab import CallabGateway
from aelyst_providers.dmchamp import DmChampFields, DmChampGateway
from tests.doubles import free_limiter

KEY = "k+&=#%/?"


@attrs.frozen
class Arrived:
    route: str
    segments: list[str]
    query: dict[str, str]
    json: Any


class RoutingServer:
    """The server, the gateways and their event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.arrived: list[Arrived] = []

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Arrived:
        """Run one call and return its only request."""
        self.arrived.clear()
        self.loop.run_until_complete(coroutine)
        assert len(self.arrived) == 1
        return self.arrived[0]

    async def start(self) -> None:
        app = web.Application()
        for method, path in [
            ("POST", "/v1/contact/list"), ("POST", "/v1/contact/merge"), ("*", "/v1/contact/{identifier}"),
            ("*", "/v1/contact/{identifier}/tag"), ("POST", "/v1/contact/create_or_update/{identifier}"),
            ("*", "/v1/contacts"), ("*", "/v1/contacts/lists"), ("*", "/v1/contacts/tags/{id}"),
            ("*", "/v1/contacts/messages/{id}"), ("*", "/v1/contacts/{id}"), ("*", "/{tail:.*}"),
        ]:  # fmt: skip
            # By default aiohttp accepts no braces in a segment.
            braced = path.replace("id}", "id:[^/]+}").replace("identifier}", "identifier:[^/]+}")
            app.router.add_route(method, braced, self.handle)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{self.runner.addresses[0][1]}/v1"
        limiter = free_limiter()[1]
        self.aelyst = AelystGateway("t", base_url=url, limiter=limiter, settle=0)
        self.callab = CallabGateway("t", base_url=url, limiter=limiter)
        self.dmchamp = DmChampGateway(KEY, base_url=url, limiter=limiter)

    async def stop(self) -> None:
        for gateway in (self.aelyst, self.callab, self.dmchamp):
            await gateway.aclose()
        await self.runner.cleanup()

    async def handle(self, request: web.Request) -> web.Response:
        path, _, query = request.raw_path.partition("?")
        resource = request.match_info.route.resource
        assert resource is not None
        self.arrived.append(
            Arrived(
                f"{request.method} {resource.canonical}",
                [unquote(segment, errors="strict") for segment in path.split("/")[1:]],
                dict(parse_qsl(query, keep_blank_values=True, errors="strict")),
                await request.json() if request.can_read_body else None,
            )
        )
        arrived = self.arrived[-1]
        asked = arrived.segments[-1].removeprefix("id:")  # the gateway rejects a response about another id
        if path.split("/")[2:3] == ["contacts"]:
            asked = arrived.json.get("contactId", asked) if arrived.json is not None else asked
            return web.json_response({"contactId": asked, "success": True, "data": []})
        return web.json_response(
            {"id": asked, "contactId": asked, "code": "200", "message": "", "data": {"id": asked}, "status": "ok"}
        )


@pytest.fixture(scope="module")
def server() -> Iterator[RoutingServer]:
    server = RoutingServer()
    server.loop.run_until_complete(server.start())
    yield server
    server.loop.run_until_complete(server.stop())
    server.loop.close()


NASTY = [
    "../x", "a/b", "a%2Fb", "?x=1", "#", "list", "merge", "lists", "tags/x", "a;b",
    "a\\b", "%", "+", "&", "=", "..;/", "%2e%2e", "\u202e", "é", "😀", "a b", "./.", "~", "'", '"',
]  # fmt: skip

texts = st.one_of(
    st.text(max_size=40), st.text(alphabet="./\\%?#&=+:;@ 2Ff\u00e9", max_size=20), st.sampled_from(NASTY)
)
ids = texts
emails = st.builds("{}@{}".format, texts, texts)
phones = st.builds("+{}".format, st.integers(1, 10**15))


@settings(max_examples=150)
@given(emails, phones, texts)
@example("a+b&c=d#e%f/g?h@x.y", "+60123", "list")
@example("a@b.c", "+60123", "²")
def test_aelyst_requests_reach_their_route_with_the_identifier(
    server: RoutingServer, email: str, phone: str, name: str
) -> None:
    for kind, value in ((Email, email), (Phone, phone), (ContactId, name)):
        identifier: Identifier | None = None
        with contextlib.suppress(errors.InvalidIdentifierError):
            identifier = kind(value)
        if identifier is None:
            continue
        if isinstance(identifier, ContactId) and not (identifier.value.isascii() and identifier.value.isdigit()):
            with pytest.raises(errors.InvalidIdentifierError):
                server.loop.run_until_complete(server.aelyst.get(identifier))
            continue
        arrived = server.run(server.aelyst.get(identifier))
        assert arrived == Arrived("GET /v1/contact/{identifier}", ["v1", "contact", str(identifier)], {}, None)
        fields = AelystFields(first_name=name.encode("utf-8", "replace").decode())
        arrived = server.run(server.aelyst.update(identifier, fields))
        assert arrived.route == "PUT /v1/contact/{identifier}"
        assert arrived.segments == ["v1", "contact", str(identifier)]
        assert arrived.json == {"firstName": fields.first_name}
        if not isinstance(identifier, ContactId):
            arrived = server.run(server.aelyst.create(fields, identifier=identifier))
            assert (arrived.route, arrived.segments[2]) == ("POST /v1/contact/{identifier}", str(identifier))


@settings(max_examples=150)
@given(texts)
@example("..%2f")
@example("a%2Fb")
@example("contacts")
def test_callab_and_dmchamp_requests_reach_their_route_with_any_id(server: RoutingServer, value: str) -> None:
    try:
        identifier = ContactId(value)
    except errors.InvalidIdentifierError:
        return
    arrived = server.run(server.callab.get(identifier))
    assert (arrived.route, arrived.segments) == ("GET /v1/contact/{identifier}", ["v1", "contact", identifier.value])
    if identifier.value in {"lists", "tags", "messages"}:
        with pytest.raises(errors.InvalidIdentifierError):
            server.loop.run_until_complete(server.dmchamp.update(identifier, DmChampFields(first_name="A")))
        return
    arrived = server.run(server.dmchamp.update(identifier, DmChampFields(first_name="A")))
    assert (arrived.route, arrived.segments) == ("PUT /v1/contacts/{id}", ["v1", "contacts", identifier.value])
    arrived = server.run(server.dmchamp.tags(identifier))
    assert (arrived.route, arrived.segments) == (
        "GET /v1/contacts/tags/{id}",
        ["v1", "contacts", "tags", identifier.value],
    )
    arrived = server.run(server.dmchamp.messages(identifier))
    assert arrived.segments == ["v1", "contacts", "messages", identifier.value]
    arrived = server.run(server.dmchamp.remove_from_list(identifier, "l/1"))
    assert (arrived.route, arrived.json) == (
        "DELETE /v1/contacts/lists",
        {"contactId": identifier.value, "listId": "l/1"},
    )
    assert arrived.query == {"apiKey": KEY}


@settings(max_examples=150)
@given(emails, phones)
@example("a+b&c=d#e%f@x.y", "+60")
@example("a&apiKey=stolen@x.y", "+60")
def test_dmchamp_query_parameters_arrive_unchanged(server: RoutingServer, email: str, phone: str) -> None:
    arrived = server.run(server.dmchamp.get(f"phone:{phone}"))
    assert arrived == Arrived("GET /v1/contacts", ["v1", "contacts"], {"phoneNumber": phone, "apiKey": KEY}, None)
    try:
        identifier = Email(email)
    except errors.InvalidIdentifierError:
        return
    arrived = server.run(server.dmchamp.get(identifier))
    assert arrived.query == {"email": identifier.value, "apiKey": KEY}


@pytest.mark.parametrize("name", ["lists", "tags", "messages"])
def test_dmchamp_rejects_ids_that_are_route_names(server: RoutingServer, name: str) -> None:
    for call in (
        server.dmchamp.update(f"id:{name}", DmChampFields(first_name="A")),
        server.dmchamp.tags(f"id:{name}"),
    ):
        with pytest.raises(errors.InvalidIdentifierError, match="is a route"):
            server.loop.run_until_complete(call)
