"""Make the README's pictures again: ``python docs/pictures.py``.

`terminal.svg` is the output of a real ``aelyst sync`` against a sandbox with a quota, drawn by rich. `inspector.png` is
the sandbox's page afterwards, taken with Playwright in the machine's Chromium (set CHROMIUM for another path).
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.async_api import async_playwright
from rich.console import Console
from rich.text import Text

from aelyst_async.sandbox import Sandbox

STATIC = Path(__file__).with_name("_static")
PEOPLE = Path(__file__).parents[1] / "examples" / "people.csv"
COMMAND = "aelyst sync people.csv --to sandbox --map 'Profile Picture=profile_pic'"
WIDTH = 104
ROWS = 100


async def run(folder: str) -> str:
    """Return what the command prints on stdout."""
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    process = await asyncio.create_subprocess_shell(
        COMMAND,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # the progress
        env={**os.environ, "COLUMNS": str(WIDTH), "PATH": path},
    )
    output, _ = await process.communicate()
    return output.decode()


def draw(outputs: list[str]) -> None:
    """Write `terminal.svg`."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    for output in outputs:
        console.print(Text("$ ", style="bold green") + Text(COMMAND, style="bold"))
        console.print(Text.from_ansi(output))
    svg = console.export_svg(title="aelyst sync")
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # fonts of another server
    (STATIC / "terminal.svg").write_text(svg, encoding="utf-8")


async def photograph(url: str) -> None:
    """Write `inspector.png`: the newest requests, one of them opened."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = await browser.new_page(viewport={"width": 1280, "height": 720})
        await page.goto(url)
        await page.wait_for_selector("tbody tr")
        await page.locator("tbody tr", has_text="POST").first.click()
        await page.get_by_text("Request body").wait_for()
        await page.evaluate("scrollTo(0, 0)")
        await page.screenshot(path=STATIC / "inspector.png")
        await browser.close()


async def main(folder: str) -> None:
    """Sync twice, so that the second run shows rows that have not changed, then take the picture of the page."""
    async with Sandbox(quota="50/s", port=8787) as sandbox:  # where --to sandbox looks for one
        draw([await run(folder), await run(folder)])
        await photograph(sandbox.url)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        rows = PEOPLE.read_text("utf-8").splitlines(keepends=True)
        Path(temporary, "people.csv").write_text("".join(rows[: ROWS + 1]), encoding="utf-8")
        asyncio.run(main(temporary))
