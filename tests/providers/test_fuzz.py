"""Fuzzing: for any response, an operation returns its model or raises an error of this library."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from aelyst_async import Contact, ContactId, Message, Page, Phone, Tag, WriteReceipt
from aelyst_async.errors import ContactsError
from aelyst_async.transport.messages import Request, Response
from aelyst_async.transport.redaction import Redactor
from aelyst_providers.aelyst import CustomFieldDefinition
from aelyst_providers.aelyst import wire as aelyst
from aelyst_providers.aelyst.definitions import CustomFieldTypes
from aelyst_providers.aelyst.listing import Query, read_definitions
from aelyst_providers.aelyst.models import AelystFields
from aelyst_providers.callab import wire as callab
from aelyst_providers.dmchamp import wire as dmchamp
from aelyst_providers.dmchamp.models import DmChampFields
from tests.doubles import Answer, scripted
from tests.providers.conftest import make
from tests.providers.seeds import AELYST_CONTACT, CALLAB_ANSWER
from tests.virtual_time import run

IDENTIFIER = Phone("+1")
SECRET = "s3cr3t/s3cr3t"

TYPES = CustomFieldTypes(
    CustomFieldDefinition(name=name, data_type=kind)
    for name, kind in (("vip", "number"), ("name", "date"), ("x", "time"), ("value", "checkbox"), ("id", "list"))
)
QUERY = Query.of(None, None, page_size=99, timezone="UTC")

READERS: dict[str, tuple[str, Callable[[Response], Any]]] = {
    "aelyst contact": ("GET", aelyst.read_contact),
    "aelyst created": ("POST", lambda response: aelyst.read_created(response, IDENTIFIER)),
    "aelyst updated": ("PUT", lambda response: aelyst.read_updated(response, IDENTIFIER)),
    "aelyst typed contact": ("GET", lambda response: aelyst.read_contact(response, types=TYPES)),
    "aelyst merged": ("POST", lambda response: aelyst.read_merged(response, (ContactId(1), ContactId(2)))),
    "aelyst changed": ("POST", lambda response: aelyst.read_changed(response, IDENTIFIER)),
    "aelyst page": ("POST", lambda response: QUERY.read(response, TYPES)),
    "aelyst definitions": ("GET", lambda response: tuple(read_definitions(response)[0])),
    "callab contact": ("GET", callab.read_contact),
    "dmchamp contact": ("GET", dmchamp.read_contact),
    "dmchamp created": ("POST", lambda response: dmchamp.read_created(response, IDENTIFIER)),
    "dmchamp done": ("DELETE", lambda response: dmchamp.read_done(response, IDENTIFIER, "1", created=None)),
    "dmchamp tags": ("GET", dmchamp.read_tags),
    "dmchamp messages": ("GET", dmchamp.read_messages),
}


async def _listed(gateway: Any) -> None:
    async for page in gateway.contacts().pages():
        assert isinstance(page, Page)


OPERATIONS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "aelyst get": ("aelyst", lambda gateway: gateway.get(IDENTIFIER)),
    "aelyst create": ("aelyst", lambda gateway: gateway.create(AelystFields(first_name="A"), identifier=IDENTIFIER)),
    "aelyst update": ("aelyst", lambda gateway: gateway.update(IDENTIFIER, AelystFields(first_name="A"))),
    "aelyst upsert": ("aelyst", lambda gateway: gateway.upsert(IDENTIFIER, AelystFields(first_name="A"))),
    "aelyst tags": ("aelyst", lambda gateway: gateway.tags(IDENTIFIER)),
    "aelyst delete": ("aelyst", lambda gateway: gateway.delete(IDENTIFIER)),
    "aelyst add tags": ("aelyst", lambda gateway: gateway.add_tags(IDENTIFIER, map(str, range(25)))),
    "aelyst remove tags": ("aelyst", lambda gateway: gateway.remove_tags(IDENTIFIER, ["a"])),
    "aelyst lifecycle": ("aelyst", lambda gateway: gateway.set_lifecycle(IDENTIFIER, "Hot")),
    "aelyst merge": ("aelyst", lambda gateway: gateway.merge("id:1", "id:2")),
    "aelyst definitions": ("aelyst", lambda gateway: gateway.custom_fields()),
    "aelyst list": ("aelyst", _listed),
    "callab get": ("callab", lambda gateway: gateway.get("id:1")),
    "dmchamp get": ("dmchamp", lambda gateway: gateway.get(IDENTIFIER)),
    "dmchamp create": ("dmchamp", lambda gateway: gateway.create(DmChampFields(phone="+1"))),
    "dmchamp update": ("dmchamp", lambda gateway: gateway.update(IDENTIFIER, DmChampFields(first_name="A"))),
    "dmchamp upsert": ("dmchamp", lambda gateway: gateway.upsert(IDENTIFIER, DmChampFields(first_name="A"))),
    "dmchamp add": ("dmchamp", lambda gateway: gateway.add_to_list(IDENTIFIER, "l")),
    "dmchamp remove": ("dmchamp", lambda gateway: gateway.remove_from_list(IDENTIFIER, "l")),
    "dmchamp tags": ("dmchamp", lambda gateway: gateway.tags(IDENTIFIER)),
    "dmchamp messages": ("dmchamp", lambda gateway: gateway.messages(IDENTIFIER)),
}


# Keys that one of the adapters uses, and some that are special in Python.
KEYS = sorted({
    *AELYST_CONTACT, *CALLAB_ANSWER, *CALLAB_ANSWER["data"],
    "contactId", "contact_id", "_id", "contact", "success", "error", "error_code", "code", "message", "data", "name",
    "value", "description", "isBlocked", "updated_at", "updatedAt", "createdAt", "phoneNumber", "is_bot_active",
    "currentCampaignData", "items", "pagination", "next", "dataType", "allowedValues", "listValues", "slug",
    "text", "direction", "timestamp", "raw", "__class__", "__dict__", "self", SECRET,
})  # fmt: skip

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(10**300), 10**300), st.floats(), st.text(max_size=20),
    st.sampled_from(["", "ok", "error", "409", "id:1", "..", "/", "\ud800", "2023-11-07T05:31:56Z", SECRET, 0, -1]),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=8)), inner, max_size=6),
    ),
    max_leaves=20,
)


def mutated(template: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return the template with some of its values replaced."""
    return st.dictionaries(st.sampled_from(sorted(template)), values, max_size=4).map(
        lambda changes: {**template, **{key: value for key, value in changes.items() if value != "gone"}}
    )


