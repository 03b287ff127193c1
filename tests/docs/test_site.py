"""The documentation site builds without warnings and has no broken links."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

import aelyst_async

ROOT = Path(__file__).resolve().parents[2]
# Markdown files that GitHub and PyPI show, outside the site.
OTHERS = [*ROOT.glob("*.md"), *(ROOT / "providers").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]


@pytest.mark.parametrize("page", OTHERS, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_outside_the_site_are_valid(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


class _Page(HTMLParser):
    """Collects the local targets and the anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in {"href", "src"} and value and not re.match(r"[a-z]+:|//", value):
                self.targets.append(unquote(value))


def broken(site: Path) -> Iterator[str]:
    pages = {path: _Page(path) for path in site.rglob("*.html")}
    for path, page in pages.items():
        for target in page.targets:
            address, _, anchor = target.partition("#")
            file = (path.parent / address.partition("?")[0]).resolve() if address else path
            if not file.exists() or (anchor and file in pages and anchor not in pages[file].anchors):
                yield f"{path.relative_to(site)}: {target}"


def test_reference_has_every_public_name() -> None:
    text = (ROOT / "docs" / "reference" / "client.md").read_text("utf-8")
    missing = {name for name in aelyst_async.__all__ if not re.search(rf":: aelyst_async\.{name}$", text, re.MULTILINE)}
    assert missing == {"RateLimiter", "Quota", "errors"}  # documented on their own pages


@pytest.mark.slow
def test_site_builds_strictly_and_has_no_broken_link(tmp_path: Path) -> None:
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "sphinx",
        "-E",
        "-n",
        "-W",
        "--keep-going",
        "-q",
        ROOT / "docs",
        tmp_path,
    ]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(broken(tmp_path)) == []
    listed = re.findall(r"\]\(([^)]+)\)", (tmp_path / "llms.txt").read_text("utf-8"))
    assert listed
    assert [target for target in listed if not (tmp_path / target).exists()] == []
