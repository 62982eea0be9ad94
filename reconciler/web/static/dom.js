// Makes and updates elements. Everything that comes from the service becomes a text node or an
// attribute value here, never markup: nothing on this page parses any.

/**
 * An element: `h("p.muted", "text", child)`, or `h("a", {href: "x"}, "text")`. What follows the
 * first dot are its classes; attributes may be left out; a function becomes a listener.
 */
export function h(kind, first, ...rest) {
  const described = first?.constructor === Object;
  const [tag, ...classes] = kind.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  if (described) for (const [name, value] of Object.entries(first)) set(node, name, value);
  const children = described ? rest : [first, ...rest];
  node.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** A button that calls `act` when it is pressed: `button("link", act, "Show all")`. */
export const button = (classes, act, ...children) =>
  h("button", { type: "button", class: classes || null, click: act }, ...children);

/** Sets an attribute or a listener; false, null and undefined take an attribute away. */
export function set(node, name, value) {
  if (typeof value === "function") node.addEventListener(name, value);
  else if (value === false || value === null || value === undefined) node.removeAttribute(name);
  else {
    const wanted = value === true ? "" : String(value);
    if (node.getAttribute(name) !== wanted) node.setAttribute(name, wanted);
  }
  return node;
}

/** Writes text only where it differs, so that a selection or a screen reader is left in peace. */
export function text(node, value) {
  const wanted = value ?? "";
  if (node.textContent !== wanted) node.textContent = wanted;
  return node;
}

/**
 * A message of the service as nodes: what is in `backticks` becomes <code>, everything else text.
 * Where a line has an odd number of backticks nobody can tell the pairs, so it stays as it is.
 */
export function prose(message) {
  return String(message ?? "")
    .split(/(?<=\n)/)
    .flatMap((line) => {
      const parts = line.split("`");
      if (parts.length % 2 === 0) return [line];
      return parts.map((part, at) => (at % 2 === 0 ? part : part ? h("code", part) : "``"));
    })
    .filter((part) => part !== "");
}

/** As `text`, for a message of the service. */
export function say(node, message) {
  fill(node, message ?? "", () => prose(message));
}

/** Replaces the children, unless `signature` says that they would be the same. */
export function fill(parent, signature, build) {
  const wanted = JSON.stringify(signature);
  if (parent.signature === wanted) return;
  parent.signature = wanted;
  parent.replaceChildren(...[build()].flat(2).filter(Boolean));
}

/**
 * Keeps one child per item, in the items' order, reusing the node of the same key, so that
 * focus, selection and scroll position survive an update. `make(item)` returns {node, update(item)}.
 */
export function keyed(parent, items, keyOf, make) {
  const before = parent.parts ?? new Map();
  const after = new Map();
  for (const item of items) {
    let key = keyOf(item);
    while (after.has(key)) key += " again"; // a project may declare a package twice
    const part = before.get(key) ?? make(item);
    before.delete(key);
    part.update?.(item);
    after.set(key, part);
  }
  for (const part of before.values()) part.node.remove();
  let place = parent.firstChild;
  for (const { node } of after.values()) {
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
  }
  parent.parts = after;
}

let last = 0;

/** An id that no other element of the page has. */
export function unique(prefix) {
  last += 1;
  return `${prefix}-${last}`;
}
