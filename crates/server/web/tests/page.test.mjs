/** The page in a browser, before an API that says what each test scripts. */

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { Browser, Server, contrasts, ready } from "./browser.mjs";
import { MODEL, Stage, busyEngine, gate } from "./stage.mjs";

const USAGE = {
  prompt_tokens: 12, completion_tokens: 9, total_tokens: 21,
  prompt_tokens_details: { cached_tokens: 4 },
  completion_tokens_details: { reasoning_tokens: 7 },
  ruminate: { compute_ms: 3 },
};

let server;
let stage;
let browser;
let page;

before(async () => {
  server = await Server.start("qwen3");
  stage = await Stage.open(server.url);
  browser = await Browser.open();
});

after(async () => {
  await browser?.close();
  stage?.close();
  await server?.stop();
});

beforeEach(async () => {
  stage.reset();
  page = await browser.page(stage.url);
});

afterEach(async () => {
  await browser.clean(page);
  await page.close();
  const faults = browser.faults.splice(0);
  assert.deepEqual(faults, [], "a script failed, or the policy was broken");
  const hosts = [...browser.hosts];
  browser.hosts.clear();
  assert.deepEqual(hosts, [new URL(stage.url).host], "another host was asked");
});

async function ask(text) {
  await page.fill("#prompt", text);
  await page.press("#prompt", "Enter");
}

async function answered() {
  await page.waitForFunction(() => (
    !document.querySelector(".is-running") && document.querySelector(".assistant")
  ));
}

/** Words that are to be read in every light. */
const WORDS = [".bubble", ".answer p", ".answer code", ".answer a", ".model", ".thinking summary",
  ".sidebar-note", ".conversation", ".think :checked + span", ".send"];

const text = (selector) => page.locator(selector).innerText();
const isOpen = () => page.locator(".thinking").evaluate((details) => details.open);

test("a message is answered as it comes, in Markdown", async () => {
  const rest = gate();
  stage.script = () => [
    { text: "Some **bold** words,\n\n```python\nx = 1 #" },
    { wait: rest.wait, text: " one\n```\n\n| a | b |\n|---|---|\n| 1 | $x^2$ |" },
  ];
  await ask("Hello");
  await page.locator(".answer strong", { hasText: "bold" }).waitFor();
  await page.locator(".answer pre", { hasText: "x = 1 #" }).waitFor();
  assert.equal(await page.getAttribute("#send", "aria-label"), "Stop");
  rest.open();
  await answered();
  assert.equal(await page.locator(".answer pre .code-comment").innerText(), "# one");
  assert.equal(await page.locator(".answer td math msup").count(), 1);
  assert.equal(await page.getAttribute("#send", "aria-label"), "Send");
  const [body] = stage.chats;
  assert.equal(body.model, MODEL.id);
  assert.deepEqual(body.messages, [{ role: "user", content: "Hello" }]);
  assert.deepEqual([body.stream, body.stream_options], [true, { include_usage: true }]);

  await ask("And then?");
  await answered();
  assert.deepEqual(stage.chats[1].messages.map(({ role }) => role), ["user", "assistant", "user"]);
  assert.equal(await text("#status"), "The answer is there.");
});

test("thinking is open while it comes, then folds and says how long it was", async () => {
  const [more, answer, end] = [gate(), gate(), gate()];
  stage.script = () => [
    { thinking: "First " }, { wait: more.wait, thinking: "second." },
    { wait: answer.wait, text: "So it is." }, { wait: end.wait, usage: USAGE },
  ];
  await ask("Why?");
  await page.locator(".thinking-body", { hasText: "First" }).waitFor();
  assert.equal(await isOpen(), true);
  assert.equal(await text(".thinking summary"), "Thinking…");
  more.open();
  await page.locator(".thinking-body", { hasText: "First second." }).waitFor();
  answer.open();
  await page.locator(".answer", { hasText: "So it is." }).waitFor();
  assert.equal(await isOpen(), false);
  end.open();
  await answered();
  assert.match(await text(".thinking summary"), /^Thought for 7 tokens · /);
  await page.click(".thinking summary");
  assert.equal(await text(".thinking-body"), "First second.");
  assert.equal(await text(".answer"), "So it is.");
});