LINKS = ["https://x/contact/list?cursorId=1", "http://[::1/?cursorId=2", "?cursorId=%00", "//x?cursorId=../..", "?a"]

bodies = st.one_of(
    values,
    mutated(AELYST_CONTACT),
    mutated(CALLAB_ANSWER["data"]).map(lambda data: {**CALLAB_ANSWER, "data": data}),  # type: ignore[arg-type]
    mutated({"success": True, "contactId": "abc", "phoneNumber": "+1", "tags": ["a"], "createdAt": 1}),
    st.lists(st.one_of(values, mutated({"name": "vip", "description": "x"})), max_size=3),
    st.fixed_dictionaries(
        {
            "items": st.lists(
                st.one_of(mutated(AELYST_CONTACT), mutated({"id": 1, "name": "vip", "allowedValues": ["a"]}))
            ),
            "pagination": st.fixed_dictionaries({"next": st.one_of(values, st.sampled_from(LINKS))}),
        }
    ),
)
statuses = st.sampled_from([200, 200, 200, 200, 201, 202, 204, 206, 302, 400, 401, 404, 409, 429, 449, 500, 503, 999])

DEEP = 5_000


def response(method: str, status: int, body: bytes) -> Response:
    redactor = Redactor()
    redactor.learn(SECRET)
    return Response(
        request=Request(method=method, endpoint="/x", path="/x"), status=status,
        headers=CIMultiDict({"X": SECRET}), body=body, url="http://x/x", redactor=redactor,
    )  # fmt: skip


