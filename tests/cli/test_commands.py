"""The commands besides sync: help, listings, and errors that name flags and variables."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from aelyst_async.registry import provider_names
from tests.cli.running import Cli, url

__all__ = ["url"]


@pytest.fixture
def cli(url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    for name in ("AELYST_TOKEN", "AELYST_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return Cli(url, capsys)


@pytest.mark.parametrize("form", ["status", "retry"])
def test_sync_subcommands_have_their_own_help(cli: Cli, form: str) -> None:
    code, out, _ = cli("sync", form, "--help")
    assert (code, out.startswith(f"usage: aelyst sync {form}")) == (0, True)
    assert "JOURNAL" in out
    assert "--map" not in out
    code, _, err = cli("sync", form)
    assert (code, err) == (
        2, f"aelyst sync {form}: the following arguments are required: JOURNAL; see aelyst sync {form} --help\n"
    )  # fmt: skip


def test_help_shows_single_percent_signs(cli: Cli) -> None:
    for words in (("sandbox",), ("sync",), ("sync", "retry")):
        out = cli(*words, "--help")[1]
        assert "%%" not in out
        assert "%" in out


def test_write_commands_offer_only_writable_providers(cli: Cli) -> None:
    readers = {"callab"}
    assert readers < set(provider_names())
    for command in ("create", "update", "upsert", "sync"):
        out = " ".join(cli(command, "--help")[1].split())
        assert "aelyst, dmchamp, respondio, sandbox, or sandbox:NAME" in out
    assert "aelyst, callab, dmchamp, respondio, sandbox" in " ".join(cli("get", "--help")[1].split())
    code, _, err = cli("create", "email:a@example.com", "first_name=A", "--to", "callab")
    reason = "callab only reads contacts, so it cannot create a contact; these can: aelyst, dmchamp, respondio"
    assert (code, err) == (2, f"aelyst create: {reason}\n")


@pytest.mark.parametrize(
    ("environment", "words", "message"),
    [
        ({}, (), "aelyst: no credential; set AELYST_TOKEN in the environment"),
        ({"AELYST_TOKEN": "a b"}, (), "AELYST_TOKEN contains a blank"),
        ({"AELYST_TOKEN": "t"}, ("--base-url", "x"), "--base-url must begin with https://"),
        ({"AELYST_TOKEN": "t", "AELYST_BASE_URL": "x"}, (), "AELYST_BASE_URL must begin with https://"),
        ({"AELYST_TOKEN": "t"}, ("--base-url", "http://a.example"), "--base-url: http:// would send the credential"),
        ({"AELYST_TOKEN": "t"}, ("--base-url", "https://u:p@a.example"), "the credential goes into AELYST_TOKEN"),
    ],
)
def test_configuration_errors_name_flags_and_variables(
    cli: Cli, environment: dict[str, str], words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    Path("people.csv").write_text("email\na@example.com\n")
    for command in (
        ("get", "id:1", "--from"),
        ("update", "id:1", "first_name=A", "--to"),
        ("sync", "people.csv", "--to"),
    ):
        code, out, err = cli(*command, "aelyst", *words)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert message in err
        for argument in ("token=", "base_url", "allow_insecure", "AelystGateway"):
            assert argument not in err


def test_refused_credential_error_names_its_variable(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMCHAMP_API_KEY", "wrong")
    code, _, err = cli("get", "email:a@example.com", "--from", "dmchamp", "--base-url", f"{cli.url}/dmchamp/v1")
    assert (code, err.endswith("check DMCHAMP_API_KEY\n")) == (2, True)


def test_missing_contact_error_names_the_identifier(cli: Cli) -> None:
    for words in (
        ("get", "email:nope@example.com", "--from"),
        ("update", "phone:+60123456700", "first_name=A", "--to"),
    ):
        code, _, err = cli(*words, "sandbox", "--base-url", cli.url)
        assert (code, f"no such contact: {words[1]} (" in err) == (1, True)


def test_json_output_keeps_the_kind_of_the_identifier(cli: Cli) -> None:
    words = ("upsert", "phone:+60123456789", "first_name=A", "--to", "sandbox", "--base-url", cli.url, "--json")
    assert json.loads(cli(*words)[1])["identifier"] == "phone:+60123456789"


def test_json_escapes_control_and_bidirectional_characters(cli: Cli) -> None:
    name = "A\u202eB\x9b\u2028\u200f\U000e0001Zoë"
    cli.control("contacts/aelyst", {"firstName": name, "email": "bidi@example.com"}, "POST")
    _, out, _ = cli("get", "email:bidi@example.com", "--from", "sandbox", "--base-url", cli.url, "--json")
    assert json.loads(out)["first_name"] == name
    assert r"A\u202eB\u009b\u2028\u200f\udb40\udc01Zoë" in out
    _, out, _ = cli("get", "email:bidi@example.com", "--from", "sandbox", "--base-url", cli.url)
    assert "A\\u202eB\\x9b\\u2028\\u200f\\U000e0001Zoë" in out


def test_contact_commands_accept_other_apis_of_a_sandbox(cli: Cli) -> None:
    at = ("sandbox:dmchamp", "--base-url", cli.url)
    assert cli("create", "phone:+60123450001", "first_name=A", "--to", *at)[0] == 0
    assert cli("get", "phone:+60123450001", "--from", *at)[0] == 0
    cli.control("contacts/callab", {"id": "c1", "firstname": "C"}, "POST")
    assert "C" in cli("get", "id:c1", "--from", "sandbox:callab", "--base-url", cli.url)[1]
    code, _, err = cli("get", "id:1", "--from", "sandbox", "--base-url", f"{cli.url}/aelyst/v1")
    assert (code, "give the root of the sandbox" in err) == (2, True)


def test_base_url_selects_an_account_of_the_sandbox(cli: Cli) -> None:
    cli.control("accounts", {"name": "mine"}, "POST")
    at = ("--base-url", f"{cli.url}/@mine")
    assert cli("create", "email:only@example.com", "first_name=A", "--to", "sandbox", *at)[0] == 0
    assert cli("get", "email:only@example.com", "--from", "sandbox", *at)[0] == 0
    assert cli("get", "email:only@example.com", "--from", "sandbox", "--base-url", cli.url)[0] == 1
    assert "no account 'yours'" in cli("get", "id:1", "--from", "sandbox", "--base-url", f"{cli.url}/@yours")[2]


def test_providers_and_fields_commands_list_capabilities(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AELYST_TOKEN", "secret")
    found = {one["name"]: one for one in json.loads(cli("providers", "--json")[1])}
    assert found["aelyst"]["credential"] == "AELYST_TOKEN"
    assert found["aelyst"]["credential_is_set"] is True
    assert found["callab"]["can"] == ["read"]
    out = cli("providers")[1]
    assert "AELYST_TOKEN (set)" in out
    assert "secret" not in out
    out = cli("fields", "aelyst")[1]
    assert "first_name     firstName" in out
    assert "custom_fields.NAME:TYPE" in out
    assert "phoneNumber" in cli("fields", "sandbox:dmchamp")[1]
    names = [one["field"] for one in json.loads(cli("fields", "sandbox", "--json")[1])["fields"]]
    assert "country_code" in names
    assert cli("fields", "nope")[0] == 2


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_prints_a_script_with_commands_and_providers(cli: Cli, shell: str) -> None:
    code, out, _ = cli("completion", shell)
    assert code == 0
    for word in ("sync", "--suggest-mapping", "sandbox", "dmchamp"):
        assert word in out


def test_completion_without_shtab_prints_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    code, out, err = cli("completion", "bash")
    assert (code, out, err) == (2, "", "aelyst completion: shtab is missing: pip install 'aelyst-async[cli]'\n")


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX")
@pytest.mark.parametrize("words", [[], ["--json"]])
def test_sandbox_prints_a_panel_on_a_terminal_without_json(words: list[str]) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "aelyst_async", "sandbox", "--port", "0", *words],
        stdout=theirs, stderr=subprocess.DEVNULL, env={**os.environ, "COLUMNS": "60", "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    text = b""
    end = b"\n" if words else b"Ctrl-C"
    try:
        while end not in text:
            text += os.read(ours, 4096)
    finally:
        process.terminate()
        process.wait(10)
        os.close(ours)
    assert (b"inspector" in text, b"sandbox-token" in text) == (True, True)
    assert text.lstrip().startswith(b"{") is bool(words)


async def test_sandbox_without_rich_prints_its_addresses_as_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from aelyst_async.cli.sandbox import _print_panel
    from aelyst_async.sandbox import Sandbox

    monkeypatch.setitem(sys.modules, "rich.console", None)
    async with Sandbox() as sandbox:
        _print_panel(sandbox)
        lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
        assert lines["inspector"] == f"{sandbox.url}/"
        assert lines["aelyst"] == sandbox.base_url("aelyst")
        assert lines["stop"] == "Ctrl-C"


def test_sandbox_seeds_contacts_with_the_column_rules_of_sync(cli: Cli, tmp_path: Path) -> None:
    from aelyst_async.cli.sandbox import _seed
    from aelyst_async.sandbox import Sandbox

    text = "E-mail Address;First Name;id;tags;custom_fields.Seats:number\nann@example.com;Zoë;7;vip;3\n"
    (tmp_path / "seed.csv").write_bytes(text.encode("utf-16"))
    (tmp_path / "bad.csv").write_text("email,Colour\na@example.com,red\n")

    async def seeded() -> list[dict[str, object]]:
        async with Sandbox() as sandbox:
            _seed(sandbox, ["seed.csv"])
            with pytest.raises(ValueError, match=r"bad.csv: no field of aelyst for the columns 'Colour'"):
                _seed(sandbox, ["bad.csv"])
            return sandbox.contacts("aelyst")

    import asyncio

    (contact,) = asyncio.run(seeded())
    assert (str(contact["id"]), contact["firstName"], contact["email"]) == ("7", "Zoë", "ann@example.com")
    assert (contact["tags"], contact["custom_fields"]) == (["vip"], [{"name": "Seats", "value": 3}])
