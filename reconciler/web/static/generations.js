// The complete trees that were live once, and rolling back to one.

import { request } from "./api.js";
import { confirm } from "./dialogs.js";
import { button, fill, h, keyed, set } from "./dom.js";
import { stamp } from "./times.js";
import { watchPass } from "./watch.js";
import * as words from "./words.js";

/** The generations of an environment. */
export function generationList(page) {
  const list = h("ul.generations");
  const node = h("section.card", h("h3", "Generations"), list);
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
          "div.row",
          h(
            "div",
            h("p", h("strong", `Generation ${generation.number}`), generation.live && h("span.badge.ok", "live")),
            h("p.muted", generation.created_at ? about(generation) : "As it was before the first change"),
          ),
          !generation.live &&
            set(
              button("act small", () => rollBack(page, environment, generation), "Roll back…"),
              "aria-label",
              `Roll back to generation ${generation.number}`,
            ),
        ),
      );
    },
  };
}

function about({ created_at: created, packages, bytes_own: own }) {
  return [
    stamp(created),
    ` · ${words.count(packages, "package")}`,
    own === null ? "" : ` · ${words.bytes(own)} of its own`,
  ];
}

async function rollBack(page, environment, generation) {
  const id = await confirm(`Roll “${environment}” back to generation ${generation.number}?`, {
    body: [
      h("p", "All packages go back to what they were then, at once. The current ones are kept as a generation."),
      h("p", "The current project file is not applied again until it changes or you resume."),
    ],
    label: "Roll back",
    danger: true,
    act: () => request(environment, "rollback", { generation: generation.number, apply: true }),
  });
  if (id === null) return;
  const sum = (pass) =>
    pass.result === "failed"
      ? `❌ ${pass.message ?? "Rolling back failed; the log says why"}`
      : `✅ Generation ${generation.number} is live again`;
  await watchPass({ ...page, environment, id, title: `Rolling back to generation ${generation.number}...`, sum });
}
