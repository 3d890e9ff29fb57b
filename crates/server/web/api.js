/** The server's API, as this page uses it. */

import { events } from "./sse.js";
import { readKey } from "./settings_store.js";

/** What the server, or the way to it, had against a request. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {{status?: number, code?: string | null, retryAfterMs?: number | null}} [of]
   */
  constructor(message, { status = 0, code = null, retryAfterMs = null } = {}) {
    super(message);
    /** 0 if there was no answer at all. */
    this.status = status;
    this.code = code;
    /** How long the server asks to be left alone, if it wants to be asked again. */
    this.retryAfterMs = retryAfterMs;
  }

  get needsKey() {
    return this.status === 401;
  }

  get isBusy() {
    return this.status === 429 || this.status === 503;
  }
}

/** The models: their names, contexts, and whether they think. */
export async function models(signal) {
  return (await json("/v1/models", signal)).data;
}

/** What the engine does now. */
export async function live(signal) {
  return json("/v1/live", signal);
}

async function json(path, signal) {
  const response = await request(path, { signal });
  return response.json();
}

/**
 * The chunks of an answer, as they come. Ends when the server says that the answer is whole.
 *
 * @param {object} body
 * @param {AbortSignal} signal
 */
export async function* chat(body, signal) {
  const response = await request("/v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  try {
    for await (const data of events(response.body)) {
      if (data === "[DONE]") {
        return;
      }
      const chunk = JSON.parse(data);
      if (chunk.error) {
        throw new ApiError(chunk.error.message, { status: response.status });
      }
      yield chunk;
    }
  } catch (error) {
    throw signal.aborted || error instanceof ApiError ? error : lost();
  }
  throw lost();
}

function lost() {
  return new ApiError("The connection was lost before the answer was whole.");
}

async function request(path, options) {
  const key = readKey();
  const headers = { ...options.headers, ...(key ? { authorization: `Bearer ${key}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers, credentials: "omit", redirect: "error" });
  } catch (error) {
    if (options.signal?.aborted) {
      throw error;
    }
    throw new ApiError("The server cannot be reached.");
  }
  if (!response.ok) {
    throw await fault(response);
  }
  return response;
}

async function fault(response) {
  const { status } = response;
  const body = await response.json().catch(() => ({}));
  const message = body?.error?.message ?? `The server answered ${status}.`;
  return new ApiError(message, {
    status,
    code: body?.error?.code ?? null,
    retryAfterMs: retryAfterMs(response.headers),
  });
}

function retryAfterMs(headers) {
  const exact = Number.parseFloat(headers.get("retry-after-ms") ?? "");
  if (exact >= 0) {
    return exact;
  }
  const seconds = Number.parseFloat(headers.get("retry-after") ?? "");
  return seconds >= 0 ? seconds * 1000 : null;
}
