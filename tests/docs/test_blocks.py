"""The code blocks of the README, docs/, examples/ and providers/ run unchanged.

- ``python``: runs by itself. A block whose first line is ``# continues`` shares the names of the blocks before it.
- ``python3``: a notebook's cells. They share names and an event loop, and may use ``await``.
- ``{code-block}`` with a ``:caption:``: is written to the file of that name, in a folder that the page's blocks share.
  A project's ``pyproject.toml`` is also installed.
- ``console``: the commands after ``$`` run in that folder. Their output has to contain what the page shows, where ``…``
  stands for any text. A command without output has to succeed. The variables of `open_gateway` name a sandbox.
- A block after ``<!-- not run: reason -->`` needs something that is not installed, such as another framework.
- ``sh``: commands for the reader, such as installing and starting a server. They do not run here.

The pages are parsed with sybil as a library and not by its pytest plugin: the blocks of a page share a folder, and
pytest-xdist would send them to different processes.
"""

import ast
import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet
from sybil import Document, Example
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer
from sybil.parsers.myst.lexers import DirectiveLexer
from sybil.region import Region

from aelyst_async.pytest_plugin import SandboxFixture

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

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


def evaluate_cell(example: Example) -> None:
    if "loop" not in example.namespace:
        example.namespace["loop"] = asyncio.new_event_loop()
    code = compile(str(example.parsed), example.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, example.namespace)  # a coroutine if the cell awaits
    if asyncio.iscoroutine(result):
        example.namespace["loop"].run_until_complete(result)


def evaluate_console(example: Example) -> None:
    for command, expected in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", example.parsed, re.MULTILINE):
        done = subprocess.run(
            ["bash", "-c", command],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", check=False, timeout=300,
        )  # fmt: skip
        shown = expected or f"exit code {done.returncode}" * (done.returncode != 0)
        pattern = ".*".join(re.escape(part.strip("\n")) for part in shown.split("…"))
        if not re.search(pattern, done.stdout, re.DOTALL):
            pytest.fail(f"{example.path}:{example.line}: {command} printed\n{done.stdout}", pytrace=False)


def install(settings: dict[str, Any]) -> None:
    """Write the metadata that ``pip install -e .`` would write, so that the page's entry points are found."""
    if project := settings.get("project"):
        folder = Path(f"{project['name'].replace('-', '_')}-{project['version']}.dist-info")
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        groups = project["entry-points"].items()
        lines = [line for group, names in groups for line in (f"[{group}]", *(f"{n} = {v}" for n, v in names.items()))]
        (folder / "entry_points.txt").write_text("\n".join(lines))


def write_file(example: Example) -> None:
    path = Path(example.region.lexemes["options"]["caption"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(example.parsed), encoding="utf-8")
    if path.name == "pyproject.toml":
        install(tomllib.loads(example.parsed))


EVALUATORS = {"python": evaluate_python, "python3": evaluate_cell, "console": evaluate_console}


def parse(document: Document) -> Iterator[Region]:
    for region in FencedCodeBlockLexer("python3?|console")(document):
        region.parsed, region.evaluator = region.lexemes["source"], EVALUATORS[region.lexemes["language"]]
        if not re.search(r"<!-- not run: .{10,}-->\s*$", document.text[: region.start]):
            yield region
    for region in DirectiveLexer("code-block")(document):
        region.parsed, region.evaluator = region.lexemes["source"], write_file
        yield region


DOCUMENTS = {str(page.relative_to(ROOT)): Document.parse(str(page), parse) for page in PAGES}


def pages() -> Iterator[ParameterSet]:
    for name, document in DOCUMENTS.items():
        if document.regions:
            commands = any(region.evaluator is evaluate_console for _, region in document.regions)
            yield pytest.param(name, marks=pytest.mark.slow if commands else ())  # each command is a new process


@pytest.mark.parametrize("name", [*pages()])
def test_code_blocks_run(name: str, sandbox: SandboxFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "100")
    for variable, value in sandbox.environment().items():
        monkeypatch.setenv(variable, value)
    document = DOCUMENTS[name]
    for example in document.examples():
        example.evaluate()
    if "loop" in document.namespace:
        document.namespace["loop"].close()


def test_pages_have_blocks() -> None:
    assert sum(len(document.regions) for document in DOCUMENTS.values()) > 30
