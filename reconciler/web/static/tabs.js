// Which environment is shown: a tab for each where there are several, and its name in the
// address (#/studio), so that it can be linked to and survives a reload.

import { fill, h, keyed, set } from "./dom.js";
import { icon } from "./icons.js";
import * as words from "./words.js";

/** The name that the address asks for. */
export function asked() {
  try {
    return location.hash.startsWith("#/") ? decodeURIComponent(location.hash.slice(2)) : null;
  } catch {
    return null;
  }
}

/** Fills `nav` with links to the environments; none where there is but one. */
export function showTabs(nav, environments, selected) {
  set(nav, "hidden", environments.length < 2);
  keyed(nav, environments, (environment) => environment.name, tab);
  for (const [name, { node }] of nav.parts) set(node, "aria-current", name === selected ? "page" : null);
}

function tab({ name }) {
  const node = h("a", { href: `#/${encodeURIComponent(name)}`, title: name });
  return {
    node,
    update(environment) {
      const { label, tone, symbol } = words.phase(environment.phase);
      fill(node, environment.phase, () => [
        h("span", { class: `symbol ${tone}` }, icon(symbol)),
        h("span.name", name),
        h("span.unseen", ` (${label})`),
      ]);
    },
  };
}
