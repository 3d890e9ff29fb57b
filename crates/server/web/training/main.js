/** The page of a training run: asks what is new, and shows it. */

import { byId, el, say } from "./dom.js";
import { Heat } from "./heat.js";
import { Lines } from "./lines.js";
import { duration, percent, rate } from "./numbers.js";
import { Table, shown } from "./table.js";
import { Texts } from "./texts.js";
import { startTheme } from "./theme.js";

const EVERY_MS = 2000;
const EVERY_HIDDEN_MS = 30_000;
const DIFFERENCE = "max |Δ log-prob|";
const DIFFICULTY = "right/difficulty ";
/** A run that was silent for so long, beside what its steps take, does not run. */
const SILENT_S = 60;

const share = (x) => (x === null || x === undefined ? "—" : percent(x));
const speed = (x) => (x === null || x === undefined ? "—" : rate(x));

const CHARTS = [
  { title: "Reward", lines: [["reward", "reward"], ["right", "right"]], format: shown },
  { title: "Loss", lines: [["loss", "loss"]], format: shown },
  { title: "Length", lines: [["length", "answer"], ["thinking length", "thinking"]],
    note: "Tokens of an answer, and of its thinking.", format: shown, low: 0 },
  { title: DIFFERENCE, lines: [[DIFFERENCE, "largest difference"]], format: shown, low: 0,
    note: "Between rollout and training, before the first update: 0 is bit for bit the same." },
  { title: "Entropy", lines: [["entropy", "entropy"]], format: shown, low: 0,
    note: "Of the distribution that a token is drawn from, in nats." },
  { title: "Groups", lines: [["dead groups", "dead"], ["groups all right", "all right"]],
    note: "Of all that were written; dead ones teach nothing.", format: share, low: 0, high: 1 },
  { title: "Tokens a second", lines: [["tokens/s rollout", "rollout"],
    ["tokens/s training", "training"]], format: speed, low: 0 },
  { title: "Share of the roof", lines: [["roof rollout", "rollout"], ["roof training", "training"]],
    note: "Matrix products beside what all threads could compute in f32.", format: share, low: 0 },
];
const NAMED = new Set(CHARTS.flatMap(({ lines }) => lines.map(([name]) => name)));

