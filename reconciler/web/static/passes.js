// How a pass is shown: what it changed (from → to), what failed and why, and all of one pass
// with uv's own words.

import { getPass } from "./api.js";
import { closing, inWords, note, open } from "./dialogs.js";
import { button, h, prose } from "./dom.js";
import { icon } from "./icons.js";
import { inFull, stamp } from "./times.js";
import * as words from "./words.js";

/** For lists within a dialog, which scrolls. */
export const REACHABLE = { tabindex: "0", "aria-label": "Failed" };

/** A list of changes, each "name from → to"; it may scroll, so it can be reached by keyboard. */
export function changeList(changes) {
  return h("ul.changes", { tabindex: "0", "aria-label": "Changes" }, changes.map(changeLine));
}

function changeLine(change) {
  const from = h("span.from", change.from ?? "not installed");
  const to = h("span.to", change.to ?? "removed");
  const versions = h("span.versions", from, h("span.to-sign", { role: "img", "aria-label": "to" }, "→"), to);
  return h("li", { class: change.action }, h("span.package", change.name), versions, h("span.action", change.action));
}

/** The requirements that failed, with the reason and what to do. */
export function failureList(failed, attributes) {
  return h(
    "ul.failures",
    { ...attributes },
    failed.map(({ name, requirement, reason, message }) =>
      h(
        "li",
        h("p", h("strong", name), " ", h("code", requirement), h("span.badge.bad", reason)),
        h("p.message", prose(message)),
      ),
    ),
  );
}

/** "3 changes, 1 failed" */
export function inBrief(pass) {
  const parts = [];
  if (pass.changes.length) parts.push(words.count(pass.changes.length, "change"));
  if (pass.failed.length) parts.push(`${pass.failed.length} failed`);
  return parts.join(", ");
}

/** The mark of a result, as a symbol and a word. */
export function resultMark(result) {
  const { label, tone, symbol } = words.result(result);
  return h("span", { class: `mark ${tone}` }, icon(symbol), label);
}

/** A text of a program, scrollable with the keyboard. */
export function logText(log, label) {
  return h("pre.log", { tabindex: "0", role: "region", "aria-label": label }, log);
}

/** Opens a dialog with everything about one pass. */
export async function showPass(id) {
  const { content, dialog } = open(`Pass ${id}`, {
    className: "large",
    body: h("p", "Loading…"),
    buttons: closing("Close"),
  });
  try {
    const pass = await getPass(id);
    if (!dialog.open) return;
    content.replaceChildren(...(pass ? detail(pass) : [h("p", "This pass is not in the history.")]));
  } catch (error) {
    content.replaceChildren(h("p.refusal", { role: "alert" }, prose(inWords(error))));
  }
}

function detail(pass) {
  const facts = h(
    "p.muted",
    `${words.trigger(pass.trigger)} · `,
    stamp(pass.started_at),
    ` (${inFull(pass.started_at)})`,
    pass.duration_seconds === null ? "" : ` · took ${words.seconds(pass.duration_seconds)}`,
    pass.generation === null ? "" : ` · generation ${pass.generation}`,
  );
  return [
    h("p", resultMark(pass.result), pass.message && [" ", prose(pass.message)]),
    facts,
    pass.changes.length > 0 && [h("h3", "Changes"), changeList(pass.changes)],
    pass.failed.length > 0 && [h("h3", "Failed"), failureList(pass.failed, REACHABLE)],
    pass.changes.length + pass.failed.length === 0 && h("p", "Nothing was changed."),
    h("div.row", h("h3", "Log"), pass.log && copyButton(pass.log)),
    logText(pass.log || "uv was not started in this pass.", "Log of this pass"),
    Object.keys(pass.phases).length > 0 &&
      h(
        "p.muted",
        "Time: ",
        Object.entries(pass.phases)
          .map(([name, took]) => `${name} ${words.seconds(took)}`)
          .join(" · "),
      ),
  ]
    .flat()
    .filter(Boolean);
}

function copyButton(log) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(log);
      note("Log copied.");
    } catch {
      note("The browser does not allow copying here; select the text instead.");
    }
  };
  return button("small", copy, "Copy log");
}
