// The Fix Dependencies button: asks, starts a pass, shows it to its end.

import { request } from "./api.js";
import { confirm } from "./dialogs.js";
import { h, prose } from "./dom.js";
import * as lastGood from "./lastgood.js";
import { changeList } from "./passes.js";
import { watchPass } from "./watch.js";
import * as words from "./words.js";

/** Asks whether to fix `environment`, and follows the pass. */
export async function fix(page, environment) {
  const paused = environment.suspended;
  const id = await confirm("Install/update ML dependencies?", {
    body: question(environment),
    label: goLabel(environment),
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

function goLabel(environment) {
  if (lastGood.isApplied(environment)) return "Apply the last good state";
  return environment.suspended ? "Resume and install" : "Install/update";
}

/** Follows a pass that installs. */
export function watchFix(page, environment, id) {
  const held = words.heldWords(environment);
  return watchPass({
    ...page,
    environment: environment.name,
    id,
    title: `Installing dependencies${held ? ` (excluding ${held})` : ""}...`,
    sum: (pass) => sentence(pass, held, page.store.environment(environment.name) ?? environment),
  });
}

/** The result in the words of the guide; beside a broken file, also what was not applied. */
function sentence(pass, held, environment) {
  const preserved = held ? ` (${held} preserved)` : "";
  const installed = pass.changes.filter((change) => change.action !== "remove").length;
  if (pass.result === "failed") return `❌ ${pass.message ?? "The pass failed; its log says why"}${preserved}`;
  const behind = lastGood.isApplied(environment);
  const rest = behind ? `. ${lastGood.remaining(environment)}` : "";
  if (pass.failed.length > 0)
    return `⚠️ Installed/upgraded ${words.count(installed, "package")}, ${pass.failed.length} failed${preserved}${rest}`;
  const done =
    installed > 0
      ? `Successfully installed/upgraded all ${words.count(installed, "package")}`
      : `Nothing to install: everything is as ${behind ? "the last good state declares" : "declared"}`;
  return `${behind ? "⚠️" : "✅"} ${done}${preserved}${rest}`;
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
    lastGood.isApplied(environment) && lastGood.explanation(environment),
    mode === "observe" && !suspended && h("p", `“${environment.name}” is only observed. This changes it once.`),
    h("h3", many ? `${words.count(many, "package")} will change` : "Nothing will change"),
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
      environment.atomic && " Nothing changes until it is complete; then all changes go live together.",
    ),
  ];
}

/** How many packages would change, and which: the plan if there is one, else what drifted. */
function whatChanges({ planned = [], ...environment }) {
  if (planned.length) return [planned.length, changeList(planned)];
  const rows = words.drifted(environment);
  const none = "All requirements are satisfied. A pass checks them again and repairs what is damaged.";
  if (!rows.length) return [0, h("p.muted", none)];
  return [rows.length, h("ul.changes", { tabindex: "0", "aria-label": "Changes" }, rows.map(driftLine))];
}

function keptLine({ name, version, intact, found }) {
  const shown = intact ? (version ?? "") : `${found ?? "incomplete"}, broken`;
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
