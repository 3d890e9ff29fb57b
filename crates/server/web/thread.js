/** The messages of a conversation. */

import { el, icon, iconButton } from "./dom.js";
import { copyButton, renderMarkdown } from "./render.js";
import { dollars, duration, rate, whole } from "./numbers.js";

/**
 * @typedef {object} Actions What a reader does to messages; `index` is a turn's.
 * @property {(index: number) => void} regenerate
 * @property {(index: number, by: number) => void} choose
 * @property {(index: number, text: string) => void} edit
 * @property {() => void} askForKey
 */

export class Thread {
  /**
   * @param {HTMLElement} place
   * @param {Actions} actions
   */
  constructor(place, actions) {
    this.place = place;
    this.actions = actions;
    /** @type {(UserTurn | AssistantTurn)[]} */
    this.views = [];
  }

  /** Shows a conversation from the start. */
  show(conversation) {
    this.views = [];
    this.place.replaceChildren();
    this.update(conversation);
  }

  /** Shows what changed; `generation` is the one that runs, for the last turn. */
  update({ turns }, generation = null) {
    this.views.splice(turns.length).forEach((view) => view.element.remove());
    turns.forEach((turn, index) => {
      if (this.views[index]?.role !== turn.role) {
        this.views.splice(index).forEach((view) => view.element.remove());
        const View = turn.role === "user" ? UserTurn : AssistantTurn;
        this.views[index] = new View(index, this.actions);
        this.place.append(this.views[index].element);
      }
      const isLast = index === turns.length - 1;
      this.views[index].update(turn, isLast ? generation : null, generation !== null);
    });
  }
}

class UserTurn {
  constructor(index, actions) {
    this.role = "user";
    this.index = index;
    this.actions = actions;
    this.text = el("div", { class: "bubble" });
    this.editButton = iconButton("edit", "Edit and ask again", () => this.edit());
    this.tools = el("div", { class: "tools" }, this.editButton,
      copyButton("Copy message", () => this.turn.content));
    this.element = el("li", { class: "turn user" },
      el("h2", { class: "hidden" }, "You"), this.text, this.tools);
  }

  update(turn, _generation, isBusy) {
    this.turn = turn;
    this.editButton.disabled = isBusy;
    if (this.shown !== turn.content) {
      this.shown = turn.content;
      this.text.textContent = turn.content;
    }
  }

  edit() {
    const area = el("textarea", { class: "edit", rows: "3", "aria-label": "Edit your message" });
    area.value = this.turn.content;
    const close = () => {
      form.replaceWith(this.text);
      this.tools.hidden = false;
      this.editButton.focus();
    };
    const form = el("form", { class: "edit-form" }, area,
      el("div", { class: "edit-buttons" },
        el("button", { type: "button", class: "quiet", click: close }, "Cancel"),
        el("button", { type: "submit", class: "primary" }, "Ask again")));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = area.value.trim();
      close();
      if (text) {
        this.actions.edit(this.index, text);
      }
    });
    form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.stopPropagation();
        close();
      } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        form.requestSubmit();
      }
    });
    this.text.replaceWith(form);
    this.tools.hidden = true;
    area.focus();
  }
}

class AssistantTurn {
  constructor(index, actions) {
    this.role = "assistant";
    this.index = index;
    this.actions = actions;
    this.thinking = new Thinking();
    this.answer = el("div", { class: "answer markdown" });
    this.notice = el("div", { class: "notice-place" });
    this.previous = iconButton("left", "Previous answer", () => actions.choose(index, -1));
    this.next = iconButton("right", "Next answer", () => actions.choose(index, 1));
    this.count = el("span", { class: "count" });
    this.again = iconButton("again", "Regenerate", () => actions.regenerate(index));
    this.variants = el("span", { class: "variants" }, this.previous, this.count, this.next);
    this.facts = el("p", { class: "facts" });
    this.tools = el("div", { class: "tools" },
      copyButton("Copy answer", () => this.variant.content), this.again, this.variants,
      this.facts);
    this.element = el("li", { class: "turn assistant" },
      el("h2", { class: "hidden" }, "Answer"),
      this.thinking.element, this.answer, this.notice, this.tools);
  }

  update(turn, generation, isBusy) {
    const variant = turn.variants[turn.chosen];
    if (variant !== this.variant) {
      this.thinking.reset();
    }
    this.variant = variant;
    const runs = generation !== null;
    this.element.classList.toggle("is-running", runs);
    this.element.setAttribute("aria-busy", String(runs));
    this.thinking.update(variant, runs);
    if (this.shown !== variant.content) {
      this.shown = variant.content;
      renderMarkdown(this.answer, variant.content);
    }
    this.answer.hidden = variant.content === "";
    this.#note(variant, generation);
    this.tools.hidden = runs;
    this.again.disabled = isBusy;
    const n = turn.variants.length;
    this.variants.hidden = n < 2;
    this.count.textContent = `${turn.chosen + 1}/${n}`;
    this.previous.disabled = isBusy || turn.chosen === 0;
    this.next.disabled = isBusy || turn.chosen === n - 1;
    this.facts.textContent = runs ? "" : facts(variant).join(" · ");
  }

