/**
 * Markdown to blocks: text in, plain data out.
 *
 * CommonMark with tables, tasks and maths, as models write it, and lenient where they are: a list
 * may be indented by two under any marker, what is not closed yet is open to the end. HTML is
 * text. Nesting is bounded.
 */

import { parseInline } from "./inline.js";

/**
 * @typedef {{raw: string} & (
 *   {type: "paragraph" | "heading", level?: number, children: object[]}
 *   | {type: "code", language: string, text: string, isOpen: boolean}
 *   | {type: "math", text: string, isOpen: boolean}
 *   | {type: "rule"}
 *   | {type: "quote", blocks: Block[]}
 *   | {type: "list", start: number | null, isLoose: boolean, items: Item[]}
 *   | {type: "table", align: (string | null)[], head: object[][], rows: object[][][]})} Block
 * @typedef {{blocks: Block[], task: boolean | null}} Item
 */

const DEPTH_MAX = 12;

const FENCE = /^( {0,3})(`{3,}|~{3,})[ \t]*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?=[ \t]|$)/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const MARKER = /^( *)([-*+]|\d{1,9}[.)])( +|$)/;
const UNDERLINE = /^ {0,3}(=+|-+)[ \t]*$/;
const DIVIDER = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
const MATH_OPEN = /^ {0,3}(\$\$|\\\[)/;
const MATH_ENVIRONMENT = /^ {0,3}\\begin\{((?:align|equation|gather|multline|cases|array)\*?)\}/;
const TASK = /^\[([ xX])\][ \t]+/;

/**
 * @param {string} source
 * @param {{breaks?: boolean}} [options]
 * @returns {Block[]}
 */
export function parse(source, options = {}) {
  const lines = source.replaceAll("\r", "").replaceAll("\t", "    ").split("\n");
  return blocks(lines, options, 0);
}

function blocks(lines, options, depth) {
  const found = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const start = at;
    const reader = { lines, at, options, depth };
    const block = (depth < DEPTH_MAX && nested(reader)) || leaf(reader);
    at = reader.at;
    block.raw = lines.slice(start, at).join("\n");
    found.push(block);
  }
  return found;
}

function nested(reader) {
  const line = reader.lines[reader.at];
  if (QUOTE.test(line)) {
    return quote(reader);
  }
  return MARKER.test(line) && !RULE.test(line) && indentOf(line) < 4 ? list(reader) : null;
}

function leaf(reader) {
  const line = reader.lines[reader.at];
  if (FENCE.test(line)) {
    return fence(reader);
  }
  if (HEADING.test(line)) {
    return heading(reader);
  }
  if (RULE.test(line)) {
    reader.at += 1;
    return { type: "rule" };
  }
  if (MATH_ENVIRONMENT.test(line)) {
    return environment(reader);
  }
  if (MATH_OPEN.test(line)) {
    const found = maths(reader);
    if (found) {
      return found;
    }
  }
  return isTable(reader) ? table(reader) : paragraph(reader);
}

function fence(reader) {
  const { lines } = reader;
  const [, indent, mark, language] = FENCE.exec(lines[reader.at]);
  const end = new RegExp(`^ {0,3}\\${mark[0]}{${mark.length},}[ \\t]*$`);
  const text = [];
  let isOpen = true;
  for (reader.at += 1; reader.at < lines.length; reader.at += 1) {
    const line = lines[reader.at];
    if (end.test(line)) {
      isOpen = false;
      reader.at += 1;
      break;
    }
    text.push(line.slice(Math.min(indent.length, indentOf(line))));
  }
  return { type: "code", language: language.trim().split(" ")[0], text: text.join("\n"), isOpen };
}

function heading(reader) {
  const line = reader.lines[reader.at];
  const [whole, marks] = HEADING.exec(line);
  let text = line.slice(whole.length).trim();
  const bare = text.replace(/#+$/, "");
  text = bare === "" || bare.endsWith(" ") ? bare.trim() : text;
  reader.at += 1;
  return { type: "heading", level: marks.length, children: parseInline(text, reader.options) };
}

/** `$$ … $$` or `\[ … \]` over lines; null if the line goes on after it. */
function maths(reader) {
  const { lines } = reader;
  const first = lines[reader.at].trim();
  const [open, close] = first.startsWith("$$") ? ["$$", "$$"] : ["\\[", "\\]"];
  const parts = [first.slice(open.length)];
  let at = reader.at;
  for (;;) {
    const last = parts.at(-1);
    const end = last.indexOf(close);
    if (end >= 0) {
      if (last.slice(end + close.length).trim().replace(/^[.,;]$/, "")) {
        return null;
      }
      parts[parts.length - 1] = last.slice(0, end);
      reader.at = at + 1;
      return { type: "math", text: parts.join("\n").trim(), isOpen: false };
    }
    at += 1;
    if (at >= lines.length || !lines[at].trim()) {
      reader.at = at;
      return { type: "math", text: parts.join("\n").trim(), isOpen: true };
    }
    parts.push(lines[at]);
  }
}

function environment(reader) {
  const { lines } = reader;
  const [, name] = MATH_ENVIRONMENT.exec(lines[reader.at]);
  const text = [];
  let isOpen = true;
  while (reader.at < lines.length && isOpen && lines[reader.at].trim()) {
    text.push(lines[reader.at]);
    isOpen = !lines[reader.at].includes(`\\end{${name}}`);
    reader.at += 1;
  }
  return { type: "math", text: text.join("\n"), isOpen };
}

function quote(reader) {
  const { lines, options, depth } = reader;
  const inside = [];
  while (reader.at < lines.length) {
    const line = lines[reader.at];
    const isLazy = inside.length > 0 && line.trim() && !interrupts(line) && inside.at(-1).trim();
    if (!QUOTE.test(line) && !isLazy) {
      break;
    }
    inside.push(line.replace(QUOTE, ""));
    reader.at += 1;
  }
  return { type: "quote", blocks: blocks(inside, options, depth + 1) };
}

function list(reader) {
  const { lines, options, depth } = reader;
  const [, , firstMark] = MARKER.exec(lines[reader.at]);
  const isOrdered = /\d/.test(firstMark);
  const items = [];
  let isLoose = false;
  while (reader.at < lines.length) {
    const marker = MARKER.exec(lines[reader.at]);
    if (!marker || /\d/.test(marker[2]) !== isOrdered || RULE.test(lines[reader.at])
      || marker[2].at(-1) !== firstMark.at(-1)) {
      break;
    }
    const item = itemLines(reader, marker);
    const task = TASK.exec(item.lines[0]);
    item.lines[0] = task ? item.lines[0].slice(task[0].length) : item.lines[0];
    const parts = blocks(item.lines, options, depth + 1);
    const goesOn = reader.at < lines.length && MARKER.test(lines[reader.at]);
    isLoose ||= item.endsBlank && goesOn;
    isLoose ||= item.hasBlank && parts.filter((part) => part.type === "paragraph").length > 1;
    items.push({ blocks: parts, task: task ? task[1] !== " " : null });
  }
  const start = isOrdered ? Number.parseInt(firstMark, 10) : null;
  return { type: "list", start, isLoose, items };
}

/** The lines of one item, without its indentation. */
function itemLines(reader, [whole, indent, mark, space]) {
  const { lines } = reader;
  const width = space.length > 4 || !space ? indent.length + mark.length + 1 : whole.length;
  const inside = [lines[reader.at].slice(width)];
  let blanks = 0;
  let hasBlank = false;
  let fenced = FENCE.test(inside[0]);
  for (reader.at += 1; reader.at < lines.length; reader.at += 1) {
    const line = lines[reader.at];
    if (!line.trim()) {
      blanks += 1;
      continue;
    }
    const depth = indentOf(line);
    // Under `1.` models indent by two as well.
    const belongs = depth >= width || (depth >= indent.length + 2 && MARKER.test(line));
    const isLazy = blanks === 0 && !interrupts(line) && !MARKER.test(line) && !fenced;
    if (!belongs && !isLazy) {
      break;
    }
    hasBlank ||= blanks > 0;
    inside.push(...Array(blanks).fill(""), line.slice(Math.min(depth, width)));
    blanks = 0;
    fenced = FENCE.test(inside.at(-1)) ? !fenced : fenced;
  }
  return { lines: inside, hasBlank, endsBlank: blanks > 0 };
}

function isTable({ lines, at }) {
  return lines[at].includes("|") && at + 1 < lines.length && DIVIDER.test(lines[at + 1])
    && cells(lines[at]).length === cells(lines[at + 1]).length;
}

function table(reader) {
  const { lines, options } = reader;
  const inline = (text) => parseInline(text, options);
  const head = cells(lines[reader.at]).map(inline);
  const align = cells(lines[reader.at + 1]).map((cell) => {
    const [left, right] = [cell.startsWith(":"), cell.endsWith(":")];
    return right ? (left ? "center" : "right") : left ? "left" : null;
  });
  const rows = [];
  for (reader.at += 2; reader.at < lines.length; reader.at += 1) {
    const line = lines[reader.at];
    if (!line.trim() || (interrupts(line) && !line.includes("|"))) {
      break;
    }
    const row = cells(line).slice(0, head.length).map(inline);
    rows.push([...row, ...Array(head.length - row.length).fill([])]);
  }
  return { type: "table", align, head, rows };
}

/** The cells of a row: bars inside code or behind a backslash are text. */
function cells(line) {
  const found = [""];
  let inCode = false;
  const text = line.trim().replace(/^\|/, "");
  for (let i = 0; i < text.length; i += 1) {
    const char = text[i];
    if (char === "\\" && text[i + 1] === "|") {
      found[found.length - 1] += "|";
      i += 1;
    } else if (char === "|" && !inCode) {
      found.push("");
    } else {
      inCode = char === "`" ? !inCode : inCode;
      found[found.length - 1] += char;
    }
  }
  if (found.length > 1 && !found.at(-1).trim()) {
    found.pop();
  }
  return found.map((cell) => cell.trim());
}

function paragraph(reader) {
  const { lines, options } = reader;
  const text = [lines[reader.at].trimStart()];
  for (reader.at += 1; reader.at < lines.length; reader.at += 1) {
    const line = lines[reader.at];
    const underline = UNDERLINE.exec(line);
    if (underline) {
      reader.at += 1;
      const level = underline[1].startsWith("=") ? 1 : 2;
      return { type: "heading", level, children: parseInline(text.join("\n"), options) };
    }
    if (!line.trim() || interrupts(line) || isTable(reader)) {
      break;
    }
    text.push(line.trimStart());
  }
  return { type: "paragraph", children: parseInline(text.join("\n").trimEnd(), options) };
}

/** Whether a line ends the paragraph before it. */
function interrupts(line) {
  const marker = MARKER.exec(line);
  const isItem = marker && marker[3] && marker[1].length < 4
    && (!/\d/.test(marker[2]) || /^1[.)]$/.test(marker[2]));
  return isItem || FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line)
    || MATH_OPEN.test(line) || MATH_ENVIRONMENT.test(line);
}

function indentOf(line) {
  return line.length - line.trimStart().length;
}
