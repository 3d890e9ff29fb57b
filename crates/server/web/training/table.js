/** A table of steps that grows as the server tells of it. */

export class Table {
  constructor() {
    this.epoch = -1;
    this.kept = [];
    this.stride = 1;
    /** Rows of a step and its numbers, null where there is none. */
    this.rows = [];
  }

  /** How much of it is known: what is asked for is the rest. */
  get known() {
    return { epoch: Math.max(0, this.epoch), rows: this.epoch < 0 ? 0 : this.kept.length };
  }

  /** Takes in what is new; whether anything is. */
  take({ epoch, stride, from, rows, rest }) {
    const same = epoch === this.epoch && rows.length === 0
      && JSON.stringify(rest) === JSON.stringify(this.rest);
    this.kept = epoch === this.epoch ? [...this.kept.slice(0, from), ...rows] : rows;
    this.epoch = epoch;
    this.stride = stride;
    this.rest = rest;
    this.rows = rest ? [...this.kept, rest] : this.kept;
    return !same;
  }

  get steps() {
    return this.rows.map((row) => row[0]);
  }

  /** The numbers of a column, null where there is none. */
  column(at) {
    return this.rows.map((row) => row[at + 1] ?? null);
  }

  /** The row that a step is in, or the nearest. */
  find(step) {
    let [low, high] = [0, this.rows.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.rows[middle][0] < step) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
}

/** A number as it is read: few digits, and 0 only where it is. */
export function shown(x) {
  if (x === null || x === undefined) {
    return "—";
  }
  const size = Math.abs(x);
  if (x === 0 || (Number.isInteger(x) && size < 1e9)) {
    return x.toLocaleString("en");
  }
  if (size < 1e-3 || size >= 1e6) {
    return x.toExponential(2);
  }
  return x.toFixed(Math.min(4, Math.max(0, 3 - Math.floor(Math.log10(size)))));
}
