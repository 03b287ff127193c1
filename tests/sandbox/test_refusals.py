"""What the control API, the seeding and the constructor of a sandbox refuse, with words that name the mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from aelyst_async.sandbox import Sandbox
from aelyst_async.sandbox.faults import Fault
from aelyst_async.sandbox.guard import Guard
from aelyst_async.sandbox.seeding import add_csv, add_source
from aelyst_async.sandbox.server import SandboxError, is_loopback
from aelyst_async.tables import read_contacts
from tests.sandbox.plain_http import Http


@pytest.mark.parametrize(
    ("method", "path", "body", "words"),
    [
        ("POST", "clock", {"frozen": 3}, "frozen is neither true nor false"),
        ("POST", "clock", {"frozen": []}, "frozen is neither true nor false"),
        ("POST", "clock", {"advance": True}, "advance is not a number of seconds"),
        ("POST", "clock", {"advance": -1}, "a clock advances by 0 to 1e10 seconds"),
        ("PUT", "tokens/aelyst", {"token": "x"}, "write an array of strings"),
        ("PUT", "tokens/aelyst", ["x", 1], "write an array of strings"),
        ("POST", "accounts", {"name": 3}, "name is a string, switches is an object"),
        ("POST", "accounts", {"switches": []}, "name is a string, switches is an object"),
        ("POST", "accounts", {"faults": "html"}, "faults is an array of strings"),
        ("PATCH", "switches", {"aelyst.visible_after": []}, "[] is not a value of a switch"),
    ],
)
async def test_wrong_values_of_control_calls(
    http: Http, sandbox: Sandbox, method: str, path: str, body: Any, words: str
) -> None:
    before = sandbox.clock.frozen, [account.name for account in sandbox.accounts()]
    answer = await http.control(method, path, body)
    assert (answer.status, words in answer.json["message"]) == (400, True), answer.body
    assert (sandbox.clock.frozen, [account.name for account in sandbox.accounts()]) == before


async def test_control_lists_accounts_and_quotas(http: Http, sandbox: Sandbox) -> None:
    await http.control("POST", "accounts", {"name": "mine"})
    assert (await http.control("GET", "accounts")).json == ["default", "mine"]
    sandbox.assume(quota="5/s")
    assert (await http("aelyst", "GET", "/contact/id:1")).status == 404
    [gauge] = (await http.control("GET", "quotas")).json
    assert gauge["limit"] == 5
    assert (await http.control("GET", "openapi/nope.json")).status == 404


async def test_a_switch_takes_true_and_false(sandbox: Sandbox) -> None:
    assert sandbox.assume(refused_count=True)["aelyst.refused_count"] == "yes"
    assert sandbox.assume(refused_count=False)["aelyst.refused_count"] == "no"


async def test_a_stopped_clock_goes_on_from_the_time_it_shows(http: Http, sandbox: Sandbox) -> None:
    await http.control("POST", "clock", {"frozen": True})
    stopped = sandbox.clock.now()
    await http.control("POST", "clock", {"advance": 3600})
    await http.control("POST", "clock", {"frozen": False})
    assert stopped + 3600 <= sandbox.clock.now() < stopped + 3660
    await http.control("POST", "clock", {"frozen": False})
    assert stopped + 3600 <= sandbox.clock.now() < stopped + 3660, "a running clock is not set"


async def test_reset_restores_the_initial_faults() -> None:
    async with Sandbox(quota="none", faults=["html=1"]) as sandbox:
        sandbox.clear_faults()
        sandbox.add_fault("reset=1")
        sandbox.reset()
        assert [one["kind"] for one in sandbox.plan.listing()] == ["html"]


async def test_a_running_sandbox_is_not_started_again(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match="already running"):
        await sandbox.start()


async def test_a_stopped_sandbox_holds_no_contacts() -> None:
    with pytest.raises(RuntimeError, match="not running"):
        Sandbox().add_contacts("aelyst", [{"email": "a@example.com"}])


def test_scope_of_the_quota_is_a_setting() -> None:
    sandbox = Sandbox(scope="path")
    assert sandbox.settings["aelyst.quota_scope"] == "path"
    with pytest.raises(ValueError, match="quota_scope"):
        Sandbox(scope="planet")


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.1", True), ("::1", True), ("0.0.0.0", False), ("example.com", False)],
)
def test_loopback_addresses(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_a_fault_strikes_by_one_rule_only() -> None:
    with pytest.raises(ValueError, match="give only one of rate, nth, first and every"):
        Fault("reset", rate=0.1, first=3)


def test_two_host_headers_are_refused() -> None:
    headers = CIMultiDict([("Host", "localhost"), ("Host", "127.0.0.1")])
    assert Guard().refusal("GET", headers) == "more than one Host header"


def test_the_guard_judges_every_host_however_many_there_were() -> None:
    guard = Guard()
    for number in range(1_100):
        assert guard.refusal("GET", CIMultiDict(Host=f"evil{number}.example")) is not None
    assert guard.refusal("GET", CIMultiDict(Host="localhost:8787")) is None


async def test_a_cell_beyond_the_limit_of_csv_names_its_row(sandbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("email,firstName\na@example.com,Ann\nb@example.com," + "x" * 140_000 + "\n")
    with pytest.raises(ValueError, match=r"row 2: field larger than"):
        add_csv(sandbox, "aelyst", file)
    assert sandbox.contacts("aelyst") == [], "all or none"


async def test_tags_are_one_tag_or_a_json_array(sandbox: Sandbox, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text('email,tags\na@b.co,vip\nb@b.co,"[""x"", ""y""]"\nc@b.co,[broken\n')
    add_csv(sandbox, "aelyst", file)
    found = {contact["email"]: contact["tags"] for contact in sandbox.contacts("aelyst")}
    assert found == {"a@b.co": ["vip"], "b@b.co": ["x", "y"], "c@b.co": ["[broken"]}


async def test_rows_of_a_source_are_added_all_or_none(sandbox: Sandbox, tmp_path: Path) -> None:
    def fields(columns: Any) -> dict[str, Any]:
        return {"first": ("firstName", str.upper), "age": ("age", int)}

    file = tmp_path / "people.csv"
    file.write_text("email,first,age\na@b.co,ann,\nb@b.co,bo,x\n")
    with pytest.raises(ValueError, match="row 2: age: invalid literal"):
        add_source(sandbox, "aelyst", read_contacts(file), fields)
    file.write_text("email,first\na@b.co,ann\nb@b.co,bo,more\n")
    with pytest.raises(ValueError, match="row 2: "):
        add_source(sandbox, "aelyst", read_contacts(file), fields)
    assert sandbox.contacts("aelyst") == []
    file.write_text("email,first\na@b.co,ann\nb@b.co,\n")
    assert add_source(sandbox, "aelyst", read_contacts(file), fields) == 2
    first = {contact["email"]: contact["firstName"] for contact in sandbox.contacts("aelyst")}
    assert first == {"a@b.co": "ANN", "b@b.co": ""}
