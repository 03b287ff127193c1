"""The control API, its host and origin checks, curl commands, snapshots, seeding and the event stream."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from aelyst_async.sandbox import DEFAULT_TOKEN, LoggedRequest, Sandbox
from aelyst_async.sandbox.evidence import as_curl
from aelyst_async.sandbox.guard import Guard
from aelyst_async.sandbox.seeding import add_csv
from aelyst_async.sandbox.vendors import vendors
from tests.sandbox.plain_http import Http

SECRET = "s3cret-token"


async def test_control_api_manages_contacts_faults_clock_and_snapshots(http: Http, sandbox: Sandbox) -> None:
    state = (await http.control("GET", "state")).json
    assert state["vendors"]["aelyst"]["base_url"] == sandbox.base_url("aelyst")
    ids = (await http.control("POST", "contacts/aelyst", [{"email": "a@b.c"}, {"email": "A@b.c"}])).json["ids"]
    listing = (await http.control("GET", "contacts/aelyst?duplicates=1&search=@b")).json
    assert (listing["total"], [one["id"] for one in listing["items"]]) == (2, ids[::-1])
    assert [(one["duplicate"], one["original"]) for one in listing["items"]] == [(True, False), (True, True)]
    assert (await http.control("GET", "counters")).json["duplicates"]["aelyst"] == 1

    number = (await http.control("POST", "faults", {"kind": "status", "status": 503, "first": 1})).json["number"]
    assert (await http.control("GET", "faults")).json == [
        {"number": number, "calls": 0, "fired": 0, "kind": "status", "first": 1, "status": 503}
    ]
    assert (await http("aelyst", "GET", "/contact/email:a@b.c")).status == 503
    assert (await http.control("GET", "faults")).json == []
    await http.control("POST", "faults", {"fault": "html=1"})
    assert (await http.control("DELETE", "faults")).status == 200

    await http("aelyst", "PUT", "/contact/email:a@b.c", {"firstName": "Ann"})
    contact = (await http.control("GET", f"contacts/aelyst/{ids[0]}")).json
    assert [(one["event"], one["changes"]) for one in contact["history"]] == [
        ("created", {}),
        ("updated", {"firstName": ["", "Ann"]}),
    ]
    detail = (await http.control("GET", f"requests/{contact['history'][1]['request']}")).json
    assert (detail["method"], json.loads(detail["body"])) == ("PUT", {"firstName": "Ann"})

    before = (await http.control("GET", "clock")).json["now"]
    assert (await http.control("POST", "clock", {"advance": 60, "frozen": True})).json["frozen"] is True
    assert 60 <= sandbox.clock.now() - before < 65
    assert (await http.control("PATCH", "switches", {"put_missing": 400})).json["aelyst.put_missing"] == "400"

    await http.control("PUT", "snapshots/two")
    await http.control("POST", "reset")
    assert sandbox.contacts("aelyst") == []
    assert (await http.control("GET", "clock")).json["frozen"] is False
    assert sandbox.settings["aelyst.put_missing"] == "404"
    await http.control("POST", "snapshots/two/restore")
    assert [one["id"] for one in sandbox.contacts("aelyst")] == ids
    assert (await http.control("GET", "snapshots")).json == ["two"]
    assert (await http.control("DELETE", "requests")).json == {"cleared": True}
    assert sandbox.counters.requests == 0


async def test_restore_continues_the_ids_and_keeps_the_history(http: Http, sandbox: Sandbox) -> None:
    sandbox.add_contact("aelyst", {"email": "a@b.c"})
    sandbox.snapshot("one")
    second = sandbox.add_contact("aelyst", {"email": "b@b.c"})
    sandbox.restore("one")
    assert sandbox.add_contact("aelyst", {"email": "c@b.c"}) == second
    assert len(sandbox.store.history(sandbox.name, "aelyst", sandbox.contacts("aelyst")[0]["id"])) == 1
    with pytest.raises(ValueError, match="there are: one"):
        sandbox.restore("none")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "nothing", None, 404),
        ("POST", "state", None, 405),
        ("GET", "state?account=nobody", None, 404),
        ("GET", "requests/999", None, 404),
        ("GET", "requests/x", None, 404),
        ("GET", "contacts/hubspot", None, 404),
        ("GET", "contacts/aelyst/none", None, 404),
        ("GET", "contacts/aelyst?limit=x", None, 400),
        ("POST", "contacts/aelyst", 5, 400),
        ("POST", "contacts/aelyst", [{"id": "x"}], 400),
        ("POST", "faults", {"kind": "boom"}, 400),
        ("POST", "faults", {"kind": "status", "colour": 1}, 400),
        ("POST", "faults", {"kind": "status", "rate": "0.1"}, 400),
        ("POST", "faults", {"kind": "status", "endpoint": "GET /contactt"}, 400),
        ("POST", "faults", {}, 400),
        ("DELETE", "faults/9", None, 404),
        ("POST", "clock", {"advance": -1}, 400),
        ("POST", "clock", {"advance": "1"}, 400),
        ("POST", "clock", {"rewind": 1}, 400),
        ("PATCH", "switches", {"nothing": 1}, 400),
        ("PATCH", "switches", [], 400),
        ("POST", "snapshots/none/restore", None, 400),
        ("PUT", "tokens/aelyst", [], 400),
        ("PUT", "tokens/aelyst", [""], 400),
        ("POST", "accounts", {"name": "a/b"}, 400),
        ("DELETE", "accounts/default", None, 400),
        ("DELETE", "accounts/none", None, 404),
        ("GET", "static/..%2Fserver.py", None, 404),
        ("GET", "static/server.py", None, 404),
        ("GET", "%FF", None, 400),
    ],
)
async def test_control_api_answers_invalid_requests_with_a_message(
    http: Http, method: str, path: str, body: Any, status: int
) -> None:
    answer = await http.control(method, path, body)
    assert (answer.status, type(answer.json["message"])) == (status, str)
    assert answer.json["message"]


async def test_accounts_do_not_share_contacts_counters_or_faults(http: Http, sandbox: Sandbox) -> None:
    made = (await http.control("POST", "accounts", {"name": "Ann's", "switches": {"put_missing": 400}})).json
    assert made["base_urls"]["aelyst"].endswith("/@Ann%27s/aelyst/v1")
    other = sandbox.account("Ann's")
    their = Http(http.session, other)
    sandbox.fail_next(503, times=5)
    await their("aelyst", "POST", "/contact/email:a@b.c", {"firstName": "Ann"})
    assert (len(other.contacts("aelyst")), sandbox.contacts("aelyst")) == (1, [])
    assert (other.counters.requests, sandbox.counters.requests) == (1, 0)
    assert (await their("aelyst", "PUT", "/contact/email:none@b.c", {})).status == 400
    assert other.contacts("aelyst")[0]["id"] == "100001"
    listing = (await http.control("GET", "contacts/aelyst?account=Ann%27s")).json
    assert listing["total"] == 1
    assert (await http.control("DELETE", "accounts/Ann%27s")).status == 200
    assert (await http.raw("GET", made["base_urls"]["aelyst"] + "/contact/id:1")).status == 404
    assert (await http.raw("GET", f"{sandbox.url}/@Ann%27s/_sandbox/state")).status == 404


async def test_request_log_masks_credentials(http: Http, sandbox: Sandbox) -> None:
    for vendor in ("aelyst", "dmchamp", "callab"):
        sandbox.set_tokens(vendor, SECRET)
    await http("aelyst", "GET", "/contact/id:1", token=SECRET)
    await http("callab", "GET", "/contact/1", token=SECRET, headers={"Cookie": f"a={SECRET}", "X-Api-Key": SECRET})
    await http("dmchamp", "GET", "/contacts?email=a@b.c", token=SECRET)
    await http.raw("GET", f"{sandbox.base_url('dmchamp')}/contacts?apiKey={SECRET}&email=a@b.c&apikey={SECRET}")
    await http.raw("GET", f"{sandbox.base_url('dmchamp')}/contacts?api%4Bey={SECRET}&email=a@b.c")
    shown = [(await http.control("GET", path)).body for path in ("requests", "state", "counters")]
    shown += [(await http.control("GET", f"requests/{one.number}")).body for one in sandbox.requests]
    shown.append(repr(sandbox.requests).encode())
    assert len(shown) == 9
    assert not [one for one in shown if SECRET.encode() in one]
    assert b"apiKey=***" in shown[0]


async def test_state_shows_only_the_default_token(http: Http, sandbox: Sandbox) -> None:
    assert (await http.control("GET", "state")).json["tokens"] == dict.fromkeys(vendors(), DEFAULT_TOKEN)
    sandbox.set_tokens("dmchamp", SECRET)
    sandbox.set_tokens("callab", DEFAULT_TOKEN, SECRET)
    expected = {"aelyst": DEFAULT_TOKEN, "dmchamp": None, "callab": DEFAULT_TOKEN}
    assert (await http.control("GET", "state")).json["tokens"] == expected


@pytest.mark.parametrize("kind", [list, tuple, set, frozenset])
async def test_add_contact_accepts_any_collection_of_tags(http: Http, sandbox: Sandbox, kind: Any) -> None:
    tags = ["vip", "new_customer, sales", "b"]
    aelyst = sandbox.add_contact("aelyst", {"email": "a@b.c", "tags": kind(tags)})
    shown = (await http("aelyst", "GET", f"/contact/id:{aelyst}")).json["tags"]
    dmchamp = sandbox.add_contact("dmchamp", {"phoneNumber": "+601", "tags": kind(tags), "lists": kind(["l1", "l2"])})
    listed = [tag["name"] for tag in (await http("dmchamp", "GET", f"/contacts/tags/{dmchamp}")).json]
    assert shown == listed == (tags if kind in {list, tuple} else sorted(tags))
    assert sandbox.members("dmchamp", "l2") == [dmchamp]


# --- host and origin -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:8787", True),
        ("localhost:8787", True),
        ("LOCALHOST.", True),
        ("[::1]:8787", True),
        ("192.168.1.7:8787", True),
        ("sandbox:8787", True),
        ("app.localhost", True),
        ("evil.example:8787", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1@evil.example", False),
        ("evil.example@127.0.0.1", False),
        ("127.0.0.1/evil.example", False),
        ("127.0.0.1#evil.example", False),
        ("evil.example/127.0.0.1", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_guard_accepts_ip_addresses_localhost_and_allowed_names(host: str, allowed: bool) -> None:
    guard = Guard(["sandbox"])
    for _ in range(2):
        assert (guard.refusal("GET", CIMultiDict({"Host": host})) is None) == allowed


async def test_foreign_host_header_gets_403(http: Http, sandbox: Sandbox) -> None:
    for url in (f"{sandbox.url}/", f"{sandbox.url}/_sandbox/state", sandbox.base_url("aelyst") + "/contact/id:1"):
        answer = await http.raw("GET", url, headers={"Host": "evil.example"})
        assert (answer.status, answer.headers["X-Sandbox"]) == (403, "aelyst-async")


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({"Origin": "https://evil.example"}, True),
        ({"Origin": "null"}, True),
        ({"Origin": "http://127.0.0.1:1"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, True),
        ({"Sec-Fetch-Site": "same-site"}, True),
        ({"Sec-Fetch-Site": "same-origin"}, False),
        ({}, False),
    ],
)
async def test_cross_origin_writes_get_403(
    http: Http, sandbox: Sandbox, headers: dict[str, str], refused: bool
) -> None:
    made = await http("dmchamp", "POST", "/contacts", {"phoneNumber": "+1"}, headers=headers)
    reset = await http.control("POST", "reset", headers=headers)
    assert (made.status, reset.status) == ((403, 403) if refused else (200, 200))
    own = await http.control("POST", "reset", headers={**headers, "Origin": sandbox.url})
    assert own.status == (403 if "Sec-Fetch-Site" in headers and refused else 200)
    assert "Access-Control-Allow-Origin" not in made.headers


async def test_inspector_responses_have_the_security_headers(http: Http, sandbox: Sandbox) -> None:
    for path in ("/", "/_sandbox/static/inspector.js", "/_sandbox/static/inspector.css", "/_sandbox/state"):
        answer = await http.raw("GET", sandbox.url + path)
        assert answer.status == 200
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    page = (await http.raw("GET", sandbox.url + "/")).body
    assert b"http://" not in page
    assert b"https://" not in page


# --- curl ----------------------------------------------------------------------------------------------------------


def _logged(**changes: Any) -> LoggedRequest:
    return LoggedRequest(
        **{
            "number": 1,
            "at": 0.0,
            "vendor": "aelyst",
            "method": "PUT",
            "path": "/contact/email:a@b.c",
            "endpoint": "",
            "status": 200,
            "duration": 0.0,
            "fault": "",
            "headers": {"Authorization": "Bearer ***", "Content-Type": "application/json", "Host": "x"},
            "body": b"",
            "answer_headers": {},
            "answer": b"",
            **changes,
        }
    )


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(
    "body",
    [
        b'{"firstName": "O\'Brien $(touch /tmp/x) `id` \\"q\\" \xc3\xa9"}',
        b'{"firstName": "\x00\xff"}',
        b"{\n\t\x1b[31m'}",
        b"@/etc/passwd",
    ],
)
async def test_curl_command_repeats_the_request(http: Http, sandbox: Sandbox, body: bytes) -> None:
    path = "/contact/email:a%2Bb'$(id)@b.c?x=[1-3]&y={a,b}"
    await http("aelyst", "PUT", path, data=body, headers={"X-Odd": 'it\'s "quoted" $HOME'})
    (first,) = sandbox.requests
    command = (await http.control("GET", f"requests/{first.number}")).json["curl"]
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", command, stdout=asyncio.subprocess.PIPE, env={"PATH": "/usr/bin:/bin", "no_proxy": "*"}
    )
    answer, _ = await process.communicate()
    again = sandbox.requests[-1]
    assert again.number != first.number
    assert (again.method, again.path, again.body, again.status) == (first.method, first.path, first.body, first.status)
    assert again.headers["X-Odd"] == first.headers["X-Odd"]
    assert answer == first.answer


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_as_curl_quotes_any_text(text: str) -> None:
    import subprocess

    command = as_curl(_logged(body=text.encode(), path=f"/{text}"), "http://h")
    script = 'curl() { printf "%s\\0" "$@"; }\n' + command
    words = subprocess.run(["bash", "-c", script], capture_output=True, check=True, timeout=10).stdout.split(b"\0")
    assert words[-2] == text.encode()
    assert f"http://h/{text}".encode() in words


# --- seeding -------------------------------------------------------------------------------------------------------


async def test_seeding_from_csv_adds_contacts_and_names_bad_rows(http: Http, sandbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text(
        "\ufefffirst_name,email,custom_fields.Town,tags\n"
        'Ann,a+b@c.d,KL,"new_customer, sales"\n'
        '"Multi\nline",,,"[""a"",""b""]"\n',
        encoding="utf-8",
    )
    assert add_csv(sandbox, "aelyst", file) == 2
    first, second = sandbox.contacts("aelyst")
    assert (first["firstName"], first["tags"]) == ("Ann", ["new_customer, sales"])
    assert first["custom_fields"] == [{"name": "Town", "value": "KL"}]
    assert (second["firstName"], second["email"], second["tags"]) == ("Multi\nline", None, ["a", "b"])
    answer = await http.control("POST", "seed/dmchamp", data=b"phone,first_name\n+1,Bo\n+2,Cy,extra\n")
    assert (answer.status, answer.json["message"]) == (400, "row 2 has more cells than the header")
    assert sandbox.contacts("dmchamp") == []
    assert (await http.control("POST", "seed/dmchamp", data=b"phone,first_name\n+1,Bo\n")).json == {"added": 1}
    assert (await http("dmchamp", "GET", "/contacts?phoneNumber=%2B1")).status == 200
    file.write_bytes(b"email\n\xff\n")
    with pytest.raises(ValueError, match="not UTF-8"):
        add_csv(sandbox, "aelyst", file)


# --- stream---------------------------------------------------------------------------------------------------------


class _Events:
    def __init__(self, response: Any) -> None:
        self._lines = response.content

    async def next(self) -> tuple[int, dict[str, Any]]:
        number, data = -1, None
        while True:
            line = (await asyncio.wait_for(self._lines.readline(), 5)).decode().rstrip("\n")
            if line.startswith("id: "):
                number = int(line[4:])
            elif line.startswith("data: "):
                data = json.loads(line[6:])
            elif not line and data is not None:
                return number, data

    async def until(self, count: int) -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []
        while len(seen) < count:
            _, event = await self.next()
            seen += event["requests"]
            count -= event["skipped"]
        return seen


async def test_event_stream_sends_each_request_once(http: Http, sandbox: Sandbox) -> None:
    async with http.session.get(f"{sandbox.url}/_sandbox/events") as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        events = _Events(response)
        assert (await events.next())[1]["requests"] == []
        for number in range(5):
            await http("aelyst", "GET", f"/contact/id:{number}")
        seen = await events.until(5)
        assert [one["path"] for one in seen] == [f"/contact/id:{number}" for number in range(5)]
        # Changes of contacts and switches are reported within a second as well.
        _, before = await events.next()
        sandbox.add_contact("aelyst", {})
        sandbox.assume(put_missing=400)
        _, after = await events.next()
        while after["contacts_revision"] == before["contacts_revision"]:
            _, after = await events.next()
        assert after["switches_revision"] > before["switches_revision"]


async def test_event_stream_resumes_and_counts_skipped_requests(http: Http, sandbox: Sandbox) -> None:
    for number in range(350):
        await http("aelyst", "GET", f"/contact/id:{number}")
    async with http.session.get(f"{sandbox.url}/_sandbox/events", headers={"Last-Event-ID": "347"}) as response:
        number, event = await _Events(response).next()
        assert (number, [one["path"] for one in event["requests"]]) == (
            350,
            ["/contact/id:347", "/contact/id:348", "/contact/id:349"],
        )
    async with http.session.get(f"{sandbox.url}/_sandbox/events?since=0") as response:
        _, event = await _Events(response).next()
        assert (len(event["requests"]), event["skipped"]) == (300, 50)


@pytest.mark.parametrize("since", ["999", "x", "-1", ""])
async def test_event_stream_ignores_an_invalid_position(http: Http, sandbox: Sandbox, since: str) -> None:
    await http("aelyst", "GET", "/contact/id:1")
    async with http.session.get(f"{sandbox.url}/_sandbox/events?since={since}") as response:
        assert (await _Events(response).next())[1]["requests"] == []
