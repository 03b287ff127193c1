// The inspector page. It shows untrusted data, so one rule holds throughout: text enters the document only as text
// (`textContent` and text nodes). The Content-Security-Policy forbids every other way as well.

import { $, account, act, api, copyButton, later, load, problem, say } from "./api.js";
import { el, pathText, typed } from "./dom.js";
import { drawLearned } from "./learned.js";
import { loadRules } from "./rules.js";

const KEPT = 2000;   // requests kept for the filter
const SHOWN = 300;   // rows in the table
const time = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });
const stamp = (seconds) => new Date(seconds * 1000).toLocaleString([], { hour12: false });
const tone = (status) => (status == null || status >= 500 ? "bad" : status === 429 || status === 449 ? "warn" : status >= 400 ? "warn" : "good");

// Indent JSON without decoding it, because a decoder would round long numbers.
function pretty(text) {
  try { JSON.parse(text); } catch { return text; }
  let out = "", depth = 0, inside = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (inside) {
      out += c;
      if (c === "\\") out += text[++i];
      else if (c === '"') inside = false;
    } else if (c === '"') { inside = true; out += c; }
    else if (c === "{" || c === "[") {
      const rest = text.slice(i + 1).match(/^\s*[}\]]/);
      if (rest) { out += c + rest[0].trim(); i += rest[0].length; }
      else out += `${c}\n${"  ".repeat(++depth)}`;
    } else if (c === "}" || c === "]") out += `\n${"  ".repeat(--depth)}${c}`;
    else if (c === ",") out += `,\n${"  ".repeat(depth)}`;
    else if (c === ":") out += ": ";
    else if (!/\s/.test(c)) out += c;
  }
  // Escapes of ordinary characters are decoded for reading; controls and quotes stay as they are.
  return out.replace(/(?<!\\)((?:\\\\)*)((?:\\u[0-9a-fA-F]{4})+)/g, (whole, before, escapes) => {
    try {
      const decoded = JSON.parse(`"${escapes}"`);
      return /[\p{C}\u2028\u2029"\\]/u.test(decoded) ? whole : before + decoded;
    } catch { return whole; }
  });
}
const block = (text) => (text ? el("pre", { tabindex: "0", dir: "auto" }, pretty(text)) : el("p", { class: "empty" }, "none"));
function fields(object) {
  const list = el("dl", { class: "fields" });
  for (const [name, value] of Object.entries(object)) {
    list.append(el("dt", {}, typed(name)), el("dd", {}, typed(typeof value === "string" ? value : JSON.stringify(value))));
  }
  return list;
}

// --- tabs ------------------------------------------------------------------------------------------------------------
const tabs = [...document.querySelectorAll('[role="tab"]')];
const visible = (id) => !$(id).hidden;
function choose(tab, focus) {
  for (const one of tabs) {
    const on = one === tab;
    one.setAttribute("aria-selected", on);
    one.tabIndex = on ? 0 : -1;
    $(one.getAttribute("aria-controls")).hidden = !on;
  }
  if (focus) tab.focus();
  const id = tab.getAttribute("aria-controls");
  history.replaceState(null, "", `#${id}`);
  if (id === "contacts") loadContacts();
  if (id === "rules") loadRules();
  if (id === "requests") drawRequests();
  drawGauges();
}
for (const tab of tabs) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const at = tabs.indexOf(tab);
    const next = step ? tabs[(at + step + tabs.length) % tabs.length] : { Home: tabs[0], End: tabs.at(-1) }[event.key];
    if (next) { event.preventDefault(); choose(next, true); }
  });
}
document.addEventListener("keydown", (event) => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
    const search = visible("contacts") ? $("contact-search") : visible("requests") ? $("request-filter") : null;
    if (search) { event.preventDefault(); search.focus(); }
  }
  if (event.key === "Escape") {
    for (const id of ["request-detail", "contact-detail"]) if (visible(id) && !$(id).closest("section").hidden) closeDetail(id);
  }
});

