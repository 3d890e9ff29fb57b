/** A conversation to the body of a request. */

/** Budgets that the slider offers, in tokens; after the last comes none. */
export const BUDGETS = [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];

const SAMPLING = ["temperature", "top_p", "top_k", "min_p", "max_tokens", "seed"];

/**
 * @param {import("./store.js").Conversation} conversation
 * @param {number} n how many of its turns are sent
 * @param {{id: string, thinks: boolean}} model
 */
export function requestOf({ settings, turns }, n, model) {
  const messages = turns.slice(0, n).flatMap(messageOf);
  if (settings.system.trim()) {
    messages.unshift({ role: "system", content: settings.system });
  }
  const body = {
    model: model.id,
    messages,
    stream: true,
    stream_options: { include_usage: true },
  };
  for (const name of SAMPLING) {
    if (settings[name] !== null) {
      body[name] = settings[name];
    }
  }
  return model.thinks ? { ...body, ...thinkingOf(settings) } : body;
}

/** How much to think, in the most exact field that says it. */
export function thinkingOf({ think, budget }) {
  switch (think) {
    case "off": return { chat_template_kwargs: { enable_thinking: false } };
    case "on": return budget
      ? { thinking_token_budget: budget }
      : { chat_template_kwargs: { enable_thinking: true } };
    default: return { thinking: { type: "auto", ...(budget ? { budget_tokens: budget } : {}) } };
  }
}

/** Thinking stays out: the model's own template would leave it out too. */
function messageOf(turn) {
  if (turn.role === "user") {
    return [{ role: "user", content: turn.content }];
  }
  const content = turn.variants[turn.chosen]?.content ?? "";
  return content ? [{ role: "assistant", content }] : [];
}

/** 2048 as 2K. */
export function budgetText(budget) {
  if (budget === null) {
    return "no limit";
  }
  return budget < 1024 ? `${budget} tokens` : `${budget / 1024}K tokens`;
}
