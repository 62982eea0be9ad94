// One environment on the page: its head with the buttons, facts, notices, table and side lists.

import { conditionList } from "./conditions.js";
import { button, fill, h, prose, set, unique } from "./dom.js";
import { factList } from "./facts.js";
import { fix, watchFix } from "./fix.js";
import { generationList } from "./generations.js";
import { passHistory } from "./history.js";
import { holdList } from "./holds.js";
import { icon } from "./icons.js";
import * as lastGood from "./lastgood.js";
import { noticeBoard } from "./notices.js";
import { pause, resume } from "./pause.js";
import { packageTable } from "./table.js";
import { stamp } from "./times.js";
import { Told } from "./told.js";
import * as words from "./words.js";

/** The view of the environment `name`. `page` is {store, progress}. */
export function environmentView(page, name) {
  const current = () => page.store.environment(name);
  const table = packageTable();
  const board = noticeBoard(page, {
    resume: () => resume(page, current()),
    attention: () => table.attention(),
  });
  const head = headOf(page, name, current, (message) => board.reveal(message));
  const facts = factList(name);
  const side = [holdList(), conditionList(), generationList(page), passHistory(name)];
  // A message is shown in full by the first of these that has it; the others only point to it.
  const parts = [board, head, facts, table, ...side];
  const node = h(
    "section.environment",
    { "aria-label": name },
    head.node,
    facts.node,
    board.node,
    h(
      "div.columns",
      table.node,
      h(
        "div.side",
        side.map((part) => part.node),
      ),
    ),
  );
  return {
    node,
    update(environment) {
      const told = new Told();
      for (const part of parts) part.update(environment, told);
    },
  };
}

function headOf(page, name, current, reveal) {
  const pill = h("span.pill");
  const watch = button("link", () => watchFix(page, current(), current().current_pass.id), "Show progress");
  watch.hidden = true;
  const lead = h("p.lead");
  const about = h("p.muted");
  const halt = button("act", () => (current().suspended ? resume(page, current()) : pause(current())));
  const subtitle = unique("fix");
  const go = button(
    "act primary",
    () => fix(page, current()),
    icon("wrench"),
    "Fix Dependencies",
  );
  set(go, "aria-describedby", subtitle);
  const hint = h("p.hint", { id: subtitle });
  return {
    node: h(
      "div.head",
      h("div.who", h("div.title", h("h2", name), pill, watch), lead, about),
      h("div.actions", h("div.row", halt, go), hint),
    ),
    update(environment, told) {
      const { label, tone, symbol } = words.phase(environment.phase);
      set(pill, "class", `pill ${tone}`);
      fill(pill, environment.phase, () => [icon(symbol), label]);
      set(watch, "hidden", !environment.current_pass);
      showLead(lead, environment, told, reveal);
      fill(
        about,
        [environment.pyproject, environment.mode, environment.last_pass?.started_at, environment.next_check_at],
        () => aboutLine(environment),
      );
      set(go, "data-blocked", lastGood.missing(environment));
      const { problem, revision, packages, planned } = environment;
      fill(hint, problem && [problem, revision, packages, planned], () => outlook(environment));
      fill(halt, environment.suspended, () =>
        environment.suspended ? [icon("play"), "Resume…"] : [icon("pause"), "Pause…"],
      );
    },
  };
}

/** What Fix Dependencies would do now. */
function outlook(environment) {
  if (lastGood.isApplied(environment)) return lastGood.outlook(environment);
  return (
    lastGood.missing(environment) ??
    "This will install/update missing or outdated ML packages. Installation may take several minutes."
  );
}

/** Why the environment is as it is; where a notice says so, the reason in a word and the way there. */
function showLead(lead, environment, told, reveal) {
  const { reason, message } = environment.conditions.find(({ type }) => type === "Ready") ?? {};
  const elsewhere = told.has(message);
  const counted = elsewhere ? words.satisfied(environment) : "";
  fill(lead, [reason, message, elsewhere, counted], () =>
    elsewhere
      ? [button("link", () => reveal(message), `${reason}: show why`), counted && ` · ${counted}`]
      : prose(message),
  );
  told.add(message);
}

function aboutLine({ pyproject, mode, last_pass: last, next_check_at: next }) {
  return [
    h("code", pyproject),
    mode === "observe" && " · only observed",
    last && [" · last pass ", stamp(last.started_at)],
    next && [" · next check ", stamp(next)],
  ];
}
