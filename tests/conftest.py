"""What all rooms' tests share: no proxy, no credential of this machine, and one hypothesis profile."""

from __future__ import annotations

import os

import hypothesis
import pytest

# Time limits per example make tests depend on how busy the machine is.
hypothesis.settings.register_profile("house", deadline=None, print_blob=True)
hypothesis.settings.load_profile("house")


@pytest.fixture(autouse=True, scope="session")
def _clean_environment() -> None:
    """Let no proxy and no credential of the machine reach a test."""
    for name in tuple(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("AELYST_", "DMCHAMP_", "CALLAB_")):
            del os.environ[name]


@pytest.fixture
def uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start child processes without coverage, which imports sqlite3 itself."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
