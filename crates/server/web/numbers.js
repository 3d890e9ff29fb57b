/** Numbers as people read them. */

const WHOLE = new Intl.NumberFormat("en");
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

export function whole(n) {
  return WHOLE.format(Math.round(n));
}

/** 1 234 567 as 1.23M. */
export function short(n) {
  return SHORT.format(n);
}

/** Tokens a second. */
export function rate(n) {
  return n >= 100 ? whole(n) : n >= 10 ? n.toFixed(1) : n.toFixed(2).replace(/\.?0+$/, "");
}

export function percent(share) {
  return `${(share * 100).toFixed(share < 0.0995 && share > 0 ? 1 : 0)}%`;
}

export function dollars(usd) {
  const size = Math.abs(usd);
  const digits = size === 0 || size >= 1 ? 2 : Math.min(9, 2 - Math.floor(Math.log10(size)));
  return `${usd < 0 ? "−" : ""}$${size.toFixed(digits)}`;
}

export function duration(ms) {
  if (ms < 1000) {
    return `${Math.round(ms)} ms`;
  }
  const seconds = ms / 1000;
  if (seconds < 60) {
    return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  }
  const minutes = Math.floor(seconds / 60);
  return minutes < 60
    ? `${minutes} min ${Math.round(seconds % 60)} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Bytes a second, in decimal units, as memories are sold. */
export function bandwidth(bytes) {
  return `${SHORT.format(bytes / 1e9)} GB/s`;
}

export function work(flops) {
  return `${SHORT.format(flops / 1e9)} GFLOP/s`;
}
