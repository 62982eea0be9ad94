// What Fix Dependencies does beside a file that cannot be used: it applies the last good state, or,
// where there never was one, nothing.

import { h } from "./dom.js";
import * as words from "./words.js";

/** Whether the last good state is what would be applied. */
export const isApplied = ({ problem, revision }) => Boolean(problem) && revision !== null;

/** Why there is nothing to apply; null where there is something. */
export function missing({ problem, revision }) {
  if (!problem || revision !== null) return null;
  const name = words.baseName(problem.file);
  return `There is no last good state of ${name} to apply. Fix the problem at ${words.place(problem, name)} first.`;
}

/** What the button does now, in short, for the text beside it. */
export function outlook(environment) {
  const { problem } = environment;
  const name = words.baseName(problem.file);
  return [
    "This applies the last good state (",
    about(environment),
    `): ${words.wouldChange(environment)}. `,
    edit(problem, name),
  ];
}

/** The same at length, for the question. */
export function explanation(environment) {
  const { problem } = environment;
  return [
    h("p", "The last good state is applied: ", about(environment), "."),
    h("p", edit(problem, problem.file), " The service reads it again as soon as it is saved."),
  ];
}

/** What to add to the result. */
export const remaining = ({ problem }) =>
  `${subject(problem)}\`${words.place(problem, words.baseName(problem.file))}\` was not applied.`;

function about({ revision, packages }) {
  const declared = packages.filter((row) => !row.required_by).length;
  const short = revision.replace(/^\w+:/, "").slice(0, 10);
  return ["revision ", h("code", { title: revision }, short), `, ${words.count(declared, "requirement")}`];
}

const subject = ({ line }) => (line === null ? "The broken file " : "The broken edit at ");

function edit(problem, file) {
  return [subject(problem), h("code", words.place(problem, file)), " is not applied until it is fixed."];
}
