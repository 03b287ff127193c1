"""Aelyst's listing: the wire form of searches and conditions, cursors, and unsupported conditions."""

from __future__ import annotations

import asyncio
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import pytest

from aelyst_async import RetryPolicy, Tag, errors
from aelyst_providers.aelyst import AelystGateway, Field, HasTag
from aelyst_providers.aelyst.conditions import filter_of
from tests.doubles import Answer, ScriptedSession, Sent, scripted
from tests.providers.conftest import TOKEN, make
from tests.virtual_time import virtual

NOON = datetime(2026, 1, 2, 12, tzinfo=timezone.utc)


def field(name: str, operator: str, value: Any) -> dict[str, Any]:
    return {"category": "contactField", "field": name, "operator": operator, "value": value}


def tag(operator: str, *names: str) -> dict[str, Any]:
    return {"category": "contactTag", "field": None, "operator": operator, "value": list(names)}


VIP = tag("hasAnyOf", "vip")


EMAIL: Any
SEATS: Any
CREATED: Any
EMAIL, SEATS, CREATED = Field("email"), Field("custom_fields.Seats"), Field("created_at")


@pytest.mark.parametrize(
    ("where", "wire"),
    [
        (None, {"$and": []}),
        (Tag("vip"), {"$and": [VIP]}),
        (HasTag("vip"), {"$and": [VIP]}),
        (HasTag(Tag("vip")), {"$and": [VIP]}),
        (HasTag.any("a", "b"), {"$and": [tag("hasAnyOf", "a", "b")]}),
        (HasTag.all("a", Tag("b")), {"$and": [tag("hasAllOf", "a", "b")]}),
        (HasTag.none("a"), {"$and": [tag("hasNoneOf", "a")]}),
        (
            Field("email").contains("@x.com") & Tag("vip"),
            {"$and": [field("email", "contains", "@x.com"), VIP]},
        ),
        (Tag("vip") & Field("email").exists(), {"$and": [VIP, field("email", "exists", None)]}),
        (
            Tag("vip") | Field("phone").missing() | HasTag("a"),
            {"$or": [VIP, field("phone", "doesNotExist", None), tag("hasAnyOf", "a")]},
        ),
        (Field("first_name").equals("Ann"), {"$and": [field("firstName", "isEqualTo", "Ann")]}),
        (Field("countryCode").not_equals("MY"), {"$and": [field("countryCode", "isNotEqualTo", "MY")]}),
        (Field("assignee_id").equals(12), {"$and": [field("assigneeUserId", "isEqualTo", "12")]}),
        (Field("custom_fields.Agreed").equals(True), {"$and": [field("Agreed", "isEqualTo", "true")]}),
        (
            SEATS.greater_than(Decimal("1E+2")),
            {"$and": [field("Seats", "isGreaterThan", "100")]},
        ),
        (SEATS.less_than(1.5), {"$and": [field("Seats", "isLessThan", "1.5")]}),
        (SEATS.between(1, 3), {"$and": [field("Seats", "isBetween", {"from": "1", "to": "3"})]}),
        (
            CREATED.after(date(2026, 1, 2)),
            {"$and": [field("created_at", "isTimestampAfter", "2026-01-02")]},
        ),
        (
            CREATED.before(NOON),
            {"$and": [field("created_at", "isTimestampBefore", "2026-01-02T12:00:00+00:00")]},
        ),
        (
            CREATED.between(date(2026, 1, 2), date(2026, 2, 1)),
            {"$and": [field("created_at", "isTimestampBetween", {"from": "2026-01-02", "to": "2026-02-01"})]},
        ),
    ],
)
def test_condition_has_the_documented_wire_form(where: Any, wire: dict[str, Any]) -> None:
    assert filter_of(where) == wire


