/** What the model wrote at a step, chosen by a slider; the newest step while nobody chooses. */

import { byId, el, setIcon } from "./dom.js";
import { shown } from "./table.js";

export class Texts {
  constructor() {
    this.n = 0;
    this.follows = true;
    this.slider = byId("step");
    setIcon(byId("before"), "left", "The step before");
    setIcon(byId("after"), "right", "The next step");
    this.slider.addEventListener("input", () => this.choose(Number(this.slider.value)));
    byId("before").addEventListener("click", () => this.choose(Number(this.slider.value) - 1));
    byId("after").addEventListener("click", () => this.choose(Number(this.slider.value) + 1));
    byId("newest").addEventListener("click", () => {
      this.follow();
    });
  }

  /** There are texts of so many steps. */
  grow(n, isOther) {
    byId("texts").hidden = n === 0;
    const had = this.n;
    this.n = n;
    this.slider.max = String(Math.max(0, n - 1));
    if (n > 0 && (this.follows ? n !== had || isOther : isOther)) {
      this.#read(this.follows ? "" : `?at=${Math.min(n - 1, Number(this.slider.value))}`);
    }
    this.#buttons();
  }

  /** Shows the answers at a place of the slider. */
  choose(at) {
    const place = Math.min(this.n - 1, Math.max(0, at));
    this.#let(place === this.n - 1);
    this.slider.value = String(place);
    this.#read(`?at=${place}`);
    this.#buttons();
  }

  /** Shows those of a step, or of the last one before it that has some. */
  async step(step) {
    if (this.n > 0) {
      this.#let(false);
      await this.#read(`?step=${step}`);
    }
  }

  /** Shows the newest, now and later. */
  follow() {
    this.#let(true);
    this.#read("");
  }

  #let(follows) {
    this.follows = follows;
    byId("newest").setAttribute("aria-pressed", String(follows));
  }

  #buttons() {
    const at = Number(this.slider.value);
    byId("before").disabled = at <= 0;
    byId("after").disabled = at >= this.n - 1;
  }

  async #read(query) {
    this.asked = query;
    const response = await fetch(`/texts${query}`).catch(() => null);
    // A later question is being answered, or there is nothing.
    if (!response?.ok || this.asked !== query) {
      return;
    }
    const { at, step, texts } = await response.json();
    if (this.asked !== query) {
      return;
    }
    this.slider.value = String(at);
    this.slider.setAttribute("aria-valuetext", `step ${step}`);
    byId("step-value").textContent = `step ${step.toLocaleString("en")}`;
    byId("answers").replaceChildren(...texts.map(answer));
    this.#buttons();
  }
}

function answer({ prompt, text, reward, why, tokens, difficulty }) {
  const facts = [
    reward !== null && el("b", { class: reward > 0 ? "good" : "bad" }, `reward ${shown(reward)}`),
    why && el("span", {}, why),
    tokens !== null && el("span", {}, `${tokens} tokens`),
    difficulty !== null && el("span", {}, `difficulty ${difficulty}`),
  ];
  return el("li", {}, el("p", { class: "prompt" }, prompt), ...parts(text),
    el("p", { class: "facts" }, ...facts));
}

/** The thought and what was said after it. */
function parts(text) {
  const close = text.lastIndexOf("</think>");
  if (close < 0) {
    const isThought = text.trimStart().startsWith("<think>");
    return [el("p", { class: isThought ? "thought" : "said" }, text || "(nothing)")];
  }
  const end = close + "</think>".length;
  return [
    el("p", { class: "thought" }, text.slice(0, end)),
    el("p", { class: "said" }, text.slice(end).replace(/^\n+/, "") || "(nothing)"),
  ];
}
