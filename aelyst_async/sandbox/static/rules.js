// The tab Rules: what the sandbox assumes, which can be changed, and what the vendors' pages document.

import { $, act, api, load, say } from "./api.js";
import { el, place } from "./dom.js";

const ruleRows = new Map();
// Rows are updated in place, because drawing them again would discard the user's input.
function ruleRow(rule) {
  let row = ruleRows.get(rule.name);
  if (!row) {
    const set = ({ target: { value } }) => act(async () => { await api("PATCH", "switches", { [rule.name]: value }); say(`${rule.name} set to ${value}`); }).then(loadRules);
    let control = null;
    if (rule.free) control = el("input", { "aria-label": rule.name, title: `${rule.values[0]}; default: ${rule.default}`, onchange: set });
    else if (rule.values.length) {
      control = el("select", { "aria-label": rule.name, onchange: set },
        ...rule.values.map((value) => el("option", { value }, value + (value === rule.default ? " (default)" : ""))));
    }
    const page = rule.url ? el("a", { href: rule.url, target: "_blank", rel: "noopener noreferrer" }, rule.url.replace("https://", "")) : null;
    row = { control, element: el("div", { "data-rule": rule.name }, el("span", {}, el("code", {}, rule.name), ` ${rule.summary}`, el("small", {}, rule.source, page && " · ", page)), control) };
    ruleRows.set(rule.name, row);
  }
  if (row.control && row.control !== document.activeElement) row.control.value = rule.value;
  row.element.className = rule.value !== rule.default ? "changed" : "";
  return row.element;
}
let rules = [];
export async function loadRules() {
  const table = await load("switches");
  if (table) { rules = table; drawRules(); }
}
function drawRules() {
  const vendor = $("rule-vendor").value;
  const shown = rules.filter((rule) => (!vendor || rule.name.startsWith(`${vendor}.`)) && (!$("rule-changed").checked || rule.value !== rule.default));
  for (const basis of ["assumed", "documented"]) {
    const rows = shown.filter((rule) => rule.basis === basis).map(ruleRow);
    const list = $(basis);
    place(list, rows.length ? rows : [list.querySelector(".empty") ?? el("p", { class: "empty" }, "None.")]);
  }
  const changed = rules.filter((rule) => rule.value !== rule.default).length;
  $("rule-note").textContent = `${shown.length} of ${rules.length} rules shown · ${changed || "none"} changed`;
}
$("rule-vendor").addEventListener("change", drawRules);
$("rule-changed").addEventListener("change", drawRules);
