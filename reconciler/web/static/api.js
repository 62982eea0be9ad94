// Speaks HTTP with the service. Addresses are relative to the page, so that it also works
// behind a proxy that gives it a path of its own. A GET never changes anything.

const PATIENCE = 10_000;

/** An answer that is not a success, in words for people. `status` is 0 if nobody answered. */
export class ApiError extends Error {
  constructor(status, title, { detail, reason } = {}) {
    super(detail || title);
    this.name = "ApiError";
    this.status = status;
    this.reason = reason;
  }
}

async function problem(response) {
  const body = await response.json().catch(() => null);
  return new ApiError(response.status, body?.title || `The service answered with ${response.status}`, body ?? {});
}

async function ask(path, { signal, patience = PATIENCE, ...options } = {}) {
  const limits = [AbortSignal.timeout(patience), signal].filter(Boolean);
  let response;
  try {
    response = await fetch(path, { cache: "no-store", signal: AbortSignal.any(limits), ...options });
  } catch (error) {
    throw new ApiError(0, `The service does not answer. Is it running? (${error.message})`);
  }
  if (!response.ok && response.status !== 304) throw await problem(response);
  return response;
}

/** The status and its ETag; null if it still is the one of `etag`. Waits for news if asked to. */
export async function getStatus(etag, wait = null) {
  const query = wait ? `?wait=${wait.seconds}&since=${wait.since}` : "";
  const headers = etag ? { "If-None-Match": etag } : {};
  const patience = PATIENCE + (wait?.seconds ?? 0) * 1000;
  const response = await ask(`status${query}`, { headers, patience, signal: wait?.signal });
  if (response.status === 304) return null;
  return { status: await response.json(), etag: response.headers.get("ETag") };
}

/** Passes, the newest first. */
export async function getHistory(environment, limit, before = null) {
  const query = new URLSearchParams({ environment, limit });
  if (before !== null) query.set("before", before);
  const body = await (await ask(`history?${query}`)).json();
  return Array.isArray(body) ? body : body.passes;
}

/** One pass with its log; null if it is not recorded (yet). */
export async function getPass(id) {
  try {
    return await (await ask(`history/${id}`)).json();
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

let token = "";

/** Sends this bearer token with every request from now on; it is kept nowhere else. */
export function useToken(value) {
  token = value;
}

async function post(path, body) {
  const authorization = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...authorization },
    body: JSON.stringify(body ?? {}),
  });
  return (await response.json()).pass;
}

const at = (environment) => `environments/${encodeURIComponent(environment)}`;

/** Asks for something; answers with the id of the pass that does it. */
export const request = (environment, action, body) => post(`${at(environment)}/${action}`, body);

/** Restores or accepts a broken hold; answers with the id of the pass. */
export const requestHold = (environment, name, action, body) =>
  post(`${at(environment)}/holds/${encodeURIComponent(name)}/${action}`, body);
