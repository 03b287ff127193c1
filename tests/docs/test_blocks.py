"""The code blocks of the README, docs/ and examples/ run as they stand.

- ``python``: runs by itself. A block whose first line is ``# continues`` shares the names of the block before it.
- a block with a ``:caption:``: is written to the file of that name, in a folder that all blocks of the page share.
- ``console``: each line after ``$`` runs in that folder. The output is compared where the page shows one;
  ``…`` stands for any text. The variables of `open_gateway` name a sandbox.
- ``sh``: commands for the reader (installing, starting a server). They do not run here.

The pages are parsed with sybil as a library and not through its pytest plugin, because the blocks of a page share a
folder and pytest-xdist would send them to different processes.
"""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from sybil import Document, Example
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.myst import CodeBlockParser
from sybil.parsers.myst.lexers import DirectiveLexer
from sybil.region import Region

from aelyst_async.sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
    *sorted((ROOT / "providers").rglob("README.md")),
]
run_python = PythonEvaluator()


def evaluate_python(example: Example) -> None:
    if not example.parsed.startswith("# continues"):
        example.namespace.clear()
    example.namespace["__name__"] = "__main__"
    run_python(example)


def evaluate_console(example: Example) -> None:
    for command, expected in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", example.parsed, re.MULTILINE):
        done = subprocess.run(
            ["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", check=False
        )
        pattern = ".*".join(re.escape(part) for part in expected.strip().split("…"))
        assert not expected or re.fullmatch(pattern, done.stdout.strip(), re.DOTALL), (
            f"{example.path}:{example.line}: {command} printed\n{done.stdout}"
        )
        assert expected or done.returncode == 0, f"{command}: {done.stdout}"


def captioned_files(document: Document) -> Iterator[Region]:
    def write(example: Example) -> None:
        path = Path(example.parsed[0])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(example.parsed[1], encoding="utf-8")

    for region in DirectiveLexer(directive="code-block")(document):
        if caption := region.lexemes["options"].get("caption"):
            region.parsed, region.evaluator = (caption, str(region.lexemes["source"])), write
            yield region


PARSERS = (
    CodeBlockParser("python", evaluate_python),
    CodeBlockParser("console", evaluate_console),
    captioned_files,
)
DOCUMENTS = {str(page.relative_to(ROOT)): Document.parse(str(page), *PARSERS) for page in PAGES}


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """Serve a sandbox from a thread, since blocks run their own event loops and commands run in other processes."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    sandbox = Sandbox()
    asyncio.run_coroutine_threadsafe(sandbox.__aenter__(), loop).result()
    try:
        yield {
            "AELYST_TOKEN": sandbox.token("aelyst"),
            "AELYST_BASE_URL": sandbox.base_url("aelyst"),
            "DMCHAMP_API_KEY": sandbox.token("dmchamp"),
            "DMCHAMP_BASE_URL": sandbox.base_url("dmchamp"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "100",
        }
    finally:
        asyncio.run_coroutine_threadsafe(sandbox.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.mark.parametrize("name", [name for name, document in DOCUMENTS.items() if document.regions])
def test_blocks_run(
    name: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    for example in DOCUMENTS[name].examples():
        example.evaluate()


def test_pages_have_blocks() -> None:
    assert sum(len(document.regions) for document in DOCUMENTS.values()) > 30