function openDetail(id, title, ...content) {
  const panel = $(id);
  const close = el("button", { onclick: () => closeDetail(id) }, "Close");
  panel.replaceChildren(el("header", {}, el("h2", {}, ...title), close), ...content.filter((node) => node != null));
  panel.hidden = false;
  panel.focus();
}
let cameFrom = null;
function closeDetail(id) {
  $(id).hidden = true;
  for (const row of document.querySelectorAll(".chosen")) row.classList.remove("chosen");
  if (cameFrom && cameFrom.isConnected) cameFrom.focus();
}

// --- requests ----------------------------------------------------------------------------------------------------------
let kept = [];
let lost = 0;
let paused = false;
let chosen = 0;

function matches(request) {
  const status = $("request-status").value;
  if (status === "0" ? request.status != null : status && !String(request.status ?? "").startsWith(status)) return false;
  const words = $("request-filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return true;
  const text = `${request.vendor} ${request.method} ${request.path} ${pathText(request.path)} ${request.endpoint} ${request.status} ${request.fault}`.toLowerCase();
  return words.every((word) => text.includes(word));
}
function requestRow(request, fresh) {
  const open = el("button", { class: "open", "aria-label": `Open request ${request.number}` }, request.number);
  const row = el("tr", { class: (fresh ? "fresh " : "") + (request.number === chosen ? "chosen" : ""), "data-number": request.number, title: time(request.at) },
    el("td", { class: "number" }, open),
    el("td", {}, el("span", { class: "method" }, request.method), typed(pathText(request.path)), el("span", { class: "vendor" }, `${request.vendor} · ${time(request.at)}`)),
    el("td", { class: tone(request.status) }, request.status ?? "none"),
    el("td", { class: "wide" }, request.fault ? typed(request.fault) : ""),
    el("td", { class: "wide right" }, (request.duration * 1000).toFixed(1)));
  row.addEventListener("click", () => openRequest(request.number, row, open));
  return row;
}
function drawRequests() {
  const found = kept.filter(matches);
  const rows = $("request-rows");
  rows.replaceChildren(...found.slice(-SHOWN).reverse().map((request) => requestRow(request, false)));
  noteRequests(found.length);
}
function noteRequests(found) {
  const parts = [];
  if (!kept.length) parts.push("No requests yet. Give a client one of the base URLs above. Its requests appear here.");
  else if (!found) parts.push("No request matches the filter.");
  else if (found > SHOWN) parts.push(`Showing the newest ${SHOWN} of ${found}.`);
  if (lost) parts.push(`${lost} more arrived faster than this page could read; they are counted but not listed.`);
  $("request-note").textContent = parts.join(" ");
}
function addRequests(fresh, skipped) {
  lost += skipped;
  kept.push(...fresh);
  if (kept.length > KEPT) kept = kept.slice(-KEPT);
  if (paused || !visible("requests") || document.hidden) return;
  const rows = $("request-rows");
  rows.prepend(...fresh.filter(matches).reverse().map((request) => requestRow(request, true)));
  while (rows.childElementCount > SHOWN) rows.lastElementChild.remove();
  noteRequests(rows.childElementCount);
}
async function openRequest(number, row, opener) {
  const full = await act(() => api("GET", `requests/${number}`));
  if (!full) return;
  for (const other of document.querySelectorAll("#request-rows .chosen")) other.classList.remove("chosen");
  row.classList.add("chosen");
  chosen = number;
  cameFrom = opener;
  const command = el("pre", { tabindex: "0" }, full.curl);
  const copy = copyButton("Copy as curl", `request ${full.number}`, full.curl, command);
  openDetail("request-detail",
    [el("span", { class: "method" }, full.method), typed(full.path)],
    el("p", {}, el("strong", { class: tone(full.status) }, full.status ?? "no response"), ` · ${full.endpoint || "no such route"} · ${(full.duration * 1000).toFixed(1)} ms · ${time(full.at)}`,
      full.fault ? el("span", { class: "bad" }, ` · fault: ${full.fault}`) : null),
    el("h3", {}, "Request body"), block(full.body),
    el("h3", {}, full.status == null ? "Response body (not sent)" : "Response body"), block(full.answer),
    el("h3", {}, "Request headers"), fields(full.headers),
    el("h3", {}, "Response headers"), fields(full.answer_headers),
    el("h3", {}, "curl command"), copy, command);
}
$("request-filter").addEventListener("input", later(drawRequests, 80));
$("request-status").addEventListener("change", drawRequests);
$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").classList.toggle("on", paused);
  $("pause").textContent = paused ? "Resume" : "Pause";
  if (!paused) drawRequests();
});
$("clear-log").addEventListener("click", () => act(() => api("DELETE", "requests")));
document.addEventListener("visibilitychange", () => { if (!document.hidden && visible("requests") && !paused) drawRequests(); });

