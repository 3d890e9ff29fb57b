/** Lines over steps: one scale, a legend with the numbers at the step that is pointed at. */

import { el, svg } from "./dom.js";

const [WIDTH, HEIGHT] = [600, 150];

export class Lines {
  /**
   * @param {{title: string, note?: string, lines: {name: string, label: string}[],
   *   format: (x: number | null) => string, low?: number, high?: number}} what
   * @param {(step: number | null, chosen?: boolean) => void} point
   */
  constructor({ title, note, lines, format, low, high }, point) {
    Object.assign(this, { title, lines, format, low, high, point });
    this.paths = lines.map((_, i) => svg("path", { class: `line line-${i + 1}` }));
    this.cursor = svg("line", { class: "cursor", y1: 0, y2: HEIGHT, visibility: "hidden" });
    this.top = el("span", { class: "scale top" });
    this.bottom = el("span", { class: "scale bottom" });
    this.first = el("span");
    this.last = el("span");
    this.values = lines.map(() => el("b"));
    this.items = lines.map(({ label }, i) => (
      el("li", {}, el("i", { class: `swatch line-${i + 1}` }), `${label} `, this.values[i])
    ));
    this.plot = el("div", {
      class: "plot", tabindex: "0", role: "slider", "aria-label": `${title}, by step`,
      pointermove: (event) => this.#pointed(event),
      pointerleave: () => point(null),
      click: (event) => this.#pointed(event, true),
      keydown: (event) => this.#pressed(event),
      blur: () => point(null),
    }, svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none",
      "aria-hidden": "true" }, ...this.paths, this.cursor), this.top, this.bottom);
    this.element = el("section", { class: "card" },
      el("h2", {}, title), note && el("p", { class: "note" }, note),
      el("ul", { class: "legend" }, ...this.items), this.plot,
      el("div", { class: "axis", "aria-hidden": "true" }, this.first, this.last));
  }

  /** Draws what a table has; hidden while that is nothing. */
  show(table, names) {
    this.table = table;
    this.columns = this.lines.map(({ name }) => {
      const at = names.indexOf(name);
      return at < 0 ? [] : table.column(at);
    });
    const all = this.columns.flat().filter((x) => x !== null);
    this.element.hidden = all.length === 0;
    if (this.element.hidden) {
      return;
    }
    let [low, high] = minmax([...all, this.low ?? all[0], this.high ?? all[0]]);
    if (low > 0 && low < high * 0.6) {
      low = 0;
    }
    if (low === high) {
      [low, high] = low === 0 ? [0, 1] : [low - Math.abs(low) / 10, high + Math.abs(high) / 10];
    }
    this.range = [low, high];
    this.items.forEach((item, i) => {
      item.hidden = this.columns[i].every((x) => x === null);
    });
    this.paths.forEach((path, i) => path.setAttribute("d", this.#path(this.columns[i])));
    this.top.textContent = this.format(high);
    this.bottom.textContent = this.format(low);
    this.first.textContent = `step ${table.rows[0][0].toLocaleString("en")}`;
    this.last.textContent = table.rows.at(-1)[0].toLocaleString("en");
    this.#tell();
  }

  /** Marks a step, or none: then the numbers are the newest. */
  mark(step) {
    this.step = step;
    if (this.table && !this.element.hidden) {
      this.#tell();
    }
  }

  #tell() {
    const { table } = this;
    const row = this.step === null || this.step === undefined ? null : table.find(this.step);
    const at = row ?? table.rows.length - 1;
    const values = this.columns.map((column) => this.format(column[at] ?? null));
    values.forEach((value, i) => {
      this.values[i].textContent = value;
    });
    const step = table.rows[at][0];
    const words = this.lines.map(({ label }, i) => `${label} ${values[i]}`)
      .filter((_, i) => !this.items[i].hidden);
    this.plot.setAttribute("aria-valuemin", String(table.rows[0][0]));
    this.plot.setAttribute("aria-valuemax", String(table.rows.at(-1)[0]));
    this.plot.setAttribute("aria-valuenow", String(step));
    this.plot.setAttribute("aria-valuetext", `step ${step}: ${words.join(", ")}`);
    this.cursor.setAttribute("visibility", row === null ? "hidden" : "visible");
    const x = this.#x(at);
    this.cursor.setAttribute("x1", x);
    this.cursor.setAttribute("x2", x);
  }

  #x(at) {
    return this.table.rows.length < 2 ? WIDTH / 2 : (at / (this.table.rows.length - 1)) * WIDTH;
  }

  #path(column) {
    const [low, high] = this.range;
    let path = "";
    let isOpen = false;
    column.forEach((value, at) => {
      if (value === null) {
        isOpen = false;
        return;
      }
      const y = HEIGHT - 2 - ((value - low) / (high - low)) * (HEIGHT - 4);
      const place = `${this.#x(at).toFixed(1)} ${y.toFixed(1)}`;
      // A number alone is a dot.
      path += isOpen ? `L${place}` : `M${place}h0.01`;
      isOpen = true;
    });
    return path;
  }

  #pointed(event, chosen = false) {
    if (!this.table?.rows.length) {
      return;
    }
    const { left, width } = this.plot.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - left) / width));
    const at = Math.round(share * (this.table.rows.length - 1));
    this.point(this.table.rows[at][0], chosen);
  }

  #pressed(event) {
    const step = moved(event, this.table, this.step);
    if (step !== undefined) {
      event.preventDefault();
      this.point(step, event.key === "Enter");
    }
  }
}

/** Where a key moves a step of a table; undefined for other keys. */
export function moved({ key }, table, step) {
  const { rows } = table;
  const at = step === null || step === undefined ? rows.length - 1 : table.find(step);
  const to = {
    ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at - 10, PageDown: at + 10, Home: 0,
    End: rows.length - 1, Enter: at,
  }[key];
  if (key === "Escape") {
    return null;
  }
  return to === undefined ? undefined : rows[Math.min(rows.length - 1, Math.max(0, to))][0];
}

/** Without spreading: there may be thousands. */
function minmax(all) {
  const wider = ([low, high], x) => [Math.min(low, x), Math.max(high, x)];
  return all.reduce(wider, [Infinity, -Infinity]);
}
