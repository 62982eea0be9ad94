// The held packages: which are intact, and the two ways to fix one that is not.

import { requestHold } from "./api.js";
import { confirm } from "./dialogs.js";
import { button, fill, h, keyed, prose, set } from "./dom.js";
import { icon } from "./icons.js";
import { watchPass } from "./watch.js";
import { because, count } from "./words.js";

/** The holds of an environment: what is held because of another one is folded below that one. */
export function holdList() {
  const list = h("ul.holds");
  const none = h("p.muted", "No package is held here.");
  return {
    node: h("section.card", h("h3", "Held packages"), list, none),
    update(environment) {
      none.hidden = environment.holds.length > 0;
      const order = grouped(environment.holds).sort((a, b) => Number(isWhole(a)) - Number(isWhole(b)));
      keyed(list, order, ({ hold }) => hold.name, holdGroup);
    },
  };
}

/** Each hold that the configuration names as {hold, members}: what is held because of it. */
export function grouped(holds) {
  const known = new Map(holds.map((hold) => [hold.name, hold]));
  const groups = new Map();
  for (const hold of holds) {
    const root = rootOf(hold, known);
    if (!groups.has(root)) groups.set(root, []);
    if (root !== hold) groups.get(root).push(hold);
  }
  return [...groups].map(([hold, members]) => ({ hold, members }));
}

function rootOf(hold, known) {
  const seen = new Set();
  let root = hold;
  while (root.pinned_by && known.has(root.pinned_by) && !seen.has(root)) {
    seen.add(root);
    root = known.get(root.pinned_by);
  }
  return root;
}

const isWhole = ({ hold, members }) => hold.intact && members.every(({ intact }) => intact);

function holdGroup() {
  const head = h("div");
  const title = h("summary");
  const list = h("ul.members");
  const fold = h("details", title, list);
  const node = h("li", head, fold);
  return {
    node,
    update({ hold, members }) {
      fill(head, hold, () => [
        h("p.row", h("span", icon("lock"), ...label(hold)), mark(hold)),
        h("p.muted", [because(hold), copied(hold)].filter(Boolean).join(" · ")),
      ]);
      fold.hidden = members.length === 0;
      fill(title, members.map(({ intact }) => intact), () => summary(members));
      keyed(list, members, ({ name }) => name, memberLine);
    },
  };
}

function summary(members) {
  const broken = members.filter(({ intact }) => !intact).length;
  return [`${count(members.length, "package")} held with it`, broken > 0 && h("span.bad", ` · ${broken} broken`)];
}

function memberLine() {
  const node = h("li");
  return {
    node,
    update(hold) {
      fill(node, hold, () => [
        h("p.row", h("span", ...label(hold)), !hold.intact && mark(hold)),
        h("p.muted", [because(hold), copied(hold)].filter(Boolean).join(" · ")),
      ]);
    },
  };
}

const label = (hold) => [h("span.package", hold.name), " ", h("span.versions", hold.version ?? "")];

const mark = ({ intact, found }) =>
  h(
    "span",
    { class: `mark ${intact ? "ok" : "bad"}` },
    icon(intact ? "check" : "cross"),
    intact ? "intact" : found === null ? "missing" : "broken",
  );

const copied = ({ vaulted }) => (vaulted ? "copy in the vault" : "no copy");

const whatIsWrong = ({ message, found, intact }) =>
  (message || (!intact && found)) && h("p", prose(message || `${found} was found.`));

/** A broken hold and the ways to fix it; what is held because of it is folded below it. */
export function brokenHold(page, environment, { hold, members }) {
  return h(
    "li",
    h(
      "div",
      h("p", h("strong.package", hold.name), " ", h("span.versions", hold.version ?? "")),
      whatIsWrong(hold),
      !hold.vaulted && !hold.intact && h("p.muted", "There is no copy of it, so it cannot be restored from here."),
      members.length > 0 && brokenMembers(members),
    ),
    h("p.row.start", waysToFix(page, environment, hold)),
  );
}

function brokenMembers(members) {
  return h(
    "details",
    h("summary", `${count(members.length, "package")} held with it ${members.length === 1 ? "is" : "are"} broken, too`),
    h("ul.members", members.map((hold) => h("li", h("p", ...label(hold)), whatIsWrong(hold)))),
  );
}

/** What is not installed at all can only be restored: at once, since nothing is replaced. */
function waysToFix(page, environment, hold) {
  const gone = hold.found === null && !hold.intact;
  const restore = button(
    "act small",
    () => (gone ? bringBack(page, environment, hold) : restoreHold(page, environment, hold)),
    gone ? "Restore" : "Restore…",
  );
  const accept = button("act small", () => acceptHold(page, environment, hold), "Accept…");
  set(restore, "aria-label", `Restore ${named(hold)}${gone ? "" : "…"}`);
  set(accept, "aria-label", `Accept ${hold.name} as it is…`);
  return [hold.vaulted && restore, !gone && accept];
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

async function bringBack(page, environment, hold) {
  let id;
  try {
    id = await requestHold(environment, hold.name, "restore", { apply: true });
  } catch {
    return restoreHold(page, environment, hold); // its dialog says why, and takes a token
  }
  await follow(page, environment, id, `Restoring ${named(hold)}...`, `${named(hold)} is restored`);
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