test("whoever folds thinking while it comes keeps it folded", async () => {
  const more = gate();
  stage.script = () => [{ thinking: "a" }, { wait: more.wait, thinking: "b" }, { text: "c" }];
  await ask("?");
  await page.locator(".thinking[open]").waitFor();
  await page.click(".thinking summary");
  more.open();
  await answered();
  assert.equal(await isOpen(), false);
});

test("stop ends the answer at the server and keeps what came", async () => {
  for (const stop of [() => page.click("#send"), () => page.press("#prompt", "Escape")]) {
    const left = stage.left;
    stage.script = () => [{ text: "Half" }, { wait: new Promise(() => {}) }];
    await ask("Go on");
    await page.locator(".turn:last-child .answer", { hasText: "Half" }).waitFor();
    await stop();
    await answered();
    assert.match(await text(".turn:last-child .notice"), /You stopped/);
    assert.equal(await text(".turn:last-child .answer"), "Half");
    for (let i = 0; i < 200 && stage.left === left; i += 1) {
      await page.waitForTimeout(20);
    }
    assert.equal(stage.left, left + 1, "the server was left");
  }
});

test("another answer stands beside the first", async () => {
  stage.script = (_, n) => [{ text: `Answer ${n}` }];
  await ask("Well?");
  await answered();
  await page.click("[aria-label=Regenerate]");
  await page.locator(".answer", { hasText: "Answer 2" }).waitFor();
  await answered();
  assert.deepEqual(stage.chats[1].messages, stage.chats[0].messages);
  assert.equal(await text(".count"), "2/2");
  await page.click("[aria-label='Previous answer']");
  assert.equal(await text(".answer"), "Answer 1");
  await ask("Then?");
  await answered();
  assert.equal(stage.chats[2].messages[1].content, "Answer 1", "the one that is shown counts");
});

test("an edited message is asked again, and what followed it goes", async () => {
  await ask("Frist");
  await answered();
  await ask("Second");
  await answered();
  await page.locator(".user").first().hover();
  await page.locator("[aria-label='Edit and ask again']").first().click();
  await page.fill(".edit", "First");
  await page.keyboard.press("Control+Enter");
  await page.waitForFunction(() => document.querySelectorAll(".turn").length === 2);
  await answered();
  assert.deepEqual(stage.chats[2].messages, [{ role: "user", content: "First" }]);
});

test("how much to think is asked as it was chosen, and remembered", async () => {
  const asked = async () => {
    await ask("x");
    await answered();
    const { thinking, thinking_token_budget, chat_template_kwargs } = stage.chats.at(-1);
    return { thinking, thinking_token_budget, chat_template_kwargs };
  };
  const only = (of) => ({
    thinking: undefined, thinking_token_budget: undefined, chat_template_kwargs: undefined, ...of,
  });
  assert.deepEqual(await asked(), only({ thinking: { type: "auto" } }));
  await page.getByRole("radio", { name: "On", exact: true }).check();
  assert.deepEqual(await asked(), only({ chat_template_kwargs: { enable_thinking: true } }));
  await page.locator("#budget").fill("3");
  assert.equal(await text("#budget-value"), "512 tokens");
  assert.equal(await page.getAttribute("#budget", "aria-valuetext"), "512 tokens");
  assert.deepEqual(await asked(), only({ thinking_token_budget: 512 }));
  await page.getByRole("radio", { name: "Auto" }).check();
  assert.deepEqual(await asked(), only({ thinking: { type: "auto", budget_tokens: 512 } }));
  await page.getByRole("radio", { name: "Off" }).check();
  assert.equal(await page.isVisible("#budget"), false);
  assert.deepEqual(await asked(), only({ chat_template_kwargs: { enable_thinking: false } }));
  await page.reload();
  await ready(page);
  assert.equal(await page.getByRole("radio", { name: "Off" }).isChecked(), true);
});

