/** The live panel: what the engine does now, looked at once a second while it is open. */

import { live } from "./api.js";
import { HeatMap, Meter, Shares, Sparkline } from "./charts.js";
import { byId, el, setIcon } from "./dom.js";
import { bandwidth, dollars, duration, percent, rate, short, whole, work } from "./numbers.js";
import { readPanel, writePanel } from "./settings_store.js";

const LOOK_EVERY_MS = 1000;
/** After a fault, so that a server in trouble isn't asked every second. */
const LOOK_AGAIN_MS = 5000;

export class Panel {
  /** @param {{needsKey: () => void}} on */
  constructor(on) {
    this.on = on;
    this.element = byId("panel");
    this.opener = setIcon(byId("open-panel"), "pulse", "Live panel");
    this.opener.addEventListener("click", () => this.toggle());
    setIcon(byId("close-panel"), "close", "Close the live panel")
      .addEventListener("click", () => this.toggle(false));
    this.#build();
    document.addEventListener("visibilitychange", () => this.#schedule(0));
    new ResizeObserver(() => this.experts.draw()).observe(this.element);
    const hasRoom = matchMedia("(min-width: 75rem)").matches;
    if (hasRoom && readPanel()) {
      this.toggle(true);
    }
  }

  get isOpen() {
    return !this.element.hidden;
  }

  toggle(open = !this.isOpen) {
    this.element.hidden = !open;
    document.body.classList.toggle("panel-open", open);
    this.opener.setAttribute("aria-expanded", String(open));
    writePanel(open);
    this.#schedule(0);
  }

  recolour() {
    this.experts.draw();
  }

  #schedule(ms) {
    clearTimeout(this.timer);
    this.looking?.abort();
    if (this.isOpen && !document.hidden) {
      this.timer = setTimeout(() => this.#look(), ms);
    }
  }

  async #look() {
    const looking = new AbortController();
    this.looking = looking;
    let next = LOOK_EVERY_MS;
    try {
      this.#show(await live(looking.signal));
      this.fault.hidden = true;
    } catch (error) {
      if (looking.signal.aborted) {
        return;
      }
      this.fault.hidden = false;
      this.fault.textContent = error.message;
      next = LOOK_AGAIN_MS;
      if (error.needsKey) {
        this.on.needsKey();
      }
    }
    if (!looking.signal.aborted) {
      this.#schedule(next);
    }
  }

  #build() {
    this.fault = el("p", { class: "notice is-error", hidden: true });
    this.output = figure("Out", "tok/s");
    this.input = figure("In", "tok/s");
    this.batch = pairs(["Running", "Waiting", "Tokens a step", "Busy"]);
    this.prompts = new Meter("Prompts");
    this.answers = new Meter("Answers");
    this.bytes = new Shares("Bytes read", ["dense", "experts", "KV"]);
    this.cache = new Shares("KV cache", ["in use", "kept", "free"]);
    this.hits = pairs(["Prefix hits"]);
    this.experts = new HeatMap();
    this.expertsSection = section("Experts", "Chosen since the start", this.experts.element);
    this.money = pairs(["Cost", "Revenue", "Margin", "Per 1M out"]);
    this.moneySection = section("Money", "Since the start", this.money.element);
    this.served = pairs(["Tokens in", "Tokens out", "Up"]);
    this.bytesPlace = el("div", { class: "bytes" }, el("h4", {}, "Bytes read"), this.bytes.element);
    byId("panel-body").append(
      this.fault,
      el("div", { class: "figures" }, this.output.element, this.input.element),
      section("Batch", null, this.batch.element),
      section("Share of this machine's peak", "Last seconds",
        this.prompts.element, this.answers.element, this.bytesPlace),
      section("KV cache", null, this.cache.element, this.hits.element),
      this.expertsSection, this.moneySection,
      section("Served", "Since the start", this.served.element));
  }

  #show(now) {
    this.output.show(now.output_tok_per_s);
    this.input.show(now.input_tok_per_s);
    const sequences = [now.running, now.waiting].map(whole);
    this.batch.show([...sequences, rate(now.batch), percent(now.busy)]);
    for (const [meter, roof] of [[this.prompts, now.prompts], [this.answers, now.answers]]) {
      const isIdle = roof.share_of_peak === null && roof.bytes_per_s === 0;
      const note = `${bandwidth(roof.bytes_per_s)} · ${work(roof.flops_per_s)}`;
      meter.show(roof.share_of_peak, isIdle ? "idle" : note);
    }
    this.#bytes(now);
    const { kv_used: used, kv_cached: kept } = now;
    this.cache.show([used, kept, Math.max(0, 1 - used - kept)]);
    this.hits.show([percent(now.prefix_hits)]);
    this.expertsSection.hidden = now.experts.length === 0;
    this.experts.show(now.experts);
    this.#money(now.money);
    const tokens = [now.input_tokens, now.output_tokens].map(short);
    this.served.show([...tokens, duration(Math.floor(now.uptime_s) * 1000)]);
  }

  #bytes({ prompts, answers }) {
    const names = ["dense_bytes", "expert_bytes", "kv_bytes"];
    const parts = names.map((name) => prompts[name] + answers[name]);
    const sum = parts.reduce((a, b) => a + b, 0);
    this.bytesPlace.hidden = sum <= 0;
    if (sum > 0) {
      this.bytes.show(parts.map((part) => part / sum));
    }
  }

  #money({ cost, revenue, margin, cost_per_million_output: perMillion }) {
    const isSet = cost !== null || revenue !== null;
    this.moneySection.hidden = !isSet;
    const text = (value, how) => (value === null ? null : how(value));
    this.money.show([
      text(cost, dollars), text(revenue, dollars), text(margin, percent), text(perMillion, dollars),
    ]);
  }
}

function section(title, when, ...children) {
  return el("section", { class: "live-section" },
    el("h3", {}, title, when && el("small", {}, when)), ...children);
}

/** A number with its past. */
function figure(name, unit) {
  const value = el("b");
  const spark = new Sparkline();
  const element = el("div", { class: "figure" },
    el("div", { class: "figure-head" }, el("span", {}, name), el("span", { class: "unit" }, unit)),
    value, spark.element);
  return {
    element,
    show(n) {
      value.textContent = rate(n);
      spark.push(n);
    },
  };
}

/** Names and values; a value of null hides its name too. */
function pairs(names) {
  const values = names.map(() => el("dd", {}, "—"));
  const rows = names.map((name, i) => el("div", {}, el("dt", {}, name), values[i]));
  return {
    element: el("dl", { class: "pairs" }, ...rows),
    show(texts) {
      texts.forEach((text, i) => {
        rows[i].hidden = text === null;
        values[i].textContent = text ?? "";
      });
    },
  };
}
