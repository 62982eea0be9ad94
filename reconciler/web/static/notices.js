// What needs a person's eye, above the table: a file that cannot be used (with its line), a pause,
// what drifted, what failed, what a hold holds back, warnings.

import { button, fill, h, keyed, prose } from "./dom.js";
import { driftLine } from "./fix.js";
import { brokenHold } from "./holds.js";
import { icon } from "./icons.js";
import { failureList } from "./passes.js";
import { inFull, stamp } from "./times.js";
import * as words from "./words.js";

const SYMBOLS = { bad: "cross", warn: "alert", calm: "dot" };
const MOST = 6;

/** The notices of an environment. `actions` are {resume, attention}. */
export function noticeBoard(page, actions) {
  const node = h("div.notices");
  return {
    node,
    update: (environment) => show(node, noticesOf(page, environment, actions)),
  };
}

/** The notices about the service itself. */
export function serviceBoard() {
  const node = h("div.notices");
  return {
    node,
    update(status) {
      const problem = status.service.config_problem;
      show(
        node,
        problem
          ? [problemNotice("config", "The configuration cannot be used; the running one stays in force", problem)]
          : [],
      );
    },
  };
}

function show(node, notices) {
  keyed(
    node,
    notices,
    (notice) => notice.key,
    (first) => {
      const part = h("section", { class: `notice ${first.tone} ${first.key}` });
      return {
        node: part,
        update(notice) {
          fill(part, notice.data, () => [
            h("h3", icon(notice.symbol ?? SYMBOLS[notice.tone]), notice.title),
            ...[notice.body()].flat(2).filter(Boolean),
          ]);
        },
      };
    },
  );
}

function noticesOf(page, environment, actions) {
  const list = [];
  if (environment.problem)
    list.push(
      problemNotice(
        "problem",
        "The project file cannot be used; the last good state stays in force",
        environment.problem,
      ),
    );
  if (environment.suspended) list.push(pauseNotice(environment, actions));
  const broken = environment.holds.filter((hold) => !hold.intact);
  if (broken.length) list.push(holdNotice(page, environment.name, broken));
  const failed = environment.last_pass?.failed ?? [];
  if (failed.length)
    list.push({
      key: "failed",
      tone: "bad",
      title: `${words.count(failed.length, "package")} failed`,
      data: failed,
      body: () => failureList(failed),
    });
  else if (environment.last_pass?.result === "failed") list.push(failedPass(environment.last_pass));
  const rows = words.drifted(environment).filter((row) => row.status !== "failed");
  if (rows.length) list.push(driftNotice(rows, actions));
  if (environment.held_back.length) list.push(heldBackNotice(environment.held_back));
  if (environment.warnings.length) list.push(warningNotice(environment.warnings));
  if (!environment.atomic)
    list.push({
      key: "atomic",
      tone: "calm",
      title: "Changes here are not all-at-once",
      data: environment.atomic_reason,
      body: () => h("p", prose(environment.atomic_reason ?? "no reason was given")),
    });
  return list;
}

function problemNotice(key, title, problem) {
  const place = [problem.file, problem.line, problem.column]
    .filter((part) => part !== null && part !== undefined)
    .join(":");
  return {
    key,
    tone: "bad",
    title,
    data: problem,
    body: () => [
      h("p.place", h("code", place)),
      problem.text && sourceLine(problem),
      h("p", prose(problem.reason)),
      h("p.fix", h("strong", "What to do: "), prose(problem.mend)),
    ],
  };
}

function sourceLine({ line, column, text }) {
  const number = line === null ? "" : `${line} `;
  const shown = [h("span.number", { "aria-hidden": "true" }, `${number}│ `), text];
  if (column) {
    const indent = text.slice(0, column - 1).replace(/[^\t]/g, " ");
    shown.push(
      "\n",
      h("span.number", { "aria-hidden": "true" }, `${" ".repeat(number.length)}│ `),
      h("span.caret", { "aria-hidden": "true" }, `${indent}^`),
    );
  }
  return h(
    "pre.source",
    { tabindex: "0", role: "region", "aria-label": line === null ? "The line" : `Line ${line}` },
    shown,
  );
}

function pauseNotice(environment, actions) {
  const pause = environment.suspension;
  return {
    key: "paused",
    tone: "calm",
    symbol: "pause",
    title: pause?.revision
      ? "Rolled back, and left alone until the file changes or you resume"
      : "Paused: nothing is changed",
    data: pause,
    body: () => [
      pause &&
        h("p", prose(pause.reason), " · since ", stamp(pause.since), pause.until ? [" · until ", inFull(pause.until)] : ""),
      h("p", button("act", actions.resume, icon("play"), "Resume…")),
    ],
  };
}

function holdNotice(page, environment, broken) {
  return {
    key: "holds",
    tone: "bad",
    symbol: "lock",
    title: `${words.count(broken.length, "held package")} ${broken.length === 1 ? "is" : "are"} not what was recorded`,
    data: broken,
    body: () =>
      h(
        "ul.plain",
        broken.map((hold) => brokenHold(page, environment, hold)),
      ),
  };
}

function failedPass(pass) {
  return {
    key: "failed",
    tone: "bad",
    title: "The last pass failed; nothing was changed",
    data: [pass.id, pass.message],
    body: () => h("p", prose(pass.message ?? "Its log says why.")),
  };
}

function driftNotice(rows, actions) {
  return {
    key: "drift",
    tone: "warn",
    title: `${words.count(rows.length, "package")} drifted`,
    data: rows,
    body: () => [
      h("ul.changes", rows.slice(0, MOST).map(driftLine)),
      rows.length > MOST && h("p", button("link", actions.attention, `Show all ${rows.length} in the table`)),
    ],
  };
}

function heldBackNotice(heldBack) {
  const line = ({ name, chosen, newest, because, message }) =>
    h(
      "li",
      h(
        "p",
        h("strong.package", name),
        chosen ? ` stays at ${chosen}, though ${newest} is out: ` : ` ${newest} cannot be installed: `,
        h("code", because),
        " holds it back.",
      ),
      message && h("details", h("summary", "The reason in full"), h("p.muted", prose(message))),
    );
  return {
    key: "held-back",
    tone: "calm",
    symbol: "lock",
    title: `${words.count(heldBack.length, "package")} held back`,
    data: heldBack,
    body: () => h("ul.plain", heldBack.map(line)),
  };
}

function warningNotice(warnings) {
  return {
    key: "warnings",
    tone: "warn",
    title: words.count(warnings.length, "warning"),
    data: warnings,
    body: () =>
      h(
        "ul.plain",
        warnings.map((warning) => h("li", prose(warning))),
      ),
  };
}