test("a model that does not think is not asked to", async () => {
  stage.models = [{ ...MODEL, thinks: false }];
  await page.reload();
  await ready(page);
  assert.equal(await page.isVisible("#think"), false);
  assert.equal(await page.isVisible("#budget"), false);
  await ask("x");
  await answered();
  assert.equal("thinking" in stage.chats[0], false);
});

test("the system prompt and how tokens are drawn go along, and nothing else", async () => {
  await page.click("#open-settings");
  await page.fill("#system", "Be brief.");
  await page.fill("[name=temperature]", "0.5");
  await page.fill("[name=max_tokens]", "99");
  await page.fill("[name=top_p]", "7");
  await page.keyboard.press("Escape");
  await ask("x");
  await answered();
  const [body] = stage.chats;
  assert.deepEqual(body.messages[0], { role: "system", content: "Be brief." });
  assert.deepEqual([body.temperature, body.max_tokens], [0.5, 99]);
  assert.equal("top_p" in body, false, "no share is 7");
  assert.equal("seed" in body, false);
});

test("conversations survive a reload, are renamed and deleted", async () => {
  stage.script = () => [{ thinking: "Hm." }, { text: "Answer **one**", usage: USAGE }];
  await ask("First question");
  await answered();
  await page.click("#new-chat");
  await ask("Second question");
  await answered();
  await page.reload();
  await ready(page);
  const titles = () => page.locator(".conversation").allInnerTexts();
  assert.deepEqual(await titles(), ["Second question", "First question"]);
  assert.equal(await text("#title"), "Second question", "the one that was open");
  await page.click("text=First question");
  assert.equal(await text(".bubble"), "First question");
  assert.equal(await page.locator(".answer strong").innerText(), "one");
  assert.match(await text(".thinking summary"), /^Thought for 7 tokens/);

  await page.click("[aria-label='Rename “First question”']");
  await page.fill(".rename", "Renamed");
  await page.keyboard.press("Enter");
  assert.equal(await text("#title"), "Renamed");
  await page.click("[aria-label='Delete “Renamed”']");
  await page.click("#question >> text=Cancel");
  assert.equal((await titles()).length, 2);
  await page.click("[aria-label='Delete “Renamed”']");
  await page.click("#question button.danger");
  await page.waitForFunction(() => document.querySelectorAll(".conversation").length === 1);
  await page.reload();
  await ready(page);
  assert.deepEqual(await titles(), ["Second question"]);
});

test("no more conversations are kept than there is room for", async () => {
  await page.evaluate(async () => {
    const { CONVERSATIONS_MAX, Store } = await import("/assets/store.js");
    const store = await Store.open();
    for (let i = 0; i < CONVERSATIONS_MAX; i += 1) {
      const settings = { system: "", think: "auto", budget: null };
      await store.save({ id: `old${i}`, title: `Old ${i}`, updated: i, settings, turns: [] });
    }
  });
  await page.reload();
  await ready(page);
  assert.equal(await page.locator(".conversation").count(), 200);
  await ask("New");
  await answered();
  await page.reload();
  await ready(page);
  const titles = await page.locator(".conversation").allInnerTexts();
  assert.deepEqual([titles.length, titles[0], titles.at(-1)], [200, "New", "Old 1"]);
});

