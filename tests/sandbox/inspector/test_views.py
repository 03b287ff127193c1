"""The views of the inspector page, in headless Chromium."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from aelyst_async import ContactFields, RetryPolicy, upsert_many
from aelyst_async.sandbox import Sandbox
from aelyst_async.sandbox.account import all_behaviours
from aelyst_async.sandbox.faults import KINDS
from aelyst_async.sandbox.vendors import vendors
from aelyst_providers.aelyst import AelystGateway
from tests.sandbox.inspector.reports import HOSTILE, bucket
from tests.sandbox.plain_http import Http

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


async def _sync(sandbox: Sandbox, people: int) -> int:
    """Upsert contacts with our own client, eight at a time, as a sync does. Return the number of failures."""
    retry = RetryPolicy(base=0.01, cap=0.02)
    pairs = [
        (f"email:p{number}+x@example.com", ContactFields(first_name=f"Person {number}", last_name="Tan"))
        for number in range(people)
    ]
    async with AelystGateway(
        sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"), retry=retry, settle=0
    ) as gateway:
        return sum([outcome.error is not None async for outcome in upsert_many(gateway, pairs, concurrency=8)])


async def test_requests_appear_during_a_sync_and_can_be_opened(page: Page, sandbox: Sandbox) -> None:
    await expect(page.locator("#begin")).to_contain_text(sandbox.base_url("aelyst"))
    assert await _sync(sandbox, 20) == 0
    await expect(page.locator("#request-rows tr")).to_have_count(20)
    await expect(page.locator("#counters")).to_contain_text("Requests20")
    await page.fill("#request-filter", "post p7+x")
    await expect(page.locator("#request-rows tr")).to_have_count(1)
    await page.locator("#request-rows .open").press("Enter")
    detail = page.locator("#request-detail")
    await expect(detail).to_be_focused()
    await expect(detail).to_contain_text('"lastName": "Tan"')
    await expect(detail).to_contain_text('"contactId": ')
    await expect(detail).to_contain_text("Bearer ***")
    await expect(detail).not_to_contain_text("Bearer sandbox-token")
    await expect(detail).to_contain_text("curl -sS")
    await page.keyboard.press("Escape")
    await expect(detail).to_be_hidden()
    await expect(page.locator("#request-rows .open")).to_be_focused()


async def test_header_has_base_urls_and_token_in_every_view(page: Page, http: Http, sandbox: Sandbox) -> None:
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await http("aelyst", "GET", "/contact/id:1")
    for view in ("Requests", "Contacts", "Quotas", "Faults", "Rules"):
        await page.get_by_role("tab", name=view).click()
        for name, text in [
            ("Aelyst", sandbox.base_url("aelyst")),
            ("DM Champ", sandbox.base_url("dmchamp")),
            ("Callab AI", sandbox.base_url("callab")),
            ("Token", sandbox.token("aelyst")),
        ]:
            await expect(page.locator("#begin")).to_contain_text(text)
            button = page.get_by_role("button", name=f"Copy: {name}")
            await button.click()
            await expect(page.locator("#said")).to_have_text(f"Copied: {name}")
            assert await page.evaluate("navigator.clipboard.readText()") == text
    await page.locator("#connect summary").click()
    await expect(page.locator("#begin")).to_be_hidden()


async def test_header_base_urls_follow_the_address_in_use_and_the_account(page: Page, sandbox: Sandbox) -> None:
    sandbox.account("ci")
    other = f"http://localhost:{sandbox.port}"
    opened = await page.context.new_page()
    await opened.goto(f"{other}/?account=ci")
    await expect(opened.locator("#begin")).to_contain_text(f"{other}/@ci/aelyst/v1")
    await opened.close()


async def test_header_hides_a_token_set_by_the_user(page: Page, sandbox: Sandbox) -> None:
    await expect(page.locator("#begin")).to_contain_text("Token")
    sandbox.set_tokens("dmchamp", "s3cret-key")
    await expect(page.locator("#begin")).to_contain_text("Token of DM Champ")
    await expect(page.locator("#begin")).to_contain_text("sandbox-token")
    assert "s3cret-key" not in await page.content()
    for vendor in ("aelyst", "callab"):
        sandbox.set_tokens(vendor, "s3cret-key")
    await expect(page.locator("#begin")).to_contain_text("Token of Aelyst, Callab AI, DM Champ")
    await expect(page.locator("#begin")).not_to_contain_text("sandbox-token")


async def test_counters_show_the_peak_of_concurrent_requests(page: Page, http: Http, sandbox: Sandbox) -> None:
    opened = [await asyncio.open_connection("127.0.0.1", sandbox.port) for _ in range(12)]
    for _, writer in opened:
        writer.write(b"GET /aelyst/v1/contact/id:1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    await expect(page.locator("#counters")).to_contain_text("In flight0 (peak 12)")
    for _, writer in opened:
        writer.close()
        await writer.wait_closed()


async def test_faults_view_switches_a_fault_on_and_off(page: Page, sandbox: Sandbox) -> None:
    await page.get_by_role("tab", name="Faults").click()
    switch = page.get_by_role("switch", name="Server errors 10% of the calls get 503")
    await switch.click()
    await expect(switch).to_have_attribute("aria-checked", "true")
    assert [(fault.status, fault.rate) for fault, _ in sandbox.plan.armed()] == [(503, 0.1)]
    assert await _sync(sandbox, 30) == 0, "an upsert is retried"
    asked = sandbox.counters.requests
    await expect(page.locator("#fault-list")).to_contain_text(f"of {asked}")
    await page.get_by_role("tab", name="Requests").click()
    await page.select_option("#request-status", "5")
    hit = sandbox.counters.count(status=503)
    assert hit > 0
    await expect(page.locator("#request-rows tr")).to_have_count(hit)
    await expect(page.locator("#request-rows tr").first).to_contain_text("status 503")
    await page.get_by_role("tab", name="Faults").click()
    await switch.click()
    await expect(page.locator("#fault-list")).to_have_text("No active faults.")
    assert not sandbox.plan


async def test_faults_view_adds_a_custom_fault_and_advances_the_clock(page: Page, http: Http, sandbox: Sandbox) -> None:
    await page.get_by_role("tab", name="Faults").click()
    await page.select_option("#fault-kind", "html")
    await page.select_option("#fault-where", "dmchamp GET /contacts")
    await page.select_option("[name=when]", "first")
    await page.fill("[name=number]", "0")
    await page.get_by_role("button", name="Add fault", exact=True).click()
    await expect(page.locator("#problem")).to_contain_text("first: 0 is not a whole number, 1 or more")
    await page.fill("[name=number]", "1")
    await page.get_by_role("button", name="Add fault", exact=True).click()
    await expect(page.locator("#problem")).to_be_hidden()
    await expect(page.locator("#fault-list")).to_contain_text("html at dmchamp GET /contacts")
    assert (await http("dmchamp", "GET", "/contacts?email=a@b.c")).status == 502
    before = sandbox.clock.now()
    await page.get_by_role("button", name="+1 h").click()
    await expect(page.locator("#fault-list")).to_have_text("No active faults.")
    assert 3600 <= sandbox.clock.now() - before < 3700


async def test_fault_form_shows_and_sends_only_the_options_of_a_kind(page: Page, sandbox: Sandbox) -> None:
    await page.get_by_role("tab", name="Faults").click()
    shown = page.locator("#fault-form [data-option]:visible")
    typed = {"status": 202, "retry_after": 3, "retry_after_form": "date", "applied": True, "seconds": 4, "sigma": 0.5}
    for kind, facts in KINDS.items():  # values typed for earlier kinds are kept, and not sent
        await page.select_option("#fault-kind", kind)
        await expect(page.locator("#fault-summary")).to_contain_text(facts.summary)
        names = await shown.evaluate_all("(labels) => labels.map((one) => one.dataset.option)")
        assert names == list(facts.options)
        for name in facts.options:
            if name == "retry_after_form":
                await page.select_option(f"#fault-form [name={name}]", "date")
            elif name == "applied":
                await page.check(f"#fault-form [name={name}]")
            else:
                await page.fill(f"#fault-form [name={name}]", str(typed[name]))
        await page.get_by_role("button", name="Add fault", exact=True).click()
        await expect(page.locator("#fault-list")).to_contain_text(kind)
        ((fault, number),) = sandbox.plan.armed()
        assert fault.as_json() == {"kind": kind, "rate": 0.1, **{name: typed[name] for name in facts.options}}
        sandbox.remove_fault(number)
        await expect(page.locator("#fault-list")).to_have_text("No active faults.")


async def test_contacts_view_marks_duplicates_and_originals(page: Page, sandbox: Sandbox) -> None:
    people = [("a@b.c", "+1"), ("A@b.c", "+2"), ("d@b.c", "+2"), ("e@b.c", "+3")]
    sandbox.add_contacts("aelyst", ({"firstName": phone, "email": email, "phone": phone} for email, phone in people))
    await page.get_by_role("tab", name="Contacts").click()
    shown = page.locator("#contact-rows tr td:nth-child(2)")
    await expect(shown).to_have_text(["+3", "+2duplicate", "+2duplicate", "+1has a duplicate"])
    await expect(page.locator("#counters")).to_contain_text("Duplicates2")


async def test_all_views_show_markup_in_data_as_text(page: Page, http: Http, sandbox: Sandbox) -> None:
    contact = {"firstName": HOSTILE, "email": "x@b.c", "custom_fields": [{"name": HOSTILE, "value": HOSTILE}]}
    contact_id = sandbox.add_contact("aelyst", contact)
    sandbox.add_contact("dmchamp", {"phoneNumber": "+1", "firstName": HOSTILE, "lists": [HOSTILE]})
    await http("aelyst", "PUT", "/contact/email:x@b.c", {"firstName": HOSTILE + "2", "lastName": HOSTILE})
    await http("aelyst", "GET", "/contact/email:%3Cscript%3Ealert(1)%3C%2Fscript%3E@b.c", headers={"X-Odd": HOSTILE})
    row = page.locator("#request-rows tr").first
    await expect(row).to_contain_text("<script>alert(1)</script>")
    await row.locator(".open").click()
    await expect(page.locator("#request-detail")).to_contain_text(HOSTILE)
    await page.get_by_role("tab", name="Contacts").click()
    await page.locator(f'[data-contact="{contact_id}"]').click()
    detail = page.locator("#contact-detail")
    await expect(detail).to_contain_text(HOSTILE)
    await expect(detail.locator(".history")).to_contain_text(json.dumps(HOSTILE + "2"))
    await page.select_option("#contact-vendor", "dmchamp")
    await page.locator("#contact-rows .open").click()
    await expect(detail).to_contain_text(HOSTILE)
    assert await page.title() == "Sandbox · aelyst-async"
    assert await page.locator("main script, main img").count() == 0


async def test_page_shows_the_newest_300_of_many_requests(page: Page, http: Http, sandbox: Sandbox) -> None:
    for _ in range(30):
        await asyncio.gather(*(http("aelyst", "GET", f"/contact/id:{number}") for number in range(17)))
    await expect(page.locator("#counters")).to_contain_text("Requests510")
    await expect(page.locator("#request-rows tr")).to_have_count(300)
    await expect(page.locator("#request-rows tr").first).to_contain_text("/contact/id:16")
    assert sandbox.counters.requests == 510


async def test_keyboard_reaches_every_view_and_the_filter(page: Page) -> None:
    await page.get_by_role("tab", name="Requests").focus()
    for name in ("Contacts", "Quotas", "Faults", "Rules"):
        await page.keyboard.press("ArrowRight")
        await expect(page.get_by_role("tab", name=name)).to_be_focused()
        await expect(page.get_by_role("tabpanel", name=name)).to_be_visible()
    await page.keyboard.press("Home")
    await page.keyboard.press("/")
    await expect(page.locator("#request-filter")).to_be_focused()


async def test_rules_view_changes_a_rule_and_reports_an_invalid_value(page: Page, sandbox: Sandbox) -> None:
    await page.get_by_role("tab", name="Rules").click()
    await page.get_by_label("aelyst.put_missing").select_option("400")
    await expect(page.locator("#said")).to_have_text("aelyst.put_missing set to 400")
    assert sandbox.settings["aelyst.put_missing"] == "400"
    await page.get_by_label("aelyst.quota", exact=True).fill("fast")
    await page.keyboard.press("Tab")
    await expect(page.locator("#problem")).to_contain_text("not a quota")


async def test_rules_view_filters_by_vendor_and_links_documented_rules(page: Page, sandbox: Sandbox) -> None:
    await page.get_by_role("tab", name="Rules").click()
    rows = page.locator("#rules [data-rule]")
    await expect(rows).to_have_count(len(all_behaviours()))
    for vendor in vendors().values():
        await page.select_option("#rule-vendor", vendor.name)
        await expect(rows).to_have_count(len(vendor.behaviours))
        names = await rows.evaluate_all("(rows) => rows.map((row) => row.dataset.rule)")
        assert set(names) == {one.name for one in vendor.behaviours}
        documented = page.locator("#documented [data-rule]")
        expected = [one.url for one in vendor.behaviours if one.basis == "documented"]
        links = await documented.locator("a").evaluate_all("(links) => links.map((link) => link.href)")
        assert links == expected
    await page.select_option("#rule-vendor", "")
    await page.check("#rule-changed")
    await expect(rows).to_have_count(1)  # the quota, which is "none" in these tests
    await expect(page.locator("#documented")).to_have_text("None.")
    sandbox.assume({"aelyst.put_missing": 400})
    await expect(rows).to_have_count(2)
    await expect(page.locator("#rule-note")).to_have_text(f"2 of {len(all_behaviours())} rules shown · 2 changed")


@pytest.mark.parametrize(
    ("name", "width", "scheme"), [("desktop", 1280, "light"), ("dark", 1280, "dark"), ("phone", 390, "light")]
)
async def test_every_view_fits_the_width(
    browser: Browser, http: Http, sandbox: Sandbox, name: str, width: int, scheme: str
) -> None:
    """With SCREENSHOTS=folder, each view is also saved as a screenshot."""
    folder = os.environ.get("SCREENSHOTS")
    sandbox.assume({"aelyst.quota": "10/s"})
    sandbox.clock.freeze()
    sandbox.add_fault("503=every:5")
    for number, first in enumerate(["Aisyah", "Zoë", "Мария", "<script>alert(1)</script>", "Muhammad ", "Ana"]):
        sandbox.advance(0.7)
        path = f"/contact/email:p{number}%2Bx@example.com"
        body = {"firstName": first, "lastName": "Tan", "phone": f"+6012345{number % 4}"}
        await http("aelyst", "POST", path, body)
        await http("aelyst", "PUT", path, {"lastName": "Lim"})
        await http("aelyst", "GET", path)
    long = bucket(path="/contact/email:" + "x" * 400, scope="path", scope_reason="4 fresh paths " + "y" * 200)
    settled = bucket(waiting=0, in_flight=0, paused_for=0)
    blind = bucket(endpoint="PUT /contact/{identifier}", state="learning", window=None, rate=None)
    await http.control("PUT", "limiters/a", {"name": "my import", "buckets": [settled, blind]})
    await http.control("PUT", "limiters/c", {"name": "an earlier import", "ended": True, "buckets": [settled]})
    if not folder:
        await http.control("PUT", "limiters/b", {"name": "z" * 300, "buckets": [long, settled]})
    context = await browser.new_context(
        viewport={"width": width, "height": 860 if width > 600 else 844},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = await context.new_page()
    await page.goto(f"{sandbox.url}/")
    await expect(page.locator("#request-rows tr")).to_have_count(18)
    await page.locator("#request-rows .open").nth(2).click()
    for view in ("requests", "contacts", "quotas", "faults", "rules"):
        await page.locator(f"#tab-{view}").click()
        if view == "contacts":
            await page.locator("#contact-rows .open").nth(1).click()
            await expect(page.locator("#contact-detail")).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, view
        if folder:
            await page.evaluate("scrollTo(0, 0)")
            await page.screenshot(path=Path(folder) / f"inspector-{name}-{view}.png")
    await context.close()