REFUSED: list[tuple[Any, str]] = [
    (lambda: (EMAIL.exists() & HasTag("a")) | HasTag("b"), "all joined by & or all by"),
    (lambda: EMAIL.exists() & (HasTag("a") | HasTag("b")), "all joined by & or all by"),
    (lambda: ~EMAIL.exists(), "cannot negate"),
    (lambda: EMAIL.exists() and HasTag("a"), "join conditions with & and"),
    (lambda: not EMAIL.exists(), "join conditions with & and"),
    (lambda: EMAIL.exists() & "vip", "expected a condition"),
    (lambda: EMAIL.equals(""), "use missing"),
    (lambda: EMAIL.equals(None), "type NoneType"),
    (lambda: EMAIL.equals(["a"]), "type list"),
    (lambda: EMAIL.equals(float("nan")), "cannot be compared"),
    (lambda: EMAIL.equals("\ud800"), "lone surrogate"),
    (lambda: EMAIL.contains(5), "type int"),
    (lambda: CREATED.contains("2026"), "use after, before or between"),
    (lambda: CREATED.after("2026-01-01"), "type str"),
    (lambda: CREATED.after(datetime(2026, 1, 1)), "needs a time zone"),  # noqa: DTZ001
    (lambda: SEATS.between(3, 1), "a lower and an upper bound"),
    (lambda: CREATED.between(date(2026, 1, 1), NOON), "a lower and an upper bound"),
    (lambda: SEATS.between(1, date(2026, 1, 1)), "cannot be compared"),
    (lambda: SEATS.greater_than(True), "type bool"),
    (lambda: Field("emial"), "did you mean email"),
    (lambda: Field("tags"), "HasTag"),
    (lambda: Field("custom_fields"), "cannot filter by"),
    (lambda: Field("is_blocked"), "cannot filter by"),
    (lambda: Field(5), "expected the name of a field"),  # type: ignore[arg-type]
    (lambda: HasTag(""), "the value is empty"),
    (lambda: HasTag(5), "cannot be compared"),  # type: ignore[arg-type]
    (HasTag.any, "give at least one tag"),
]


@pytest.mark.parametrize(("build", "words"), REFUSED)
def test_unsupported_condition_raises_when_it_is_built(build: Any, words: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=words) as caught:
        build()
    assert caught.value.__context__ is None


def play(script: Any, **settings: Any) -> tuple[ScriptedSession, Any]:
    session, lent = scripted(script)
    return session, make("aelyst", session=lent, base_url="http://127.0.0.1:9", **settings)


def page(*ids: int, cursor: Any = None, host: str = "https://api.aelyst.ai") -> Answer:
    following = f"{host}/contact/list?limit=2&cursorId={cursor}" if cursor is not None else ""
    return Answer(200, {"items": [{"id": one} for one in ids], "pagination": {"next": following, "previous": ""}})


@virtual
async def test_listing_sends_search_timezone_filter_and_limit() -> None:
    session, gateway = play([page(1)])
    listing = gateway.contacts("ann", HasTag("vip"), page_size=50, timezone="Asia/Kuala_Lumpur")
    assert session.sent == []
    assert [contact.id async for contact in listing] == ["1"]
    [sent] = session.sent
    assert (sent.method, sent.url) == ("POST", "http://127.0.0.1:9/contact/list?limit=50")
    assert sent.json == {"search": "ann", "timezone": "Asia/Kuala_Lumpur", "filter": {"$and": [VIP]}}


@virtual
async def test_listing_defaults_to_all_contacts_in_the_largest_pages() -> None:
    session, gateway = play([page(1)])
    assert len([contact async for contact in gateway.contacts()]) == 1
    assert session.sent[0].url.endswith("?limit=99")
    assert session.sent[0].json == {"search": "", "timezone": "UTC", "filter": {"$and": []}}


@pytest.mark.parametrize(
    "host", ["https://evil.example", "//evil.example", "ftp://evil.example", "https://t0ken@evil.example"]
)
@virtual
async def test_host_of_pagination_next_is_never_used(host: str) -> None:
    session, gateway = play([page(1, cursor="a/b&c+d%26", host=host), page(2)])
    assert [contact.id async for contact in gateway.contacts(page_size=2)] == ["1", "2"]
    assert [sent.url for sent in session.sent] == [
        "http://127.0.0.1:9/contact/list?limit=2",
        "http://127.0.0.1:9/contact/list?limit=2&cursorId=a%2Fb",
    ]
    assert all(TOKEN in sent.headers["Authorization"] for sent in session.sent)


@pytest.mark.parametrize(
    "pagination",
    [{}, {"next": None}, {"next": ""}, {"next": "https://x/contact/list?limit=1&cursorId="}, None, [], "x"],
)
@virtual
async def test_listing_ends_without_a_next_cursor(pagination: Any) -> None:
    session, gateway = play([Answer(200, {"items": [{"id": 1}], "pagination": pagination})])
    assert len([contact async for contact in gateway.contacts()]) == 1
    assert len(session.sent) == 1


