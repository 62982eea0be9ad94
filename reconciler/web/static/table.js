// The package table of one environment: filter, status filter, sortable columns. Rows are kept
// across updates, so that reading, focus and scroll position survive a pass.

import { button, h, keyed, say, set, text, unique } from "./dom.js";
import { icon } from "./icons.js";
import * as words from "./words.js";

const COLUMNS = [
  ["name", "Package"],
  ["installed", "Installed"],
  ["required", "Required"],
  ["status", "Status"],
];

const FILTERS = [
  ["all", "All packages", () => true],
  ["attention", "Needs attention", (row) => !row.ok],
  ["held", "Held", (row) => row.held],
  ["ok", "OK", (row) => row.ok],
  ["declared", "Declared by the project", (row) => !row.required_by],
  ["transitive", "Required by others", (row) => Boolean(row.required_by)],
];

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

const compare = {
  name: (a, b) => collator.compare(a.name, b.name),
  installed: (a, b) => collator.compare(a.installed ?? "", b.installed ?? ""),
  required: (a, b) => collator.compare(a.required ?? "", b.required ?? ""),
  status: (a, b) => words.status(a.status).rank - words.status(b.status).rank || collator.compare(a.name, b.name),
};

/** The table and its tools; `update(environment)` shows another state, `attention()` what drifted. */
export function packageTable() {
  const view = { rows: [], column: null, down: false };
  const title = unique("packages");
  const search = h("input", {
    type: "search",
    placeholder: "Filter by name",
    "aria-label": "Filter packages by name",
    spellcheck: "false",
    input: show,
  });
  const options = FILTERS.map(([value]) => h("option", { value }));
  const select = h("select", { "aria-label": "Filter packages by status", change: show }, options);
  const shown = h("p.shown", { role: "status" });
  const heads = COLUMNS.map(([key, label]) => head(key, label, () => sortBy(key)));
  const body = h("tbody", { role: "rowgroup" });
  const none = h("p.none", { hidden: true });
  const legend = h("p.legend");
  const table = h(
    "table.packages",
    { role: "table", "aria-labelledby": title },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads)),
    body,
  );
  const tools = h("div.tools", search, select, shown);
  const node = h("section.card.wide", h("h3", { id: title }, "ML Package Versions"), legend, tools, table, none);

  function sortBy(key) {
    if (view.column !== key) Object.assign(view, { column: key, down: false });
    else if (!view.down) view.down = true;
    else view.column = null;
    show();
  }

  function show() {
    const chosen = FILTERS.find(([value]) => value === select.value) ?? FILTERS[0];
    const wanted = search.value.trim().toLowerCase();
    const rows = [...view.rows];
    if (view.column) rows.sort((a, b) => compare[view.column](a, b) * (view.down ? -1 : 1));
    for (const row of rows) row.visible = chosen[2](row) && row.name.toLowerCase().includes(wanted);
    keyed(body, rows, (row) => row.name, tableRow);
    heads.forEach((cell, at) => mark(cell, COLUMNS[at][0] === view.column ? view.down : null));
    const matching = rows.filter((row) => row.visible).length;
    text(
      shown,
      matching === rows.length
        ? words.count(rows.length, "package")
        : `${matching} of ${words.count(rows.length, "package")}`,
    );
    set(none, "hidden", matching > 0);
    set(table, "hidden", matching === 0);
    text(none, rows.length === 0 ? "Nothing is declared or installed here yet." : "No package matches the filter.");
  }

  return {
    node,
    update(environment, told) {
      const reasons = new Map(environment.holds.map((hold) => [hold.name, words.because(hold)]));
      // A broken hold has a notice with the two ways to fix it.
      const explained = new Set(
        environment.holds.filter((hold) => !hold.intact && hold.message).map((hold) => hold.name),
      );
      view.rows = environment.packages.map((row) => ({
        ...row,
        held: words.isHeld(environment, row),
        because: reasons.get(row.name),
        said: messageOf(row, explained.has(row.name), told),
      }));
      FILTERS.forEach(([, label, matches], at) => text(options[at], `${label} (${view.rows.filter(matches).length})`));
      explain(legend, environment);
      show();
    },
    attention() {
      search.value = "";
      select.value = "attention";
      show();
      node.scrollIntoView({ block: "start" });
      select.focus({ preventScroll: true });
    },
  };
}

function head(key, label, sort) {
  return h(
    "th",
    { scope: "col", role: "columnheader", class: key, "aria-sort": "none" },
    button("", sort, label, icon("arrow")),
  );
}

function mark(cell, down) {
  set(cell, "aria-sort", down === null ? "none" : down ? "descending" : "ascending");
}

function explain(legend, environment) {
  const names = words.heldNames(environment);
  set(legend, "hidden", names.length === 0);
  const others = environment.holds.length - names.length;
  const more = others ? `, and ${words.count(others, "package")} that they need to run` : "";
  text(
    legend,
    names.length
      ? `Held: ${names.join(", ")}${more}. A held package is never installed, upgraded or removed by the service.`
      : "",
  );
}

function tableRow() {
  const name = h("span.package");
  const badge = h("span.badge", icon("lock"), "held");
  const origin = h("span.origin");
  const message = h("span.message");
  const installed = h("td", { role: "cell", class: "installed" });
  const required = h("td", { role: "cell", class: "required" });
  const state = h("td", { role: "cell", class: "status" });
  const title = h(
    "th",
    { scope: "row", role: "rowheader", class: "name" },
    h("span.line", name, badge),
    origin,
    message,
  );
  const node = h(
    "tr",
    { role: "row", animationend: () => node.classList.remove("changed") },
    title,
    installed,
    required,
    state,
  );
  let known;

  return {
    node,
    update(row) {
      set(node, "hidden", !row.visible);
      text(name, row.name);
      set(badge, "hidden", !row.held);
      text(origin, originOf(row));
      say(message, row.said);
      text(installed, row.installed ?? "Not installed");
      installed.classList.toggle("absent", row.installed === null);
      text(required, row.required || "any version");
      required.classList.toggle("any", !row.required);
      showStatus(state, row.held && row.status === "broken" ? "hold-broken" : row.status);
      if (known !== undefined && known !== row.installed) node.classList.add("changed");
      known = row.installed;
    },
  };
}

function originOf(row) {
  if (row.because) return row.because;
  return row.required_by ? `required by ${row.required_by}` : "";
}

/** The message, unless the other columns say it all; where a notice has it, the reason in a word. */
function messageOf({ status, message, installed }, explained, told) {
  if (!message || explained || ["held", "missing"].includes(status)) return "";
  if (message.startsWith(`${installed} is installed, `)) return "";
  return told.has(message) ? (/^[A-Z]\w+(?=: )/.exec(message)?.[0] ?? "") : message;
}

function showStatus(cell, status) {
  if (cell.dataset.status === status) return;
  cell.dataset.status = status;
  const { label, tone, symbol } = words.status(status);
  cell.replaceChildren(h("span", { class: `mark ${tone}` }, icon(symbol), label));
}
