/**
 * Markdown inside a line: emphasis, code, links, maths. Text in, plain data out.
 *
 * Emphasis follows CommonMark's delimiter runs, with one leniency: Chinese, Japanese and Korean
 * letters count as spaces do beside punctuation, or `**词：**词` would stay as it is. Everything
 * that looks ahead does so within a bound, so that no text takes long.
 */

/**
 * @typedef {{type: "text", text: string}
 *   | {type: "code", text: string}
 *   | {type: "math", text: string, display: boolean}
 *   | {type: "break"}
 *   | {type: "strong" | "em" | "del", children: Inline[]}
 *   | {type: "link", href: string, title: string, children: Inline[]}} Inline
 */

const LOOK_AHEAD_MAX = 2000;
const DEPTH_MAX = 8;
const OPENERS_MAX = 64;

const PUNCTUATION = /[\p{P}\p{S}]/u;
const SPACE = /\s/u;
const CJK = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]/u;
const ESCAPABLE = /[!-/:-@[-`{-~]/;
const PLAIN = /[^\\`*_~[\]!<&$\n:]+/y;
const ADDRESS = /https?:\/\/[^\s<>"`]{1,2000}/y;
const ENTITY = /&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|([a-zA-Z]{2,8}));/y;
const ENTITIES = {
  amp: "&", lt: "<", gt: ">", quot: "\"", apos: "'", nbsp: "\u00a0", copy: "©", hellip: "…",
  mdash: "—", ndash: "–", times: "×", le: "≤", ge: "≥", ne: "≠", rarr: "→", larr: "←",
  deg: "°",
};
const MATHS = [["$$", "$$", true], ["\\[", "\\]", true], ["\\(", "\\)", false]];

/**
 * @param {string} source
 * @param {{breaks?: boolean}} [options] breaks: a new line in the source is one on the page
 * @returns {Inline[]}
 */
export function parseInline(source, options = {}, depth = 0) {
  const scanner = new Scanner(source, options, depth);
  while (scanner.at < source.length) {
    scanner.step();
  }
  return pairUp(scanner.items);
}

class Scanner {
  constructor(source, options, depth) {
    this.source = source;
    this.options = options;
    this.depth = depth;
    this.at = 0;
    this.items = [];
    /** Lengths of backtick runs that are known to have no end. */
    this.unended = new Set();
  }

  step() {
    const { source, at } = this;
    const plain = match(PLAIN, source, at);
    if (plain) {
      // An address may begin in the middle of a word, but not of its own scheme.
      this.text(plain[0]);
      this.at += plain[0].length;
      return;
    }
    switch (source[at]) {
      case "\\": return this.backslash();
      case "`": return this.code();
      case "*": case "_": case "~": return this.delimiter();
      case "[": return this.link(at) || this.take(1);
      case "!": return (source[at + 1] === "[" && this.link(at + 1)) || this.take(1);
      case "<": return this.angle() || this.take(1);
      case "&": return this.entity() || this.take(1);
      case "$": return this.maths() || this.dollar() || this.take(1);
      case ":": return this.address() || this.take(1);
      case "\n": return this.newline();
      default: return this.take(1);
    }
  }

  text(text) {
    const last = this.items.at(-1);
    if (last?.type === "text") {
      last.text += text;
    } else {
      this.items.push({ type: "text", text });
    }
  }

  take(n) {
    this.text(this.source.slice(this.at, this.at + n));
    this.at += n;
    return true;
  }

  push(item, end) {
    this.items.push(item);
    this.at = end;
    return true;
  }

  backslash() {
    const next = this.source[this.at + 1] ?? "";
    if (this.maths()) {
      return;
    }
    if (next === "\n") {
      this.push({ type: "break" }, this.at + 2);
    } else if (ESCAPABLE.test(next)) {
      this.text(next);
      this.at += 2;
    } else {
      this.take(1);
    }
  }

  code() {
    const run = match(/`+/y, this.source, this.at)[0];
    const start = this.at + run.length;
    const end = this.unended.has(run.length) ? -1 : this.endOfCode(start, run.length);
    if (end < 0) {
      this.unended.add(run.length);
      this.take(run.length);
      return;
    }
    let text = this.source.slice(start, end).replaceAll("\n", " ");
    if (text.startsWith(" ") && text.endsWith(" ") && text.trim()) {
      text = text.slice(1, -1);
    }
    this.push({ type: "code", text }, end + run.length);
  }

  endOfCode(from, length) {
    const runs = /`+/g;
    runs.lastIndex = from;
    for (let found = runs.exec(this.source); found; found = runs.exec(this.source)) {
      if (found[0].length === length) {
        return found.index;
      }
    }
    return -1;
  }

  delimiter() {
    const { source, at } = this;
    const char = source[at];
    let end = at;
    while (source[end] === char) {
      end += 1;
    }
    const count = end - at;
    const before = charBefore(source, at);
    const after = String.fromCodePoint(source.codePointAt(end) ?? 32);
    const opens = flanks(before, after);
    const closes = flanks(after, before);
    const isWord = char === "_";
    const canOpen = opens && (!isWord || !closes || PUNCTUATION.test(before));
    const canClose = closes && (!isWord || !opens || PUNCTUATION.test(after));
    const isStrike = char === "~" && count !== 2;
    this.at = end;
    if (isStrike || !(canOpen || canClose)) {
      this.text(source.slice(at, end));
    } else {
      this.items.push({ type: "delimiter", char, count, whole: count, canOpen, canClose });
    }
  }

  /** `[text](address "title")` at `open`; images become links, because nothing is fetched. */
  link(open) {
    if (this.depth >= DEPTH_MAX) {
      return false;
    }
    const close = matching(this.source, open, "[", "]");
    if (close < 0 || this.source[close + 1] !== "(") {
      return false;
    }
    const end = matching(this.source, close + 1, "(", ")");
    if (end < 0) {
      return false;
    }
    const inside = this.source.slice(close + 2, end).trim();
    const parts = /^(?:<([^<>\n]*)>|(\S*))(?:\s+["'(]([^]*)["')])?$/.exec(inside);
    const href = parts && safeAddress(parts[1] ?? parts[2]);
    if (!href) {
      return false;
    }
    const label = this.source.slice(open + 1, close) || href;
    const children = parseInline(label, this.options, this.depth + 1);
    return this.push({ type: "link", href, title: parts[3] ?? "", children }, end + 1);
  }

  /** An address in angle brackets, or a break as HTML has it. Any other tag is text. */
  angle() {
    const rest = this.source.slice(this.at, this.at + LOOK_AHEAD_MAX);
    const lineBreak = /^<br\s{0,4}\/?>/i.exec(rest);
    if (lineBreak) {
      return this.push({ type: "break" }, this.at + lineBreak[0].length);
    }
    const found = /^<((?:https?:\/\/|mailto:)[^\s<>]+)>/i.exec(rest);
    const href = found && safeAddress(found[1]);
    return href ? this.push(linkOf(found[1], href), this.at + found[0].length) : false;
  }

  /** A bare address, noticed at its colon: the scheme is in the text already. */
  address() {
    const last = this.items.at(-1);
    const scheme = last?.type === "text" && /(?:^|[^a-z0-9])(https?)$/i.exec(last.text.slice(-6));
    if (!scheme) {
      return false;
    }
    const start = this.at - scheme[1].length;
    const found = match(ADDRESS, this.source, start);
    if (!found) {
      return false;
    }
    const text = trimmed(found[0]);
    const href = safeAddress(text);
    if (!href) {
      return false;
    }
    last.text = last.text.slice(0, -scheme[1].length);
    return this.push(linkOf(text, href), start + text.length);
  }

  entity() {
    const found = match(ENTITY, this.source, this.at);
    const text = found && decoded(found);
    if (!text) {
      return false;
    }
    this.text(text);
    this.at += found[0].length;
    return true;
  }

  maths() {
    for (const [open, close, display] of MATHS) {
      if (this.source.startsWith(open, this.at)) {
        const start = this.at + open.length;
        const end = this.source.slice(start, start + LOOK_AHEAD_MAX).indexOf(close);
        if (end > 0) {
          const text = this.source.slice(start, start + end);
          return this.push({ type: "math", text, display }, start + end + close.length);
        }
      }
    }
    return false;
  }

  /** `$x$`: closely set, on one line, and no price. */
  dollar() {
    const rest = this.source.slice(this.at + 1, this.at + 1 + LOOK_AHEAD_MAX);
    const found = /^(?![\s$])((?:\\.|[^$\\\n])+)\$(?!\d)/.exec(rest);
    if (!found || /\s$/.test(found[1])) {
      return false;
    }
    const end = this.at + 1 + found[0].length;
    return this.push({ type: "math", text: found[1], display: false }, end);
  }

  newline() {
    const last = this.items.at(-1);
    const isHard = this.options.breaks || (last?.type === "text" && last.text.endsWith("  "));
    if (last?.type === "text") {
      last.text = last.text.trimEnd();
    }
    if (isHard) {
      this.push({ type: "break" }, this.at + 1);
    } else {
      this.text(" ");
      this.at += 1;
    }
    while (this.source[this.at] === " ") {
      this.at += 1;
    }
  }
}

/** Pairs delimiters; those that stay alone are text. */
function pairUp(items) {
  const result = [];
  const openers = [];
  for (const item of items) {
    if (item.type !== "delimiter") {
      result.push(item);
      continue;
    }
    while (item.canClose && item.count > 0 && close(result, openers, item)) {
      // Each round pairs one or two characters of the run.
    }
    if (item.count > 0) {
      if (item.canOpen && openers.length < OPENERS_MAX) {
        openers.push({ item, at: result.length });
      }
      result.push(item);
    }
  }
  return literal(result);
}

function close(result, openers, closer) {
  const k = openers.findLastIndex(({ item }) => pairs(item, closer));
  if (k < 0) {
    return false;
  }
  const { item: opener, at } = openers[k];
  const n = Math.min(opener.count, closer.count) >= 2 ? 2 : 1;
  const children = literal(result.splice(at + 1));
  opener.count -= n;
  closer.count -= n;
  openers.length = k + 1;
  if (opener.count === 0) {
    result.pop();
    openers.pop();
  }
  const type = closer.char === "~" ? "del" : n === 2 ? "strong" : "em";
  result.push({ type, children });
  return true;
}

function pairs(opener, closer) {
  if (opener.char !== closer.char) {
    return false;
  }
  const either = opener.canClose || closer.canOpen;
  const odd = (opener.whole + closer.whole) % 3 === 0 && opener.whole % 3 !== 0;
  return !(either && odd);
}

function literal(items) {
  const result = [];
  for (const item of items) {
    const text = item.type === "delimiter" ? item.char.repeat(item.count) : item.text;
    const last = result.at(-1);
    if (item.type !== "delimiter" && item.type !== "text") {
      result.push(item);
    } else if (last?.type === "text") {
      last.text += text;
    } else {
      result.push({ type: "text", text });
    }
  }
  return result;
}

/** Whether a run between `outside` and `inside` may hold what is inside. */
function flanks(outside, inside) {
  if (SPACE.test(inside)) {
    return false;
  }
  return !PUNCTUATION.test(inside) || SPACE.test(outside) || PUNCTUATION.test(outside)
    || CJK.test(outside);
}

function charBefore(source, at) {
  if (at === 0) {
    return " ";
  }
  const low = source.charCodeAt(at - 1);
  const isPair = low >= 0xdc00 && low <= 0xdfff && at > 1;
  return isPair ? source.slice(at - 2, at) : source[at - 1];
}

/** Where what opens at `at` closes, within a bound; -1 if it doesn't. */
function matching(source, at, open, close) {
  let depth = 0;
  const end = Math.min(source.length, at + LOOK_AHEAD_MAX);
  for (let i = at; i < end; i += 1) {
    if (source[i] === "\\") {
      i += 1;
    } else if (source[i] === open) {
      depth += 1;
    } else if (source[i] === close) {
      depth -= 1;
      if (depth === 0) {
        return i;
      }
    }
  }
  return -1;
}

/** Addresses that a link may lead to; null for others, `javascript:` among them. */
export function safeAddress(address) {
  const bare = address.replaceAll(/\\([!-/:-@[-`{-~])/g, "$1");
  if (!/^(?:https?:\/\/|mailto:)/i.test(bare)) {
    return null;
  }
  try {
    const { protocol, href } = new URL(bare);
    return ["http:", "https:", "mailto:"].includes(protocol) ? href : null;
  } catch {
    return null;
  }
}

function linkOf(text, href) {
  return { type: "link", href, title: "", children: [{ type: "text", text }] };
}

/** Without the punctuation that ends a sentence, and a bracket that opened outside. */
function trimmed(address) {
  let end = address.length;
  for (;;) {
    const last = address[end - 1];
    const isLoose = last === ")"
      && count(address, ")", end) > count(address, "(", end);
    if (!isLoose && !/[.,:;!?'"*_~。，；：！？）]/.test(last)) {
      return address.slice(0, end);
    }
    end -= 1;
  }
}

function count(text, char, end) {
  let n = 0;
  for (let i = 0; i < end; i += 1) {
    n += text[i] === char ? 1 : 0;
  }
  return n;
}

function decoded([, decimal, hex, name]) {
  if (name) {
    return Object.hasOwn(ENTITIES, name) ? ENTITIES[name] : null;
  }
  const code = decimal ? Number.parseInt(decimal, 10) : Number.parseInt(hex, 16);
  return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : null;
}

function match(sticky, source, at) {
  sticky.lastIndex = at;
  return sticky.exec(source);
}
