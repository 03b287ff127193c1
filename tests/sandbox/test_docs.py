"""The Python of docs/sandbox.md and docs/testing.md runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from aelyst_async.sandbox.control import _ROUTES
from aelyst_async.sandbox.faults import KINDS

pytest_plugins = ["pytester"]
DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "sandbox.md").read_text("utf-8")
BLOCK = re.compile(r"(?<!-->\n)^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def test_the_program_prints_what_the_page_says(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCK.findall(TEXT)[0]],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=tmp_path,
        check=False,
    )
    assert (result.stderr, result.stdout.splitlines()) == ("", ["['Ann']", "[503, 200]"])
    assert all(f"`{line}`" in TEXT for line in result.stdout.splitlines())


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_the_tests_of_the_page_pass(pytester: pytest.Pytester, mode: str) -> None:
    text = (DOCS / "testing.md").read_text("utf-8")
    assert text.index('asyncio_mode = "auto"') < text.index("async def test_")  # said before it is needed
    assert "@pytest.mark.asyncio" in text
    blocks = BLOCK.findall(text)
    if mode == "strict":
        blocks = [
            re.sub(r"^(?=async def test_)", "@pytest.mark.asyncio\n", block, flags=re.MULTILINE) for block in blocks
        ]
    pytester.makeini(
        f"[pytest]\nasyncio_mode = {mode}\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    pytester.makepyfile(**{f"test_{number}": block for number, block in enumerate(blocks)})
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=4)


def test_the_page_names_every_fault_and_every_call() -> None:
    assert [kind for kind in KINDS if f"`{kind}`" not in TEXT] == []
    written = TEXT.replace("`, `", " ").replace("`", " ")
    for _, template in _ROUTES:
        pattern = re.sub("{.*?}", "[A-Z]+", template)
        assert re.search(rf"(?<![\w/]){pattern}(?![\w/])", written), template


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_names_the_options_of_each_fault(kind: str) -> None:
    (row,) = re.findall(rf"^\| `{kind}`.*\|$", TEXT, re.MULTILINE)
    written = {"status": "`code`", "retry_after_form": "`form:date`", "applied": "`applied:yes`"}
    for option in {option for facts in KINDS.values() for option in facts.options}:
        assert (written.get(option, f"`{option}`") in row) == (option in KINDS[kind].options), (option, row)
