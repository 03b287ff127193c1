"""The view Quotas of the inspector page: learned quotas next to the enforced ones."""

from __future__ import annotations

import time

import pytest
from playwright.async_api import Page, expect

from aelyst_async import ContactFields
from aelyst_async.sandbox import Sandbox, report_limiter
from aelyst_providers.aelyst import AelystGateway
from tests.sandbox.inspector.reports import HOSTILE, bucket
from tests.sandbox.plain_http import Http

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


async def test_quotas_view_shows_a_running_client_and_keeps_it_when_ended(page: Page, sandbox: Sandbox) -> None:
    sandbox.assume({"aelyst.quota": "900/s"})
    await page.get_by_role("tab", name="Quotas").click()
    panel = page.locator("#learned")
    await expect(panel).to_contain_text(
        f"No client reports yet. Use aelyst sync FILE --to sandbox --base-url {sandbox.url} or, in your own code,"
    )
    await expect(panel).to_contain_text(f'report_limiter(gateway.limiter, "{sandbox.url}")')
    async with (
        AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"), settle=0) as gateway,
        report_limiter(gateway.limiter, sandbox.url, name="my import"),
    ):
        await expect(panel).to_contain_text("No request sent yet.")
        await gateway.upsert("email:a@b.c", ContactFields(first_name="Ann"))
        await expect(panel.locator("h3")).to_have_text("my import reports")
        card = panel.locator("li").filter(has_text="aelyst · POST /contact/create_or_update/{identifier}")
        await expect(card.locator("tbody tr").first).to_have_text("Limit900900")
        await expect(card).to_contain_text("still learning")
        await expect(card).to_contain_text("1 sent · 0 refused · 0 in flight · 0 waiting · not paused")
    await expect(panel.locator("h3")).to_contain_text("ended")
    await expect(panel.locator("li")).to_have_count(1)


async def test_quotas_view_folds_an_ended_run_once(page: Page, http: Http, sandbox: Sandbox) -> None:
    sandbox.assume({"aelyst.quota": "10/s"})
    await page.get_by_role("tab", name="Quotas").click()
    buckets = [bucket(), bucket(endpoint="PUT /contact/{identifier}", rate=5.0)]
    await http.control("PUT", "limiters/a", {"name": "first run", "ended": True, "buckets": buckets})
    await http.control("PUT", "limiters/b", {"name": "second run", "buckets": buckets})
    old, new = (page.locator("details.client").filter(has_text=name) for name in ("first run", "second run"))
    await expect(new.locator("li").first).to_be_visible()
    await expect(old.locator("li").first).to_be_hidden()
    await expect(old.locator("summary")).to_contain_text("correct: 1, differs: 1")
    await http.control("PUT", "limiters/b", {"name": "second run", "ended": True, "buckets": buckets})
    await expect(new.locator("li").first).to_be_hidden()
    # A run that the user opened stays open when new reports arrive.
    await old.locator("summary").click()
    await http.control("PUT", "limiters/c", {"name": "other", "buckets": buckets})
    await expect(page.locator("details.client")).to_have_count(3)
    await expect(old.locator("li").first).to_be_visible()


