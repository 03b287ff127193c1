"""The inspector page in headless Chromium: a sync runs, rows appear, a request is opened, a fault is switched on."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from aelyst_async import ContactFields, RetryPolicy, upsert_many
from aelyst_async.sandbox import Sandbox, report_limiter
from aelyst_async.sandbox.account import all_behaviours
from aelyst_async.sandbox.faults import KINDS
from aelyst_async.sandbox.vendors import vendors
from aelyst_providers.aelyst import AelystGateway
from tests.sandbox.plain_http import Http

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"

if not Path(CHROMIUM).exists():
    if os.environ.get("CI"):
        pytest.fail(f"no Chromium at {CHROMIUM}: CI installs it (apt-get install chromium)", pytrace=False)
    pytest.skip(f"no Chromium at {CHROMIUM}; install it, or set CHROMIUM", allow_module_level=True)


# A browser takes a second to start: one for the module, and so one loop for all that talks to it.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
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
    context.set_default_timeout(10_000)
    opened = await context.new_page()
    complaints: list[str] = []

    def complain(message: ConsoleMessage) -> None:
        # Chromium reports each 4xx by itself; the page shows those that matter, and tests look for them there.
        if message.type in {"error", "warning"} and "status of 40" not in message.text:
            complaints.append(message.text)

    opened.on("console", complain)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    opened.on(
        "request", lambda request: None if request.url.startswith(sandbox.url) else complaints.append(request.url)
    )
    await opened.goto(f"{sandbox.url}/")
    await expect(opened.locator("#live")).to_have_text("live")
    yield opened
    assert complaints == []
    await context.close()


async def _sync(sandbox: Sandbox, people: int) -> int:
    """Bring people in with our own client, eight at a time, as a sync does: an update each, and on 404 a create.

    Return how many failed: a create that met an error is never repeated blindly.
    """
    retry = RetryPolicy(base=0.01, cap=0.02)
    pairs = [
        (f"email:p{number}+x@example.com", ContactFields(first_name=f"Person {number}", last_name="Tan"))
        for number in range(people)
    ]
    async with AelystGateway(
        sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"), retry=retry, settle=0
    ) as gateway:
        return sum([outcome.error is not None async for outcome in upsert_many(gateway, pairs, concurrency=8)])


async def test_rows_appear_while_a_sync_runs_and_one_can_be_opened(page: Page, sandbox: Sandbox) -> None:
    await expect(page.locator("#begin")).to_contain_text(sandbox.base_url("aelyst"))
    assert await _sync(sandbox, 20) == 0
    await expect(page.locator("#request-rows tr")).to_have_count(40)
    await expect(page.locator("#counters")).to_contain_text("Requests40")
    await page.fill("#request-filter", "post p7+x")
    await expect(page.locator("#request-rows tr")).to_have_count(1)
    await page.locator("#request-rows .open").press("Enter")
    detail = page.locator("#request-detail")
    await expect(detail).to_be_focused()
    await expect(detail).to_contain_text('"lastName": "Tan"')
    await expect(detail).to_contain_text("Contact added successfully!")
    await expect(detail).to_contain_text("Bearer ***")
    await expect(detail).not_to_contain_text("Bearer sandbox-token")
    await expect(detail).to_contain_text("curl -sS")
    await page.keyboard.press("Escape")
    await expect(detail).to_be_hidden()
    await expect(page.locator("#request-rows .open")).to_be_focused()


async def test_base_urls_and_token_are_at_hand_in_every_view(page: Page, http: Http, sandbox: Sandbox) -> None:
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


async def test_base_urls_are_those_of_the_address_in_use_and_of_the_account(page: Page, sandbox: Sandbox) -> None:
    sandbox.account("ci")
    other = f"http://localhost:{sandbox.port}"
    opened = await page.context.new_page()
    await opened.goto(f"{other}/?account=ci")
    await expect(opened.locator("#begin")).to_contain_text(f"{other}/@ci/aelyst/v1")
    await opened.close()


async def test_a_token_that_a_user_has_set_is_not_shown(page: Page, sandbox: Sandbox) -> None:
    await expect(page.locator("#begin")).to_contain_text("Token")
    sandbox.set_tokens("dmchamp", "s3cret-key")
    await expect(page.locator("#begin")).to_contain_text("Token of DM Champ")
    await expect(page.locator("#begin")).to_contain_text("sandbox-token")
    assert "s3cret-key" not in await page.content()
    for vendor in ("aelyst", "callab"):
        sandbox.set_tokens(vendor, "s3cret-key")
    await expect(page.locator("#begin")).to_contain_text("Token of Aelyst, Callab AI, DM Champ")
    await expect(page.locator("#begin")).not_to_contain_text("sandbox-token")


async def test_the_peak_in_flight_is_that_of_the_clients_concurrency(page: Page, http: Http, sandbox: Sandbox) -> None:
    opened = [await asyncio.open_connection("127.0.0.1", sandbox.port) for _ in range(12)]
    for _, writer in opened:
        writer.write(b"GET /aelyst/v1/contact/id:1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    await expect(page.locator("#counters")).to_contain_text("In flight0 (peak 12)")
    for _, writer in opened:
        writer.close()
        await writer.wait_closed()


async def test_a_fault_is_switched_on_and_seen_and_switched_off(page: Page, sandbox: Sandbox) -> None:
    await page.get_by_role("tab", name="Faults").click()
    switch = page.get_by_role("switch", name="Server errors 10% of the calls answer 503")
    await switch.click()
    await expect(switch).to_have_attribute("aria-checked", "true")
    assert [(fault.status, fault.rate) for fault, _ in sandbox.plan.armed()] == [(503, 0.1)]
    assert await _sync(sandbox, 30) > 0
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
    await expect(page.locator("#fault-list")).to_have_text("Nothing goes wrong.")
    assert not sandbox.plan


async def test_a_fault_of_ones_own_a_mistake_in_it_and_the_clock(page: Page, http: Http, sandbox: Sandbox) -> None:
    await page.get_by_role("tab", name="Faults").click()
    await page.select_option("#fault-kind", "html")
    await page.select_option("#fault-where", "dmchamp GET /contacts")
    await page.select_option("[name=when]", "first")
    await page.fill("[name=number]", "0")
    await page.get_by_role("button", name="Switch on", exact=True).click()
    await expect(page.locator("#problem")).to_contain_text("first: 0 is not a whole number, 1 or more")
    await page.fill("[name=number]", "1")
    await page.get_by_role("button", name="Switch on", exact=True).click()
    await expect(page.locator("#problem")).to_be_hidden()
    await expect(page.locator("#fault-list")).to_contain_text("html at dmchamp GET /contacts")
    assert (await http("dmchamp", "GET", "/contacts?email=a@b.c")).status == 502
    before = sandbox.clock.now()
    await page.get_by_role("button", name="+1 h").click()
    await expect(page.locator("#fault-list")).to_have_text("Nothing goes wrong.")
    assert 3600 <= sandbox.clock.now() - before < 3700


async def test_the_form_shows_the_options_of_a_fault_kind_and_sends_no_others(page: Page, sandbox: Sandbox) -> None:
    await page.get_by_role("tab", name="Faults").click()
    shown = page.locator("#fault-form [data-option]:visible")
    typed = {"status": 202, "retry_after": 3, "retry_after_form": "date", "applied": True, "seconds": 4, "sigma": 0.5}
    for kind, facts in KINDS.items():  # what was typed for the kinds before is still there, and is not sent
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
        await page.get_by_role("button", name="Switch on", exact=True).click()
        await expect(page.locator("#fault-list")).to_contain_text(kind)
        ((fault, number),) = sandbox.plan.armed()
        assert fault.as_json() == {"kind": kind, "rate": 0.1, **{name: typed[name] for name in facts.options}}
        sandbox.remove_fault(number)
        await expect(page.locator("#fault-list")).to_have_text("Nothing goes wrong.")


async def test_a_duplicate_is_told_from_the_contact_that_it_repeats(page: Page, sandbox: Sandbox) -> None:
    people = [("a@b.c", "+1"), ("A@b.c", "+2"), ("d@b.c", "+2"), ("e@b.c", "+3")]
    sandbox.add_contacts("aelyst", ({"firstName": phone, "email": email, "phone": phone} for email, phone in people))
    await page.get_by_role("tab", name="Contacts").click()
    shown = page.locator("#contact-rows tr td:nth-child(2)")
    await expect(shown).to_have_text(["+3", "+2duplicate", "+2duplicate", "+1has a duplicate"])
    await expect(page.locator("#counters")).to_contain_text("Duplicates2")


async def test_what_strangers_typed_is_shown_as_text_wherever_it_appears(
    page: Page, http: Http, sandbox: Sandbox
) -> None:
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


async def test_the_page_keeps_up_with_10000_requests_a_minute(page: Page, http: Http, sandbox: Sandbox) -> None:
    # 170 requests a second for three seconds; the page must show the last of them at once, and stay responsive.
    gaps = await page.evaluate_handle(
        "() => { const gaps = []; let last = performance.now();"
        " setInterval(() => { const now = performance.now(); gaps.push(now - last); last = now; }, 20); return gaps; }"
    )
    for _ in range(30):
        await asyncio.gather(*(http("aelyst", "GET", f"/contact/id:{number}") for number in range(17)))
        await asyncio.sleep(0.05)
    await expect(page.locator("#counters")).to_contain_text("Requests510", timeout=3000)
    await expect(page.locator("#request-rows tr")).to_have_count(300)
    assert sandbox.counters.requests == 510
    longest = await gaps.evaluate("(gaps) => Math.max(...gaps)")
    assert longest < 1000


async def test_the_keyboard_reaches_every_view_and_the_filter(page: Page) -> None:
    await page.get_by_role("tab", name="Requests").focus()
    for name in ("Contacts", "Quotas", "Faults", "Rules"):
        await page.keyboard.press("ArrowRight")
        await expect(page.get_by_role("tab", name=name)).to_be_focused()
        await expect(page.get_by_role("tabpanel", name=name)).to_be_visible()
    await page.keyboard.press("Home")
    await page.keyboard.press("/")
    await expect(page.locator("#request-filter")).to_be_focused()


async def test_a_rule_is_changed_and_a_wrong_value_is_named(page: Page, sandbox: Sandbox) -> None:
    await page.get_by_role("tab", name="Rules").click()
    await page.get_by_label("aelyst.put_missing").select_option("400")
    await expect(page.locator("#said")).to_have_text("aelyst.put_missing is 400 now")
    assert sandbox.settings["aelyst.put_missing"] == "400"
    await page.get_by_label("aelyst.quota", exact=True).fill("fast")
    await page.keyboard.press("Tab")
    await expect(page.locator("#problem")).to_contain_text("not a quota")


async def test_rules_are_filtered_by_vendor_and_documented_ones_link_to_their_page(
    page: Page, sandbox: Sandbox
) -> None:
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


def _bucket(**changes: Any) -> dict[str, Any]:
    return {
        "endpoint": "GET /contact/{identifier}",
        "scope": "endpoint",
        "scope_reason": "it is taken to be so",
        "state": "known",
        "source": "learned",
        "limit": 10,
        "remaining": 4,
        "rate": 10.05,
        "window": 0.995,
        "waiting": 1234,
        "in_flight": 2,
        "sent": 20,
        "refused": 1,
        "paused_for": 0.5,
        **changes,
    }


async def test_what_a_client_has_learned_appears_while_it_runs_and_stays_when_it_ends(
    page: Page, sandbox: Sandbox
) -> None:
    sandbox.assume({"aelyst.quota": "900/s"})
    await page.get_by_role("tab", name="Quotas").click()
    panel = page.locator("#learned")
    await expect(panel).to_contain_text(
        f"No client reports. aelyst sync FILE --to sandbox --base-url {sandbox.url} does"
    )
    await expect(panel).to_contain_text(f'report_limiter(gateway.limiter, "{sandbox.url}")')
    async with (
        AelystGateway(sandbox.token("aelyst"), base_url=sandbox.base_url("aelyst"), settle=0) as gateway,
        report_limiter(gateway.limiter, sandbox.url, name="my import"),
    ):
        await expect(panel).to_contain_text("It has sent no request yet.")
        await gateway.upsert("email:a@b.c", ContactFields(first_name="Ann"))
        await expect(panel.locator("h3")).to_have_text("my import reports")
        card = panel.locator("li").filter(has_text="aelyst · PUT /contact/{identifier}")
        await expect(card.locator("tbody tr").first).to_have_text("Limit900900")
        await expect(card).to_contain_text("still learning")
        await expect(card).to_contain_text("1 sent · 0 refused · 0 in flight · 0 waiting · not paused")
    await expect(panel.locator("h3")).to_contain_text("ended")
    await expect(panel.locator("li")).to_have_count(2)


async def test_an_ended_run_is_folded_once(page: Page, http: Http, sandbox: Sandbox) -> None:
    sandbox.assume({"aelyst.quota": "10/s"})
    await page.get_by_role("tab", name="Quotas").click()
    buckets = [_bucket(), _bucket(endpoint="PUT /contact/{identifier}", rate=5.0)]
    await http.control("PUT", "limiters/a", {"name": "first run", "ended": True, "buckets": buckets})
    await http.control("PUT", "limiters/b", {"name": "second run", "buckets": buckets})
    old, new = (page.locator("details.client").filter(has_text=name) for name in ("first run", "second run"))
    await expect(new.locator("li").first).to_be_visible()
    await expect(old.locator("li").first).to_be_hidden()
    await expect(old.locator("summary")).to_contain_text("learned right: 1, differs: 1")
    await http.control("PUT", "limiters/b", {"name": "second run", "ended": True, "buckets": buckets})
    await expect(new.locator("li").first).to_be_hidden()
    # A run that a person opens stays open, whatever is reported.
    await old.locator("summary").click()
    await http.control("PUT", "limiters/c", {"name": "other", "buckets": buckets})
    await expect(page.locator("details.client")).to_have_count(3)
    await expect(old.locator("li").first).to_be_visible()


async def test_one_sees_whether_it_has_learned_right(page: Page, http: Http, sandbox: Sandbox) -> None:
    sandbox.assume({"aelyst.quota": "10/s"})
    buckets = [
        _bucket(),
        _bucket(endpoint="PUT /contact/{identifier}", state="shared", window=2.0, rate=5.0, source="server"),
        _bucket(endpoint="POST /contact/{identifier}", state="learning", window=None, rate=None, source=None),
        _bucket(endpoint="GET /contacts", source="user", state="paused"),
        _bucket(endpoint="GET /elsewhere", limit=None, remaining=None, window=None, rate=0.5, state="blind"),
    ]
    await http.control("PUT", "limiters/a", {"name": "ci", "more": 3, "buckets": buckets})
    await page.get_by_role("tab", name="Quotas").click()
    cards = page.locator("#learned li")
    await expect(cards.locator(".verdict")).to_have_text(
        ["learned right", "differs", "still learning", "no quota here", "no such endpoint here"]
    )
    await expect(cards.nth(0)).to_contain_text("1,234 waiting · paused for 0.5 s")
    await expect(cards.nth(0)).to_contain_text("Why per endpoint: it is taken to be so.")
    rows = [
        ["Limit1010", "Window995 ms1 s", "Rate10.1 per s10 per s", "Left4 last told10 in fact"],
        ["Limit1010", "Window2 s, told by the server ≠1 s", "Rate5 per s ≠10 per s", "Left4 last told10 in fact"],
        ["Limit1010", "Windownot known1 s", "Ratenot known10 per s", "Left4 last told10 in fact"],
        ["Limit10–", "Window995 ms, set by you–", "Rate10.1 per s–", "Left4 last told–"],
        ["Limitnot known–", "Windownot known–", "Rate30 per min–", "Leftnot known–"],
    ]
    states = [
        "window known",
        "shared: others spend the quota too",
        "learning: no window known yet",
        "paused by a refusal",
        "blind: no quota headers",
    ]
    for number, (figures, state) in enumerate(zip(rows, states, strict=True)):
        counted = "endpoint, fixed window" if number < 3 else "–"
        await expect(cards.nth(number).locator("tbody tr")).to_have_text([*figures, f"Counted perendpoint{counted}"])
        await expect(cards.nth(number)).to_contain_text(f"{state} · 20 sent · 1 refused")
    await expect(page.locator("#learned")).to_contain_text("It has 3 more buckets.")
    # Once it counts by paths, what the endpoint's own bucket said is past and no mistake; credentials are told apart.
    paths = [_bucket(account=name, path="/contact/a%40b.c", scope="path") for name in ("one", "two")]
    old = _bucket(account="one", rate=99.0)
    await http.control("PUT", "limiters/a", {"name": "ci", "buckets": [old, *paths]})
    await expect(cards.nth(0).locator(".verdict")).to_have_text("not used any more: each path has its own")
    await expect(cards.nth(0)).not_to_contain_text("≠")
    await expect(cards.nth(1)).to_contain_text("/contact/a@b.c")
    await expect(cards.nth(1)).to_contain_text("path ≠")
    titles = await cards.locator("strong").all_inner_texts()
    assert len(set(titles)) == 2
    assert all("credential" in title and "one" not in title for title in titles)


async def test_a_client_that_falls_silent_is_called_so_and_then_forgotten(
    page: Page, http: Http, sandbox: Sandbox
) -> None:
    await page.get_by_role("tab", name="Quotas").click()
    await http.control("PUT", "limiters/a", {"name": "ci", "buckets": [_bucket()]})
    heading = page.locator("#learned h3")
    await expect(heading).to_have_text("ci reports")
    sandbox.limiters._clock = lambda: time.monotonic() + 8
    await expect(heading).to_contain_text("ci silent for ")
    sandbox.limiters._clock = lambda: time.monotonic() + 16
    await expect(page.locator("#learned")).to_contain_text("No client reports.")


async def test_a_report_takes_nothing_away_from_under_the_hand(page: Page, http: Http, sandbox: Sandbox) -> None:
    await page.get_by_role("tab", name="Quotas").click()
    await http.control("PUT", "limiters/a", {"buckets": [_bucket(), _bucket(endpoint="GET /contacts")]})
    card = page.locator("#learned li").first
    await expect(card).to_contain_text("20 sent")
    await card.locator("strong").select_text()
    await http.control("PUT", "limiters/a", {"buckets": [_bucket(sent=21), _bucket(endpoint="GET /contacts")]})
    await expect(card).to_contain_text("21 sent")
    assert await page.evaluate("String(getSelection())") == "aelyst · GET /contact/{identifier}"
    # The same while somebody types in another view, and when a client comes and another goes.
    await page.get_by_role("tab", name="Rules").click()
    rule = page.get_by_label("aelyst.quota", exact=True)
    await rule.fill("12")
    await http.control("PUT", "limiters/b", {"buckets": [_bucket(sent=22)]})
    await rule.press_sequentially("/s")
    await http.control("PUT", "limiters/a", {"buckets": [], "ended": True})
    await expect(rule).to_be_focused()
    await expect(rule).to_have_value("12/s")
    await page.get_by_role("tab", name="Quotas").click()
    await expect(page.locator("#learned h3")).to_have_count(2)


async def test_what_a_stranger_reports_is_text(page: Page, http: Http) -> None:
    bucket = _bucket(path=HOSTILE, **dict.fromkeys(("endpoint", "scope", "scope_reason", "state", "account"), HOSTILE))
    other = {**bucket, "account": "another"}
    await http.control("PUT", "limiters/a", {"name": HOSTILE, "buckets": [bucket, other]})
    await page.get_by_role("tab", name="Quotas").click()
    panel = page.locator("#learned")
    await expect(panel.locator("h3")).to_have_text(f"{HOSTILE} reports")
    card = panel.locator("li").first
    for text in (f"{HOSTILE} · credential ", f"Why per {HOSTILE}: {HOSTILE}.", f"{HOSTILE} · 20 sent"):
        await expect(card).to_contain_text(text)
    await expect(card.locator(".path")).to_have_text(HOSTILE)
    assert await page.title() == "Sandbox · aelyst-async"
    assert await page.locator("main script, main img").count() == 0


@pytest.mark.parametrize(
    ("name", "width", "scheme"), [("desktop", 1280, "light"), ("dark", 1280, "dark"), ("phone", 390, "light")]
)
async def test_nothing_is_cut_off_in_any_view(
    browser: Browser, http: Http, sandbox: Sandbox, name: str, width: int, scheme: str
) -> None:
    """Every view fits the width; with SCREENSHOTS=folder it is also kept as a picture."""
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
    long = _bucket(path="/contact/email:" + "x" * 400, scope="path", scope_reason="4 fresh paths " + "y" * 200)
    settled = _bucket(waiting=0, in_flight=0, paused_for=0)
    blind = _bucket(endpoint="PUT /contact/{identifier}", state="learning", window=None, rate=None)
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