const HOSTILE = [
  "<img src=x onerror=\"window.broken=1\"><script>window.broken=1</script>",
  "<svg onload=window.broken=1><iframe srcdoc=\"<script>parent.broken=1</script>\"></iframe>",
  "[link](javascript:window.broken=1) <javascript:window.broken=1>",
  "![i](http://evil.example/i.png) [x](https://a.example/\"onmouseover=\"window.broken=1)",
  "`<b onclick=1>` <a href=javascript:1>y</a>",
  "$\\href{javascript:window.broken=1}{x}$ $\\includegraphics{http://evil.example/i.png}$ "
    + "$\\label{prompt} x$ $\\htmlId{prompt}{y}$",
  "```html\"><img/src=x/onerror=window.broken=1>\n</code><script>window.broken=1</script>\n```",
  "| <img src=x onerror=window.broken=1> |\n|---|\n| <style>*{display:none}</style> |",
].join("\n\n");

test("whatever a model writes is text", async () => {
  stage.script = () => [{ thinking: HOSTILE }, { text: HOSTILE, usage: {
    ...USAGE, ruminate: { thinking: { note: "<img src=x onerror=window.broken=1>" } },
  } }];
  await ask("<img src=x onerror=window.broken=1>");
  await answered();
  await page.click(".thinking summary");
  stage.script = () => [{ error: "<img src=x onerror=window.broken=1>" }];
  await ask("again");
  await page.locator("#thread .is-error").waitFor();
  await page.reload();
  await ready(page);
  await page.locator(".answer").first().waitFor();
  const found = await page.evaluate(() => {
    const all = [...document.querySelectorAll(".app *")];
    const attributes = all.flatMap((node) => [...node.attributes].map(({ name }) => name));
    return {
      broken: window.broken,
      tags: all.map(({ localName }) => localName)
        .filter((tag) => ["script", "iframe", "object", "embed", "style"].includes(tag)),
      images: [...document.querySelectorAll("#thread img, #conversations img")].length,
      handlers: attributes.filter((name) => name.startsWith("on")),
      links: [...document.querySelectorAll("[href]")].map((a) => a.getAttribute("href"))
        .filter((href) => /^\s*(javascript|data|vbscript)/i.test(href)),
      prompts: document.querySelectorAll("[id=prompt]").length,
    };
  });
  assert.deepEqual(found, {
    broken: undefined, tags: [], images: 0, handlers: [], links: [], prompts: 1,
  });
  assert.ok((await text(".answer >> nth=0")).includes("<script>window.broken=1</script>"));
});

test("the policy itself stops a script that got in", async () => {
  const stopped = await page.evaluate(() => {
    const place = document.createElement("div");
    try {
      place.innerHTML = "<img src=x onerror=window.broken=1>";
      return false;
    } catch (error) {
      return error instanceof TypeError;
    }
  });
  assert.equal(stopped, true, "HTML can be made of text");
  browser.faults = browser.faults.filter((fault) => !/TrustedHTML|Trusted Type/.test(fault));
});

test("a key is asked for, sent, and forgotten with the tab unless it is to be kept", async () => {
  stage.key = "secret";
  await page.reload();
  await page.locator("#key[open]").waitFor();
  await page.fill("#key-input", "wrong");
  await page.click("#key >> text=Use key");
  await page.locator("#key >> text=does not know this key").waitFor();
  await page.fill("#key-input", "secret");
  await page.check("#key-keep");
  await page.click("#key >> text=Use key");
  await page.locator("#model", { hasText: MODEL.id }).waitFor();
  await ask("x");
  await answered();
  assert.equal(await text(".answer"), "Hello.");
  await page.reload();
  await page.locator("#model", { hasText: MODEL.id }).waitFor();
  assert.equal(await page.locator("#key[open]").count(), 0);
});

test("a busy server is asked again when it said so, and the wait can be stopped", async () => {
  stage.refusals = [{ status: 429, message: "too many", headers: { "retry-after-ms": "300" } }];
  await ask("x");
  await page.locator(".notice", { hasText: "busy" }).waitFor();
  await answered();
  assert.equal(await text(".answer"), "Hello.");
  assert.equal(stage.chats.length, 2);
  stage.refusals = [{ status: 503, message: "stopping", headers: { "retry-after": "3600" } }];
  await ask("y");
  await page.locator(".notice", { hasText: "60 seconds" }).waitFor();
  await page.press("#prompt", "Escape");
  await page.locator(".notice", { hasText: "You stopped" }).waitFor();
  assert.equal(stage.chats.length, 3);
});

