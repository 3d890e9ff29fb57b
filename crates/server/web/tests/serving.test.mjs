/** The page before the real server and small models with random weights. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Browser, Server } from "./browser.mjs";

let browser;

before(async () => {
  browser = await Browser.open();
});

after(async () => {
  await browser?.close();
});

async function answered(page) {
  await page.waitForFunction(() => (
    !document.querySelector(".is-running") && document.querySelector(".assistant")
  ));
}

async function set(page, name, value) {
  await page.click("#open-settings");
  await page.fill(`[name=${name}]`, value);
  await page.keyboard.press("Escape");
}

test("a real model thinks within its budget, answers, and is stopped", async (t) => {
  const server = await Server.start("qwen3", { opensThinking: true });
  t.after(() => server.stop());
  const page = await browser.page(server.url);
  assert.match(await page.innerText("#model"), /qwen3.* · 8,192 tokens of context/);

  // The likeliest token of these weights never ends anything: only the budget does.
  await set(page, "temperature", "0");
  await page.getByRole("radio", { name: "On", exact: true }).check();
  const thought = async (step, budget) => {
    await set(page, "max_tokens", "1000");
    await page.locator("#budget").fill(step);
    assert.equal(await page.innerText("#budget-value"), budget);
    await page.fill("#prompt", "Hello");
    await page.press("#prompt", "Enter");
    await answered(page);
    assert.notEqual(await page.innerText(".answer"), "");
    await page.locator(".thinking:not([open])").waitFor();
    const label = await page.innerText(".thinking summary");
    await page.click("#new-chat");
    return Number(/^Thought for (\d+) tokens/.exec(label)?.[1]);
  };
  const few = await thought("0", "64 tokens");
  const many = await thought("3", "512 tokens");
  // A landing is soft, and the words that end thinking are counted too: about 448 lie between,
  // unless the longer one went in circles and was ended before.
  assert.ok(few >= 64 && few < many && many - few < 600, `${few} and ${many}`);

  await set(page, "max_tokens", "8000");
  await page.locator("#budget").fill("20");
  await page.fill("#prompt", "Go on");
  await page.press("#prompt", "Enter");
  await page.locator(".is-running .thinking").waitFor();
  await page.press("#prompt", "Escape");
  await answered(page);
  assert.match(await page.innerText("#thread .notice"), /You stopped/);
  // The engine is left within a step.
  for (;;) {
    const { running, requests } = await (await fetch(`${server.url}/v1/live`)).json();
    if (running === 0 && requests === 0) {
      break;
    }
    await page.waitForTimeout(50);
  }
  assert.deepEqual(browser.faults, []);
  assert.deepEqual([...browser.hosts], [new URL(server.url).host]);
  await page.close();
  browser.hosts.clear();
});

test("a sparse model's experts, and money, are in the panel", async (t) => {
  const flags = ["--price-per-hour", "0.5", "--price-input", "1", "--price-output", "2"];
  const server = await Server.start("qwen3_moe", { flags });
  t.after(() => server.stop());
  const page = await browser.page(server.url);
  await set(page, "max_tokens", "32");
  await page.click("#open-panel");
  await page.fill("#prompt", "Hello");
  await page.locator("#prompt").press("Enter");
  await answered(page);
  await page.locator(".heat-text", { hasText: "the busiest expert has" }).waitFor();
  await page.waitForFunction(() => /Tokens out\s*\d+/.test(document.body.innerText));
  const panel = await page.innerText("#panel-body");
  assert.match(panel, /Cost\s*\$0\.\d+/);
  assert.match(panel, /Revenue\s*\$0\.\d+/);
  assert.match(panel, /Running\s*\d/);
  assert.match(await page.innerText(".facts"), /\d+ tokens .*cost \$0\.\d+/);
  assert.deepEqual(browser.faults, []);
  await page.close();
});

test("a server with keys shows the page to all and answers those who have one", async (t) => {
  const server = await Server.start("qwen3", { flags: ["--api-key", "right"] });
  t.after(() => server.stop());
  const page = await browser.page(server.url);
  await page.locator("#key[open]").waitFor();
  await page.fill("#key-input", "right");
  await page.keyboard.press("Enter");
  await page.locator("#model", { hasText: "tokens of context" }).waitFor();
  await set(page, "max_tokens", "8");
  await page.fill("#prompt", "Hello");
  await page.locator("#prompt").press("Enter");
  await answered(page);
  assert.equal(await page.locator("#thread .is-error").count(), 0);
  assert.match(await page.innerText(".facts"), /^[1-8] tokens?/);
  assert.deepEqual(browser.faults, []);
  await page.close();
});