// --- contacts ----------------------------------------------------------------------------------------------------------
let contactLimit = 100;
let contactsSeen = -1;
let loading = false;
const first = (contact, names) => names.map((name) => contact[name]).find((value) => value != null && value !== "") ?? "";
async function loadContacts() {
  if (loading) { reloadContacts(); return; }
  loading = true;
  const vendor = $("contact-vendor").value;
  const query = new URLSearchParams({ search: $("contact-search").value, limit: contactLimit });
  if ($("contact-duplicates").checked) query.set("duplicates", "1");
  const page = await load(`contacts/${vendor}?${query}`);
  loading = false;
  if (!page || vendor !== $("contact-vendor").value) return;
  const focused = document.activeElement?.dataset?.contact;
  $("contact-rows").replaceChildren(...page.items.map((item) => contactRow(vendor, item)));
  if (focused) document.querySelector(`[data-contact="${CSS.escape(focused)}"]`)?.focus();
  $("contact-note").textContent = page.total
    ? `${page.items.length < page.total ? `${page.items.length} of ` : ""}${page.total} contact${page.total === 1 ? "" : "s"}`
    : "No contacts.";
  $("contact-more").hidden = page.items.length >= page.total || contactLimit >= 1000;
}
const reloadContacts = later(() => { if (visible("contacts")) loadContacts(); }, 500);
function contactRow(vendor, item) {
  const c = item.contact;
  const name = [first(c, ["firstName", "firstname"]), first(c, ["lastName", "lastname"])].filter(Boolean).join(" ");
  const open = el("button", { class: "open", "data-contact": item.id, "aria-label": `Open contact ${item.id}` }, item.id);
  const row = el("tr", {},
    el("td", { class: "id" }, open),
    el("td", {}, typed(name), item.duplicate ? el("span", { class: item.original ? "badge quiet" : "badge soft" }, item.original ? "has a duplicate" : "duplicate") : null),
    el("td", { class: "wide" }, typed(first(c, ["email"]))),
    el("td", { class: "wide" }, typed(first(c, ["phone", "phoneNumber", "phone_number"]))),
    el("td", { class: "wide" }, time(item.updated_at)));
  row.addEventListener("click", () => openContact(vendor, item.id, row, open));
  return row;
}
async function openContact(vendor, id, row, opener) {
  const full = await act(() => api("GET", `contacts/${vendor}/${encodeURIComponent(id)}`));
  if (!full) return;
  for (const other of document.querySelectorAll("#contact-rows .chosen")) other.classList.remove("chosen");
  row.classList.add("chosen");
  cameFrom = opener;
  const events = full.history.map((event) => el("li", {},
    el("strong", {}, typed(event.event)), ` · ${stamp(event.at)}`, event.request ? ` · request ${event.request}` : "",
    ...Object.entries(event.changes).map(([name, [before, after]]) => el("div", {}, typed(name), ": ", typed(JSON.stringify(before) ?? "not there"), " → ", typed(JSON.stringify(after) ?? "not there")))));
  openDetail("contact-detail", [typed(`${vendor} ${full.id}`)],
    el("h3", {}, "Fields"), fields(full.contact),
    full.lists.length ? el("h3", {}, "Lists") : null, full.lists.length ? typed(full.lists.join(", ")) : null,
    full.messages.length ? el("h3", {}, "Messages") : null, full.messages.length ? block(JSON.stringify(full.messages)) : null,
    el("h3", {}, "History"), el("ol", { class: "history" }, ...events));
}
$("contact-vendor").addEventListener("change", () => { contactLimit = 100; $("contact-detail").hidden = true; loadContacts(); });
$("contact-search").addEventListener("input", later(() => { contactLimit = 100; loadContacts(); }, 150));
$("contact-duplicates").addEventListener("change", loadContacts);
$("contact-more").addEventListener("click", () => { contactLimit = 1000; loadContacts(); });

