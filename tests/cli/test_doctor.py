"""`aelyst doctor`: findings, exit codes, and that no credential is printed."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from aelyst_async.cli import main
from aelyst_async.cli.target import Target
from aelyst_async.errors import InvalidIdentifierError
from tests.cli.running import Cli, url
from tests.servers import RawServer, raw, reply

__all__ = ["url"]


@pytest.fixture
def cli(url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setenv("AELYST_TOKEN", "t0p-secret")
    return Cli(url, capsys)


async def doctor(*words: str) -> int:
    """Run the command in a thread, while this event loop runs a server."""
    return await asyncio.to_thread(main, ["doctor", *words])


HTML = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 21\r\n\r\n<html>not here</html>"


def states(out: str) -> dict[str, str]:
    """Return the state of each check."""
    return {line.split()[1]: line.split()[0] for line in out.splitlines() if line.startswith("  ") and len(line) > 20}


def test_doctor_passes_against_a_sandbox(cli: Cli) -> None:
    for target in ("sandbox", "sandbox:dmchamp", "sandbox:callab"):
        code, out, err = cli("doctor", "--from", target, "--base-url", cli.url)
        assert (code, err) == (0, "")
        assert f"aiohttp {version('aiohttp')}" in out
        found = states(out)
        assert {found[name] for name in ("connection", "clock", "quota", "accepted")} == {"ok"}


def test_doctor_prints_json_with_versions_checks_and_exit_code(cli: Cli) -> None:
    code, out, _ = cli("doctor", "--from", "sandbox", "--base-url", cli.url, "--json")
    found = json.loads(out)
    assert (code, found["exit_code"], found["version"]) == (0, 0, 1)
    assert found["packages"]["aiohttp"] == version("aiohttp")
    assert found["python"].startswith(sys.version.split()[0])
    assert found["extras"]["cli"] == {"installed": True, "missing": []}
    assert not {"test", "dev", "bench"} & set(found["extras"])
    quota = next(check for check in found["providers"]["sandbox"] if check["name"] == "quota")
    assert "X-RateLimit-Limit: 1000" in quota["detail"]


def test_doctor_names_an_extra_that_is_missing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from aelyst_async.cli import doctor as module

    monkeypatch.setattr(module, "_installed", lambda name: None if name == "pyarrow" else "1.0")
    _, out, _ = cli("doctor", "--from", "sandbox", "--base-url", cli.url)
    assert "extras that are not installed: parquet" in out


def test_doctor_without_a_provider_checks_those_with_a_credential(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AELYST_BASE_URL", f"{cli.url}/aelyst/v1")
    code, out, _ = cli("doctor")
    assert code == 2
    assert "\naelyst\n" in out
    assert "\ndmchamp\n" not in out
    assert "the credential was refused: 401" in out
    assert "t0p-secret" not in out
    monkeypatch.delenv("AELYST_TOKEN")
    code, out, _ = cli("doctor")
    assert code == 2
    assert "no provider has a credential; aelyst providers lists the variables" in out


@pytest.mark.parametrize(
    ("words", "environment", "message", "code"),
    [
        (("--from", "dmchamp"), {}, "no credential; set DMCHAMP_API_KEY", 2),
        (("--from", "nobody"), {}, "no provider named 'nobody'", 2),
        (("--from", "aelyst", "--base-url", "http://a.example"), {}, "would send the credential", 2),
        (("--from", "aelyst", "--base-url", "http://127.0.0.1:1"), {}, "127.0.0.1:1: ", 1),
        (("--from", "aelyst"), {"HTTPS_PROXY": "socks5://u:pr0xy-secret@h:1"}, "names a SOCKS proxy", 2),
        (("--from", "aelyst"), {"HTTPS_PROXY": "http://u:pr0xy-secret@127.0.0.1:1"}, "127.0.0.1:1 (from the", 1),
        (("--from", "sandbox", "--base-url", "http://127.0.0.1:1"), {}, "no sandbox answers there", 2),
    ],
)  # fmt: skip
def test_doctor_reports_problems_found_before_the_request(
    cli: Cli, words: tuple[str, ...], environment: dict[str, str], message: str, code: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found, out, err = cli("doctor", *words)
    assert (found, message in out, err) == (code, True, "")
    assert "failed" in states(out).values()
    assert "secret" not in out


@pytest.mark.parametrize(
    ("answer", "message", "code"),
    [
        (raw(HTML), "404 without the API's own error", 1),
        (reply(503, {"message": "down"}), "failed   accepted", 1),
        (reply(200, {"unexpected": True}), "cannot understand the answer", 1),
        (reply(429, {"message": "slow down"}, {"Retry-After": "60"}), "warning  accepted", 0),
        (reply(400, {"message": "Validation error."}), "ok       accepted    the API answered 400", 0),
        (reply(200, {"id": 1, "email": "doctor@aelyst-async.invalid"}), "the API answered a contact", 0),
        (reply(404, {"code": 404}, {"Date": "Mon, 01 Jan 2024 00:00:00 GMT"}), "s ahead of the server's", 0),
        (reply(404, {"code": 404}, {"Date": "Fri, 01 Jan 2100 00:00:00 GMT"}), "s behind the server's", 0),
        (reply(404, {"code": 404}, {"Date": "yesterday"}), "no quota header", 0),
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "failed   accepted", 1),
    ],
)
async def test_doctor_classifies_the_response(
    answer: Any, message: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AELYST_TOKEN", "t0p-secret")
    async with RawServer(answer) as server:
        assert await doctor("--from", "aelyst", "--base-url", server.url) == code
        assert sum(seen.method == "GET" for seen in server.requests) == 1
    out = capsys.readouterr().out
    assert message in out
    assert "t0p-secret" not in out


async def test_doctor_leaves_the_certificate_behind_a_proxy_to_the_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AELYST_TOKEN", "t0p-secret")
    async with RawServer(reply(403, {"message": "no"})) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert await doctor("--from", "aelyst") == 1
    out = capsys.readouterr().out
    assert "tls         checked by the request below, through the proxy" in out
    assert "the proxy refused to connect (status 403)" in out


def test_doctor_needs_an_identifier_that_the_provider_accepts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Choosy:
        async def get(self, identifier: str) -> None:
            raise InvalidIdentifierError(f"{identifier}: only phones")

    async def open_target(*_: object) -> Target:
        return Target(gateway=Choosy(), name="aelyst", base_url="")

    monkeypatch.setattr("aelyst_async.cli.doctor.open_target", open_target)
    assert main(["doctor", "--from", "aelyst"]) == 1
    out = capsys.readouterr().out
    assert states(out)["accepted"] == "failed"
    assert "id:0: only phones" in out
    assert "address" not in states(out), "this gateway has none"


async def test_doctor_reports_a_server_without_tls(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AELYST_TOKEN", "t")

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await doctor("--from", "aelyst", "--base-url", f"https://127.0.0.1:{port}") == 1
    assert "no TLS with 127.0.0.1" in capsys.readouterr().out


@pytest.fixture
def certificate(tmp_path: Path) -> Callable[[int], ssl.SSLContext]:
    """Return a function that makes a server context with a self-signed certificate, valid for `days` days."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificate can be made")

    def make(days: int) -> ssl.SSLContext:
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        command += ["-keyout", "key.pem", "-out", "cert.pem", "-days", str(days), "-subj", "/CN=localhost"]
        command += ["-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
        return context

    return make


@pytest.mark.parametrize(
    ("trusted", "days", "message"),
    [
        (False, 90, "failed   tls         the certificate of 127.0.0.1 is not accepted: self-signed certificate"),
        (True, 90, "ok       tls         TLSv1.3, the certificate is valid until"),
        (True, 3, "warning  tls         TLSv1.3, the certificate is valid until"),
    ],
)
async def test_doctor_checks_the_certificate(
    trusted: bool, days: int, message: str, certificate: Callable[[int], ssl.SSLContext], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    context = certificate(days)
    monkeypatch.setenv("AELYST_TOKEN", "t")
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    async with await asyncio.start_server(close, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        assert await doctor("--from", "aelyst", "--base-url", f"https://127.0.0.1:{port}") == 1
    assert message in capsys.readouterr().out.replace("self signed", "self-signed")


def test_package_runs_with_python_m() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "aelyst_async", "--version"], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == (f"aelyst-async {version('aelyst-async')}\n", "")
