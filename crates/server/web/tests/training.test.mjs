/** The page of a training run in a browser, before the real command. */

import assert from "node:assert/strict";
import { appendFile, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { Browser, Training, contrasts, fixture, folder } from "./browser.mjs";

const DIFFERENCE = "max |Δ log-prob|";
const EXPERTS = 8;

let browser;
let page;

before(async () => {
  browser = await Browser.open();
});

after(async () => {
  await browser?.close();
});

beforeEach(() => {
  page = undefined;
});

afterEach(async () => {
  await page?.close();
  assert.deepEqual(browser.faults.splice(0), [], "a script failed, or the policy was broken");
});

/** A page of the run in `run`, which is followed to its newest step. */
async function open(t, args) {
  const training = await Training.start(args);
  t.after(() => training.stop());
  page = await browser.page(training.url, (it) => it.locator("#state:not(:empty)").waitFor());
  return training;
}

/** The line of a step. */
function line(step) {
  const grown = 1 - Math.exp(-step / 15);
  const share = (i) => (1 + (i === step % EXPERTS ? 1 : 0)) / (EXPERTS + 1);
  const shares = Array.from({ length: EXPERTS }, (_, i) => Number(share(i).toFixed(5)));
  return JSON.stringify({
    step, reward: 0.2 + 0.6 * grown, "reward/exact": 0.2 + 0.6 * grown, right: 0.2 + 0.5 * grown,
    "right/difficulty 1": 0.5 + 0.5 * grown, "right/difficulty 2": 0.2 + 0.6 * grown,
    "right/difficulty 10": 0.3 * grown, loss: 0.01 * Math.sin(step), [DIFFERENCE]: 0,
    "router flips": 0, "dead groups": 0.4 - 0.2 * grown, "groups all right": 0.1,
    entropy: 1.5 - grown, length: 40 + step, "thinking length": 30 + step,
    "gradient norm": 0.5, "tokens/s rollout": 900,
    "roof rollout": 0.11, "tokens/s training": 400, "roof training": 0.42, seconds: 2,
    experts: { layers: [1, 2], shares: [shares, [...shares].reverse()] },
  });
}

const sample = (step, text = `<think>\n${step} of them</think>\n\nIt is ${step}.`) => (
  JSON.stringify({ step, prompt: `What comes after ${step - 1}?`, text, reward: 1, why: "right",
    tokens: 9, difficulty: 2 })
);

/** Adds steps to a run. */
async function write(run, from, to, of = sample) {
  const steps = Array.from({ length: to - from + 1 }, (_, i) => from + i);
  const text = (make) => steps.map((step) => `${make(step)}\n`).join("");
  await appendFile(path.join(run, "samples.jsonl"), text((step) => of(step)));
  await appendFile(path.join(run, "metrics.jsonl"), text(line));
}

async function made(t, steps = 40) {
  const run = await folder(t);
  await writeFile(path.join(run, "run.json"), JSON.stringify({ kind: "rl", steps: 100 }));
  await write(run, 1, steps);
  return run;
}

const card = (title) => page.locator(".card", { has: page.getByRole("heading", { name: title,
  exact: true }) });
const stepSays = (text) => page.locator("#state", { hasText: text }).waitFor();

test("a run is shown as it is, and goes on as it goes on", async (t) => {
  const run = await made(t);
  const { url } = await open(t, ["page", run]);
  await stepSays("Reinforcement learning: step 40 of 100, running, about 2 min 0 s left");
  assert.equal(await page.innerText("#title"), path.basename(run));
  assert.match(await page.innerText("#tiles"), /max \|Δ log-prob\|\s*0, exact/);
  for (const title of ["Reward", "Length", DIFFERENCE, "Entropy", "Tokens a second",
    "Share of the roof", "Right, by difficulty", "Load of experts"]) {
    assert.equal(await card(title).isVisible(), true, title);
  }
  const path1 = () => card("Reward").locator("path.line-1").getAttribute("d");
  const before = await path1();
  assert.equal(before.split("L").length, 40);
  await write(run, 41, 43);
  await stepSays("step 43 of 100");
  assert.equal((await path1()).split("L").length, 43);
  assert.match(await card("Length").locator(".legend").innerText(), /answer 83\s*thinking 73/);
  await page.locator("#answers", { hasText: "It is 43." }).waitFor();
  // A run that went back to a checkpoint tells other steps.
  await writeFile(path.join(run, "new"), `${line(1)}\n${line(2)}\n`);
  await rename(path.join(run, "new"), path.join(run, "metrics.jsonl"));
  await stepSays("step 2 of 100");
  assert.equal((await path1()).split("L").length, 2);
  const hosts = [...browser.hosts].filter((host) => host !== new URL(url).host);
  browser.hosts.clear();
  assert.deepEqual(hosts, [], "another host was asked");
});

test("a slider goes through what the model wrote, step by step", async (t) => {
  const run = await made(t);
  await open(t, ["page", run]);
  const shows = (step) => page.locator("#answers", { hasText: `It is ${step}.` }).waitFor();
  await shows(40);
  assert.equal(await page.innerText(".thought"), "<think>\n40 of them</think>");
  assert.match(await page.innerText(".facts"), /reward 1\s*right\s*9 tokens\s*difficulty 2/);
  await page.locator("#step").focus();
  await page.keyboard.press("Home");
  await shows(1);
  assert.equal(await page.innerText("#step-value"), "step 1");
  await page.keyboard.press("ArrowRight");
  await shows(2);
  await page.getByRole("button", { name: "The next step" }).click();
  await shows(3);
  await page.getByRole("button", { name: "The step before" }).click();
  await shows(2);
  // It stays where it was put while the run goes on, until the newest is asked for.
  await write(run, 41, 41);
  await stepSays("step 41 of 100");
  await shows(2);
  await page.getByRole("button", { name: "Newest" }).click();
  await shows(41);
});

test("charts are read with keys, and lead to what was written", async (t) => {
  const run = await made(t);
  await open(t, ["page", run]);
  await stepSays("step 40");
  const plot = card("Length").getByRole("slider");
  await plot.focus();
  await page.keyboard.press("Home");
  assert.equal(await plot.getAttribute("aria-valuetext"), "step 1: answer 41, thinking 31");
  await page.keyboard.press("PageDown");
  await page.keyboard.press("ArrowLeft");
  assert.equal(await plot.getAttribute("aria-valuenow"), "10");
  // All charts are at that step.
  assert.match(await card("Entropy").locator(".legend").innerText(), /entropy 1\.013/);
  await page.keyboard.press("Enter");
  await page.locator("#answers", { hasText: "It is 10." }).waitFor();
  const map = card("Load of experts").getByRole("slider");
  await map.focus();
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowDown");
  assert.equal(await map.getAttribute("aria-valuetext"), "step 1, expert 1: 22%");
  await card("Load of experts").getByLabel("Layer").selectOption("layer 2");
  await map.focus();
  await page.keyboard.press("Home");
  assert.equal(await map.getAttribute("aria-valuetext"), "step 1, expert 1: 11%");
  const levels = await card("Right, by difficulty").locator(".rows").innerText();
  assert.deepEqual(levels.split("\n"), ["difficulty 1", "difficulty 2", "difficulty 10"]);
});

test("a map has the ink of its numbers", async (t) => {
  await open(t, ["page", await made(t, 8)]);
  await stepSays("step 8");
  const ink = await card("Load of experts").locator("canvas").evaluate((canvas) => {
    const { data, width, height } = canvas.getContext("2d").getImageData(0, 0, canvas.width,
      canvas.height);
    return Array.from({ length: width * height }, (_, i) => data[4 * i + 3]);
  });
  assert.equal(ink.length, 8 * EXPERTS);
  const strong = ink.flatMap((x, i) => (x > 200 ? [i] : []));
  // Of step s the expert s % 8 has twice as much as others: one in each row and column.
  const expected = Array.from({ length: 8 }, (_, expert) => 8 * expert + ((expert + 7) % 8));
  assert.deepEqual(strong, expected);
});

test("what a model writes is text, whatever it looks like", async (t) => {
  const run = await folder(t);
  const evil = "<img src=x onerror=\"document.title='no'\"><script>document.title='no'</script>";
  await write(run, 1, 2, (step) => sample(step, evil));
  await open(t, ["page", run]);
  await page.locator(".said", { hasText: "<img src=x" }).waitFor();
  assert.equal(await page.locator("#answers img, #answers script").count(), 0);
  assert.notEqual(await page.title(), "no");
  assert.match(await page.innerText("#state"), /^Training: step 2, running/);
});

test("a run by example shows its loss and no reward", async (t) => {
  const run = await folder(t);
  await writeFile(path.join(run, "run.json"), "{\"kind\": \"sft\", \"steps\": 2}");
  const lines = [1, 2].map((step) => `{"step": ${step}, "loss": ${3 / step}, "rate": 0.001}\n`);
  await writeFile(path.join(run, "metrics.jsonl"), lines.join(""));
  await open(t, ["page", run]);
  await stepSays("Supervised training: step 2 of 2, done");
  assert.equal(await card("Loss").isVisible(), true);
  for (const title of ["Reward", "Right, by difficulty", "Load of experts"]) {
    assert.equal(await card(title).isVisible(), false, title);
  }
  assert.equal(await page.isVisible("#texts"), false);
  await page.click("#more summary");
  assert.equal(await card("rate").isVisible(), true);
});

test("a phone of 320 pixels has room for all of it", async (t) => {
  const run = await folder(t);
  await write(run, 1, 3, (step) => sample(step, "w".repeat(400)));
  await open(t, ["page", run]);
  await page.locator("#answers .said").waitFor();
  await page.setViewportSize({ width: 320, height: 640 });
  await page.click("#more summary");
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 320);
  for (const button of await page.locator(".icon-button:visible").all()) {
    const { width, height } = await button.boundingBox();
    assert.ok(width >= 24 && height >= 24, "a finger finds every button");
  }
});

