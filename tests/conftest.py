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


@pytest.fixture
def uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start child processes without coverage, because coverage imports sqlite3."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
