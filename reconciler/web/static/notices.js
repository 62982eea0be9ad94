// What needs attention, above the table: a file that cannot be used (with its line), a pause,
// what drifted, what failed, what a hold holds back, warnings.

import { button, fill, h, keyed, prose } from "./dom.js";
import { driftLine } from "./fix.js";
import { brokenHold, grouped } from "./holds.js";
import { icon } from "./icons.js";
import { failureList } from "./passes.js";
import { inFull, stamp } from "./times.js";
import { Told } from "./told.js";
import * as words from "./words.js";

const SYMBOLS = { bad: "cross", warn: "alert", calm: "dot" };
const MOST = 6;

/** The notices of an environment. `actions` are {resume, attention}. */
export function noticeBoard(page, actions) {
  const node = h("div.notices");
  let notices = [];
  return {
    node,
    update(environment, told) {
      notices = noticesOf(page, environment, actions);
      show(node, notices);
      told.add(...notices.flatMap(({ says }) => says ?? []));
    },
    /** Goes to the notice that has this message. */
    reveal(message) {
      const { key } = notices.find(({ says = [] }) => new Told(says).has(message)) ?? {};
      const notice = node.parts.get(key)?.node;
      notice?.scrollIntoView({ block: "nearest" });
      notice?.focus({ preventScroll: true });
    },
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
          ? [problemNotice("config", "The configuration file cannot be used; the previous configuration stays in force", problem)]
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
      const part = h("section", { class: `notice ${first.tone} ${first.key}`, tabindex: "-1" });
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
        environment.revision === null
          ? "The project file cannot be used, and there is no last good state"
          : "The project file cannot be used; the last good state stays in force",
        environment.problem,
      ),
    );
  if (environment.suspended) list.push(pauseNotice(environment, actions));
  const broken = environment.holds.filter((hold) => !hold.intact);
  if (broken.length) list.push(holdNotice(page, environment.name, broken));
  const failed = failuresOf(environment);
  if (failed.length)
    list.push({
      key: "failed",
      tone: "bad",
      title: `${words.count(failed.length, "package")} failed`,
      data: failed,
      says: failed.map(({ message }) => message),
      body: () => failureList(failed),
    });
  const last = environment.last_pass;
  if (last?.result === "failed" && !problemSays(environment, last.message)) list.push(failedPass(last));
  const rows = words.drifted(environment).filter((row) => row.status !== "failed");
  if (rows.length) list.push(driftNotice(rows, actions));
  if (environment.held_back.length) list.push(heldBackNotice(environment.held_back));
  if (environment.warnings.length) list.push(warningNotice(environment.warnings));
  if (!environment.atomic)
    list.push({
      key: "atomic",
      tone: "calm",
      title: "Changes here are not made all at once",
      data: environment.atomic_reason,
      says: [environment.atomic_reason],
      body: () => h("p", prose(environment.atomic_reason ?? "no reason was given")),
    });
  return list;
}

/** What the last pass could not meet, and what an earlier one could not and still shows. */
function failuresOf({ packages, last_pass: last }) {
  const failed = last?.failed ?? [];
  const told = new Set(failed.map(({ name }) => name));
  const earlier = packages.filter(({ name, status }) => status === "failed" && !told.has(name));
  return [...failed, ...earlier.map(failureOf)];
}

/** The message of such a row begins with the reason. */
function failureOf({ name, required, required_by: by, message }) {
  const [, reason, said] = /^(\w+): ([^]*)$/.exec(message ?? "") ?? [null, "Failed", message];
  return { name, requirement: by ? required : `${name}${required ?? ""}`, reason, message: said };
}

/** Whether a pass failed because of the project's file, whose problem has a notice of its own. */
const problemSays = ({ problem }, message) => problem && new Told([problem.reason]).has(message);

function problemNotice(key, title, problem) {
  return {
    key,
    tone: "bad",
    title,
    data: problem,
    says: [problem.reason],
    body: () => [
      h("p.place", h("code", words.place(problem, problem.file))),
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
      ? "Rolled back: nothing is changed until the project file changes or you resume"
      : "Paused: nothing is changed",
    data: pause,
    says: [pause?.reason],
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
    title: `${words.count(broken.length, "held package")} ${broken.length === 1 ? "is" : "are"} broken`,
    data: broken,
    says: broken.map(({ message }) => message),
    body: () =>
      h(
        "ul.plain",
        grouped(broken).map((group) => brokenHold(page, environment, group)),
      ),
  };
}

function failedPass(pass) {
  return {
    key: "failed-pass",
    tone: "bad",
    title: "The last pass failed",
    data: [pass.id, pass.message],
    says: [pass.message],
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
      message && h("details", h("summary", "Full reason"), h("p.muted", prose(message))),
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
    says: warnings,
    body: () =>
      h(
        "ul.plain",
        warnings.map((warning) => h("li", prose(warning))),
      ),
  };
}
