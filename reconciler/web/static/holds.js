// The held packages: which are intact, and the two ways to fix one that is not.

import { requestHold } from "./api.js";
import { confirm } from "./dialogs.js";
import { button, fill, h, keyed, prose, set } from "./dom.js";
import { icon } from "./icons.js";
import { watchPass } from "./watch.js";

/** The holds of an environment. */
export function holdList() {
  const list = h("ul.holds");
  const none = h("p.muted", "No package is held here.");
  return {
    node: h("section.card", h("h3", "Held packages"), list, none),
    update(environment) {
      none.hidden = environment.holds.length > 0;
      const order = [...environment.holds].sort((a, b) => Number(a.intact) - Number(b.intact));
      keyed(list, order, (hold) => hold.name, holdLine);
    },
  };
}

function holdLine() {
  const node = h("li");
  return {
    node,
    update(hold) {
      node.className = hold.intact ? "" : "broken";
      fill(node, hold, () => [
        h(
          "p.row",
          h("span", icon("lock"), h("span.package", hold.name), " ", h("span.versions", hold.version ?? "")),
          h(
            "span",
            { class: `mark ${hold.intact ? "ok" : "bad"}` },
            icon(hold.intact ? "check" : "cross"),
            hold.intact ? "intact" : "broken",
          ),
        ),
        hold.pinned_by && h("p.muted", `pinned by ${hold.pinned_by}`),
      ]);
    },
  };
}

const whatIsWrong = ({ message, found, intact }) =>
  (message || (!intact && found)) && h("p", prose(message || `${found} was found.`));

/** A broken hold and the two ways to fix it. */
export function brokenHold(page, environment, hold) {
  const restore = button("act small", () => restoreHold(page, environment, hold), "Restore…");
  const accept = button("act small", () => acceptHold(page, environment, hold), "Accept…");
  set(restore, "aria-label", `Restore ${named(hold)}…`);
  set(accept, "aria-label", `Accept ${hold.name} as it is…`);
  return h(
    "li",
    h(
      "div",
      h("p", h("strong.package", hold.name), " ", h("span.versions", hold.version ?? "")),
      whatIsWrong(hold),
      !hold.vaulted && h("p.muted", "There is no copy of it, so it cannot be restored from here."),
    ),
    h("p.row.start", hold.vaulted && restore, accept),
  );
}

const named = (hold) => (hold.version ? `${hold.name} ${hold.version}` : hold.name);

async function restoreHold(page, environment, hold) {
  const id = await confirm(`Restore ${named(hold)}?`, {
    body: [
      h(
        "p",
        `The stored copy of ${named(hold)} is put back into “${environment}”, byte for byte, without the network.`,
      ),
      hold.found && h("p", `It replaces ${hold.found}, which is installed now.`),
    ],
    label: "Restore",
    danger: true,
    act: () => requestHold(environment, hold.name, "restore", { apply: true }),
  });
  if (id !== null) await follow(page, environment, id, `Restoring ${named(hold)}...`, `${named(hold)} is restored`);
}

async function acceptHold(page, environment, hold) {
  const found = hold.found ? `${hold.name} ${hold.found}` : `${hold.name} as it is now`;
  const id = await confirm(`Accept ${found}?`, {
    body: [
      h(
        "p",
        `From now on, what is installed in “${environment}” is held, and kept exactly as it is.`,
      ),
      h("p", `${named(hold)} is no longer held.`),
    ],
    label: "Accept",
    danger: true,
    act: () => requestHold(environment, hold.name, "accept"),
  });
  if (id !== null) await follow(page, environment, id, `Accepting ${found}...`, `${found} is now held`);
}

function follow(page, environment, id, title, done) {
  const sum = (pass) =>
    pass.result === "failed" ? `❌ ${pass.message ?? "This failed; the log says why"}` : `✅ ${done}`;
  return watchPass({ ...page, environment, id, title, sum });
}