  #note(variant, generation) {
    const { error, finish } = variant;
    const key = `${error}|${finish}|${generation?.waitS ?? ""}|${generation !== null}|`
      + `${variant.thinking === "" && variant.content === ""}`;
    if (key === this.noted) {
      return;
    }
    this.noted = key;
    this.notice.replaceChildren(...this.#notes(variant, generation));
  }

  #notes({ error, finish, thinking, content }, generation) {
    if (generation) {
      if (generation.waitS !== null) {
        const seconds = generation.waitS === 1 ? "a second" : `${generation.waitS} seconds`;
        return [el("p", { class: "notice" },
          `The server is busy. It is asked again in ${seconds}.`)];
      }
      const isSilent = thinking === "" && content === "";
      return isSilent ? [el("p", { class: "pending", "aria-label": "Waiting" }, dots())] : [];
    }
    if (error) {
      const retry = el("button", {
        type: "button", class: "quiet", click: () => this.actions.regenerate(this.index),
      }, "Try again");
      return [el("div", { class: "notice is-error", role: "alert" }, icon("warning"),
        el("span", {}, error), retry)];
    }
    const words = {
      length: "The answer ended at the limit of tokens.",
      stopped: "You stopped this answer.",
    }[finish];
    return words ? [el("p", { class: "notice" }, words)] : [];
  }
}

/** What was thought: open while it comes, then folded, unless the reader chose otherwise. */
class Thinking {
  constructor() {
    this.label = el("span", { class: "thinking-label" });
    this.body = el("div", { class: "thinking-body markdown" });
    this.summary = el("summary", {}, el("span", { class: "cud", "aria-hidden": "true" }),
      this.label);
    this.element = el("details", { class: "thinking" }, this.summary, this.body);
    this.summary.addEventListener("click", () => {
      this.wasTouched = true;
    });
    this.reset();
  }

  reset() {
    this.wasTouched = false;
    this.shown = null;
    this.element.open = false;
  }

  update(variant, runs) {
    const { thinking } = variant;
    this.element.hidden = thinking === "";
    const isThinking = runs && variant.thinkingMs === null;
    this.element.classList.toggle("is-thinking", isThinking);
    if (!this.wasTouched && this.element.open !== isThinking) {
      this.element.open = isThinking;
    }
    if (this.shown !== thinking && (this.element.open || !runs)) {
      this.shown = thinking;
      renderMarkdown(this.body, thinking.trim(), { breaks: true });
    }
    const label = isThinking ? "Thinking…" : thoughtLabel(variant);
    if (this.label.textContent !== label) {
      this.label.textContent = label;
    }
  }
}

function thoughtLabel({ usage, thinkingMs }) {
  const tokens = usage?.completion_tokens_details?.reasoning_tokens;
  const time = thinkingMs === null ? "" : duration(thinkingMs);
  if (!tokens) {
    return time ? `Thought for ${time}` : "Thought";
  }
  const n = `${whole(tokens)} token${tokens === 1 ? "" : "s"}`;
  return time ? `Thought for ${n} · ${time}` : `Thought for ${n}`;
}

/** What is known of an answer, in short. */
function facts({ usage, firstMs, totalMs }) {
  if (!usage) {
    return [];
  }
  const n = usage.completion_tokens;
  const found = [`${whole(n)} token${n === 1 ? "" : "s"}`];
  const seconds = (totalMs - firstMs) / 1000;
  if (usage.completion_tokens > 1 && seconds > 0) {
    found.push(`${rate((usage.completion_tokens - 1) / seconds)} tok/s`);
  }
  if (firstMs !== null) {
    found.push(`first after ${duration(firstMs)}`);
  }
  const cached = usage.prompt_tokens_details?.cached_tokens;
  if (cached) {
    found.push(`${whole(cached)} of ${whole(usage.prompt_tokens)} prompt tokens cached`);
  }
  const { cost_usd: cost, thinking } = usage.ruminate ?? {};
  if (typeof cost === "number") {
    found.push(`cost ${dollars(cost)}`);
  }
  if (thinking?.note) {
    found.push(thinking.note);
  }
  return found;
}

function dots() {
  return el("span", { class: "dots", "aria-hidden": "true" },
    el("i"), el("i"), el("i"));
}
