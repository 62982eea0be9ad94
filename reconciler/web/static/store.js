// Keeps the newest status, and says whether it is live. One loop: look, then wait for a reason
// to look again. An event is only such a reason, so a lost one costs time, never correctness.

import { getStatus } from "./api.js";

const LIVE_CHECK = 20_000;
const HIDDEN_CHECK = 30_000;
const LONG_POLL = 25;
const RETRIES = [1000, 1000, 2000, 3000, 5000];
const STREAM_RETRY = 5000;
const STREAM_OPENS_WITHIN = 3000;

export class Store {
  /** The newest status document, and when it came. */
  status = null;
  receivedAt = null;
  /** connecting, live (events), polling (no events) or gone (nobody answers). */
  connection = "connecting";

  #etag = null;
  #stream = null;
  #streamClosedAt = -Infinity;
  // When the stream began to try; Infinity while it is open.
  #streamStartedAt = 0;
  #waiting = null;
  #failures = 0;
  #wanted = false;
  #wake = null;
  #listeners = Object.fromEntries(
    ["status", "connection", "progress", "log", "event"].map((kind) => [kind, new Set()]),
  );

  /** Calls `listener` with each status, connection, progress, log or event; returns what ends that. */
  on(kind, listener) {
    this.#listeners[kind].add(listener);
    return () => this.#listeners[kind].delete(listener);
  }

  /** One environment of the newest status. */
  environment(name) {
    return this.status?.environments.find((environment) => environment.name === name);
  }

  /** Looks again now. */
  nudge() {
    this.#wanted = true;
    this.#waiting?.abort();
    this.#wake?.();
  }

  /** Runs for as long as the page is open. */
  async run() {
    document.addEventListener("visibilitychange", () => this.nudge());
    window.addEventListener("online", () => this.nudge());
    for (;;) {
      this.#wanted = false;
      await this.#look();
      await this.#rest();
    }
  }

  async #look() {
    const poll = this.connection === "polling" && this.status && !document.hidden;
    this.#waiting = poll ? new AbortController() : null;
    const wait = poll ? { seconds: LONG_POLL, since: this.status.generation, signal: this.#waiting.signal } : null;
    try {
      this.#received(await getStatus(this.#etag, wait));
    } catch (error) {
      if (this.#waiting?.signal.aborted) return;
      this.#lost(error);
    } finally {
      this.#waiting = null;
    }
  }

  #lost(error) {
    this.#failures += 1;
    this.#etag = null;
    this.#closeStream();
    this.#streamClosedAt = -Infinity;
    this.#connected("gone", error);
  }

  #received(answer) {
    this.#failures = 0;
    this.receivedAt = new Date();
    if (answer) {
      this.status = answer.status;
      this.#etag = answer.etag;
    }
    if (document.hidden) this.#closeStream();
    else this.#openStream();
    this.#connected(this.#streamState());
    if (answer) this.#emit("status", answer.status);
  }

  #streamState() {
    if (document.hidden || this.#stream?.readyState === EventSource.OPEN) return "live";
    const patient = performance.now() - this.#streamStartedAt < STREAM_OPENS_WITHIN;
    return this.#stream && patient ? "connecting" : "polling";
  }

  #rest() {
    if (this.#wanted) return null;
    const pause = this.#pause();
    if (pause === 0) return null;
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, pause);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #pause() {
    if (this.connection === "gone") return RETRIES[Math.min(this.#failures, RETRIES.length) - 1];
    if (document.hidden) return HIDDEN_CHECK;
    if (this.connection === "live") return LIVE_CHECK;
    return this.connection === "connecting" ? STREAM_OPENS_WITHIN : 0;
  }

  // A hidden page lets its stream go: a browser has six connections for one host.
  #closeStream() {
    this.#stream?.close();
    this.#stream = null;
  }

  #openStream() {
    if (this.#stream || performance.now() - this.#streamClosedAt < STREAM_RETRY) return;
    const stream = new EventSource("events");
    this.#stream = stream;
    this.#streamStartedAt = performance.now();
    stream.addEventListener("open", () => {
      this.#streamStartedAt = Infinity;
      this.nudge();
    });
    stream.addEventListener("error", () => this.#streamFailed(stream));
    for (const kind of ["status", "reset"]) stream.addEventListener(kind, () => this.nudge());
    for (const kind of ["progress", "log", "event"]) {
      stream.addEventListener(kind, (message) => this.#emit(kind, JSON.parse(message.data)));
    }
  }

  // The browser reconnects by itself, with Last-Event-ID, unless the answer was an error.
  #streamFailed(stream) {
    if (this.#stream !== stream) return;
    this.#streamStartedAt = Math.min(this.#streamStartedAt, performance.now());
    if (stream.readyState === EventSource.CLOSED) {
      this.#closeStream();
      this.#streamClosedAt = performance.now();
    }
    this.nudge();
  }

  #connected(state, error = null) {
    if (state === this.connection && state !== "gone") return;
    this.connection = state;
    this.#emit("connection", state, error);
  }

  #emit(kind, ...values) {
    for (const listener of this.#listeners[kind]) listener(...values);
  }
}
