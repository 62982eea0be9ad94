// Starts the page: header, tabs and the chosen environment, redrawn from each new status.

import { note } from "./dialogs.js";
import { fill, h, keyed, set, text } from "./dom.js";
import { environmentView } from "./environment.js";
import { icon } from "./icons.js";
import { serviceBoard } from "./notices.js";
import { Progress } from "./progress.js";
import { Store } from "./store.js";
import { asked, showTabs } from "./tabs.js";
import { ofDay, stamp, tick } from "./times.js";
import * as words from "./words.js";

const store = new Store();
const page = { store, progress: new Progress(store) };
const at = (id) => document.getElementById(id);
const service = serviceBoard();
const none = h(
  "section.card.empty",
  h("h2", "No environment is configured"),
  h(
    "p",
    "Name one in the configuration file, under ",
    h("code", "[environments.NAME]"),
    ", and it appears here.",
  ),
);

function showStatus() {
  const { status } = store;
  if (!status) return;
  const { environments } = status;
  const chosen = environments.find(({ name }) => name === asked()) ?? environments[0];
  service.update(status);
  showTabs(at("tabs"), environments, chosen?.name);
  const shown = chosen ? [chosen] : [];
  keyed(
    views,
    shown,
    ({ name }) => name,
    ({ name }) => environmentView(page, name),
  );
  none.hidden = environments.length > 0;
  showService(status);
  showState();
}

function showService({ service: { version, uv, pid, started_at: started } }) {
  fill(at("about"), [version, uv, pid, started], () => [
    h("p", `Reconciler ${version} · uv ${uv ?? "not found"} · process ${pid} · started `, stamp(started)),
    h(
      "p",
      h("a", { href: "status" }, "Status"),
      h("a", { href: "history" }, "History"),
      h("a", { href: "metrics" }, "Metrics"),
      h("a", { href: "openapi.json" }, "API"),
    ),
  ]);
}

function showState() {
  const { connection, status } = store;
  const gone = connection === "gone";
  const { label, tone } = gone ? { label: lost(), tone: "gone" } : overall(status);
  set(at("top"), "class", `top ${tone}`);
  text(at("state"), label);
  const said = { connecting: "Connecting", live: "Live", polling: "Polling", gone: "Offline" }[connection];
  fill(at("connection"), connection, () => [icon("circle"), said]);
  set(at("connection"), "class", `connection ${connection}`);
  document.body.classList.toggle("gone", gone);
  for (const button of document.querySelectorAll(".act"))
    set(button, "aria-disabled", gone || button.dataset.blocked ? "true" : null);
  document.title = status ? `${label} — Reconciler` : "Reconciler";
}

function lost() {
  if (!store.receivedAt) return "Service unreachable — retrying";
  return `Service unreachable — showing the state of ${ofDay(store.receivedAt)}; retrying`;
}

function overall(status) {
  if (!status) return { label: "Connecting to the service…", tone: "calm" };
  const phases = status.environments.map(({ phase }) => phase);
  if (!phases.length) return { label: "No environment is configured", tone: "calm" };
  const worst =
    ["Failed", "Degraded", "Drifted", "Reconciling", "Paused"].find((phase) => phases.includes(phase)) ?? phases[0];
  const { label, tone } = words.phase(worst);
  if (phases.length === 1) return { label, tone };
  const like = phases.filter((phase) => phase === worst).length;
  return {
    label:
      like === phases.length
        ? `All ${like} ${label.toLowerCase()}`
        : `${like} of ${phases.length} ${label.toLowerCase()}`,
    tone,
  };
}

const views = h("div.views");
at("main").append(service.node, views, none);
none.hidden = true;

document.addEventListener(
  "click",
  (event) => {
    const button = event.target.closest?.('.act[aria-disabled="true"]');
    if (!button) return;
    event.preventDefault();
    event.stopPropagation();
    note(
      store.connection === "gone"
        ? "The service is unreachable; this works again when it is back."
        : button.dataset.blocked,
    );
  },
  { capture: true },
);

window.addEventListener("hashchange", () => {
  if (location.hash === "#main") return;
  showStatus();
  at("main").focus({ preventScroll: true });
});

store.on("status", showStatus);
store.on("connection", showState);
tick();
store.run();
