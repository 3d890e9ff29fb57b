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
  assert.match(await page.innerText("#model"), /qwen3.* · 2,048 tokens of context/);

  await set(page, "max_tokens", "96");
  await page.getByRole("radio", { name: "On", exact: true }).check();
  await page.locator("#budget").fill("0");
  assert.equal(await page.innerText("#budget-value"), "64 tokens");
  await page.fill("#prompt", "Hello");
  await page.keyboard.press("Enter");
  await answered(page);
  const label = await page.innerText(".thinking summary");
  const thought = Number(/^Thought for (\d+) tokens?/.exec(label)?.[1]);
  assert.ok(thought > 0 && thought <= 64, label);
  await page.locator(".thinking:not([open])").waitFor();
  assert.notEqual(await page.innerText(".answer"), "");

  await set(page, "max_tokens", "1900");
  await page.click("#new-chat");
  await page.getByRole("radio", { name: "On", exact: true }).check();
  await page.locator("#budget").fill("5");
  await page.fill("#prompt", "Go on");
  await page.keyboard.press("Enter");
  await page.locator(".is-running .thinking").waitFor();
  await page.keyboard.press("Escape");
  await answered(page);
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
  assert.equal(await page.locator(".is-error").count(), 0);
  assert.match(await page.innerText(".facts"), /^8 tokens|^\d tokens/);
  assert.deepEqual(browser.faults, []);
  await page.close();
});
