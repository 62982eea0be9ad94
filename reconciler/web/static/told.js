// Which messages stand on the page in full, so that the next place only points to them.

// Shorter ones may well be part of a sentence about something else.
const SENTENCE = 24;

/** The messages that have been shown, in the order of the places that show them. */
export class Told {
  #messages;

  constructor(messages = []) {
    this.#messages = messages.filter(Boolean);
  }

  /** Remembers messages that are shown in full. */
  add(...messages) {
    this.#messages.push(...messages.filter(Boolean));
  }

  /** Whether `message` was shown, or most of it. */
  has(message) {
    return this.#messages.some((known) => known === message || overlap(known, message ?? ""));
  }
}

function overlap(one, other) {
  const [short, long] = one.length < other.length ? [one, other] : [other, one];
  return short.length >= SENTENCE && long.includes(short);
}
