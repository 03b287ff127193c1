"""Imports in fresh interpreters: which packages they must not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.usefixtures("uncounted")
HEAVY = ["aiohttp", "cattrs", "rich", "sqlite3", "asyncpg", "orjson", "backoff", "redis", "fastapi", "opentelemetry"]


def fresh(code: str, *options: str) -> str:
    """Run `code` in a new interpreter and return its output."""
    done = subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.parametrize(
    "code",
    [
        "import aelyst_async",
        "import aelyst_async.cli",
        "import aelyst_async; aelyst_async.open_gateway; aelyst_async.RateLimiter(); aelyst_async.RetryPolicy()",
        "from aelyst_async import *",
        "import aelyst_providers",
        "from aelyst_async import ContactId, Email, get_many, upsert_many, Outcome, errors",
    ],
)
def test_importing_the_core_imports_no_heavy_package(code: str) -> None:
    found = fresh(f"import sys; {code}; print(*[name for name in {HEAVY!r} if name in sys.modules])")
    assert found == ""


@pytest.mark.parametrize("gateway", ["aelyst.AelystGateway", "dmchamp.DmChampGateway", "callab.CallabGateway"])
def test_constructing_a_gateway_does_not_import_aiohttp(gateway: str) -> None:
    module, _, name = gateway.rpartition(".")
    code = f"import sys; from aelyst_providers.{module} import {name}; {name}('t'); print('aiohttp' in sys.modules)"
    assert fresh(code) == "False"


def test_importing_a_provider_imports_no_other_provider() -> None:
    found = fresh("import sys, aelyst_providers.callab; print(*sorted(n for n in sys.modules if 'providers.' in n))")
    assert "aelyst_providers.callab" in found
    assert "dmchamp" not in found
    assert "aelyst_providers.aelyst" not in found


def test_open_gateway_imports_only_the_named_provider() -> None:
    code = "import sys, aelyst_async; aelyst_async.open_gateway('callab', token='t')"
    found = fresh(code + "; print(*sorted(name for name in sys.modules if name.startswith('aelyst_providers.')))")
    assert set(found.split()) == {f"aelyst_providers.callab{part}" for part in ("", ".gateway", ".models", ".wire")}


def test_cli_help_imports_no_heavy_package() -> None:
    code = (
        "import sys, contextlib, io\nfrom aelyst_async.cli import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): main(['--help'])\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert fresh(code) == ""


def test_packages_import_without_warnings() -> None:
    fresh(
        "import aelyst_async, aelyst_providers.aelyst, aelyst_providers.dmchamp, aelyst_providers.callab",
        "-W",
        "error",
        "-bb",
    )


def test_packages_import_under_python_oo() -> None:
    fresh("import aelyst_async.transport, aelyst_providers.aelyst; aelyst_providers.aelyst.AelystGateway('t')", "-OO")
