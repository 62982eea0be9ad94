// Follows one pass to its end in a modal: live steps per package, uv's output, then the result.
// It waits for the journal's record; events only make it look sooner.

import { getPass } from "./api.js";
import { closing, note, open } from "./dialogs.js";
import { button, h, keyed, say, set, text } from "./dom.js";
import { icon } from "./icons.js";
import { changeList, failureList, REACHABLE, showPass } from "./passes.js";
import * as words from "./words.js";

const LOOK = 2000;
const ANNOUNCE = 4000;

/**
 * Shows the pass `id` of `environment` until it is recorded. `title` stands while it runs,
 * `sum(pass)` gives the sentence for the result. Answers with the pass, or null if it was lost.
 */
export async function watchPass({ store, progress, environment, id, title, sum }) {
  const view = runningView();
  const leave = closing("Hide", "primary");
  const modal = open(title, { className: "medium watch", body: view.node, buttons: [leave] });
  const show = (name, known) => name === environment && known.id === id && view.update(known);
  const stop = progress.on(show);
  view.update(progress.of(environment, id));
  const lost = store.on("connection", (state) => view.connection(state));
  const stage = () => view.stage(store.environment(environment)?.conditions);
  const staged = store.on("status", stage);
  stage();
  const pass = await recorded(store, environment, id);
  stop();
  lost();
  staged();
  const sentence = pass
    ? sum(pass)
    : "The service was restarted during this pass. It checks everything again; the page shows what it finds.";
  if (!modal.dialog.open) {
    note(sentence);
    return pass;
  }
  text(leave, "Close");
  set(modal.dialog, "class", `${modal.dialog.className} over`);
  text(modal.heading, pass ? "Result" : "Interrupted");
  modal.content.replaceChildren(...result(pass, sentence));
  if (!modal.dialog.contains(document.activeElement)) leave.focus();
  if (pass) modal.foot.prepend(button("aside", () => showPass(id), "View detailed logs"));
  return pass;
}

async function recorded(store, environment, id) {
  const started = store.status.service.started_at;
  for (;;) {
    const pass = underWay(store, environment, id) ? null : await getPass(id).catch(() => null);
    if (pass?.result) return pass;
    const restarted = store.connection !== "gone" && store.status.service.started_at !== started;
    if (restarted) return null;
    await news(store, environment, id);
  }
}

/** Whether the pass is running, or waits for one that is. */
function underWay(store, name, id) {
  const { current_pass: current, last_pass: last } = store.environment(name) ?? {};
  return Boolean(current) && current.id <= id && !(last?.id >= id);
}

function news(store, name, id) {
  return new Promise((resolve) => {
    const ends = [store.on("status", look), store.on("event", hear)];
    const timer = setTimeout(done, LOOK);
    function look() {
      if (store.environment(name)?.last_pass?.id >= id) done();
    }
    function hear(event) {
      if (event.event === "pass.finished" && event.pass === id) done();
    }
    function done() {
      clearTimeout(timer);
      for (const end of ends) end();
      resolve();
    }
  });
}

function runningView() {
  const bar = h("progress", { "aria-label": "Progress" });
  const counted = h("p.counted", "Checking what needs to be done…");
  const stage = h("p.muted");
  const list = h("ul.steps", { tabindex: "0", "aria-label": "Packages" });
  const log = h("pre.log", { tabindex: "0", role: "region", "aria-label": "Live output" });
  const output = h("details", { toggle: () => writeLog() }, h("summary", "Live output"), log);
  const announced = h("p.unseen", { role: "status" });
  let known = { packages: new Map(), lines: [], dropped: 0, done: 0, total: 0 };
  let spoken = -Infinity;
  let drawing = false;

  function draw() {
    drawing = false;
    keyed(list, [...known.packages], ([name]) => name, stepLine);
    const active = [...known.packages].findLastIndex(([, step]) => step !== "planned");
    if (active >= 0 && !list.matches(":hover, :focus"))
      list.scrollTop = list.children[active].offsetTop - list.clientHeight / 2;
    if (known.total > 0) {
      bar.max = known.total;
      bar.value = known.done;
      text(counted, `${known.done} of ${words.count(known.total, "package")}`);
    }
    writeLog();
    if (known.total > 0 && performance.now() - spoken > ANNOUNCE) {
      spoken = performance.now();
      text(announced, counted.textContent);
    }
  }

  function writeLog() {
    if (!output.open) return;
    const follow = log.scrollHeight - log.scrollTop - log.clientHeight < 30;
    text(log, known.lines.join("\n"));
    if (follow) log.scrollTop = log.scrollHeight;
  }

  return {
    node: [bar, h("div.row", counted, stage), list, output, announced],
    stage(conditions = []) {
      const running = conditions.find(({ type, status }) => type === "Reconciling" && status === "True");
      text(stage, running && words.stage(running.message));
    },
    update(newest) {
      known = newest;
      if (drawing) return;
      drawing = true;
      setTimeout(draw, 60);
    },
    connection(state) {
      if (state === "gone") text(counted, "The service does not answer; waiting for it…");
      else draw();
    },
  };
}

function stepLine() {
  const symbol = h("span.symbol");
  const name = h("span.package");
  const label = h("span.step");
  const node = h("li", symbol, name, label);
  return {
    node,
    update([packageName, step]) {
      if (node.dataset.step === step) return;
      node.dataset.step = step;
      const { label: word, tone, symbol: shape } = words.step(step);
      text(name, packageName);
      text(label, word);
      set(node, "class", `mark ${tone}`);
      symbol.replaceChildren(icon(shape));
    },
  };
}

function result(pass, sentence) {
  const announced = h("p.sentence", { role: "status" });
  setTimeout(() => say(announced, sentence), 30);
  if (!pass) return [announced];
  const installed = pass.changes.filter((change) => change.action !== "remove").length;
  const counts = h(
    "dl.counts",
    h("div", h("dt", "Installed:"), h("dd", String(installed))),
    h("div", { class: pass.failed.length ? "bad" : "" }, h("dt", "Failed:"), h("dd", String(pass.failed.length))),
  );
  return [
    announced,
    counts,
    pass.failed.length > 0 && [h("h3", "Failed"), failureList(pass.failed, REACHABLE)],
    pass.changes.length > 0 && [h("h3", "Changes"), changeList(pass.changes)],
  ]
    .flat()
    .filter(Boolean);
}
