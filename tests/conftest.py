"""Fixtures and settings of all tests: a clean environment and one hypothesis profile."""

from __future__ import annotations

import os

import hypothesis
import pytest

# A deadline per example would make tests fail on a busy machine.
hypothesis.settings.register_profile("house", deadline=None, print_blob=True)
hypothesis.settings.load_profile("house")


@pytest.fixture(autouse=True, scope="session")
def _clean_environment() -> None:
    """Remove proxies and credentials from the environment before any test."""
    for name in tuple(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("AELYST_", "DMCHAMP_", "CALLAB_")):
            del os.environ[name]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return the workers of ``-n auto``: two for each core, since a test waits for sockets half of its time."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture
def uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start child processes without coverage, because coverage imports sqlite3."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
