"""Sandboxes are found by entry point: those of this distribution and those of third parties."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from aelyst_async.errors import ConfigurationError
from aelyst_async.sandbox.vendors import default_vendor, find_vendor, vendors

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "provider.md").read_text("utf-8")
(ACME,) = re.findall(r"^:caption: acme_contacts/sandbox.py\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
USE = """
import asyncio, json, aiohttp
from aelyst_async.sandbox import Sandbox

async def main():
    async with Sandbox(quota="2/s") as sandbox, aiohttp.ClientSession() as session:
        sandbox.clock.freeze()  # all requests in one window of the quota
        contact_id = sandbox.add_contact("acme", {"mail": "ann@example.com"})
        statuses = []
        for key in (sandbox.token("acme"), "wrong", sandbox.token("acme"), sandbox.token("acme")):
            url = sandbox.base_url("acme") + "/people/" + contact_id
            async with session.get(url, headers={"Authorization": "Bearer " + key}) as response:
                statuses.append(response.status)
                body = await response.json()
        print(json.dumps([list(sandbox.counters.contacts), statuses, sandbox.requests[0].headers["Authorization"]]))

asyncio.run(main())
"""


def install(folder: Path, module: str, entry: str) -> None:
    """Write a module and the metadata of an installed package that publishes it."""
    (folder / "acme_sandbox.py").write_text(module)
    metadata = folder / "acme_sandbox-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-sandbox\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[aelyst_async.sandboxes]\n{entry}\n")


def run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_sandbox_serves_the_vendor_of_a_third_party(tmp_path: Path) -> None:
    install(tmp_path, ACME, "acme = acme_sandbox:ACME")
    result = run(tmp_path, USE)
    assert result.stderr == ""
    names, statuses, credential = json.loads(result.stdout)
    assert names == ["aelyst", "callab", "dmchamp", "acme"]  # the default vendor stays first
    assert statuses == [200, 401, 200, 429]
    assert credential == "Bearer ***"


@pytest.mark.parametrize(
    ("module", "entry", "message"),
    [
        ("", "acme = acme_sandbox:ACME", "the sandbox 'acme' (acme_sandbox:ACME) cannot be imported"),
        ("ACME = 1", "acme = acme_sandbox:ACME", "the sandbox 'acme' (acme_sandbox:ACME) is not a Vendor of that name"),
        (ACME, "other = acme_sandbox:ACME", "the sandbox 'other' (acme_sandbox:ACME) is not a Vendor of that name"),
        (ACME, "callab = acme_sandbox:ACME", "two packages have a sandbox named 'callab'"),
    ],
)
def test_sandbox_command_reports_a_broken_entry_point(tmp_path: Path, module: str, entry: str, message: str) -> None:
    install(tmp_path, module, entry)
    result = run(tmp_path, "import sys; from aelyst_async.cli import main; sys.exit(main(['sandbox', 'explain']))")
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_vendors_raises_if_no_entry_point_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: ())
    with pytest.raises(ConfigurationError, match="no sandbox is installed; reinstall"):
        vendors.__wrapped__()


def test_find_vendor_lists_the_installed_vendors() -> None:
    assert find_vendor(default_vendor()).name == "aelyst"
    with pytest.raises(ValueError, match="no vendor named 'acme'; the sandbox has aelyst, callab, dmchamp"):
        find_vendor("acme")
