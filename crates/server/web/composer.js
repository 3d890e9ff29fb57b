/** Where the reader writes, and says how much to think. */

import { byId, setIcon } from "./dom.js";
import { BUDGETS, budgetText } from "./request.js";

export class Composer {
  /**
   * @param {{send: (text: string) => void, stop: () => void, changed: (of: object) => void}} on
   */
  constructor(on) {
    this.on = on;
    this.form = byId("composer");
    this.prompt = byId("prompt");
    this.sendButton = byId("send");
    this.think = byId("think");
    this.budget = byId("budget");
    this.isRunning = false;
    /** Where a finger types, Enter breaks the line as on every phone. */
    this.isTouch = matchMedia("(pointer: coarse)").matches;
    this.budgets = BUDGETS;
    this.#listen();
    this.#showSend();
  }

  #listen() {
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.prompt.addEventListener("keydown", (event) => {
      const isPlain = !event.shiftKey && !event.isComposing && !this.isTouch;
      if (event.key === "Enter" && isPlain) {
        event.preventDefault();
        if (!this.isRunning) {
          this.#submit();
        }
      }
    });
    this.prompt.addEventListener("input", () => this.#fit());
    this.think.addEventListener("change", () => this.#settingsChanged());
    this.budget.addEventListener("input", () => this.#settingsChanged());
  }

  #submit() {
    if (this.isRunning) {
      this.on.stop();
      return;
    }
    const text = this.prompt.value.trim();
    if (text) {
      this.prompt.value = "";
      this.#fit();
      this.on.send(text);
    }
  }

  #settingsChanged() {
    const think = this.form.elements.namedItem("think").value;
    const step = Number(this.budget.value);
    const budget = this.budgets[step] ?? null;
    this.#showBudget(think, budget);
    this.on.changed({ think, budget });
  }

  /** Shows a conversation's wishes; `model` says whether it thinks and how far. */
  show({ think, budget }, model) {
    const thinks = model?.thinks ?? false;
    this.think.hidden = !thinks;
    // A budget of all that fits is none.
    this.budgets = BUDGETS.filter((tokens) => tokens < (model?.max_model_len ?? Infinity));
    this.form.elements.namedItem("think").value = think;
    this.budget.max = String(this.budgets.length);
    const step = budget === null ? -1 : this.budgets.findIndex((tokens) => tokens >= budget);
    this.budget.value = String(step < 0 ? this.budgets.length : step);
    this.#showBudget(think, this.budgets[Number(this.budget.value)] ?? null);
    byId("budget-field").hidden = !thinks || think === "off";
  }

  #showBudget(think, budget) {
    byId("budget-field").hidden = think === "off";
    const text = budgetText(budget);
    byId("budget-value").textContent = text;
    this.budget.setAttribute("aria-valuetext", text);
    const share = this.budgets.length ? Number(this.budget.value) / this.budgets.length : 1;
    this.budget.style.setProperty("--filled", `${share * 100}%`);
  }

  setRunning(isRunning) {
    if (this.isRunning !== isRunning) {
      this.isRunning = isRunning;
      this.#showSend();
    }
  }

  #showSend() {
    const [name, label] = this.isRunning ? ["stop", "Stop"] : ["up", "Send"];
    setIcon(this.sendButton, name, label);
    this.sendButton.classList.toggle("is-stop", this.isRunning);
  }

  focus() {
    if (!this.isTouch) {
      this.prompt.focus();
    }
  }

  fill(text) {
    this.prompt.value = text;
    this.#fit();
    this.prompt.focus();
  }

  #fit() {
    this.prompt.style.height = "auto";
    this.prompt.style.height = `${this.prompt.scrollHeight}px`;
  }
}
