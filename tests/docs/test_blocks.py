"""Every Python block of the README and of docs/ runs as it stands, from top to bottom of its page."""

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*/README.md")])
# A block that cannot run here (it needs an account, or never ends) says so: <!-- not run: reason -->
NOT_RUN = r"(?:<!-- not run: (?P<reason>[^>]+) -->\s*)?"
BLOCK = re.compile(NOT_RUN + r"^```python\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_run(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)  # what a block writes is not left in the repository
    names: dict[str, Any] = {"__name__": "__main__"}  # a page's blocks build on each other
    for block in BLOCK.finditer(text):
        if block["reason"]:
            continue
        line = text[: block.start("code")].count("\n")
        # The same line numbers as the page, so that a traceback points into it.
        exec(compile("\n" * line + block["code"], str(page), "exec"), names)


def test_blocks_left_out_say_why() -> None:
    reasons = [match["reason"] for page in PAGES for match in BLOCK.finditer(page.read_text(encoding="utf-8"))]
    assert reasons, "no block was found at all: is the pattern wrong?"
    assert all(reason is None or len(reason) > 10 for reason in reasons)


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert not broken
