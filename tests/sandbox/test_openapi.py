"""The OpenAPI documents are valid and complete, and schemathesis finds no response that violates them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openapi_spec_validator
import pytest

from aelyst_async.pytest_plugin import SandboxFixture, SandboxServer
from aelyst_async.sandbox.vendors import vendors

CALLAB_ID = "3c90c3cc-0d44-4b50-8888-8dd25736052a"  # of the example on the page


def _document(vendor: str) -> dict[str, Any]:
    path = vendors()[vendor].openapi
    assert path is not None
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return document


@pytest.fixture(scope="module")
def account() -> Iterator[SandboxFixture]:
    server = SandboxServer()
    account = SandboxFixture(server, server.sandbox)
    account.assume(quota="none")
    account.add_contact("callab", {"id": CALLAB_ID})
    yield account
    server.close()


@pytest.mark.parametrize("vendor", vendors())
def test_openapi_document_is_valid_and_has_every_documented_operation(vendor: str) -> None:
    document = _document(vendor)
    openapi_spec_validator.validate(document)
    endpoints = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    # Callab's newer path is on no documented page.
    assert endpoints == {route.endpoint for route in vendors()[vendor].routes} - {"GET /contacts/{id}"}


@pytest.mark.slow
@pytest.mark.parametrize("vendor", vendors())
def test_schemathesis_finds_no_violation_in_the_sandbox(vendor: str, account: SandboxFixture, tmp_path: Path) -> None:
    before = account.counters.requests
    result = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli"),
            *("--config-file", str(Path(__file__).with_name("schemathesis.toml"))),
            *("run", f"{account.url}/_sandbox/openapi/{vendor}.json", "--url", account.base_url(vendor)),
            *("--max-examples", "6", "--seed", "1", "--continue-on-failure", "--no-color", "--workers", "1"),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=tmp_path,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert "passed" in result.stdout
    # It must have sent requests, with both success and error responses.
    log = account.requests
    assert account.counters.requests - before > 15
    statuses = {one.status for one in log if one.vendor == vendor}
    assert 200 in statuses
    assert statuses & {400, 401, 404, 405}
    assert not [one for one in log if one.status is None or one.status >= 500]


@pytest.mark.slow
def test_schemathesis_fails_for_a_wrong_document(account: SandboxFixture, tmp_path: Path) -> None:
    wrong = _document("aelyst")
    wrong["components"]["schemas"]["Created"]["properties"]["code"] = {"type": "integer"}
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    result = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli"),
            *("--config-file", str(Path(__file__).with_name("schemathesis.toml")), "run", "wrong.json"),
            *("--url", account.base_url("aelyst"), "--include-method", "POST", "--phases", "examples"),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=tmp_path,
        check=False,
    )
    assert result.returncode == 1
    assert "is not of type" in result.stdout
