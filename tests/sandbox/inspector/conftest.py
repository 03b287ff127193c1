"""A browser and an open inspector page. Starting a browser takes a second, so each module shares one, and one loop."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from aelyst_async.sandbox import Sandbox

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
INSTALLED = Path(CHROMIUM).exists()
expect.set_options(timeout=30_000)  # milliseconds: a busy machine needs more than the 5 s that are usual
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    if not INSTALLED:
        if os.environ.get("CI"):
            pytest.fail(f"no Chromium at {CHROMIUM}: CI installs it (apt-get install chromium)", pytrace=False)
        pytest.skip(f"no Chromium at {CHROMIUM}; install it, or set CHROMIUM")
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        await running.close()


@pytest_asyncio.fixture(loop_scope="module")
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(quota="none") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser, sandbox: Sandbox) -> AsyncIterator[Page]:
    context = await browser.new_context(viewport={"width": 1280, "height": 860})
    context.set_default_timeout(30_000)
    opened = await context.new_page()
    complaints: list[str] = []
    url = sandbox.url  # it has none after its end, when the browser may still send a request

    def complain(message: ConsoleMessage) -> None:
        # Chromium logs each 4xx. The page shows the relevant ones, and the tests look for them there.
        if message.type in {"error", "warning"} and "status of 40" not in message.text:
            complaints.append(message.text)

    opened.on("console", complain)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    opened.on("request", lambda request: None if request.url.startswith(url) else complaints.append(request.url))
    try:
        await opened.goto(f"{url}/")
        await expect(opened.locator("#live")).to_have_text("live")
        yield opened
        assert complaints == []
    finally:
        await context.close()