def check(read: Callable[[Response], Any], method: str, status: int, body: bytes) -> None:
    failure: ContactsError | None = None
    result: Any = None
    try:
        result = read(response(method, status, body))
    except ContactsError as error:
        failure = error
    if failure is not None:
        shown = f"{failure} {failure!r} {vars(failure)} {list(getattr(failure, 'headers', {}).items())}"
        assert SECRET not in shown
        assert len(str(failure)) < 10_000
        str(failure).encode()  # can be printed: it contains no lone surrogate
        assert failure.__cause__ is failure.__context__ is None
        return
    assert 200 <= status <= 299
    if isinstance(result, Page):
        assert all(isinstance(item, Contact) for item in result.items)
        assert result.cursor is None or result.cursor.startswith(f"{QUERY.mark}:")
    elif isinstance(result, tuple):
        assert all(isinstance(item, (Tag, Message, CustomFieldDefinition)) for item in result)
    else:
        assert isinstance(result, (Contact, WriteReceipt))
        repr(result)
        hash(result) if isinstance(result, WriteReceipt) else None
    if isinstance(result, Contact):
        assert isinstance(result.id, str)
        assert result.id
        for moment in (result.created_at, result.updated_at):
            assert moment is None or moment.tzinfo is not None
        assert isinstance(result.tags, tuple)
        assert all(isinstance(tag, str) for tag in result.tags)
        for name in ("first_name", "last_name", "phone", "email"):
            assert getattr(result, name) is None or isinstance(getattr(result, name), str)


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=100)
@given(bodies, statuses)
@example({"timestamp": 10**400}, 200)
@example([{"timestamp": 10**400}], 200)
@example({"id": 1, "created_at": 10**400, "createdAt": 10**400}, 200)
@example({"id": "1", "updated_at": "2023", "email": {}, "tags": "a,b"}, 200)
@example({"contactId": "\ud800", "message": "\ud800"}, 200)
@example({"code": SECRET, "error_code": SECRET, "message": SECRET}, 400)
def test_readers_return_a_model_or_our_error_for_any_json(name: str, body: Any, status: int) -> None:
    method, read = READERS[name]
    check(read, method, status, json.dumps(body).encode())


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=60)
@given(
    st.one_of(st.binary(max_size=200), st.text(max_size=80).map(lambda text: text.encode("utf-8", "replace"))), statuses
)
@example(b"\xff\xfe", 200)
@example(b"\x00\x00\xfe\xff", 200)
@example(b'{"id": 1' + b"0" * 5_000 + b"}", 200)
def test_readers_return_a_model_or_our_error_for_any_bytes(name: str, body: bytes, status: int) -> None:
    method, read = READERS[name]
    check(read, method, status, body)


PIECES = ['{"data":', '{"contact":', '{"error":', '{"message":', '{"id":', "[", '{"metadata":{"a":']


@pytest.mark.parametrize("name", READERS)
def test_readers_return_a_model_or_our_error_for_deep_nesting(name: str) -> None:
    method, read = READERS[name]
    close = {"{": "}", "[": "]"}
    for piece in PIECES:
        end = "".join(close[character] for character in reversed(piece) if character in close)
        for depth in (50, 900, 960, 990, 5_000, 100_000):
            for status in (200, 400):
                check(read, method, status, (piece * depth + "1" + end * depth).encode())


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
@settings(max_examples=40)
@given(st.lists(st.tuples(statuses, bodies), min_size=1, max_size=4))
@example([(200, {"contactId": ".."}), (200, {"success": True})])
@example([(200, {"contactId": "\ud800"}), (200, {"success": True})])
@example([(200, {"contactId": "a/../b"}), (200, [])])
@example([(404, {}), (200, {"contactId": " x "})])
def test_operations_raise_only_our_errors_for_any_responses(name: str, script: list[tuple[int, Any]]) -> None:
    """End to end: an operation may send several requests, and use one response in the next request."""
    provider, call = OPERATIONS[name]

    async def main() -> None:
        session, lent = scripted([Answer(status, json.dumps(body).encode()) for status, body in script])
        gateway = make(provider, session=lent, base_url="http://127.0.0.1:9")
        failure: ContactsError | None = None
        try:
            await call(gateway)
        except ContactsError as error:
            failure = error
        assert failure is None or failure.__cause__ is failure.__context__ is None
        for sent in session.sent:
            assert sent.url.startswith(("http://127.0.0.1:9/contact", "http://127.0.0.1:9/space/custom_field?"))
            assert "/../" not in sent.url
            assert not sent.path.endswith(("/..", "/."))

    run(main())
