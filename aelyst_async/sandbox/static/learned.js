// The quotas that clients' rate limiters have learned, beside those that the sandbox enforces. There is one card for
// each client and bucket; cards are updated in place.

import { el, pathText, place, typed, write } from "./dom.js";

const CLOSE = 0.1;   // largest relative difference of a correct rate
const QUIET = 5;     // seconds without a report after which a client is called silent; an unchanged client reports every 3 s
const STATES = {
  learning: "learning: no window known yet", known: "window known", shared: "shared: others use the quota too",
  blind: "blind: no quota headers", paused: "paused after a 429",
};
const SOURCES = { user: "set by you", server: "from the server" };   // a window that was not learned
const COUNTED = { fixed: "fixed window", sliding: "sliding log", token: "token bucket" };
const clients = new Map();
let empty = null;

const whole = (value) => value.toLocaleString("en");
const number = (value) => (value >= 100 ? whole(Math.round(value)) : String(+value.toPrecision(3)));
const seconds = (value) => (value < 0.9995 ? `${number(value * 1000)} ms` : `${number(value)} s`);
const perSecond = (value) => (value >= 1 ? `${number(value)} per s` : `${number(value * 60)} per min`);
const near = (ours, theirs) => Math.max(ours / theirs, theirs / ours) <= 1 + CLOSE;

// Each: name, learned value, enforced value, formats of both, comparison (null: cannot be compared).
const both = (ours, theirs, agree) => (ours == null || theirs == null ? null : agree(ours, theirs));
const ROWS = [
  ["Limit", (b) => b.limit, (e) => e.limit, whole, whole, (ours, theirs) => ours === theirs],
  ["Window", (b) => b.window, (e) => e.window, (window, b) => [seconds(window), SOURCES[b.source]].filter(Boolean).join(", "), seconds, near],
  ["Rate", (b) => b.rate, (e) => e.rate, perSecond, perSecond, near],
  ["Remaining", (b) => b.remaining, (e) => e.remaining, (left) => `${whole(left)} last reported`, (left) => `${whole(left)} now`, () => null],
  ["Scope", (b) => b.scope || null, (e) => e.scope, String, (scope, e) => `${scope}, ${COUNTED[e.rule] ?? e.rule}`, (ours, theirs) => ours === theirs],
];
const DECISIVE = ["Limit", "Window", "Rate"];

