// Shared by all views: the control API, the error line, and copy buttons.

import { el } from "./dom.js";

export const account = new URLSearchParams(location.search).get("account") || "default";
export const $ = (id) => document.getElementById(id);

export function problem(text) {
  $("problem").hidden = !text;
  $("problem").textContent = text || "";
}
export function say(text) { $("said").textContent = text; }

export async function api(method, path, body) {
  const url = new URL(`/_sandbox/${path}`, location.origin);
  url.searchParams.set("account", account);
  let answer;
  try {
    answer = await fetch(url, { method, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Error("The sandbox does not answer. Is it still running?");
  }
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.message || `${method} ${path}: ${answer.status}`);
  return value;
}
// Run the action of a control and show its error. The error stays until the next action of the user succeeds.
export async function act(work) {
  try { const value = await work(); problem(""); return value; } catch (error) { problem(error.message); return undefined; }
}
export async function load(path) {
  try { return await api("GET", path); } catch (error) { problem(error.message); return undefined; }
}
// A button that copies `text`. If the browser does not permit this, `node` is selected instead.
export function copyButton(label, name, text, node) {
  const button = el("button", { class: "copy", "aria-label": `${label}: ${name}`, onclick: async () => {
    try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; say(`Copied: ${name}`); }
    catch { getSelection().selectAllChildren(node); say("Selected; copy it with the keyboard"); }
    setTimeout(() => { button.textContent = label; }, 1500);
  } }, label);
  return button;
}
export function later(work, delay) {
  let timer = 0;
  return () => { clearTimeout(timer); timer = setTimeout(work, delay); };
}