// --- quotas, counters, clock ---------------------------------------------------------------------------------------------
let gauges = [];
let learned = null;
function drawGauges() {
  if (!visible("quotas")) return;
  if (learned) drawLearned($("learned"), learned, location.origin + (account === "default" ? "" : `/@${encodeURIComponent(account)}`));
  const shown = gauges.slice(0, 100);
  $("gauges").replaceChildren(...(shown.length ? shown.map((gauge) => {
    const label = `${gauge.vendor} · ${gauge.scope || "whole account"}`;
    return el("li", {}, typed(pathText(label)),
      el("meter", { min: 0, max: gauge.limit, low: gauge.limit * 0.2, high: gauge.limit * 0.5, optimum: gauge.limit, value: gauge.remaining, "aria-label": label }),
      el("div", { class: "note" }, `${gauge.remaining} of ${gauge.limit} left`, gauge.retry_after ? ` · refused for ${gauge.retry_after.toFixed(1)} s` : ""));
  }) : [el("li", { class: "empty" }, "No request has used a quota yet.")]));
}
function drawCounters(counters) {
  const sum = (numbers) => Object.values(numbers).reduce((a, b) => a + b, 0);
  const rows = [["Requests", counters.requests], ["Refused (429)", counters.refused, counters.refused], ["Peak in 1 s", counters.peak],
    ["In flight", `${counters.in_flight} (peak ${counters.in_flight_peak})`], ["Contacts", sum(counters.contacts)],
    ["Duplicates", sum(counters.duplicates), sum(counters.duplicates)]];
  $("counters").replaceChildren(...rows.map(([name, value, alarm]) => el("div", { class: alarm ? "alarm" : "" }, el("dt", {}, name), el("dd", {}, value))));
}
function drawClock(clock) {
  $("clock").textContent = `${stamp(clock.now)}${clock.frozen ? " (stopped)" : ""}`;
  $("freeze").classList.toggle("on", clock.frozen);
  $("freeze").textContent = clock.frozen ? "Start the clock" : "Stop the clock";
}
for (const button of document.querySelectorAll("[data-advance]")) {
  button.addEventListener("click", () => act(async () => drawClock(await api("POST", "clock", { advance: Number(button.dataset.advance) }))));
}
$("freeze").addEventListener("click", () => act(async () => drawClock(await api("POST", "clock", { frozen: !$("freeze").classList.contains("on") }))));
$("reset").addEventListener("click", () => {
  if (confirm(`Delete everything in the account ${account}?`)) act(() => api("POST", "reset"));
});