test("faults are said plainly, and what came before them stays", async () => {
  stage.script = () => [{ text: "Half an ans" }, { hangUp: true }];
  await ask("x");
  await page.locator(".is-error", { hasText: "The connection was lost" }).waitFor();
  assert.equal(await text(".answer"), "Half an ans");
  stage.script = () => [{ text: "Ha" }, { error: "the engine failed" }];
  await page.click("text=Try again");
  await page.locator(".is-error", { hasText: "the engine failed" }).waitFor();
  stage.refusals = [{ status: 400, message: "the prompt is too long" }];
  await page.click("text=Try again");
  await page.locator(".is-error", { hasText: "the prompt is too long" }).waitFor();
  await page.context().setOffline(true);
  await page.click("text=Try again");
  await page.locator(".is-error", { hasText: "cannot be reached" }).waitFor();
  await page.context().setOffline(false);
  stage.script = () => [{ text: "Whole", finish: "length" }];
  await page.click("text=Try again");
  await answered();
  assert.match(await text("#thread .notice"), /limit of tokens/);
  assert.equal(await page.locator(".count").isVisible(), false, "what failed is no answer");
});

test("the panel shows what the engine does", async () => {
  stage.live = busyEngine();
  await page.click("#open-panel");
  await page.locator(".figure b", { hasText: "87.1" }).waitFor();
  const all = await text("#panel-body");
  for (const words of ["412", "42%", "71%", "36.8 GB/s", "in use 38%", "Prefix hits", "63%",
    "12 sparse layers of 32 experts", "$1.25", "$3.46", "1 h 2 min", "1.23M"]) {
    assert.ok(all.includes(words), `${words} in ${all}`);
  }
  const heat = await page.locator(".heat").evaluate((canvas) => {
    const at = (layer, expert) => canvas.getContext("2d").getImageData(
      ((expert + 0.4) / 32) * canvas.width, ((layer + 0.4) / 12) * canvas.height, 1, 1).data[3];
    return { busiest: at(3, 7), beside: at(3, 8) };
  });
  assert.ok(heat.busiest > 250 && heat.beside < 150, JSON.stringify(heat));
  const points = () => page.locator(".spark-line").first().getAttribute("d");
  const line = await points();
  stage.live = { ...busyEngine(), output_tok_per_s: 10.5, experts: [],
    money: { cost: null, revenue: null, margin: null, cost_per_million_output: null } };
  await page.locator(".figure b", { hasText: "10.5" }).waitFor();
  assert.ok((await points()).length > line.length);
  assert.equal(await page.isVisible("h3:text('Experts')"), false);
  assert.equal(await page.isVisible("text=Revenue"), false);
  stage.live = null;
  await page.locator("#panel .is-error").waitFor();
  await page.click("#close-panel");
  assert.equal(await page.isVisible("#panel"), false);
});

test("everything is done by the keyboard, and the focus is seen", async () => {
  await page.keyboard.type("One");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("two");
  await page.keyboard.press("Enter");
  await answered();
  assert.equal(stage.chats[0].messages[0].content, "One\ntwo");
  await page.locator("#prompt").focus();
  const seen = new Set();
  for (let i = 0; i < 60; i += 1) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const node = document.activeElement;
      const styled = node.matches(".think input") ? node.nextElementSibling : node;
      const { outlineStyle, outlineWidth } = getComputedStyle(styled);
      const isBare = node === document.body || node.id === "prompt";
      return {
        name: node.id || node.getAttribute("aria-label") || node.className,
        isSeen: isBare || (outlineStyle !== "none" && parseFloat(outlineWidth) >= 1),
      };
    });
    assert.ok(at.isSeen, `the focus on ${at.name} is not seen`);
    seen.add(at.name);
  }
  for (const name of ["send", "new-chat", "conversation", "Delete “One”", "open-settings",
    "open-panel", "theme", "Regenerate", "Copy answer", "Edit and ask again", "budget"]) {
    assert.ok(seen.has(name), `${name} is not reached: ${[...seen]}`);
  }
  await page.locator("#open-panel").focus();
  await page.keyboard.press("Enter");
  assert.equal(await page.getAttribute("#open-panel", "aria-expanded"), "true");
  await page.locator("#close-panel").focus();
  await page.keyboard.press("Escape");
  assert.equal(await page.isVisible("#panel"), false);
});

