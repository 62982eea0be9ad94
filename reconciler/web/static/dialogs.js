// Modal <dialog>s: the browser keeps focus inside and gives it back, Escape closes. Also the
// short notes at the foot of the page.

import { useToken } from "./api.js";
import { button, h, say, set, unique } from "./dom.js";

/** Opens an empty modal with a heading; `buttons` go into its foot. It leaves the page when closed. */
export function open(title, { className = "", body = [], buttons = [] } = {}) {
  const id = unique("dialog");
  const heading = h("h2", { id, tabindex: "-1" }, title);
  const content = h("div.content", body);
  const foot = h("div.buttons", buttons);
  const dialog = h("dialog", { class: className, "aria-labelledby": id }, h("div.sheet", heading, content, foot));
  dialog.addEventListener("close", () => {
    dialog.remove();
    // The element that opened it may be gone; then the keyboard continues from the content.
    if (document.activeElement === document.body) document.getElementById("main").focus({ preventScroll: true });
  });
  document.body.append(dialog);
  dialog.showModal();
  foot.querySelector("button")?.focus();
  return { dialog, heading, content, foot };
}

/** A button that closes its dialog. */
export function closing(label, classes = "") {
  return button(classes, (event) => event.currentTarget.closest("dialog").close(), label);
}

/**
 * Asks before something is done. `act()` is awaited with the dialog open: a refusal is shown in
 * it, and it can be tried again. Returns what `act` returned, or null if it was cancelled.
 */
export function confirm(title, { body, label, act, danger = false, className = "" }) {
  return new Promise((resolve) => {
    let answer = null;
    const refusal = h("p.refusal", { role: "alert" });
    const cancel = closing("Cancel");
    const go = h("button", { type: "submit", class: danger ? "danger" : "primary" }, label);
    const token = tokenField();
    const form = h("form.content", { submit }, body, refusal, token.field);
    const { dialog, content, foot } = open(title, { className });
    content.replaceWith(form);
    form.append(foot);
    foot.append(cancel, go);
    (form.querySelector(":scope > input") ?? (danger ? cancel : go)).focus();
    dialog.addEventListener("close", () => resolve(answer));

    async function submit(event) {
      event.preventDefault();
      if (go.getAttribute("aria-disabled") === "true") return;
      go.setAttribute("aria-disabled", "true");
      say(refusal, "");
      token.use();
      try {
        answer = (await act(new FormData(form))) ?? true;
        dialog.close();
      } catch (error) {
        say(refusal, inWords(error));
        if (error.status === 401 || error.status === 403) set(token.field, "hidden", false);
        go.removeAttribute("aria-disabled");
      }
    }
  });
}

/** A field for a token, shown once one turns out to be needed. */
function tokenField() {
  const input = h("input", { type: "password", autocomplete: "off", id: unique("token") });
  const label = h("label", { for: input.id }, "Access token");
  return {
    field: h("div.field", { hidden: true }, label, input),
    use() {
      if (input.value) useToken(input.value.trim());
    },
  };
}

/** An error in words for people. */
export function inWords(error) {
  if (error.status === 403 || error.status === 401) return `Not allowed: ${error.message}`;
  return error.message;
}

let hiding = 0;

/** Says something short at the foot of the page. */
export function note(words) {
  const toast = document.getElementById("toast");
  say(toast, words);
  toast.classList.add("shown");
  clearTimeout(hiding);
  hiding = setTimeout(() => toast.classList.remove("shown"), 6000);
}