// --- faults --------------------------------------------------------------------------------------------------------------
const QUICK = [
  ["Server errors", "10% of the calls get 503", { kind: "status", status: 503, rate: 0.1 }],
  ["Lost responses", "10% of the calls are applied, then the connection is reset", { kind: "reset-after", rate: 0.1 }],
  ["Slow network", "every response takes about 0.3 s", { kind: "latency", seconds: 0.3, sigma: 0.5 }],
  ["Too many requests", "20% of the calls get 429 with Retry-After: 2", { kind: "status", status: 429, retry_after: 2, rate: 0.2 }],
  ["Broken connections", "10% of the connections are reset before the call is applied", { kind: "reset", rate: 0.1 }],
  ["Broken JSON", "5% of the responses are not JSON", { kind: "garbage", rate: 0.05 }],
];
let faults = [];
const same = (fault, wanted) => Object.keys(wanted).every((key) => fault[key] === wanted[key]) && Object.keys(fault).every((key) => key in wanted || ["number", "calls", "fired"].includes(key));
const whenText = (fault) => (fault.rate != null ? `${+(fault.rate * 100).toFixed(3)}% of the calls` : fault.first ? `the next ${fault.first - fault.calls}` : fault.nth ? `call number ${fault.nth}` : fault.every ? `every ${fault.every}th call` : "every call");
function faultText(fault) {
  const { number, calls, fired, kind, status, vendor, endpoint, rate, first: next, nth, every, ...rest } = fault;
  const options = Object.entries(rest).map(([name, value]) => `${name} ${value}`).join(", ");
  return `${kind}${status ? ` ${status}` : ""}${options ? ` (${options})` : ""}${vendor || endpoint ? ` at ${[vendor, endpoint].filter(Boolean).join(" ")}` : ""}`;
}
let faultsDrawn = "";
function drawFaults() {
  $("fault-count").hidden = !faults.length;
  $("fault-count").textContent = faults.length;
  const now = JSON.stringify(faults);
  if (now === faultsDrawn) return;
  faultsDrawn = now;
  for (const button of $("quick").querySelectorAll("button")) {
    const on = faults.some((fault) => same(fault, QUICK[button.dataset.quick][2]));
    button.setAttribute("aria-checked", on);
    button.textContent = on ? "On" : "Off";
  }
  $("clear-faults").hidden = !faults.length;
  // Rows are kept while they show the same fault, so that a button does not lose the focus.
  const list = $("fault-list");
  const old = new Map([...list.children].map((item) => [item.dataset.number, item]));
  list.replaceChildren(...(faults.length ? faults.map((fault) => {
    const item = old.get(String(fault.number)) || el("li", { "data-number": fault.number },
      el("span", {}, typed(faultText(fault)), el("small", {})),
      el("button", { "aria-label": `Remove ${faultText(fault)}`, onclick: () => act(() => api("DELETE", `faults/${fault.number}`).then(refreshFaults)) }, "Remove"));
    item.querySelector("small").textContent = `${whenText(fault)} · affected ${fault.fired} of ${fault.calls} calls`;
    return item;
  }) : [el("li", { class: "empty" }, "No active faults.")]));
}
async function refreshFaults() { faults = await api("GET", "faults"); drawFaults(); }
$("quick").append(...QUICK.map(([name, text], index) => el("li", {},
  el("span", { id: `quick-${index}` }, name, el("small", {}, text)),
  el("button", { role: "switch", "aria-checked": "false", "aria-labelledby": `quick-${index}`, "data-quick": index, onclick: () => act(async () => {
    const on = faults.find((fault) => same(fault, QUICK[index][2]));
    await (on ? api("DELETE", `faults/${on.number}`) : api("POST", "faults", QUICK[index][2]));
    await refreshFaults();
  }) }, "Off"))));
// Only the options of the chosen kind are shown and sent.
const NUMBERS = { rate: "Percent", first: "Number of calls", nth: "Number of the call", every: "n" };
let kinds = {};
function drawFaultForm() {
  const facts = kinds[$("fault-kind").value];
  if (!facts) return;
  $("fault-summary").textContent = `Effect: ${facts.summary}.`;
  $("fault-number").textContent = NUMBERS[$("fault-when").value];
  for (const label of $("fault-form").querySelectorAll("[data-option]")) {
    const taken = facts.options.includes(label.dataset.option);
    label.hidden = !taken;
    label.querySelector("input, select").disabled = !taken;
  }
  $("fault-form").elements.seconds.placeholder = facts.seconds ?? "";
  $("fault-form").elements.status.placeholder = $("fault-kind").value === "html" ? "502" : "500";
}
$("fault-kind").addEventListener("change", drawFaultForm);
$("fault-when").addEventListener("change", () => {
  const number = $("fault-form").elements.number;
  number.value = $("fault-when").value === "rate" ? 10 : 1;
  drawFaultForm();
});
$("fault-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const form = new FormData(event.target);   // without disabled fields
  const fault = { kind: form.get("kind") };
  const number = Number(form.get("number"));
  fault[form.get("when")] = form.get("when") === "rate" ? number / 100 : number;
  const [vendor, ...endpoint] = form.get("where").split(" ");
  if (vendor) fault.vendor = vendor;
  if (endpoint.length) fault.endpoint = endpoint.join(" ");
  for (const name of ["status", "seconds", "sigma", "retry_after"]) if (form.get(name)) fault[name] = Number(form.get(name));
  if (form.get("retry_after_form") === "date") fault.retry_after_form = "date";
  if (form.get("applied")) fault.applied = true;
  act(async () => { await api("POST", "faults", fault); await refreshFaults(); say("Fault added"); });
});
$("clear-faults").addEventListener("click", () => act(async () => { await api("DELETE", "faults"); await refreshFaults(); }));

