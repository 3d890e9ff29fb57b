/** Small charts: a line over time, shares of a whole, a map of experts. */

import { el, svg } from "./dom.js";
import { percent, whole } from "./numbers.js";

/** Points of a line: at a look a second, a minute. */
const POINTS = 60;

/** A line that moves to the left. Its number stands beside it, so it's hidden from readers. */
export class Sparkline {
  constructor() {
    this.values = [];
    this.area = svg("path", { class: "spark-area" });
    this.line = svg("path", { class: "spark-line" });
    this.element = svg("svg", {
      class: "spark", viewBox: `0 0 ${POINTS - 1} 32`, preserveAspectRatio: "none",
      "aria-hidden": "true",
    }, this.area, this.line);
  }

  push(value) {
    this.values.push(value);
    this.values.splice(0, this.values.length - POINTS);
    const top = Math.max(...this.values, 1e-9);
    const first = POINTS - this.values.length;
    const points = this.values.map((v, i) => `${first + i} ${(30.5 - (v / top) * 28).toFixed(2)}`);
    const line = `M${points.join("L")}`;
    this.line.setAttribute("d", line);
    this.area.setAttribute("d", `${line}L${POINTS - 1} 32L${first} 32Z`);
  }
}

/** Shares of a whole, side by side, with their names below. */
export class Shares {
  /** @param {string[]} names */
  constructor(label, names) {
    this.bars = names.map((_, i) => el("i", { class: `share share-${i + 1}` }));
    this.texts = names.map(() => el("b"));
    this.names = names;
    this.label = label;
    this.bar = el("div", { class: "shares", role: "img" }, ...this.bars);
    const legend = names.map((name, i) => (
      el("li", {}, el("i", { class: `swatch share-${i + 1}` }), `${name} `, this.texts[i])
    ));
    this.element = el("div", {}, this.bar, el("ul", { class: "legend" }, ...legend));
  }

  /** @param {number[]} shares of 1 */
  show(shares) {
    shares.forEach((share, i) => {
      this.bars[i].style.width = `${Math.min(1, Math.max(0, share)) * 100}%`;
      this.texts[i].textContent = percent(share);
    });
    const words = shares.map((share, i) => `${this.names[i]} ${percent(share)}`);
    this.bar.setAttribute("aria-label", `${this.label}: ${words.join(", ")}`);
  }
}

/** A share of what is possible. */
export class Meter {
  constructor(label) {
    this.fill = el("i");
    this.text = el("b");
    this.note = el("span", { class: "meter-note" });
    this.bar = el("div", {
      class: "meter", role: "meter", "aria-label": label,
      "aria-valuemin": "0", "aria-valuemax": "1",
    }, this.fill);
    this.element = el("div", { class: "meter-row" },
      el("div", { class: "meter-head" }, el("span", {}, label), this.text), this.bar, this.note);
  }

  /** @param {number | null} share null where there is nothing to measure */
  show(share, note) {
    this.fill.style.width = `${Math.min(1, share ?? 0) * 100}%`;
    this.text.textContent = share === null ? "—" : percent(share);
    this.bar.setAttribute("aria-valuenow", String(share ?? 0));
    this.bar.setAttribute("aria-valuetext", share === null ? "nothing computed" : percent(share));
    this.note.textContent = note;
  }
}

/** How often each expert was chosen: a row a sparse layer, a column an expert. */
export class HeatMap {
  constructor() {
    this.canvas = el("canvas", { class: "heat", role: "img", height: "10" });
    this.text = el("p", { class: "heat-text" });
    this.element = el("div", {}, this.canvas, this.text);
    this.counts = [];
    this.canvas.addEventListener("pointermove", (event) => this.#point(event));
    this.canvas.addEventListener("pointerleave", () => this.#sum());
  }

  /** @param {number[][]} counts */
  show(counts) {
    this.counts = counts;
    this.draw();
    if (!this.pointed) {
      this.#sum();
    }
  }

  /** Draws again, with the colours and the width of now. */
  draw() {
    const { canvas, counts } = this;
    const width = canvas.clientWidth;
    if (!counts.length || !width) {
      return;
    }
    const columns = Math.max(...counts.map((layer) => layer.length));
    const height = Math.min(280, Math.max(10, Math.min(width / columns, 280 / counts.length))
      * counts.length);
    const scale = globalThis.devicePixelRatio || 1;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.style.height = `${height}px`;
    const context = canvas.getContext("2d");
    context.fillStyle = getComputedStyle(canvas).color;
    const rowHeight = canvas.height / counts.length;
    counts.forEach((layer, row) => {
      const top = Math.max(...layer, 1);
      const columnWidth = canvas.width / layer.length;
      layer.forEach((count, column) => {
        context.globalAlpha = 0.06 + 0.94 * Math.sqrt(count / top);
        const [x, y] = [Math.round(column * columnWidth), Math.round(row * rowHeight)];
        const [x1, y1] = [(column + 1) * columnWidth, (row + 1) * rowHeight].map(Math.round);
        const gap = columnWidth > 6 * scale && rowHeight > 6 * scale ? scale : 0;
        context.fillRect(x, y, Math.max(1, x1 - x - gap), Math.max(1, y1 - y - gap));
      });
    });
  }

  #point({ offsetX, offsetY }) {
    const { canvas, counts } = this;
    const layer = counts[Math.floor((offsetY / canvas.clientHeight) * counts.length)];
    const expert = layer && Math.floor((offsetX / canvas.clientWidth) * layer.length);
    if (!layer || layer[expert] === undefined) {
      return;
    }
    this.pointed = true;
    const even = layer.reduce((a, b) => a + b, 0) / layer.length;
    const times = even ? ` (${(layer[expert] / even).toFixed(1)}× an even share)` : "";
    this.text.textContent = `Layer ${counts.indexOf(layer)} of the sparse ones, expert ${expert}: `
      + `${whole(layer[expert])} tokens${times}`;
  }

  #sum() {
    this.pointed = false;
    const ratios = this.counts.map((layer) => {
      const sum = layer.reduce((a, b) => a + b, 0);
      return sum ? Math.max(...layer) / (sum / layer.length) : 0;
    });
    const worst = Math.max(...ratios, 0);
    const shape = `${this.counts.length} sparse layers of ${this.counts[0]?.length ?? 0} experts`;
    const words = worst
      ? `${shape}; the busiest expert has ${worst.toFixed(1)}× an even share (layer `
        + `${ratios.indexOf(worst)}).`
      : `${shape}; none was chosen yet.`;
    this.text.textContent = words;
    this.canvas.setAttribute("aria-label", words);
  }
}