@pytest.mark.parametrize(
    "following", ["https://x/contact/list?limit=1", "https://[x/?cursorId=1", 5, ["x"], True, "x?cursorId=" + "9" * 501]
)
@virtual
async def test_listing_raises_for_an_unreadable_next_link(following: Any) -> None:
    _, gateway = play([Answer(200, {"items": [{"id": 1}], "pagination": {"next": following}})])
    with pytest.raises(errors.ResponseDecodeError, match=r"\$\.pagination\.next") as caught:
        await anext(gateway.contacts().pages())
    assert caught.value.may_have_been_applied is False


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], r"\$\.items"), ({}, r"\$\.items"), ({"items": {}}, r"\$\.items"), ({"items": [{"id": 1}, {}]}, r"\[1\]"),
        ({"items": [5]}, r"items\[0\]\.id"), ("x", r"\$\.items"),
    ],
)  # fmt: skip
@virtual
async def test_listing_names_the_json_path_of_a_malformed_page(body: Any, words: str) -> None:
    _, gateway = play([Answer(200, body)])
    with pytest.raises(errors.ResponseDecodeError, match=words):
        await anext(gateway.contacts().pages())


@virtual
async def test_listing_resumes_from_the_cursor_of_a_page() -> None:
    _, gateway = play([page(1, cursor=10), page(2, cursor=20), page(3)])
    pages = [one async for one in gateway.contacts("ann", page_size=1).pages()]
    assert [[contact.id for contact in one.items] for one in pages] == [["1"], ["2"], ["3"]]
    session, gateway = play([page(2, cursor=20), page(3)])
    # The page size may differ: the cursor is bound to the search only.
    rest = gateway.contacts("ann", page_size=7, cursor=pages[0].cursor)
    assert [contact.id async for contact in rest] == ["2", "3"]
    assert [sent.url.partition("?")[2] for sent in session.sent] == ["limit=7&cursorId=10", "limit=7&cursorId=20"]


@virtual
async def test_cursor_of_another_search_raises_before_anything_is_sent() -> None:
    session, gateway = play([page(1, cursor=10), page(2)])
    first = await anext(gateway.contacts("ann", HasTag("vip")).pages())
    await asyncio.sleep(0)
    sent = len(session.sent)
    others: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        (("bob", HasTag("vip")), {}), (("ann", HasTag("gold")), {}), (("ann",), {}),
        (("ann", HasTag("vip")), {"timezone": "Asia/Tokyo"}),
    ]  # fmt: skip
    for words, settings in others:
        with pytest.raises(errors.ConfigurationError, match="cursor"):
            gateway.contacts(*words, cursor=first.cursor, **settings)
    for cursor in ("10", "", ":10", f"{first.cursor.partition(':')[0]}:", 10, "https://x/?cursorId=10"):
        with pytest.raises(errors.ConfigurationError, match="cursor"):
            gateway.contacts("ann", HasTag("vip"), cursor=cursor)
    assert len(session.sent) == sent


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"page_size": 0}, "from 1 to 99"), ({"page_size": 100}, "from 1 to 99"), ({"page_size": True}, "from 1 to 99"),
        ({"page_size": "5"}, "from 1 to 99"), ({"search": 5}, "search: expected text"), ({"search": "\ud800"}, "lone"),
        ({"timezone": ""}, "timezone"), ({"timezone": None}, "timezone"), ({"where": "vip"}, "expected a condition"),
        ({"where": {"$and": []}}, "expected a condition"), ({"where": False}, "expected a condition"),
    ],
)  # fmt: skip
def test_contacts_rejects_invalid_settings_before_anything_is_sent(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=words):
        AelystGateway("t").contacts(**settings)


@virtual
async def test_listing_requests_are_retried_like_reads() -> None:
    session, gateway = play([Answer(502, b""), Answer(429, {}), page(1)], retry=RetryPolicy())
    assert len([contact async for contact in gateway.contacts()]) == 1
    assert session.methods == ["POST"] * 3


@virtual
async def test_listing_stops_at_a_repeated_cursor() -> None:
    def answer(sent: Sent) -> Answer:
        return page(1, cursor=10)

    session, gateway = play(answer)
    assert len([contact async for contact in gateway.contacts()]) == 2
    assert len(session.sent) == 2
