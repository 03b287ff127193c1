"""The Python of docs/sandbox.md runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from aelyst_async.sandbox.control import _ROUTES
from aelyst_async.sandbox.faults import KINDS

pytest_plugins = ["pytester"]
TEXT = Path(__file__).parents[2].joinpath("docs", "sandbox.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_the_program_prints_what_the_page_says(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCKS[0]],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=tmp_path,
        check=False,
    )
    assert (result.stderr, result.stdout.splitlines()) == ("", ["['Ann']", "[503, 404, 200]"])
    assert all(f"`{line}`" in TEXT for line in result.stdout.splitlines())


def test_the_tests_of_the_page_pass(pytester: pytest.Pytester) -> None:
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    pytester.makepyfile(BLOCKS[1])
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=3)


def test_the_page_names_every_fault_and_every_call() -> None:
    assert [kind for kind in KINDS if f"`{kind}`" not in TEXT] == []
    written = TEXT.replace("`, `", " ").replace("`", " ")
    for _, template in _ROUTES:
        pattern = re.sub("{.*?}", "[A-Z]+", template)
        assert re.search(rf"(?<![\w/]){pattern}(?![\w/])", written), template
