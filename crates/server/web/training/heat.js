/** A map over steps: a column a step, a row a difficulty or an expert. */

import { el } from "./dom.js";
import { moved } from "./lines.js";

export class Heat {
  /**
   * @param {{title: string, note?: string, kind: string, label: (row: number) => string,
   *   format: (x: number | null) => string, strength: (x: number, rows: number) => number}} what
   * @param {(step: number | null, chosen?: boolean) => void} point
   */
  constructor({ title, note, kind, label, format, strength }, point, ...controls) {
    Object.assign(this, { title, kind, label, format, strength, point });
    this.row = 0;
    this.canvas = el("canvas", {
      class: "map", tabindex: "0", role: "slider", "aria-label": `${title}, by step`,
      pointermove: (event) => this.#pointed(event),
      pointerleave: () => this.#left(),
      click: (event) => this.#pointed(event, true),
      keydown: (event) => this.#pressed(event),
      blur: () => this.#left(),
    });
    this.rowsAt = el("div", { class: "rows", "aria-hidden": "true" });
    this.text = el("p", { class: "read" });
    this.first = el("span");
    this.last = el("span");
    this.element = el("section", { class: "card wide" },
      el("div", { class: "card-head" }, el("h2", {}, title), ...controls),
      note && el("p", { class: "note" }, note), this.text,
      el("div", { class: "map-frame" }, this.rowsAt, this.canvas),
      el("div", { class: "axis", "aria-hidden": "true" }, this.first, this.last));
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  /** @param {(number | null)[][]} map rows of numbers, one of each row of the table */
  show(table, map) {
    this.table = table;
    this.map = map;
    this.element.hidden = map.length === 0 || table.rows.length === 0;
    if (this.element.hidden) {
      return;
    }
    this.row = Math.min(this.row, map.length - 1);
    this.first.textContent = `step ${table.rows[0][0].toLocaleString("en")}`;
    this.last.textContent = table.rows.at(-1)[0].toLocaleString("en");
    const ends = map.length > 12 ? [0, map.length - 1] : map.map((_, i) => i);
    this.rowsAt.classList.toggle("ends", ends.length < map.length);
    const names = ends.map((i) => el("span", {}, `${this.kind} ${this.label(i)}`));
    this.rowsAt.replaceChildren(...names);
    this.draw();
    this.#tell();
  }

  mark(step) {
    this.step = step;
    if (this.map?.length) {
      this.draw();
      this.#tell();
    }
  }

  /** Draws again, with the colours of now. */
  draw() {
    const { canvas, map } = this;
    if (!map?.length || !canvas.clientWidth) {
      return;
    }
    const columns = map[0].length;
    const height = Math.min(260, Math.max(map.length * (map.length > 40 ? 3 : 14), 28));
    canvas.style.height = `${height}px`;
    // One number a pixel, and the browser makes them as large as they have to be.
    const context = canvas.getContext("2d");
    [canvas.width, canvas.height] = [columns, map.length];
    const style = getComputedStyle(canvas);
    const [ink, mark] = [style.color, style.borderTopColor].map(rgb);
    const image = context.createImageData(columns, map.length);
    const marked = this.#isMarked() ? this.table.find(this.step) : -1;
    map.forEach((row, y) => row.forEach((value, x) => {
      const at = 4 * (y * columns + x);
      const isMark = x === marked;
      image.data.set(isMark && value === null ? mark : ink, at);
      const strength = value === null ? 0 : 0.05 + 0.95 * this.strength(value, map.length);
      image.data[at + 3] = 255 * Math.min(1, strength);
      if (isMark) {
        image.data.set(mix(ink, mark, value === null ? 0 : strength), at);
        image.data[at + 3] = 255;
      }
    }));
    context.putImageData(image, 0, 0);
  }

  #isMarked() {
    return this.step !== null && this.step !== undefined;
  }

  #tell() {
    const { table, map, row } = this;
    const at = this.#isMarked() ? table.find(this.step) : table.rows.length - 1;
    const step = table.rows[at][0];
    const words = this.isRow || this.isFocused
      ? `${this.kind} ${this.label(row)}: ${this.format(map[row][at])}`
      : this.#summary(at);
    this.text.textContent = `Step ${step.toLocaleString("en")} · ${words}`;
    this.canvas.setAttribute("aria-valuemin", String(table.rows[0][0]));
    this.canvas.setAttribute("aria-valuemax", String(table.rows.at(-1)[0]));
    this.canvas.setAttribute("aria-valuenow", String(step));
    this.canvas.setAttribute("aria-valuetext",
      `step ${step}, ${this.kind} ${this.label(row)}: ${this.format(map[row][at])}`);
  }

  #summary(at) {
    const known = this.map.map((row, i) => [this.label(i), row[at]]).filter(([, x]) => x !== null);
    if (known.length <= 12) {
      const words = known.map(([label, x]) => `${label}: ${this.format(x)}`);
      return words.length ? `${this.kind} ${words.join(" · ")}` : "nothing";
    }
    const [label, x] = known.reduce((best, next) => (next[1] > best[1] ? next : best));
    return `most: ${this.kind} ${label}, ${this.format(x)}`;
  }

  #left() {
    [this.isRow, this.isFocused] = [false, false];
    this.point(null);
  }

  #pointed(event, chosen = false) {
    if (!this.map?.length) {
      return;
    }
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const part = (x, n) => Math.min(n - 1, Math.max(0, Math.floor(x * n)));
    this.row = part((event.clientY - top) / height, this.map.length);
    this.isRow = true;
    const at = part((event.clientX - left) / width, this.table.rows.length);
    this.point(this.table.rows[at][0], chosen);
  }

  #pressed(event) {
    const down = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    this.isFocused = event.key !== "Escape";
    if (down) {
      this.row = Math.min(this.map.length - 1, Math.max(0, this.row + down));
      event.preventDefault();
      this.point(this.step ?? this.table.rows.at(-1)[0]);
      return;
    }
    const step = moved(event, this.table, this.step);
    if (step !== undefined) {
      event.preventDefault();
      this.point(step, event.key === "Enter");
    }
  }
}

/** The parts of a colour as browsers compute it. */
function rgb(color) {
  const parts = (color.match(/[\d.]+/g) ?? [0, 0, 0]).map(Number);
  return [...parts.slice(0, 3), 255];
}

function mix(a, b, share) {
  return a.map((x, i) => x * share + b[i] * (1 - share));
}
