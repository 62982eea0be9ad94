// The Fix Dependencies button: asks, starts a pass, shows it to its end.

import { request } from "./api.js";
import { confirm } from "./dialogs.js";
import { h, prose } from "./dom.js";
import { changeList } from "./passes.js";
import { watchPass } from "./watch.js";
import * as words from "./words.js";

/** Asks whether to fix `environment`, and follows the pass. */
export async function fix(page, environment) {
  const paused = environment.suspended;
  const id = await confirm("Install/update ML dependencies?", {
    body: question(environment),
    label: paused ? "Resume and install" : "Install/update",
    className: "medium",
    act: () =>
      request(
        environment.name,
        paused ? "resume" : "reconcile",
        paused ? {} : { apply: environment.mode === "observe" },
      ),
  });
  if (id !== null) await watchFix(page, environment, id);
}

/** Follows a pass that installs. */
export function watchFix(page, environment, id) {
  const held = words.heldWords(environment);
  return watchPass({
    ...page,
    environment: environment.name,
    id,
    title: `Installing dependencies${held ? ` (excluding ${held})` : ""}...`,
    sum: (pass) => sentence(pass, held),
  });
}

/** The result in the words of the guide. */
export function sentence(pass, held) {
  const preserved = held ? ` (${held} preserved)` : "";
  const installed = pass.changes.filter((change) => change.action !== "remove").length;
  if (pass.result === "failed") return `❌ ${pass.message ?? "The pass failed; nothing was changed"}${preserved}`;
  if (pass.failed.length > 0)
    return `⚠️ Installed/upgraded ${words.count(installed, "package")}, ${pass.failed.length} failed${preserved}`;
  if (installed > 0) return `✅ Successfully installed/upgraded all ${words.count(installed, "package")}${preserved}`;
  return `✅ Nothing to install: everything is as declared${preserved}`;
}

function question(environment) {
  const { mode, suspended, suspension, holds, problem } = environment;
  const [many, list] = whatChanges(environment);
  return [
    suspended &&
      h(
        "p",
        `“${environment.name}” is paused: `,
        prose(suspension?.reason ?? "no reason was given"),
        ". It is resumed first.",
      ),
    problem && h("p", "The project file cannot be used now, so its last good state is applied."),
    mode === "observe" && !suspended && h("p", `“${environment.name}” is only observed. This once, it is changed.`),
    h("h3", many ? `${words.count(many, "package")} will change` : "Nothing has drifted"),
    list,
    holds.length > 0 && [
      h(
        "h3",
        `${words.count(holds.length, "package")} held: kept exactly as ${holds.length === 1 ? "it is" : "they are"}`,
      ),
      h("ul.kept", holds.map(keptLine)),
    ],
    h(
      "p.muted",
      "Installation may take several minutes.",
      environment.atomic && " Until it is over nothing changes; then the new packages are put in place all at once.",
    ),
  ];
}

/** How many packages would change, and which: as planned where there is a plan, else what drifted. */
function whatChanges({ planned = [], ...environment }) {
  if (planned.length) return [planned.length, changeList(planned)];
  const rows = words.drifted(environment);
  const none = "Everything declared is in place. A pass looks at all of it anew and repairs what is damaged.";
  if (!rows.length) return [0, h("p.muted", none)];
  return [rows.length, h("ul.changes", { tabindex: "0", "aria-label": "Changes" }, rows.map(driftLine))];
}

function keptLine({ name, version, intact, found }) {
  const shown = intact ? (version ?? "") : `${found ?? "not whole"}, broken`;
  return h("li", h("span.package", name), " ", h("span.versions", shown));
}

/** "pandas 1.5.3 → >=2.0.0" */
export function driftLine(row) {
  const from = row.status === "broken" ? `${row.installed}, files missing` : (row.installed ?? "Not installed");
  return h(
    "li",
    h("span.package", row.name),
    h(
      "span.versions",
      h("span.from", from),
      h("span.to-sign", { role: "img", "aria-label": "to" }, "→"),
      h("span.to", row.required || "any version"),
    ),
  );
}