class Page {
  constructor() {
    this.numbers = new Table();
    this.shares = new Table();
    this.texts = new Texts();
    this.others = new Map();
    this.point = (step, chosen) => this.mark(step, chosen);
    this.charts = CHARTS.map((what) => this.#lines(what));
    this.difficulties = new Heat({
      title: "Right, by difficulty", kind: "difficulty",
      label: (i) => this.levels?.[i]?.label ?? "",
      note: "Of all answers, those of groups that teach nothing too.",
      format: share, strength: (x) => x,
    }, this.point);
    this.layer = el("select", { id: "layer", "aria-label": "Layer",
      change: () => this.#showExperts() });
    this.experts = new Heat({
      title: "Load of experts", label: (i) => String(i), kind: "expert", format: share,
      note: "The share of a layer's choices that each expert had; twice an even one is full ink.",
      strength: (x, rows) => (x * rows) / 2,
    }, this.point, this.layer);
    byId("cards").append(...this.charts.map(({ element }) => element),
      this.difficulties.element, this.experts.element);
    this.difficulties.element.hidden = true;
    this.experts.element.hidden = true;
    startTheme(() => this.#maps().forEach((map) => map.draw()));
  }

  #lines(what) {
    const lines = what.lines.map(([name, label]) => ({ name, label }));
    const chart = new Lines({ ...what, lines }, this.point);
    chart.element.hidden = true;
    return chart;
  }

  #maps() {
    return [this.difficulties, this.experts];
  }

  /** Marks a step on all charts; one that was chosen is read as well. */
  mark(step, chosen = false) {
    [...this.charts, ...this.others.values(), ...this.#maps()].forEach((it) => it.mark(step));
    if (chosen && step !== null) {
      this.texts.step(step);
    }
  }

  /** Asks what is new, then again and again. */
  async follow() {
    const [numbers, shares] = [this.numbers.known, this.shares.known];
    const query = new URLSearchParams({
      epoch: numbers.epoch, rows: numbers.rows,
      expert_epoch: shares.epoch, expert_rows: shares.rows,
    });
    let hasMore = false;
    try {
      const response = await fetch(`/run?${query}`);
      if (!response.ok) {
        throw new Error(`the server answers with ${response.status}`);
      }
      const run = await response.json();
      this.heard = new Date();
      this.show(run);
      hasMore = run.has_more;
    } catch (error) {
      const heard = this.heard ? `; last heard at ${this.heard.toLocaleTimeString()}` : "";
      this.#say(`The run can't be reached (${error.message})${heard}`, "lost");
    }
    clearTimeout(this.timer);
    const every = document.hidden ? EVERY_HIDDEN_MS : EVERY_MS;
    this.timer = setTimeout(() => this.follow(), hasMore ? 0 : every);
  }

  show(run) {
    const epoch = this.numbers.epoch;
    const isNew = this.numbers.take(run.numbers);
    this.names = run.names;
    this.last = run.last && Object.fromEntries(
      run.names.map((name, i) => [name, run.last[i + 1] ?? null]),
    );
    if (isNew) {
      this.charts.forEach((chart) => chart.show(this.numbers, run.names));
      this.#showDifficulties();
      this.#showOthers();
    }
    if (run.experts && (this.shares.take(run.experts.shares) || !this.sizes)) {
      this.#layers(run.experts);
      this.#showExperts();
    }
    this.texts.grow(run.n_texts, epoch !== -1 && epoch !== this.numbers.epoch);
    byId("empty").hidden = Boolean(run.last);
    document.title = `${run.name} · ruminate`;
    byId("title").textContent = run.name;
    this.#progress(run);
    this.#tiles();
  }

  #say(text, state) {
    byId("state").textContent = text;
    if (byId("state").dataset.state !== state) {
      // Once, not with every step.
      say(text);
    }
    byId("state").dataset.state = state;
  }

  #progress({ kind, steps, last, age_s: age }) {
    const kinds = { rl: "Reinforcement learning", sft: "Supervised training" };
    const step = last?.[0] ?? 0;
    const of = steps ? ` of ${steps.toLocaleString("en")}` : "";
    const takes = this.last?.seconds ?? 0;
    const isDone = steps !== null && step >= steps;
    const isSilent = age !== null && age > Math.max(SILENT_S, 5 * takes);
    const left = steps && takes && !isDone && !isSilent
      ? `, about ${duration((steps - step) * takes * 1000)} left` : "";
    const state = isDone ? "done" : isSilent ? "silent" : "runs";
    const words = { done: "done", silent: `silent for ${duration((age ?? 0) * 1000)}`,
      runs: last ? `running${left}` : "begins" }[state];
    const at = `step ${step.toLocaleString("en")}${of}`;
    this.#say(`${kinds[kind] ?? "Training"}: ${at}, ${words}`, state);
    const bar = byId("progress");
    bar.hidden = !steps;
    bar.setAttribute("aria-valuemax", String(steps ?? 0));
    bar.setAttribute("aria-valuenow", String(step));
    bar.firstElementChild.style.width = `${steps ? Math.min(1, step / steps) * 100 : 0}%`;
  }

  #tiles() {
    const { last } = this;
    if (!last) {
      return;
    }
    const difference = last[DIFFERENCE];
    const tiles = [
      ["Reward", shown(last.reward), last.reward],
      ["Loss", shown(last.loss), last.reward === undefined ? last.loss : undefined],
      ["Right", share(last.right), last.right],
      [DIFFERENCE, difference === 0 ? "0, exact" : shown(difference), difference],
      ["Length", shown(last.length), last.length],
      ["Entropy", shown(last.entropy), last.entropy],
      ["Rollout", `${speed(last["tokens/s rollout"])} tok/s`, last["tokens/s rollout"]],
      ["Training", `${speed(last["tokens/s training"])} tok/s`, last["tokens/s training"]],
      ["A step", duration((last.seconds ?? 0) * 1000), last.seconds],
    ];
    const known = tiles.filter(([, , value]) => value !== undefined && value !== null);
    byId("tiles").replaceChildren(...known.map(([name, text]) => (
      el("div", { class: "tile" }, el("dt", {}, name), el("dd", {}, text))
    )));
  }

  #showDifficulties() {
    const levels = this.names.map((name, at) => ({ name, at }))
      .filter(({ name }) => name.startsWith(DIFFICULTY))
      .map(({ name, at }) => ({ at, level: Number(name.slice(DIFFICULTY.length)) }))
      .sort((a, b) => a.level - b.level);
    this.levels = levels.map(({ at, level }) => ({ at, label: String(level) }));
    this.difficulties.show(this.numbers, this.levels.map(({ at }) => this.numbers.column(at)));
  }

  #layers({ layers, sizes }) {
    if (JSON.stringify(sizes) !== JSON.stringify(this.sizes)) {
      this.sizes = sizes;
      const options = layers.map((layer, i) => el("option", { value: i }, `layer ${layer}`));
      this.layer.replaceChildren(...options);
    }
  }

  #showExperts() {
    const layer = Number(this.layer.value);
    const from = this.sizes.slice(0, layer).reduce((a, b) => a + b, 0);
    const experts = Array.from({ length: this.sizes[layer] ?? 0 }, (_, i) => from + i);
    this.experts.show(this.shares, experts.map((at) => this.shares.column(at)));
  }

  /** Whatever has no chart of its own. */
  #showOthers() {
    const others = this.names.filter((name) => (
      !NAMED.has(name) && !name.startsWith(DIFFICULTY)
    ));
    byId("more").hidden = others.length === 0;
    for (const name of others) {
      if (!this.others.has(name)) {
        const chart = this.#lines({ title: name, lines: [[name, ""]], format: shown });
        this.others.set(name, chart);
        byId("others").append(chart.element);
      }
    }
    this.others.forEach((chart) => chart.show(this.numbers, this.names));
  }
}

const page = new Page();
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) {
    page.follow();
  }
});
page.follow();
