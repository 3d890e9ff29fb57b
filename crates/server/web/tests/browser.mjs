/** The real server, and a real browser, for a file of tests. */

import { spawn } from "node:child_process";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const ROOT = path.resolve(HERE, "../../../..");
const { chromium } = createRequire(needed("PAGE_TEST_MODULES"))("playwright-core");

/** Tokens: long enough that an answer can be stopped before it ends. */
const CONTEXT = 8192;
/** Longer than anything takes on a slow, crowded machine. */
export const PATIENCE_MS = 60_000;

const ARGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
  "--disable-quic",
];

function needed(name) {
  const value = process.env[name];
  if (!value) {
    throw new Error(`${name} is not set: run this by \`cargo xtask page-test\``);
  }
  return value;
}

/** `ruminate serve` of a small model with random weights. */
export class Server {
  /** @param {string} family of the golden fixtures */
  static async start(family, { opensThinking = false, flags = [] } = {}) {
    const server = new Server();
    server.folder = await mkdtemp(path.join(tmpdir(), "ruminate-page-"));
    const model = path.join(server.folder, family);
    await cp(path.join(ROOT, "fixtures/golden", family), model, { recursive: true });
    await change(path.join(model, "config.json"), { max_position_embeddings: CONTEXT });
    if (opensThinking) {
      await openThinking(path.join(model, "tokenizer_config.json"));
    }
    const args = ["serve", model, "--port", "0", "--no-peaks", "--quiet"];
    args.push("--context", String(CONTEXT), ...flags);
    const stdio = ["ignore", "pipe", "pipe"];
    server.process = spawn(needed("PAGE_TEST_BINARY"), args, { stdio });
    server.url = await address(server.process);
    return server;
  }

  async stop() {
    const gone = new Promise((resolve) => {
      this.process.once("exit", resolve);
    });
    this.process.kill("SIGTERM");
    this.process.kill("SIGTERM");
    await gone;
    await rm(this.folder, { recursive: true });
  }
}

/** `ruminate train`, with a page. */
export class Training {
  /** @param {string[]} args what comes after `train` */
  static async start(args) {
    const training = new Training();
    const stdio = ["ignore", "pipe", "pipe"];
    const all = ["train", ...args, "--page", "0"];
    training.process = spawn(needed("PAGE_TEST_BINARY"), all, { stdio });
    training.ended = new Promise((resolve) => {
      training.process.once("exit", resolve);
    });
    training.url = await address(training.process);
    return training;
  }

  async stop() {
    this.process.kill("SIGKILL");
    await this.ended;
  }
}

/** A folder of its own, gone after the test. */
export async function folder(t) {
  const made = await mkdtemp(path.join(tmpdir(), "ruminate-run-"));
  t.after(() => rm(made, { recursive: true }));
  return made;
}

/** The path of a fixture. */
export function fixture(name) {
  return path.join(ROOT, "fixtures", name);
}

/** Random weights don't begin to think by themselves: the template does it for them. */
async function openThinking(config) {
  const { chat_template: template } = JSON.parse(await readFile(config, "utf8"));
  const end = "{%- endif %}{%- endif %}";
  if (!template.endsWith(end)) {
    throw new Error("the fixture's template ends otherwise than it did");
  }
  const opened = `${template.slice(0, -end.length)}{%- else %}{{ '<think>\\n' }}${end}`;
  await change(config, { chat_template: opened });
}

async function change(file, changes) {
  const json = JSON.parse(await readFile(file, "utf8"));
  await writeFile(file, JSON.stringify({ ...json, ...changes }));
}

function address(process) {
  return new Promise((resolve, reject) => {
    let said = "";
    const listen = (chunk) => {
      said += chunk;
      const found = /at (http:\/\/[\d.]+:\d+)/.exec(said);
      if (found) {
        resolve(found[1]);
      }
    };
    process.stdout.on("data", listen);
    process.stderr.on("data", listen);
    process.once("error", reject);
    process.once("exit", (code) => reject(new Error(`the server ended (${code}): ${said}`)));
  });
}

/** Waits until the page knows its models, or why it doesn't. */
export async function ready(page) {
  await page.waitForFunction(() => document.getElementById("model")?.textContent !== "");
}

/** Runs in the page: contrasts of words to what is behind them, as WCAG counts. */
export function contrasts(words) {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const light = (colour) => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((c) => {
      const share = c / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    const { backgroundColor } = getComputedStyle(node);
    return backgroundColor === "rgba(0, 0, 0, 0)" ? behind(node.parentElement) : backgroundColor;
  };
  const pairs = {};
  for (const selector of words) {
    const node = document.querySelector(selector);
    const [a, b] = [light(getComputedStyle(node).color), light(behind(node))];
    pairs[selector] = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }
  return { background: getComputedStyle(document.body).backgroundColor, pairs };
}

/** A browser of its own, with nothing in it. */
export class Browser {
  static async open() {
    const browser = new Browser();
    browser.profile = await mkdtemp(path.join(tmpdir(), "ruminate-profile-"));
    const executablePath = process.env.PAGE_TEST_CHROMIUM ?? "/usr/bin/chromium";
    browser.context = await chromium.launchPersistentContext(browser.profile, {
      executablePath, args: ARGS, headless: true, viewport: { width: 1280, height: 800 },
    });
    browser.context.setDefaultTimeout(PATIENCE_MS);
    /** What went wrong in any page, and the hosts that were asked. */
    browser.faults = [];
    browser.hosts = new Set();
    browser.context.on("request", (request) => {
      const { protocol, host } = new URL(request.url());
      if (protocol !== "data:") {
        browser.hosts.add(host);
      }
    });
    return browser;
  }

  /** A page at `url`; faults of its scripts and breaches of its policy are noted. */
  async page(url, isReady = ready) {
    const page = await this.context.newPage();
    page.on("pageerror", (error) => this.faults.push(String(error)));
    page.on("console", (message) => {
      const text = message.text();
      // Refusals that tests ask for are told by the browser too.
      if (message.type() === "error" && !/^Failed to load resource/.test(text)) {
        this.faults.push(text);
      }
    });
    await page.goto(url);
    await isReady(page);
    return page;
  }

  /** Forgets what pages kept. */
  async clean(page) {
    await page.evaluate(async () => {
      localStorage.clear();
      sessionStorage.clear();
      await new Promise((resolve) => {
        const request = indexedDB.open("ruminate");
        request.onsuccess = () => {
          const store = request.result.transaction("conversations", "readwrite")
            .objectStore("conversations");
          store.clear().onsuccess = () => {
            request.result.close();
            resolve();
          };
        };
      });
    });
  }

  async close() {
    await this.context.close();
    await rm(this.profile, { recursive: true, force: true });
  }
}
