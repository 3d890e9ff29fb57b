/**
 * A stage: the real server's page before an API that says what a test scripts.
 *
 * `/` and `/assets` come from the real binary, headers and all; `/v1` is played here, chunk by
 * chunk, over one port, so that the page sees one origin.
 */

import http from "node:http";

export const MODEL = { id: "scripted", max_model_len: 40960, thinks: true };

/**
 * @typedef {{thinking?: string, text?: string, wait?: Promise<unknown>, error?: string,
 *   usage?: object, finish?: string, hangUp?: boolean}} Step
 */
export class Stage {
  constructor(origin) {
    this.origin = origin;
    this.reset();
    this.server = http.createServer((request, response) => this.#serve(request, response));
  }

  /** @param {string} origin of the real server */
  static async open(origin) {
    const stage = new Stage(origin);
    await new Promise((resolve) => {
      stage.server.listen(0, "127.0.0.1", resolve);
    });
    stage.url = `http://127.0.0.1:${stage.server.address().port}`;
    return stage;
  }

  reset() {
    /** Bodies of the chats that were asked for. */
    this.chats = [];
    /** Chats whose client went before they were over. */
    this.left = 0;
    /** Answers that are not chats: a status, headers and a message each, used up in turn. */
    this.refusals = [];
    this.key = null;
    this.models = [MODEL];
    this.live = null;
    /** @type {(body: object, n: number) => Iterable<Step>} */
    this.script = () => [{ text: "Hello." }];
  }

  close() {
    this.server.closeAllConnections();
    this.server.close();
  }

  async #serve(request, response) {
    const body = await read(request);
    if (!request.url.startsWith("/v1/")) {
      await this.#pass(request, response);
    } else if (this.key && request.headers.authorization !== `Bearer ${this.key}`) {
      refuse(response, { status: 401, message: "a valid API key is needed" });
    } else if (request.url === "/v1/models") {
      json(response, { object: "list", data: this.models });
    } else if (request.url === "/v1/live") {
      this.live ? json(response, this.live) : refuse(response, { status: 500, message: "no" });
    } else if (this.refusals.length) {
      this.chats.push(JSON.parse(body));
      refuse(response, this.refusals.shift());
    } else {
      await this.#play(JSON.parse(body), response);
    }
  }

  async #pass(request, response) {
    const headers = Object.entries(request.headers).filter(([name]) => name === "if-none-match");
    const found = await fetch(this.origin + request.url, { headers: Object.fromEntries(headers) });
    const ofHop = /^(connection|keep-alive|transfer)/;
    const passed = [...found.headers].filter(([name]) => !ofHop.test(name));
    response.writeHead(found.status, Object.fromEntries(passed));
    response.end(Buffer.from(await found.arrayBuffer()));
  }

  async #play(body, response) {
    const n = this.chats.push(body);
    let isOver = false;
    response.on("close", () => {
      this.left += isOver ? 0 : 1;
    });
    response.writeHead(200, { "content-type": "text/event-stream" });
    const tell = (data) => response.write(`data: ${JSON.stringify(data)}\n\n`);
    const delta = (of, finish_reason = null) => (
      tell({ choices: [{ index: 0, delta: of, finish_reason }] })
    );
    delta({ role: "assistant", content: "" });
    let usage = { prompt_tokens: 5, completion_tokens: 3, total_tokens: 8 };
    let finish = "stop";
    for (const step of this.script(body, n)) {
      await step.wait;
      if (step.thinking) {
        delta({ reasoning_content: step.thinking, reasoning: step.thinking });
      }
      if (step.text) {
        delta({ content: step.text });
      }
      usage = step.usage ?? usage;
      finish = step.finish ?? finish;
      if (step.error || step.hangUp) {
        isOver = true;
        step.error ? response.end(`data: {"error": {"message": ${JSON.stringify(step.error)}}}\n\n`)
          : setTimeout(() => response.destroy(), 50);
        return;
      }
    }
    delta({}, finish);
    tell({ choices: [], usage });
    isOver = true;
    response.end("data: [DONE]\n\n");
  }
}

async function read(request) {
  let text = "";
  for await (const chunk of request) {
    text += chunk;
  }
  return text;
}

function json(response, value) {
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify(value));
}

function refuse(response, { status, message, headers = {} }) {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify({ error: { message, type: "x", param: null, code: null } }));
}

/** A promise that the test fulfils. */
export function gate() {
  const { promise, resolve } = Promise.withResolvers?.() ?? withResolvers();
  return { wait: promise, open: resolve };
}

function withResolvers() {
  let resolve;
  const promise = new Promise((fulfil) => {
    resolve = fulfil;
  });
  return { promise, resolve };
}

/** What the panel is told. */
export function busyEngine() {
  const roof = (share, of) => ({
    share_of_peak: share, flops_per_s: 41e9 * of, bytes_per_s: 18.4e9 * of,
    dense_bytes: 6e9 * of, expert_bytes: 3e9 * of, kv_bytes: 1e9 * of,
  });
  const experts = Array.from({ length: 12 }, (_, layer) => (
    Array.from({ length: 32 }, (_, expert) => 40 + ((layer * 131 + expert * 71) % 97) * 9)
  ));
  experts[3][7] = 9000;
  return {
    model: "scripted", uptime_s: 3725, running: 7, waiting: 2, requests: 9, batch: 21.5,
    kv_used: 0.375, kv_cached: 0.25, prefix_hits: 0.625, input_tok_per_s: 412.25,
    output_tok_per_s: 87.125, input_tokens: 1_234_567, output_tokens: 76_543, busy: 0.93,
    prompts: roof(0.4215, 1), answers: roof(0.7135, 2), experts,
    money: { cost: 1.25, revenue: 2.5, margin: 1, cost_per_million_output: 3.4567 },
  };
}
