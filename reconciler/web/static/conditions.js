// The conditions of an environment, each with its reason, since when, and its message unless it
// was shown above.

import { h, keyed, say, set, text } from "./dom.js";
import { icon } from "./icons.js";
import { restamp, stamp } from "./times.js";
import * as words from "./words.js";

const GOOD = { Ready: "True", Reconciling: "False", Stalled: "False", HoldsIntact: "True" };
const NAMES = { HoldsIntact: "Holds intact" };
const SYMBOLS = { ok: "check", bad: "cross", busy: "turn", calm: "dot" };

/** The conditions of one environment. */
export function conditionList() {
  const list = h("ul.conditions");
  const none = h("p.muted", "Nothing is known yet.");
  return {
    node: h("section.card", h("h3", "Conditions"), list, none),
    update({ conditions }, told) {
      none.hidden = conditions.length > 0;
      const shown = conditions.map((condition) => {
        const message = told.has(condition.message) ? "" : inWords(condition);
        told.add(message);
        return { ...condition, message };
      });
      keyed(list, shown, (condition) => condition.type, conditionLine);
    },
  };
}

const inWords = ({ type, status, message }) =>
  type === "Reconciling" && status === "True" ? words.stage(message) : message;

function toneOf({ type, status }) {
  if (status === "Unknown") return "calm";
  if (type === "Reconciling") return status === "True" ? "busy" : "calm";
  return status === (GOOD[type] ?? "True") ? "ok" : "bad";
}

function conditionLine(first) {
  const symbol = h("span.symbol");
  const name = h("span.type", NAMES[first.type] ?? first.type);
  const reason = h("span.reason");
  const message = h("p.muted");
  const since = stamp(first.last_transition_time);
  return {
    node: h("li", h("p.row", h("span", symbol, name, h("span.unseen", ":"), " ", reason), since), message),
    update(condition) {
      const tone = toneOf(condition);
      if (symbol.dataset.tone !== tone) {
        symbol.dataset.tone = tone;
        set(symbol, "class", `symbol ${tone}`);
        symbol.replaceChildren(icon(SYMBOLS[tone]));
      }
      text(
        reason,
        `${condition.status === "Unknown" ? "unknown" : condition.status === "True" ? "yes" : "no"} · ${condition.reason}`,
      );
      say(message, condition.message);
      set(message, "hidden", !condition.message);
      restamp(since, condition.last_transition_time);
    },
  };
}