test("light and dark are read well and switched", async (t) => {
  await open(t, ["page", await made(t)]);
  await page.locator("#answers .said").waitFor();
  const words = ["#title", "#state", ".tile dt", ".tile dd", ".card h2", ".note", ".legend li",
    ".scale", ".prompt", ".thought", ".said", ".facts", ".good", "#newest"];
  const seen = [];
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    seen.push(await page.evaluate(contrasts, words));
  }
  assert.notEqual(seen[0].background, seen[1].background);
  for (const [name, ratio] of seen.flatMap(({ pairs }) => Object.entries(pairs))) {
    assert.ok(ratio >= 4.5, `${name}: ${ratio}`);
  }
  await page.click("#theme");
  assert.equal((await page.evaluate(contrasts, words)).background, seen[0].background);
});

test("a run that trains is watched, and its page says when it is gone", async (t) => {
  const run = await folder(t);
  const rows = Array.from({ length: 12 }, (_, i) => (
    `{"prompt": "${i} + ${i}", "answer": "${2 * i}", "difficulty": ${i % 3}}\n`
  ));
  await writeFile(path.join(run, "rows.jsonl"), rows.join(""));
  const config = path.join(run, "run.toml");
  await writeFile(config, `
    out = "${run}/out"
    [model]
    start = "${fixture("golden/qwen3_moe")}"
    [data]
    files = ["${run}/rows.jsonl"]
    [train]
    steps = 100000
    tokens_max = 64
    pass_tokens = 256
    [rollout]
    prompts = 3
    samples = 4
    tokens_max = 12
    dynamic_batches_max = 1
    [reward]
    verifier = "exact"
    mask_truncated = false
  `);
  const training = await open(t, ["rl", config]);
  await page.locator("#state", { hasText: /step [\d,]+ of 100,000, running/ }).waitFor();
  assert.match(await page.innerText("#tiles"), /max \|Δ log-prob\|\s*0, exact/);
  const read = await card("Load of experts").locator(".read").innerText();
  assert.match(read, /expert 0: [\d.]+% · 1: /);
  await page.locator("#answers li").first().waitFor();
  await training.stop();
  await stepSays("The run can't be reached");
  assert.equal(await card("Reward").isVisible(), true, "what was heard stays");
});
