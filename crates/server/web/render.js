/**
 * Markdown on the page. Elements are made one by one, so that whatever a model writes is text.
 *
 * While an answer comes, blocks that stay as they are keep their elements: selections hold, and
 * only what is new costs time.
 */

import { el, icon, say } from "./dom.js";
import { highlight } from "./highlight.js";
import { parse } from "./markdown.js";
import { renderMath } from "./math.js";

const rendered = new WeakMap();

/**
 * Shows `source` in `place`, changing what changed since the last time.
 *
 * @param {HTMLElement} place
 * @param {string} source
 * @param {{breaks?: boolean}} [options]
 */
export function renderMarkdown(place, source, options = {}) {
  const before = rendered.get(place) ?? [];
  const blocks = parse(source, options);
  let same = 0;
  while (same < before.length && same < blocks.length && before[same].raw === blocks[same].raw) {
    same += 1;
  }
  if (same === before.length - 1 && same < blocks.length && grow(place, before, blocks, same)) {
    same += 1;
  }
  while (place.childNodes.length > same) {
    place.lastChild.remove();
  }
  place.append(...blocks.slice(same).map(block));
  rendered.set(place, blocks);
}

/** Adds to a code block that is still open; false if that won't do. */
function grow(place, before, blocks, index) {
  const [old, now] = [before[index], blocks[index]];
  const isCode = old.type === "code" && now.type === "code" && old.isOpen && now.isOpen;
  if (!isCode || old.language !== now.language || !now.text.startsWith(old.text)) {
    return false;
  }
  place.childNodes[index].querySelector("code").append(now.text.slice(old.text.length));
  return true;
}

function block(of) {
  switch (of.type) {
    case "heading": return el(`h${Math.min(of.level + 2, 6)}`, {}, ...inline(of.children));
    case "paragraph": return el("p", {}, ...inline(of.children));
    case "code": return code(of);
    case "math":
      return of.isOpen
        ? el("p", {}, el("code", { class: "math-source" }, of.text))
        : el("div", { class: "math-block", tabindex: "0" }, renderMath(of.text, true));
    case "rule": return el("hr");
    case "quote": return el("blockquote", {}, ...of.blocks.map(block));
    case "list": return list(of);
    case "table": return table(of);
    default: throw new Error(`no such block: ${of.type}`);
  }
}

function list({ start, isLoose, items }) {
  const attributes = start === null || start === 1 ? {} : { start };
  return el(start === null ? "ul" : "ol", attributes, ...items.map(({ blocks, task }) => {
    const parts = blocks.flatMap((of) => (
      of.type === "paragraph" && !isLoose ? inline(of.children) : [block(of)]
    ));
    if (task === null) {
      return el("li", {}, ...parts);
    }
    const box = el("input", { type: "checkbox", disabled: true, checked: task });
    return el("li", { class: "task" }, box, " ", ...parts);
  }));
}

function table({ align, head, rows }) {
  const row = (tag, cells) => el("tr", {}, ...cells.map((cell, i) => (
    el(tag, { class: align[i] && `align-${align[i]}` }, ...inline(cell))
  )));
  return el("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Table" },
    el("table", {},
      el("thead", {}, row("th", head)),
      el("tbody", {}, ...rows.map((cells) => row("td", cells)))));
}

function code({ language, text, isOpen }) {
  const pieces = isOpen ? [[null, text]] : highlight(text, language);
  const words = pieces.map(([kind, piece]) => (
    kind ? el("span", { class: `code-${kind}` }, piece) : piece
  ));
  const body = el("code", {}, ...words);
  return el("div", { class: "code" },
    el("div", { class: "code-bar" },
      el("span", {}, language || "text"),
      copyButton("Copy code", () => body.textContent)),
    el("pre", { tabindex: "0", "aria-label": `Code, ${language || "text"}` }, body));
}

function inline(items) {
  return items.map((item) => {
    switch (item.type) {
      case "text": return item.text;
      case "code": return el("code", {}, item.text);
      case "math": return renderMath(item.text, item.display);
      case "break": return el("br");
      case "link": return link(item);
      default: return el(item.type, {}, ...inline(item.children));
    }
  });
}

function link({ href, title, children }) {
  const attributes = { href, title: title || href, target: "_blank", rel: "noopener noreferrer" };
  return el("a", attributes, ...inline(children));
}

/** A button that copies what `text` returns, and says so. */
export function copyButton(label, text) {
  const button = el("button", { type: "button", class: "icon-button", title: label });
  button.setAttribute("aria-label", label);
  button.append(icon("copy"));
  button.addEventListener("click", async () => {
    const done = await copy(text());
    button.replaceChildren(icon(done ? "check" : "warning"));
    say(done ? "Copied." : "The browser does not let this page copy.");
    setTimeout(() => button.replaceChildren(icon("copy")), 1600);
  });
  return button;
}

/** Copies, also where the page came by plain HTTP and has no clipboard of its own. */
async function copy(text) {
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(text).then(() => true, () => false);
  }
  const area = el("textarea", { class: "hidden", "aria-hidden": "true" });
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}
