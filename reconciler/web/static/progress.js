// What the events say of passes under way: per environment the packages with their step, the
// counts and uv's last lines. Only the newest pass of each environment is kept.

const LINES = 2000;

export class Progress {
  #store;
  #passes = new Map();
  #listeners = new Set();

  constructor(store) {
    this.#store = store;
    store.on("progress", (data) => this.#progressed(data));
    store.on("log", (data) => this.#logged(data));
  }

  /** Calls `listener(environment, pass)` with each change; returns what ends that. */
  on(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What is known of a pass; empty where nothing was heard. */
  of(environment, id) {
    const known = this.#passes.get(environment);
    return known && known.id === id
      ? known
      : { id, packages: new Map(), held: new Set(), done: 0, total: 0, lines: [], dropped: 0 };
  }

  #progressed({ environment, pass, package: name, step, done, total }) {
    const known = this.#open(environment, pass);
    // uv's plan may name a held package (as its stub); nothing is done to it, so it is not counted.
    const held = this.#store.environment(environment)?.holds.some((hold) => hold.name === name);
    if (held) known.held.add(name);
    else if (name) known.packages.set(name, step);
    known.total = Math.max(known.packages.size, total - known.held.size);
    known.done = Math.min(done, known.total);
    this.#tell(environment, known);
  }

  #logged({ environment, pass, line }) {
    const known = this.#open(environment, pass);
    known.lines.push(line);
    if (known.lines.length > LINES) {
      known.lines.shift();
      known.dropped += 1;
    }
    this.#tell(environment, known);
  }

  #open(environment, pass) {
    const id = pass ?? this.#store.environment(environment)?.current_pass?.id;
    const known = this.of(environment, id);
    this.#passes.set(environment, known);
    return known;
  }

  #tell(environment, known) {
    for (const listener of this.#listeners) listener(environment, known);
  }
}
