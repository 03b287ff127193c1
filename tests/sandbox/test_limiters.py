"""What a client's rate limiter has learned reaches the sandbox: the report, its checks, and the client's side of it."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aelyst_async import ContactFields, RateLimiter, upsert_many
from aelyst_async.errors import ConfigurationError
from aelyst_async.ratelimit import BucketSnapshot
from aelyst_async.sandbox import Account, Sandbox, report_limiter, reporting
from aelyst_async.sandbox.limiters import MOST_BUCKETS, PATH_BOUND, REPORT_BOUND, TEXT_BOUND, Limiters
from aelyst_providers.aelyst import AelystGateway
from tests.sandbox.plain_http import Http
from tests.virtual_time import virtual

SECRET = "s3cret-token"
GET = "GET /contact/{identifier}"
HOSTILE = "<script>alert(1)</script>\x00\u202e\ud800"
BUCKET: dict[str, Any] = {
    "account": "0f" * 16,
    "endpoint": GET,
    "path": None,
    "scope": "endpoint",
    "scope_reason": "it is taken to be so",
    "state": "known",
    "source": "learned",
    "limit": 10,
    "remaining": 4,
    "rate": 10.0,
    "window": 1.0,
    "waiting": 3,
    "in_flight": 2,
    "paused_for": 0.5,
    "sent": 20,
    "refused": 1,
}


def test_a_report_has_the_fields_of_a_snapshot() -> None:
    assert {field.name for field in attrs.fields(BucketSnapshot)} <= set(BUCKET)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


# --- the report and its checks -------------------------------------------------------------------------------------


async def test_a_report_stands_beside_what_is_enforced(http: Http, sandbox: Sandbox) -> None:
    assert (await http.control("GET", "limiters")).json == []
    sandbox.clock.freeze()
    sandbox.assume({"aelyst.quota": "10/2s", "aelyst.quota_window": "token"})
    for _ in range(3):
        await http("aelyst", "GET", "/contact/id:1")
    report = {"name": "my import", "more": 7, "buckets": [BUCKET, {"endpoint": "GET /elsewhere"}]}
    assert (await http.control("PUT", "limiters/a1", report)).json == {"kept": "a1"}
    (told,) = (await http.control("GET", "limiters")).json
    assert (told["client"], told["name"], told["ended"], told["more"]) == ("a1", "my import", False, 7)
    assert 0 <= told["silent"] < 5
    bucket, other = told["buckets"]
    same = {name: value for name, value in BUCKET.items() if name != "account"}
    assert {name: bucket[name] for name in same} == same
    assert bucket["vendor"] == "aelyst"
    assert bucket["enforced"] == {
        "limit": 10,
        "window": 2.0,
        "rate": 5.0,
        "remaining": 7,
        "scope": "endpoint",
        "rule": "token",
    }
    assert (other["vendor"], other["enforced"], other["limit"], other["sent"]) == (None, None, None, 0)


@pytest.mark.parametrize(
    ("switches", "path", "asked", "expected"),
    [
        ({"quota": "none"}, None, 1, (None, None, "")),
        ({"quota": "10/s"}, None, 0, (10, 10, "endpoint")),
        ({"quota": "10/s", "quota_scope": "account"}, None, 2, (10, 8, "account")),
        ({"quota": "10/s", "quota_scope": "path"}, "/contact/id:1", 2, (10, 8, "path")),
        ({"quota": "10/s", "quota_scope": "path"}, "/contact/id:2", 2, (10, 10, "path")),
        ({"quota": "10/s", "quota_scope": "path"}, None, 2, (10, None, "path")),
    ],
)
async def test_what_is_enforced(
    http: Http, sandbox: Sandbox, switches: dict[str, str], path: str | None, asked: int, expected: tuple[Any, ...]
) -> None:
    sandbox.clock.freeze()
    sandbox.assume(switches)
    for _ in range(asked):
        await http("aelyst", "GET", "/contact/id:1")
    found = sandbox.enforced(GET, path)
    assert found is not None
    vendor, enforced = found
    assert (vendor, enforced.limit, enforced.remaining, enforced.scope) == ("aelyst", *expected)


async def test_two_credentials_with_quotas_of_their_own_are_not_mixed_up(http: Http, sandbox: Sandbox) -> None:
    sandbox.assume(quota="10/s")
    sandbox.set_tokens("aelyst", "one", "two")
    for token in ("one", "two"):
        await http("aelyst", "GET", "/contact/id:1", token=token)
    found = sandbox.enforced(GET, None)
    assert found is not None
    assert (found[1].limit, found[1].remaining) == (10, None)


@pytest.mark.parametrize(
    ("client", "report"),
    [
        ("a b", {"buckets": []}),
        ("a" * 65, {"buckets": []}),
        ("a", {}),
        ("a", []),
        ("a", {"buckets": {}}),
        ("a", {"buckets": [1]}),
        ("a", {"buckets": [{}]}),
        ("a", {"buckets": [{"endpoint": "?key=1"}]}),
        ("a", {"buckets": [BUCKET] * (MOST_BUCKETS + 1)}),
        ("a", {"buckets": [], "ended": 1}),
        ("a", {"buckets": [], "name": 1}),
        ("a", {"buckets": [], "name": "x" * (TEXT_BOUND + 1)}),
        ("a", {"buckets": [], "more": -1}),
        ("a", {"buckets": [{**BUCKET, "path": "x" * (PATH_BOUND + 1)}]}),
        ("a", {"buckets": [{**BUCKET, "limit": 1.5}]}),
        ("a", {"buckets": [{**BUCKET, "limit": True}]}),
        ("a", {"buckets": [{**BUCKET, "sent": 10**16}]}),
        ("a", {"buckets": [{**BUCKET, "rate": "10"}]}),
        ("a", {"buckets": [{**BUCKET, "rate": -1}]}),
        ("a", {"buckets": [{**BUCKET, "state": {}}]}),
    ],
)
async def test_a_wrong_report_is_a_message_and_keeps_nothing(http: Http, client: str, report: Any) -> None:
    answer = await http.control("PUT", f"limiters/{client.replace(' ', '%20')}", report)
    assert answer.status == 400
    assert answer.json["message"]
    assert (await http.control("GET", "limiters")).json == []


async def test_numbers_that_no_page_can_show_are_refused(http: Http) -> None:
    for number in (b"1e999", b"NaN", b"-Infinity", b"9" * 5000):
        data = b'{"buckets": [{"endpoint": "GET /x", "rate": %s}]}' % number
        assert (await http.control("PUT", "limiters/a", data=data)).status == 400


async def test_a_body_that_is_too_large_is_refused_and_the_largest_report_is_not(http: Http) -> None:
    # Outside of the Basic Multilingual Plane a character is two escapes in JSON, so none takes more room.
    wide = {name: "\U0001d54f" * (PATH_BOUND if name == "path" else TEXT_BOUND) for name in ("scope_reason", "state")}
    largest = {
        "name": "\U0001d54f" * TEXT_BOUND,
        "buckets": [{**BUCKET, **wide, "path": "/\u202e" * 500}] * MOST_BUCKETS,
    }
    assert (await http.control("PUT", "limiters/a", largest)).status == 200
    answer = await http.control("PUT", "limiters/a", data=b" " * (REPORT_BOUND + 1))
    assert (answer.status, answer.json["message"]) == (413, f"the body is larger than {REPORT_BOUND >> 10} KiB")
    assert len((await http.control("GET", "limiters")).json) == 1


async def test_another_origin_reports_nothing(http: Http) -> None:
    answer = await http.control("PUT", "limiters/a", {"buckets": []}, headers={"Origin": "https://evil.example"})
    assert answer.status == 403
    assert (await http.control("GET", "limiters")).json == []


async def test_no_credential_is_kept_wherever_a_client_puts_it(http: Http, sandbox: Sandbox) -> None:
    bucket = {
        **BUCKET,
        "account": SECRET,
        "endpoint": f"GET /contacts?apiKey={SECRET}",
        "path": f"/contacts?apiKey={SECRET}",
        "unheard_of": SECRET,
    }
    other = {**bucket, "account": "another"}
    await http.control("PUT", "limiters/a", {"buckets": [bucket, other], "token": SECRET})
    answer = await http.control("GET", "limiters")
    assert SECRET.encode() not in answer.body
    first, second = answer.json[0]["buckets"]
    assert (first["endpoint"], first["path"]) == ("GET /contacts", "/contacts")
    assert len(first["account"]) == 8
    assert first["account"] != second["account"]


async def test_an_account_has_its_own_and_a_reset_forgets_them(http: Http, sandbox: Sandbox) -> None:
    sandbox.account("ci")
    assert (await http.control("PUT", "limiters/a?account=ci", {"buckets": []})).status == 200
    assert (await http.control("GET", "limiters")).json == []
    assert [one["client"] for one in (await http.control("GET", "limiters?account=ci")).json] == ["a"]
    await http.control("POST", "reset?account=ci")
    assert (await http.control("GET", "limiters?account=ci")).json == []


def test_who_is_silent_is_forgotten_and_who_has_ended_is_kept_for_minutes() -> None:
    clock = Clock()
    limiters = Limiters(lambda _endpoint, _path: None, clock)
    limiters.report("silent", {"buckets": []})
    limiters.report("ended", {"buckets": [], "ended": True})
    clock.now = 15
    assert [one["client"] for one in limiters.listing()] == ["silent", "ended"]
    revision = limiters.revision
    clock.now = 15.1
    assert [one["client"] for one in limiters.listing()] == ["ended"]
    assert limiters.revision > revision, "the page is told"
    clock.now = 301
    assert limiters.listing() == []


def test_a_number_of_clients_is_kept_and_those_that_have_ended_make_room_first() -> None:
    clock = Clock()
    limiters = Limiters(lambda _endpoint, _path: None, clock)
    for number in range(8):
        clock.now = number / 10
        limiters.report(f"c{number}", {"buckets": [], "ended": number == 4})
    limiters.report("c8", {"buckets": []})
    limiters.report("c9", {"buckets": []})
    assert [one["client"] for one in limiters.listing()] == ["c1", "c2", "c3", "c5", "c6", "c7", "c8", "c9"]


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(BUCKET)), inner, max_size=4),
    max_leaves=8,
)


@given(changes=st.dictionaries(st.sampled_from(sorted(BUCKET)), _values, max_size=4), report=_values)
def test_any_report_is_refused_or_can_be_shown(changes: dict[str, Any], report: Any) -> None:
    limiters = Limiters(Account.enforced.__get__(Sandbox()))
    for value in ({"buckets": [{**BUCKET, **changes}]}, {"buckets": report}):
        try:
            limiters.report("a", value)
        except ValueError:
            continue
        assert json.dumps(limiters.listing(), allow_nan=False)


# --- the client's side ---------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
async def _nothing_is_left_behind() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    # The sandbox's own tasks for connections may still be there; ours may not.
    left = [task for task in asyncio.all_tasks() - before if "Reporter" in repr(task.get_coro())]
    assert left == []


async def _bring_in(sandbox: Sandbox, gateway: AelystGateway, people: int) -> None:
    pairs = [(f"email:p{number}@example.com", ContactFields(first_name="Ann")) for number in range(people)]
    assert [one.error async for one in upsert_many(gateway, pairs) if one.error] == []


async def test_client_reports_until_the_end(sandbox: Sandbox) -> None:
    sandbox.assume({"aelyst.quota": "50/s"})
    async with AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"), settle=0) as gateway:
        async with report_limiter(gateway.limiter, sandbox.url, name="my import"):
            await _bring_in(sandbox, gateway, 5)
        (told,) = sandbox.limiters.listing()
        learned = {one.endpoint: (one.limit, one.sent) for one in gateway.limiter.snapshot()}
    assert (told["name"], told["ended"], told["more"]) == ("my import", True, 0)
    assert {one["endpoint"]: (one["limit"], one["sent"]) for one in told["buckets"]} == learned
    assert learned["POST /contact/create_or_update/{identifier}"] == (50, 5)
    assert {one["enforced"]["limit"] for one in told["buckets"]} == {50}


@pytest.mark.parametrize(
    "address", [lambda one: one.url, lambda one: one.url + "/", lambda one: one.base_url("dmchamp")]
)
async def test_any_address_of_an_account_will_do(sandbox: Sandbox, address: Callable[[Account], str]) -> None:
    for account in (sandbox, sandbox.account("Ann's")):
        async with report_limiter(RateLimiter(), address(account)):
            pass
        assert [one["ended"] for one in account.limiters.listing()] == [True]


@pytest.mark.parametrize(
    "address", ["", "localhost:8787", "ftp://127.0.0.1", "http://", "http://[", "http://a:b@:1", "http://h:99999"]
)
async def test_what_is_no_address_is_said_at_once_and_not_shown(address: str) -> None:
    with pytest.raises(ConfigurationError, match="such as http://127") as caught:
        async with report_limiter(RateLimiter(), address):
            raise AssertionError
    assert "a:b" not in str(caught.value)


async def test_a_sandbox_that_dies_meanwhile_disturbs_nobody(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG, "aelyst_async.sandbox.reporting")
    sandbox = Sandbox()
    await sandbox.start()
    reached = asyncio.Event()
    monkeypatch.setattr(sandbox.limiters, "report", lambda _client, _value: reached.set())
    limiter = RateLimiter()
    async with report_limiter(limiter, sandbox.url):
        await reached.wait()
        await sandbox.aclose()
        async with limiter.permit("GET /x") as permit:
            permit.observe(200, {})
    assert [record.levelname for record in caplog.records] == ["DEBUG"]
    assert caplog.messages[0].startswith("the sandbox did not accept the limiter's report: Client")


async def test_a_sandbox_that_hangs_is_waited_for_no_longer_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "_PATIENCE", 0.05)
    reached, left = asyncio.Event(), asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await reader.read()
        writer.close()
        left.set()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    async with report_limiter(RateLimiter(), f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"):
        await reached.wait()
        begun = loop.time()
    assert loop.time() - begun < 1
    await asyncio.wait_for(left.wait(), 5)
    server.close()


async def test_a_block_that_is_cancelled_ends_clean_and_tells_its_end(sandbox: Sandbox) -> None:
    entered = asyncio.Event()

    async def work() -> None:
        async with report_limiter(RateLimiter(), sandbox.url):
            entered.set()
            await asyncio.sleep(3600)

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [one["ended"] for one in sandbox.limiters.listing()] == [True]


async def test_a_credential_given_as_an_accounts_name_does_not_leave_the_client() -> None:
    sent = bytearray()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            sent.extend(data)
            if sent.endswith(b"}"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
                writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    limiter = RateLimiter()
    async with (
        report_limiter(limiter, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"),
        limiter.permit("GET /x?k=" + SECRET, account=SECRET, path="/x?k=" + SECRET) as permit,
    ):
        permit.observe(200, {})
    server.close()
    assert b'"ended": true' in sent
    assert b'"endpoint": "GET /x"' in sent
    assert SECRET.encode() not in sent


def _recorded(monkeypatch: pytest.MonkeyPatch, *, ok: bool = True) -> list[tuple[float, bool]]:
    times: list[tuple[float, bool]] = []

    async def send(_self: Any, _session: Any, _buckets: Any, *, ended: bool) -> bool:
        times.append((asyncio.get_running_loop().time(), ended))
        return ok

    monkeypatch.setattr(reporting._Reporter, "_send", send)
    return times


def test_it_reports_twice_a_second_at_most_and_seldom_without_news(monkeypatch: pytest.MonkeyPatch) -> None:
    times = _recorded(monkeypatch)

    @virtual
    async def main() -> None:
        limiter = RateLimiter()
        async with report_limiter(limiter, "http://sandbox"):
            for _ in range(100):
                async with limiter.permit("GET /x") as permit:
                    permit.observe(200, {"X-RateLimit-Limit": "1000", "X-RateLimit-Remaining": "900"})
                await asyncio.sleep(0.05)
            await asyncio.sleep(60)

    main()
    begun = times[0][0]
    busy = [at - begun for at, _ in times if at - begun <= 5]
    assert 9 <= len(busy) <= 11
    idle = [at - begun for at, ended in times if at - begun > 6 and not ended]
    assert 15 <= len(idle) <= 20
    assert max(later - earlier for earlier, later in itertools.pairwise(idle)) < 5, "or it would be forgotten"
    assert [ended for _, ended in times][-2:] == [False, True]


def test_a_sandbox_that_does_not_answer_is_tried_again_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    times = _recorded(monkeypatch, ok=False)

    @virtual
    async def main() -> None:
        async with report_limiter(RateLimiter(), "http://sandbox"):
            await asyncio.sleep(52)

    main()
    assert 10 <= len(times) <= 12


async def test_of_many_buckets_the_foremost_are_reported() -> None:
    limiter = RateLimiter()
    async with limiter.permit(GET):
        pass
    (blank,) = limiter.snapshot()
    assert (blank.waiting, blank.in_flight) == (0, 0)
    buckets = tuple(attrs.evolve(blank, path=f"/contact/id:{number}") for number in range(1000))
    busy = attrs.evolve(blank, path="/busy", waiting=1)
    chosen = reporting._foremost((blank, busy, *buckets))
    assert len(chosen) == MOST_BUCKETS
    assert chosen[:2] == [blank, busy]
    assert chosen[2:] == list(buckets[-MOST_BUCKETS + 2 :])
    assert reporting._foremost(buckets[:3]) == list(buckets[:3])
