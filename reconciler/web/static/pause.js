// Pausing an environment, and resuming it.

import { request } from "./api.js";
import { confirm, note } from "./dialogs.js";
import { h, unique } from "./dom.js";
import { watchFix } from "./fix.js";

const HOUR = 3600;
const LENGTHS = [
  ["", "Until I resume"],
  [HOUR / 2, "30 minutes"],
  [HOUR, "1 hour"],
  [4 * HOUR, "4 hours"],
  [24 * HOUR, "1 day"],
  [168 * HOUR, "1 week"],
];

/** Asks why and for how long, and pauses. */
export async function pause(environment) {
  const [reason, length] = [unique("reason"), unique("length")];
  const answer = await confirm(`Pause “${environment.name}”?`, {
    body: [
      h("p", "Nothing is installed, upgraded or repaired until you resume. Drift is still shown."),
      h("label", { for: reason }, "Reason"),
      h("input", {
        id: reason,
        name: "reason",
        maxlength: "200",
        autocomplete: "off",
        placeholder: "Training run until tonight",
      }),
      h("label", { for: length }, "For how long"),
      h(
        "select",
        { id: length, name: "duration" },
        LENGTHS.map(([value, label]) => h("option", { value }, label)),
      ),
    ],
    label: "Pause",
    act: (form) => request(environment.name, "pause", asked(form)),
  });
  if (answer !== null) note(`“${environment.name}” is paused.`);
}

function asked(form) {
  const [reason, duration] = [form.get("reason").trim(), form.get("duration")];
  return { ...(reason && { reason }), ...(duration && { duration: Number(duration) }) };
}

/** Resumes after a confirmation, and follows the pass that this makes. */
export async function resume(page, environment) {
  const rolledBack = Boolean(environment.suspension?.revision);
  const id = await confirm(`Resume “${environment.name}”?`, {
    body: h(
      "p",
      rolledBack
        ? "The current project file is applied again, so what was rolled back may come back."
        : "A pass starts now, and then whenever something changes.",
    ),
    label: "Resume",
    act: () => request(environment.name, "resume"),
  });
  if (id !== null) await watchFix(page, environment, id);
}
