// Past passes of an environment, the newest first, each opening with its changes and log.

import { getHistory } from "./api.js";
import { inWords } from "./dialogs.js";
import { button, fill, h, keyed, say, set, text } from "./dom.js";
import { inBrief, resultMark, showPass } from "./passes.js";
import { restamp, stamp } from "./times.js";
import * as words from "./words.js";

const PAGE = 6;

/** The history of the environment `name`; read again after each new pass. */
export function passHistory(name) {
  const list = h("ul.passes");
  const said = h("p.muted", "Loading…");
  const more = button("link", older, "Show older passes");
  more.hidden = true;
  let passes = [];
  let newest;

  async function older() {
    await read(passes.at(-1)?.id ?? null);
  }

  async function read(before) {
    try {
      const page = await getHistory(name, PAGE, before);
      const known = new Map(passes.map((pass) => [pass.id, pass]));
      for (const pass of page) known.set(pass.id, pass);
      passes = [...known.values()].sort((a, b) => b.id - a.id);
      if (before !== null || passes.length <= PAGE) set(more, "hidden", page.length < PAGE);
      say(said, passes.length ? "" : "There has been no pass yet.");
    } catch (error) {
      newest = undefined;
      say(said, inWords(error));
    }
    set(said, "hidden", said.textContent === "");
    keyed(list, passes, (pass) => pass.id, passLine);
  }

  return {
    node: h("section.card", h("h3", "History"), list, said, more),
    update(environment) {
      const id = environment.last_pass?.id ?? null;
      if (id === newest) return;
      newest = id;
      read(null);
    },
  };
}

function passLine(first) {
  const line = h("span.row");
  const when = stamp(first.started_at);
  const what = h("span.muted");
  const node = h(
    "li",
    button("", () => showPass(first.id), line, h("span.muted", when, what)),
  );
  return {
    node,
    update(pass) {
      restamp(when, pass.started_at);
      fill(line, [pass.result, pass.changes, pass.failed], () => [
        resultMark(pass.result),
        h("span.brief", inBrief(pass)),
      ]);
      text(what, ` · ${words.trigger(pass.trigger)} · pass ${pass.id}`);
    },
  };
}
