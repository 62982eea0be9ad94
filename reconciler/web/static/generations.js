// The complete trees that were live once, and going back to one.

import { request } from "./api.js";
import { confirm } from "./dialogs.js";
import { fill, h, keyed } from "./dom.js";
import { stamp } from "./times.js";
import { watchPass } from "./watch.js";
import * as words from "./words.js";

/** The generations of an environment. */
export function generationList(page) {
  const list = h("ul", { class: "generations" });
  const node = h("section", { class: "card" }, h("h3", {}, "Generations"), list);
  return {
    node,
    update(environment) {
      node.hidden = environment.generations.length === 0;
      const newestFirst = [...environment.generations].sort((a, b) => b.number - a.number);
      keyed(
        list,
        newestFirst,
        (generation) => generation.number,
        () => generationLine(page, environment.name),
      );
    },
  };
}

function generationLine(page, environment) {
  const node = h("li");
  return {
    node,
    update(generation) {
      fill(node, generation, () =>
        h(
          "div",
          { class: "row" },
          h(
            "div",
            {},
            h(
              "p",
              {},
              h("strong", {}, `Generation ${generation.number}`),
              generation.live && h("span", { class: "badge ok" }, "live"),
            ),
            h(
              "p",
              { class: "muted" },
              stamp(generation.created_at),
              ` · ${words.count(generation.packages, "package")}`,
              generation.bytes_own === null ? "" : ` · ${words.bytes(generation.bytes_own)} of its own`,
            ),
          ),
          !generation.live &&
            h(
              "button",
              {
                type: "button",
                class: "act small",
                "aria-label": `Roll back to generation ${generation.number}`,
                click: () => rollBack(page, environment, generation),
              },
              "Roll back…",
            ),
        ),
      );
    },
  };
}

async function rollBack(page, environment, generation) {
  const id = await confirm(`Roll “${environment}” back to generation ${generation.number}?`, {
    body: [
      h(
        "p",
        {},
        `The ${words.count(generation.packages, "package")} that were live then are put back, all at once. What is live now is kept as a generation.`,
      ),
      h("p", {}, "The project file as it stands now is not applied again until it changes or you resume."),
    ],
    label: "Roll back",
    danger: true,
    act: () => request(environment, "rollback", { generation: generation.number }),
  });
  if (id === null) return;
  const sum = (pass) =>
    pass.result === "failed"
      ? `❌ ${pass.message ?? "Rolling back failed; nothing was changed"}`
      : `✅ Generation ${generation.number} is live again`;
  await watchPass({ ...page, environment, id, title: `Rolling back to generation ${generation.number}...`, sum });
}
