// The four facts that people look for first: GPU, Python, PyTorch, platform.

import { request } from "./api.js";
import { inWords, note } from "./dialogs.js";
import { button, fill, h, keyed, prose, set, text } from "./dom.js";
import { inFull } from "./times.js";

/** The facts of the environment `name`. */
export function factList(name) {
  const node = h("dl.facts");
  return {
    node,
    update(environment) {
      keyed(node, factsOf(environment), (fact) => fact.label, (first) => fact(first, name));
    },
  };
}

function factsOf(environment) {
  const { python, gpu, packages } = environment;
  const torch = gpu?.torch ?? packages.find((row) => row.name === "torch")?.installed;
  return [
    { label: "GPU Status", again: true, ...gpuWords(gpu) },
    { label: "Python Version", value: python.version ?? "Unknown", more: python.executable, path: true },
    { label: "PyTorch Version", value: torch ?? "Not installed", more: gpu?.backend ? `built for ${gpu.backend}` : "" },
    { label: "Platform", value: python.platform ?? "Unknown", more: "" },
  ];
}

function gpuWords(gpu) {
  if (!gpu) return { value: "Not checked yet", more: "" };
  const when = gpu.checked_at ? `Checked ${inFull(gpu.checked_at)}` : null;
  if (gpu.available)
    return { value: `✓ GPU Available${gpu.name ? ` (${gpu.name})` : ""}`, tone: "ok", more: "", title: when };
  return { value: "✗ No GPU available", tone: "warn", more: gpu.error ?? "", title: when };
}

async function checkAgain(name) {
  try {
    await request(name, "gpu");
    note("Checking the GPU again.");
  } catch (error) {
    note(inWords(error));
  }
}

/** A path breaks after a slash, not in the middle of a name. */
const breakable = (path) => path.split(/(?<=\/)/).flatMap((part) => [part, h("wbr")]);

function fact({ again }, name) {
  const label = h("dt");
  const value = h("dd.value");
  const more = h("dd.more");
  return {
    node: h("div", label, value, more, again && h("dd", button("link", () => checkAgain(name), "Check again"))),
    update(item) {
      text(label, item.label);
      text(value, item.value);
      set(value, "class", `value ${item.tone ?? ""}`);
      set(value, "title", item.title);
      fill(more, item.more, () => (item.path ? breakable(item.more) : prose(item.more)));
      set(more, "title", item.more || null);
    },
  };
}
