/** Markdown to data, without a browser. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { parseInline, safeAddress } from "../inline.js";
import { highlight } from "../highlight.js";
import { parse } from "../markdown.js";
import { thinkingOf } from "../request.js";
import { events } from "../sse.js";

/** Inline data in short: `strong(a em(b))`. */
function shape(items) {
  return items.map((item) => {
    if (item.type === "text") {
      return item.text;
    }
    const inside = item.children ? shape(item.children) : item.text ?? "";
    return `${item.type}(${inside})`;
  }).join("");
}

const inline = (source, options) => shape(parseInline(source, options));
const types = (source) => parse(source).map(({ type }) => type);

test("emphasis nests, pairs and leaves words alone", () => {
  assert.equal(inline("a **b *c* d** e"), "a strong(b em(c) d) e");
  assert.equal(inline("***x***"), "em(strong(x))");
  assert.equal(inline("snake_case_name and _so_"), "snake_case_name and em(so)");
  assert.equal(inline("2 * 3 * 4"), "2 * 3 * 4");
  assert.equal(inline("**open"), "**open");
  assert.equal(inline("~~gone~~ ~kept~"), "del(gone) ~kept~");
  assert.equal(inline("**重点：**内容"), "strong(重点：)内容");
});

test("code holds what is in it", () => {
  assert.equal(inline("`a*b*` ``c`d``"), "code(a*b*) code(c`d)");
  assert.equal(inline("`open **b**"), "`open strong(b)");
});

test("links lead to the web or to mail, never elsewhere", () => {
  assert.equal(inline("[t](https://a.example/x_(y))"), "link(t)");
  assert.equal(inline("see https://a.example/x."), "see link(https://a.example/x).");
  for (const address of [
    "javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "vbscript:x", "//a.example",
    "java\tscript:alert(1)", "file:///etc/passwd", "/v1/models", "blob:https://a.example/x",
  ]) {
    assert.equal(safeAddress(address), null, address);
    assert.doesNotMatch(inline(`[t](${address})`), /^link/, address);
  }
});

test("maths is told from money", () => {
  assert.equal(inline("$x^2$ and \\(y\\)"), "math(x^2) and math(y)");
  assert.equal(inline("from $5 to $6"), "from $5 to $6");
  assert.equal(inline("$ x $ and \\$y\\$"), "$ x $ and $y$");
  assert.deepEqual(types("$$\nx\n$$\n\n\\[\ny\n\\]"), ["math", "math"]);
  assert.deepEqual(types("\\begin{align}\nx &= 1\n\\end{align}"), ["math"]);
  assert.equal(parse("$$\nx +")[0].isOpen, true);
});

test("HTML is text, but for a break", () => {
  assert.equal(inline("<b onclick=x>b</b>"), "<b onclick=x>b</b>");
  assert.equal(inline("a<br>b"), "abreak()b");
  assert.equal(inline("&lt;i&gt; &amp;amp; &nope; &#65;"), "<i> &amp; &nope; A");
});

test("blocks are found, and found open while they come", () => {
  const source = "# T\n\ntext\nmore\n\n> q\n\n---\n\n```js\nx\n```\n\n| a | b |\n|---|--:|\n| 1 |";
  const found = ["heading", "paragraph", "quote", "rule", "code", "table"];
  assert.deepEqual(types(source), found);
  const [table] = parse("| a | `b|c` |\n|:-:|--:|\n| 1 | 2 | 3 |\n| 4 |");
  assert.deepEqual(table.align, ["center", "right"]);
  assert.deepEqual(table.rows.map((row) => row.map(shape)), [["1", "2"], ["4", ""]]);
  assert.deepEqual(parse("```py\nx = 1\n").map(({ isOpen, text }) => [isOpen, text]),
    [[true, "x = 1\n"]]);
});

test("lists nest by as little as models indent", () => {
  const [list] = parse("3. a\n  - b\n  - [x] c\n4. d\n\n   e");
  assert.equal(list.start, 3);
  assert.deepEqual(list.items.map(({ blocks }) => blocks.map(({ type }) => type)),
    [["paragraph", "list"], ["paragraph", "paragraph"]]);
  assert.deepEqual(list.items[0].blocks[1].items.map(({ task }) => task), [null, true]);
});

test("nothing that is nested deeply or left open makes trouble", () => {
  const hostile = [
    ">".repeat(20_000), "[".repeat(20_000), "*a ".repeat(20_000), "_a*".repeat(20_000),
    "`a``".repeat(10_000), "$a".repeat(10_000), `https://a.example/${")".repeat(20_000)}`,
    Array.from({ length: 2000 }, (_, i) => `${" ".repeat(2 * (i % 40))}- x`).join("\n"),
  ];
  for (const source of hostile) {
    assert.ok(parse(source).length > 0);
  }
});

test("highlighting keeps every character", () => {
  const source = "def f(x):  # note\n    return \"a\\\"b\" + f'{x}' + 0x1F + '''long\n'''";
  const pieces = highlight(source, "python");
  assert.equal(pieces.map(([, text]) => text).join(""), source);
  const kinds = new Set(pieces.map(([kind]) => kind));
  assert.deepEqual([...kinds].filter(Boolean).sort(),
    ["call", "comment", "number", "string", "word"]);
  assert.deepEqual(highlight("<x>", "constructor"), [[null, "<x>"]]);
});

test("what is asked about thinking is asked in one field", () => {
  assert.deepEqual(thinkingOf({ think: "off", budget: 512 }),
    { chat_template_kwargs: { enable_thinking: false } });
  assert.deepEqual(thinkingOf({ think: "on", budget: null }),
    { chat_template_kwargs: { enable_thinking: true } });
  assert.deepEqual(thinkingOf({ think: "on", budget: 512 }), { thinking_token_budget: 512 });
  assert.deepEqual(thinkingOf({ think: "auto", budget: 512 }),
    { thinking: { type: "auto", budget_tokens: 512 } });
});

test("events are put together however they are cut", async () => {
  const stream = "data: {\"a\": \"é\"}\r\n\r\n: quiet\n\ndata: x\ndata: y\n\n";
  const bytes = new TextEncoder().encode(stream);
  for (const size of [1, 2, 3, 7, bytes.length]) {
    const chunks = [];
    for (let at = 0; at < bytes.length; at += size) {
      chunks.push(bytes.slice(at, at + size));
    }
    const found = [];
    for await (const data of events(ReadableStream.from(chunks))) {
      found.push(data);
    }
    assert.deepEqual(found, ["{\"a\": \"é\"}", "x\ny"]);
  }
});
