// Creates elements. Data is inserted only as text; see inspector.js.

export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null).map((child) => (child instanceof Node ? child : String(child))));
  return node;
}
export const typed = (text) => el("span", { class: "typed", dir: "auto" }, text);
export const pathText = (path) => { try { return decodeURIComponent(path); } catch { return path; } };

// Unchanged nodes are not replaced, so that a redraw keeps the selection and the scroll position.
export function write(node, text, name = node.className) {
  if (node.textContent !== String(text)) node.textContent = text;
  if (node.className !== name) node.className = name;
}
export function place(parent, nodes) {
  if (nodes.length !== parent.childNodes.length || nodes.some((node, at) => parent.childNodes[at] !== node)) parent.replaceChildren(...nodes);
}
