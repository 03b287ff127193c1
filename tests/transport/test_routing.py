"""Whatever an identifier holds, the request arrives at the route that was meant, with that identifier.

One aiohttp.web server for all examples. What arrives is read from ``raw_path``: `match_info` hides the encoding.
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


class World:
    """The server, the gateways and the loop that they live in."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.arrived: list[Arrived] = []

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Arrived:
        """Run one call and return the one request that it made."""
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
            # By default aiohttp takes no braces in a segment.
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
        asked = arrived.segments[-1].removeprefix("id:")  # an answer about another id is refused
        if path.split("/")[2:3] == ["contacts"]:
            asked = arrived.json.get("contactId", asked) if arrived.json is not None else asked
            return web.json_response({"contactId": asked, "success": True, "data": []})
        return web.json_response(
            {"id": asked, "contactId": asked, "code": "200", "message": "", "data": {"id": asked}, "status": "ok"}
        )


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World()
    world.loop.run_until_complete(world.start())
    yield world
    world.loop.run_until_complete(world.stop())
    world.loop.close()


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
def test_aelyst(world: World, email: str, phone: str, name: str) -> None:
    for kind, value in ((Email, email), (Phone, phone), (ContactId, name)):
        who: Identifier | None = None
        with contextlib.suppress(errors.InvalidIdentifierError):
            who = kind(value)
        if who is None:
            continue
        if isinstance(who, ContactId) and not (who.value.isascii() and who.value.isdigit()):
            with pytest.raises(errors.InvalidIdentifierError):
                world.loop.run_until_complete(world.aelyst.get(who))
            continue
        arrived = world.run(world.aelyst.get(who))
        assert arrived == Arrived("GET /v1/contact/{identifier}", ["v1", "contact", str(who)], {}, None)
        fields = AelystFields(first_name=name.encode("utf-8", "replace").decode())
        arrived = world.run(world.aelyst.update(who, fields))
        assert arrived.route == "PUT /v1/contact/{identifier}"
        assert arrived.segments == ["v1", "contact", str(who)]
        assert arrived.json == {"firstName": fields.first_name}
        if not isinstance(who, ContactId):
            arrived = world.run(world.aelyst.create(fields, identifier=who))
            assert (arrived.route, arrived.segments[2]) == ("POST /v1/contact/{identifier}", str(who))


@settings(max_examples=150)
@given(texts)
@example("..%2f")
@example("a%2Fb")
@example("contacts")
def test_ids_of_any_text(world: World, value: str) -> None:
    try:
        who = ContactId(value)
    except errors.InvalidIdentifierError:
        return
    arrived = world.run(world.callab.get(who))
    assert (arrived.route, arrived.segments) == ("GET /v1/contact/{identifier}", ["v1", "contact", who.value])
    if who.value in {"lists", "tags", "messages"}:
        with pytest.raises(errors.InvalidIdentifierError):
            world.loop.run_until_complete(world.dmchamp.update(who, DmChampFields(first_name="A")))
        return
    arrived = world.run(world.dmchamp.update(who, DmChampFields(first_name="A")))
    assert (arrived.route, arrived.segments) == ("PUT /v1/contacts/{id}", ["v1", "contacts", who.value])
    arrived = world.run(world.dmchamp.tags(who))
    assert (arrived.route, arrived.segments) == ("GET /v1/contacts/tags/{id}", ["v1", "contacts", "tags", who.value])
    arrived = world.run(world.dmchamp.messages(who))
    assert arrived.segments == ["v1", "contacts", "messages", who.value]
    arrived = world.run(world.dmchamp.remove_from_list(who, "l/1"))
    assert (arrived.route, arrived.json) == ("DELETE /v1/contacts/lists", {"contactId": who.value, "listId": "l/1"})
    assert arrived.query == {"apiKey": KEY}


@settings(max_examples=150)
@given(emails, phones)
@example("a+b&c=d#e%f@x.y", "+60")
@example("a&apiKey=stolen@x.y", "+60")
def test_query_values(world: World, email: str, phone: str) -> None:
    arrived = world.run(world.dmchamp.get(f"phone:{phone}"))
    assert arrived == Arrived("GET /v1/contacts", ["v1", "contacts"], {"phoneNumber": phone, "apiKey": KEY}, None)
    try:
        who = Email(email)
    except errors.InvalidIdentifierError:
        return
    arrived = world.run(world.dmchamp.get(who))
    assert arrived.query == {"email": who.value, "apiKey": KEY}


@pytest.mark.parametrize("name", ["lists", "tags", "messages"])
def test_a_route_of_the_api_is_not_an_id(world: World, name: str) -> None:
    for call in (world.dmchamp.update(f"id:{name}", DmChampFields(first_name="A")), world.dmchamp.tags(f"id:{name}")):
        with pytest.raises(errors.InvalidIdentifierError, match="is a route"):
            world.loop.run_until_complete(call)