test("a phone of 320 pixels has room for all of it", async () => {
  await page.setViewportSize({ width: 320, height: 640 });
  stage.live = busyEngine();
  const wide = "| a | b | c | d | e | f | g |\n|-|-|-|-|-|-|-|\n| 1 | 2 | 3 | 4 | 5 | 6 | 7 |";
  stage.script = () => [{ text: `${"long".repeat(99)}\n\n\`\`\`\n${"x".repeat(300)}\n\`\`\`\n\n`
    + `${wide}\n\n$$${"a + ".repeat(60)}b$$` }];
  await ask("w".repeat(300));
  await answered();
  const fits = async (name) => {
    const { inner, width } = await page.evaluate(() => ({
      inner: document.getElementById("scroll").scrollWidth
        - document.getElementById("scroll").clientWidth,
      width: document.documentElement.scrollWidth,
    }));
    assert.deepEqual([width, inner], [320, 0], name);
  };
  await fits("messages");
  await page.click("#open-panel");
  await page.locator(".figure b", { hasText: "87.1" }).waitFor();
  await fits("the panel");
  const box = await page.locator("#panel").boundingBox();
  assert.deepEqual([box.x, box.width], [0, 320]);
  await page.click("#close-panel");
  assert.equal(await page.isVisible("#sidebar"), false);
  await page.click("#open-sidebar");
  await page.locator("#sidebar .conversation").waitFor();
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => !document.body.classList.contains("sidebar-open"));
  await page.click("#open-settings");
  await fits("settings");
  for (const button of await page.locator(".icon-button:visible, .send:visible").all()) {
    const { width, height } = await button.boundingBox();
    assert.ok(width >= 24 && height >= 24, "a finger finds every button");
  }
});

test("light and dark are read well, switched, and remembered", async () => {
  stage.script = () => [{ thinking: "hm" }, { text: "a `b` [c](https://c.example)" }];
  await ask("x");
  await answered();
  const seen = [];
  for (const scheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: scheme });
    seen.push(await page.evaluate(contrasts, WORDS));
  }
  assert.notEqual(seen[0].background, seen[1].background);
  for (const { pairs } of seen) {
    for (const [name, ratio] of Object.entries(pairs)) {
      assert.ok(ratio >= 4.5, `${name}: ${ratio}`);
    }
  }
  await page.emulateMedia({ colorScheme: "dark" });
  await page.click("#theme");
  assert.equal(await page.getAttribute("#theme", "aria-label"), "Theme: light");
  assert.equal((await page.evaluate(contrasts, WORDS)).background, seen[0].background);
  await page.reload();
  await ready(page);
  assert.equal((await page.evaluate(contrasts, WORDS)).background, seen[0].background);
  await page.emulateMedia({ colorScheme: "light" });
});

test("nothing moves for those who want it still", async () => {
  await page.emulateMedia({ reducedMotion: "reduce" });
  stage.script = () => [{ thinking: "hm" }, { wait: new Promise(() => {}) }];
  await ask("x");
  await page.locator(".is-thinking").waitFor();
  const running = await page.evaluate(() => document.getAnimations().length);
  assert.equal(running, 0);
  await page.emulateMedia({ reducedMotion: "no-preference" });
});
