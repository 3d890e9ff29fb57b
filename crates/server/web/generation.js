/** One answer, from asking to its end: streamed, stopped, or asked for again when it's crowded. */

import { ApiError, chat } from "./api.js";

/** How often a busy server is asked, and how long at most between. */
const TRIES_MAX = 6;
const WAIT_MS = 2000;
const WAIT_MS_MAX = 60_000;

/** @returns {import("./store.js").Variant} */
export function emptyVariant() {
  return {
    thinking: "", content: "", finish: null, error: null, usage: null,
    thinkingMs: null, firstMs: null, totalMs: null,
  };
}

export class Generation {
  /**
   * @param {object} body
   * @param {import("./store.js").Variant} variant filled while the answer comes
   * @param {{changed: () => void, waiting: (seconds: number) => void}} listener
   */
  constructor(body, variant, listener) {
    this.body = body;
    this.variant = variant;
    this.listener = listener;
    this.abort = new AbortController();
    /** Seconds until the server is asked again; null if it isn't waited for. */
    this.waitS = null;
  }

  stop() {
    this.abort.abort();
  }

  /** Runs to the end, whatever it is. Returns what went wrong, or null. */
  async run() {
    const { variant } = this;
    this.startMs = performance.now();
    try {
      await this.#ask();
      variant.finish ??= "stop";
      return null;
    } catch (error) {
      if (this.abort.signal.aborted) {
        variant.finish = "stopped";
        return null;
      }
      variant.finish = "error";
      variant.error = error instanceof ApiError ? error.message : `This page failed: ${error}`;
      return error;
    } finally {
      this.waitS = null;
      variant.totalMs = performance.now() - this.startMs;
      this.#thoughtUntilNow();
      this.listener.changed();
    }
  }

  async #ask() {
    for (let tries = 1; ; tries += 1) {
      try {
        this.startMs = performance.now();
        for await (const chunk of chat(this.body, this.abort.signal)) {
          this.#take(chunk);
          this.listener.changed();
        }
        return;
      } catch (error) {
        const { thinking, content } = this.variant;
        const begun = thinking !== "" || content !== "";
        if (!(error instanceof ApiError) || !error.isBusy || begun || tries === TRIES_MAX) {
          throw error;
        }
        await this.#wait(error.retryAfterMs ?? WAIT_MS * 2 ** (tries - 1));
      }
    }
  }

  #take({ choices, usage }) {
    const { variant } = this;
    const now = performance.now() - this.startMs;
    const choice = choices?.[0];
    const thought = choice?.delta?.reasoning_content ?? choice?.delta?.reasoning ?? "";
    const said = choice?.delta?.content ?? "";
    if (thought || said) {
      variant.firstMs ??= now;
    }
    variant.thinking += thought;
    if (said) {
      this.#thoughtUntilNow();
      variant.content += said;
    }
    variant.finish = choice?.finish_reason ?? variant.finish;
    variant.usage = usage ?? variant.usage;
  }

  #thoughtUntilNow() {
    const { variant } = this;
    if (variant.thinking) {
      variant.thinkingMs ??= performance.now() - this.startMs - (variant.firstMs ?? 0);
    }
  }

  async #wait(ms) {
    const end = performance.now() + Math.min(ms, WAIT_MS_MAX);
    for (let left = end - performance.now(); left > 0; left = end - performance.now()) {
      this.waitS = Math.ceil(left / 1000);
      this.listener.waiting(this.waitS);
      await this.#sleep(Math.min(left, 250));
    }
    this.waitS = null;
    this.listener.changed();
  }

  #sleep(ms) {
    const { signal } = this.abort;
    return new Promise((resolve, reject) => {
      const stop = () => reject(signal.reason);
      if (signal.aborted) {
        stop();
        return;
      }
      signal.addEventListener("abort", stop, { once: true });
      setTimeout(() => {
        signal.removeEventListener("abort", stop);
        resolve();
      }, ms);
    });
  }
}