async def test_quotas_view_compares_learned_and_enforced_quotas(page: Page, http: Http, sandbox: Sandbox) -> None:
    sandbox.assume({"aelyst.quota": "10/s"})
    buckets = [
        bucket(),
        bucket(endpoint="PUT /contact/{identifier}", state="shared", window=2.0, rate=5.0, source="server"),
        bucket(endpoint="POST /contact/{identifier}", state="learning", window=None, rate=None, source=None),
        bucket(endpoint="GET /contacts", source="user", state="paused"),
        bucket(endpoint="GET /elsewhere", limit=None, remaining=None, window=None, rate=0.5, state="blind"),
    ]
    await http.control("PUT", "limiters/a", {"name": "ci", "more": 3, "buckets": buckets})
    await page.get_by_role("tab", name="Quotas").click()
    cards = page.locator("#learned li")
    await expect(cards.locator(".verdict")).to_have_text(
        ["correct", "differs", "still learning", "no quota here", "no such endpoint here"]
    )
    await expect(cards.nth(0)).to_contain_text("1,234 waiting · paused for 0.5 s")
    await expect(cards.nth(0)).to_contain_text("Why per endpoint: it is taken to be so.")
    rows = [
        ["Limit1010", "Window995 ms1 s", "Rate10.1 per s10 per s", "Remaining4 last reported10 now"],
        ["Limit1010", "Window2 s, from the server ≠1 s", "Rate5 per s ≠10 per s", "Remaining4 last reported10 now"],
        ["Limit1010", "Windownot known1 s", "Ratenot known10 per s", "Remaining4 last reported10 now"],
        ["Limit10–", "Window995 ms, set by you–", "Rate10.1 per s–", "Remaining4 last reported–"],
        ["Limitnot known–", "Windownot known–", "Rate30 per min–", "Remainingnot known–"],
    ]
    states = [
        "window known",
        "shared: others use the quota too",
        "learning: no window known yet",
        "paused after a 429",
        "blind: no quota headers",
    ]
    for number, (figures, state) in enumerate(zip(rows, states, strict=True)):
        counted = "endpoint, fixed window" if number < 3 else "–"
        await expect(cards.nth(number).locator("tbody tr")).to_have_text([*figures, f"Scopeendpoint{counted}"])
        await expect(cards.nth(number)).to_contain_text(f"{state} · 20 sent · 1 refused")
    await expect(page.locator("#learned")).to_contain_text("3 more buckets not shown.")
    # Once the client counts per path, its endpoint bucket is outdated, not wrong. Credentials are distinguished.
    paths = [bucket(account=name, path="/contact/a%40b.c", scope="path") for name in ("one", "two")]
    old = bucket(account="one", rate=99.0)
    await http.control("PUT", "limiters/a", {"name": "ci", "buckets": [old, *paths]})
    await expect(cards.nth(0).locator(".verdict")).to_have_text("outdated: each path has its own")
    await expect(cards.nth(0)).not_to_contain_text("≠")
    await expect(cards.nth(1)).to_contain_text("/contact/a@b.c")
    await expect(cards.nth(1)).to_contain_text("path ≠")
    titles = await cards.locator("strong").all_inner_texts()
    assert len(set(titles)) == 2
    assert all("credential" in title and "one" not in title for title in titles)


async def test_quotas_view_marks_a_silent_client_and_then_drops_it(page: Page, http: Http, sandbox: Sandbox) -> None:
    await page.get_by_role("tab", name="Quotas").click()
    await http.control("PUT", "limiters/a", {"name": "ci", "buckets": [bucket()]})
    heading = page.locator("#learned h3")
    await expect(heading).to_have_text("ci reports")
    sandbox.limiters._clock = lambda: time.monotonic() + 8
    await expect(heading).to_contain_text("ci silent for ")
    sandbox.limiters._clock = lambda: time.monotonic() + 16
    await expect(page.locator("#learned")).to_contain_text("No client reports yet.")


async def test_new_reports_keep_selection_focus_and_typed_text(page: Page, http: Http, sandbox: Sandbox) -> None:
    await page.get_by_role("tab", name="Quotas").click()
    await http.control("PUT", "limiters/a", {"buckets": [bucket(), bucket(endpoint="GET /contacts")]})
    card = page.locator("#learned li").first
    await expect(card).to_contain_text("20 sent")
    await card.locator("strong").select_text()
    await http.control("PUT", "limiters/a", {"buckets": [bucket(sent=21), bucket(endpoint="GET /contacts")]})
    await expect(card).to_contain_text("21 sent")
    assert await page.evaluate("String(getSelection())") == "aelyst · GET /contact/{identifier}"
    # The same while the user types in another view, and when clients appear and end.
    await page.get_by_role("tab", name="Rules").click()
    rule = page.get_by_label("aelyst.quota", exact=True)
    await rule.fill("12")
    await http.control("PUT", "limiters/b", {"buckets": [bucket(sent=22)]})
    await rule.press_sequentially("/s")
    await http.control("PUT", "limiters/a", {"buckets": [], "ended": True})
    await expect(rule).to_be_focused()
    await expect(rule).to_have_value("12/s")
    await page.get_by_role("tab", name="Quotas").click()
    await expect(page.locator("#learned h3")).to_have_count(2)


async def test_quotas_view_shows_markup_in_reports_as_text(page: Page, http: Http) -> None:
    hostile = bucket(path=HOSTILE, **dict.fromkeys(("endpoint", "scope", "scope_reason", "state", "account"), HOSTILE))
    other = {**hostile, "account": "another"}
    await http.control("PUT", "limiters/a", {"name": HOSTILE, "buckets": [hostile, other]})
    await page.get_by_role("tab", name="Quotas").click()
    panel = page.locator("#learned")
    await expect(panel.locator("h3")).to_have_text(f"{HOSTILE} reports")
    card = panel.locator("li").first
    for text in (f"{HOSTILE} · credential ", f"Why per {HOSTILE}: {HOSTILE}.", f"{HOSTILE} · 20 sent"):
        await expect(card).to_contain_text(text)
    await expect(card.locator(".path")).to_have_text(HOSTILE)
    assert await page.title() == "Sandbox · aelyst-async"
    assert await page.locator("main script, main img").count() == 0