function newCard() {
  const cells = ROWS.map(() => [el("td"), el("td")]);
  const card = { title: typed(""), path: el("span", { class: "typed path", dir: "auto" }), verdict: el("span"), why: typed(""), traffic: el("span"), pause: el("span"), cells };
  card.element = el("li", {},
    el("strong", {}, card.title), card.path, card.verdict,
    el("table", { class: "pairs" },
      el("thead", {}, el("tr", {}, el("td"), el("th", { scope: "col" }, "learned"), el("th", { scope: "col" }, "enforced"))),
      el("tbody", {}, ...ROWS.map(([name], at) => el("tr", {}, el("th", { scope: "row" }, name), ...cells[at])))),
    el("p", { class: "note" }, card.traffic, card.pause), el("p", { class: "note" }, card.why));
  return card;
}
// `perPath`: the limiter now uses one bucket for each path, so the endpoint's own bucket is outdated.
function drawCard(card, bucket, several, perPath) {
  const old = perPath && bucket.path == null;
  const enforced = bucket.enforced;
  const quota = enforced && enforced.limit != null;
  let differs = false, open = false;
  ROWS.forEach(([name, learned, actual, ourText, theirText, agree], at) => {
    const [ours, theirs] = [learned(bucket), quota ? actual(enforced) : null];
    const right = old ? null : both(ours, theirs, agree);
    differs ||= right === false;
    open ||= right === null && DECISIVE.includes(name);
    const [mine, its] = card.cells[at];
    write(mine, (ours == null ? "not known" : ourText(ours, bucket)) + (right === false ? " ≠" : ""), ours == null ? "unknown" : right === false ? "warn" : "");
    write(its, theirs != null ? theirText(theirs, enforced) : quota ? "several quotas" : "–", theirs == null ? "unknown" : "");
  });
  const [verdict, tone] = old ? ["outdated: each path has its own", ""] : !enforced ? ["no such endpoint here", ""] : !quota ? ["no quota here", ""]
    : differs ? ["differs", "warn"] : open ? ["still learning", ""] : ["correct", "good"];
  write(card.verdict, verdict, `verdict ${tone}`);
  write(card.title, `${bucket.vendor ? `${bucket.vendor} · ` : ""}${bucket.endpoint}${several ? ` · credential ${bucket.account || "none"}` : ""}`);
  write(card.path, bucket.path == null ? "" : pathText(bucket.path));
  card.path.hidden = bucket.path == null;
  write(card.traffic, [STATES[bucket.state] ?? bucket.state, `${whole(bucket.sent)} sent`, `${whole(bucket.refused)} refused`, `${whole(bucket.in_flight)} in flight`,
    `${whole(bucket.waiting)} waiting`, ""].join(" · ").replace(/^ · /, ""));
  write(card.pause, bucket.paused_for ? `paused for ${bucket.paused_for.toFixed(1)} s` : "not paused", bucket.paused_for ? "warn" : "");
  write(card.why, bucket.scope_reason ? `Why per ${old ? "path" : bucket.scope}: ${bucket.scope_reason}.` : "");
}
function newClient() {
  const client = { name: typed(""), state: el("span"), result: el("span", { class: "note" }), list: el("ul", { class: "gauges" }), note: el("p", { class: "note" }), cards: new Map(), ended: null };
  client.element = el("details", { class: "client" }, el("summary", {}, el("h3", {}, client.name, " ", client.state), client.result), client.list, client.note);
  return client;
}
// The verdicts of the buckets, for the summary of a collapsed run: "correct: 2, differs: 1".
function resultOf(cards) {
  const verdicts = new Map();
  for (const card of cards) verdicts.set(card.verdict.textContent, (verdicts.get(card.verdict.textContent) ?? 0) + 1);
  return [...verdicts].map(([verdict, count]) => `${verdict}: ${count}`).join(", ");
}
const ago = (silent) => (silent < 60 ? `${Math.floor(silent)} s` : `${Math.floor(silent / 60)} min`);
function drawClient(client, told) {
  write(client.name, told.name);
  // Collapsed once, when the run ends, because the user may open it again.
  if (client.ended !== told.ended) { client.ended = told.ended; client.element.open = !told.ended; }
  const [state, tone] = told.ended ? [`ended ${ago(told.silent)} ago`, ""]
    : told.silent > QUIET ? [`silent for ${ago(told.silent)}`, "warn"] : ["reports", "good"];
  write(client.state, state, tone);
  const credentials = new Map();
  const perPath = new Set();
  for (const bucket of told.buckets) {
    credentials.set(bucket.endpoint, (credentials.get(bucket.endpoint) ?? new Set()).add(bucket.account));
    if (bucket.path != null) perPath.add(`${bucket.account} ${bucket.endpoint}`);
  }
  const old = client.cards;
  client.cards = new Map();
  for (const bucket of told.buckets) {
    const key = JSON.stringify([bucket.account, bucket.endpoint, bucket.path]);
    const card = old.get(key) ?? newCard();
    client.cards.set(key, card);
    drawCard(card, bucket, credentials.get(bucket.endpoint).size > 1, perPath.has(`${bucket.account} ${bucket.endpoint}`));
  }
  place(client.list, [...client.cards.values()].map((card) => card.element));
  write(client.result, told.ended && told.buckets.length ? ` · ${resultOf(client.cards.values())}` : "");
  write(client.note, told.more ? `${whole(told.more)} more ${told.more === 1 ? "bucket" : "buckets"} not shown.` : told.buckets.length ? "" : "No request sent yet.");
  client.note.hidden = !client.note.textContent;
}

// `address`: the address of this account for clients.
export function drawLearned(root, told, address) {
  for (const id of clients.keys()) if (!told.some((one) => one.client === id)) clients.delete(id);
  for (const one of told) {
    if (!clients.has(one.client)) clients.set(one.client, newClient());
    drawClient(clients.get(one.client), one);
  }
  empty ??= el("p", { class: "empty" }, "No client reports yet. Use ",
    el("code", {}, `aelyst sync FILE --to sandbox${address === "http://127.0.0.1:8787" ? "" : ` --base-url ${address}`}`), " or, in your own code, ",
    el("code", {}, `async with report_limiter(gateway.limiter, ${JSON.stringify(address)})`), ", from ", el("code", {}, "aelyst_async.sandbox"), ".");
  place(root, told.length ? told.map((one) => clients.get(one.client).element) : [empty]);
}
