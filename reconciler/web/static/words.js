// What the API's closed sets are called on the page, and the tone (ok, warn, bad, busy, calm)
// and symbol that go with each. A value that is not listed is shown as it is.

const phases = {
  InSync: ["In sync", "ok", "check"],
  Drifted: ["Drifted", "warn", "alert"],
  Reconciling: ["Reconciling", "busy", "turn"],
  Degraded: ["Degraded", "warn", "alert"],
  Failed: ["Failed", "bad", "cross"],
  Paused: ["Paused", "calm", "pause"],
};

const statuses = {
  ok: ["OK", "ok", "check", 5],
  held: ["Held", "ok", "check", 4],
  missing: ["Missing", "bad", "cross", 1],
  mismatch: ["Other version", "bad", "cross", 2],
  broken: ["Files missing", "bad", "cross", 0],
  failed: ["Failed", "bad", "cross", 0],
  "hold-broken": ["Hold broken", "bad", "cross", 0],
  "held-missing": ["Held, not installed", "warn", "alert", 3],
  "held-mismatch": ["Held, differs", "warn", "alert", 3],
};

const results = {
  unchanged: ["Nothing to do", "calm", "check"],
  changed: ["Changed", "ok", "check"],
  partial: ["Partly done", "warn", "alert"],
  failed: ["Failed", "bad", "cross"],
};

const triggers = {
  start: "service start",
  file: "file saved",
  environment: "environment changed",
  interval: "regular check",
  retry: "retry",
  manual: "requested",
  resume: "resumed",
  rollback: "rollback",
  restore: "hold restored",
  accept: "hold accepted",
  reload: "configuration reloaded",
};

const steps = {
  planned: ["planned", "calm", "circle"],
  building: ["building", "busy", "turn"],
  built: ["built", "busy", "check"],
  downloading: ["downloading", "busy", "down"],
  downloaded: ["downloaded", "busy", "down"],
  installed: ["installed", "ok", "check"],
  failed: ["failed", "bad", "cross"],
};

const stages = {
  create: "Creating the environment",
  plan: "Choosing versions",
  check: "Checking the copy",
  install: "Downloading and unpacking",
  verify: "Checking the new packages",
  exchange: "Making it live",
};

function entry(table, value, unknown) {
  const [label, tone, symbol, rank] = Object.hasOwn(table, value) ? table[value] : [String(value), "calm", unknown];
  return { label, tone, symbol, rank: rank ?? 9 };
}

export const phase = (value) => entry(phases, value, "dot");
export const status = (value) => entry(statuses, value, "dot");
export const result = (value) =>
  value ? entry(results, value, "dot") : { label: "Running", tone: "busy", symbol: "turn" };
export const step = (value) => entry(steps, value, "circle");
export const stage = (value) => (Object.hasOwn(stages, value) ? stages[value] : String(value));
export const trigger = (value) => (Object.hasOwn(triggers, value) ? triggers[value] : String(value));

/** "1 package", "3 packages". */
export const count = (number, word, many = `${word}s`) => `${number} ${number === 1 ? word : many}`;

/** "3.2 s", "2 min 5 s". */
export function seconds(value) {
  if (value === null || value === undefined) return "";
  if (value < 0.1) return `${Math.max(1, Math.round(value * 1000))} ms`;
  if (value < 60) return `${value.toFixed(1)} s`;
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}

/** "48 MB". */
export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let size = value;
  while (size >= 999.5 && unit < units.length - 1) [size, unit] = [size / 1000, unit + 1];
  return `${size < 10 && unit > 0 ? size.toFixed(1) : Math.round(size)} ${units[unit]}`;
}

const reasons = {
  pinned: "pinned by",
  compatible: "compatible with",
  linked: "loaded by",
  device: "GPU code of",
};

/** "pinned by torch": why a hold belongs to another one; "" where the configuration names it. */
export const because = ({ pinned_by: by, because: why }) =>
  by ? `${Object.hasOwn(reasons, why) ? reasons[why] : "held with"} ${by}` : "";

/** Whether a row is of a held package. */
export const isHeld = (environment, row) =>
  row.status.startsWith("held") || environment.holds.some((hold) => hold.name === row.name);

/** The packages that are not as declared and that a pass will fix: never a held one. */
export const drifted = (environment) => environment.packages.filter((row) => !row.ok && !isHeld(environment, row));

/** "pyproject.toml" of its whole path. */
export const baseName = (path) => path.slice(path.lastIndexOf("/") + 1);

/** "pyproject.toml:14:5", as far as the place is known. */
export const place = ({ line, column }, file) =>
  [file, line, column].filter((part) => part !== null && part !== undefined).join(":");

/** How many packages a pass would change: the plan if there is one, else what drifted. */
export function wouldChange(environment) {
  const many = environment.planned.length || drifted(environment).length;
  return many ? `${count(many, "package")} would change` : "nothing would change";
}

/** "9 of 10 requirements satisfied, 3 held"; "" where nothing is known of them. */
export function satisfied({ packages, holds }) {
  const declared = packages.filter((row) => !row.required_by);
  if (!declared.length) return "";
  const met = declared.filter((row) => row.ok).length;
  return `${met} of ${count(declared.length, "requirement")} satisfied, ${holds.length} held`;
}

/** The names that are held for their own sake, without what is held with them. */
export const heldNames = (environment) => environment.holds.filter((hold) => !hold.pinned_by).map((hold) => hold.name);

/** "torch/torchvision", shortened where many are held; "" where none is. */
export function heldWords(environment) {
  const names = heldNames(environment);
  const shown = names.slice(0, 4).join("/");
  return names.length > 4 ? `${shown} and ${names.length - 4} more` : shown;
}