// --- live ----------------------------------------------------------------------------------------------------------------
let generation = 0;
let rulesSeen = -1;
function receive(event) {
  const news = JSON.parse(event.data);
  if (generation && news.generation !== generation) { kept = []; lost = 0; drawRequests(); }
  generation = news.generation;
  if (news.requests.length || news.skipped) addRequests(news.requests, news.skipped);
  drawCounters(news.counters);
  gauges = news.quotas;
  learned = news.limiters;
  drawGauges();
  faults = news.faults;
  drawFaults();
  drawConnect(news.tokens);
  drawClock(news.clock);
  if (news.contacts_revision !== contactsSeen) { contactsSeen = news.contacts_revision; reloadContacts(); }
  if (news.switches_revision !== rulesSeen) {
    const again = rulesSeen >= 0 && visible("rules");
    rulesSeen = news.switches_revision;
    if (again) loadRules();
  }
}
// Base URLs and token, with copy buttons. A token that the user has set is not sent to the page.
let vendors = {};
let connectDrawn = "";
function drawConnect(tokens) {
  if (connectDrawn === JSON.stringify(tokens)) return;
  connectDrawn = JSON.stringify(tokens);
  const row = (title, text, note) => {
    const value = el("code", {}, text);
    return el("div", {}, el("dt", {}, title), el("dd", {}, value, note ?? copyButton("Copy", title, text, value)));
  };
  const well = Object.keys(tokens).filter((name) => tokens[name]);
  const own = Object.keys(tokens).filter((name) => !tokens[name]).map((name) => vendors[name].title);
  $("begin").replaceChildren(
    // Uses the address of this page, which may differ from the server's own.
    ...Object.values(vendors).map((vendor) => row(vendor.title, location.origin + new URL(vendor.base_url).pathname)),
    ...(well.length ? [row("Token", tokens[well[0]])] : []),
    ...(own.length ? [row(`Token of ${own.join(", ")}`, "set by you, not shown", "")] : []));
}
async function start() {
  const state = await act(() => api("GET", "state"));
  if (!state) { setTimeout(start, 2000); return; }
  $("account").replaceChildren(...state.accounts.map((name) => el("option", { selected: name === account }, name)));
  $("contact-vendor").replaceChildren(...Object.entries(state.vendors).map(([name, vendor]) => el("option", { value: name }, vendor.title)));
  vendors = state.vendors;
  drawConnect(state.tokens);
  kinds = state.fault_kinds;
  $("fault-kind").replaceChildren(...Object.keys(kinds).map((kind) => el("option", {}, kind)));
  drawFaultForm();
  $("rule-vendor").replaceChildren(el("option", { value: "" }, "all"), ...Object.entries(vendors).map(([name, vendor]) => el("option", { value: name }, vendor.title)));
  $("fault-where").replaceChildren(el("option", { value: "" }, "everywhere"),
    ...Object.entries(state.vendors).flatMap(([name, vendor]) => [el("option", { value: name }, `${vendor.title}: all endpoints`), ...vendor.endpoints.map((endpoint) => el("option", { value: `${name} ${endpoint}` }, `${vendor.title}: ${endpoint}`))]));
  const log = await load("requests?limit=300");
  kept = log ? log.requests : [];
  drawRequests();
  drawCounters(state.counters);
  const tab = $(`tab-${location.hash.slice(1)}`);
  if (tab) choose(tab);
  const source = new EventSource(`/_sandbox/events?account=${encodeURIComponent(account)}&since=${log ? log.finished : 0}`);
  source.onopen = () => { $("live").textContent = "live"; $("live").classList.add("on"); problem(""); };
  source.onerror = () => { $("live").textContent = "not connected, retrying…"; $("live").classList.remove("on"); };
  source.onmessage = receive;
}
$("connect").open = matchMedia("(min-width: 40rem)").matches;
// Elements that stick below the header need its height, which changes when the base URLs are collapsed.
const header = document.querySelector("header");
new ResizeObserver(() => document.documentElement.style.setProperty("--header", `${header.offsetHeight}px`)).observe(header);
$("account").addEventListener("change", () => { location.search = `?account=${encodeURIComponent($("account").value)}`; });
start();
