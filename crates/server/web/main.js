/**
 * The page: what it shows, and what happens when.
 *
 * Start here. `library` keeps conversations, `generation` runs one answer, `thread`, `composer`,
 * `sidebar` and `panel` show; none of them knows another. Nothing a model writes is parsed as
 * HTML, and nothing is asked of any host but the one the page came from.
 */

import { models } from "./api.js";
import { Composer } from "./composer.js";
import { ask, openKey, openSettings } from "./dialogs.js";
import { byId, el, icon, say, setIcon } from "./dom.js";
import { Generation, emptyVariant } from "./generation.js";
import { Library } from "./library.js";
import { whole } from "./numbers.js";
import { Panel } from "./panel.js";
import { requestOf } from "./request.js";
import { readKey } from "./settings_store.js";
import { Sidebar } from "./sidebar.js";
import { startTheme } from "./theme.js";
import { Thread } from "./thread.js";

const IDEAS = [
  "How many prime numbers are there below 50? Show how you count them.",
  "Why is the sky dark at night, if there are stars in every direction?",
  "Write a function that merges two sorted lists, and prove that it ends.",
];
/** Nearer than this to the end, the reader reads along. */
const NEAR_END_PX = 80;

class Page {
  constructor(library) {
    this.library = library;
    this.models = [];
    /** @type {Generation | null} */
    this.generation = null;
    this.isFollowing = true;
    this.scroll = byId("scroll");
    this.composer = new Composer({
      send: (text) => this.send(text),
      stop: () => this.stop(),
      changed: (settings) => library.settle(settings),
    });
    this.sidebar = new Sidebar({
      open: (id) => this.open(id),
      create: () => this.create(),
      rename: (id, title) => this.rename(id, title),
      remove: (id) => this.remove(id),
    });
    this.thread = new Thread(byId("thread"), {
      regenerate: (index) => this.regenerate(index),
      choose: (index, by) => this.chooseVariant(index, by),
      edit: (index, text) => this.edit(index, text),
    });
    this.panel = new Panel({ needsKey: () => this.needKey() });
    library.failed = () => {
      byId("storage-note").textContent = "The browser has no room: this is lost with the tab.";
    };
    this.listen();
  }

  listen() {
    setIcon(byId("open-settings"), "sliders", "Settings")
      .addEventListener("click", () => this.settings());
    startTheme(() => this.panel.recolour());
    const toEnd = byId("to-end");
    toEnd.prepend(icon("down"));
    toEnd.addEventListener("click", () => this.follow());
    this.scroll.addEventListener("scroll", () => this.noteScroll(), { passive: true });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
        this.escape();
      }
    });
    addEventListener("pagehide", () => {
      if (this.generation) {
        this.library.save(this.answering);
      }
    });
    addEventListener("hashchange", () => {
      const id = location.hash.slice(1);
      if (id !== this.library.current.id && this.library.choose(id)) {
        this.showAll();
      }
    });
  }

  /** One thing at a time: the answer that comes, then what lies above the page. */
  escape() {
    if (this.generation) {
      this.stop();
    } else if (this.sidebar.isOpen) {
      this.sidebar.toggle(false);
    } else if (this.panel.isOpen && document.activeElement?.closest("#panel")) {
      this.panel.toggle(false);
      byId("open-panel").focus();
    }
  }

  async start() {
    this.library.choose(location.hash.slice(1));
    if (!this.library.keeps) {
      byId("storage-note").textContent = "This browser keeps nothing: all is lost with the tab.";
    }
    this.showAll();
    this.composer.focus();
    await this.findModels();
  }

  async findModels() {
    try {
      this.models = await models();
    } catch (error) {
      byId("model").textContent = error.message;
      if (error.needsKey) {
        this.needKey();
      } else {
        setTimeout(() => this.findModels(), 3000);
      }
      return;
    }
    this.showHead();
    this.showWelcome();
  }

  /** The model of the open conversation: the one it chose, if it's still served. */
  get model() {
    const wanted = this.library.current.settings.model;
    return this.models.find(({ id }) => id === wanted) ?? this.models[0] ?? null;
  }

  needKey() {
    if (!byId("key").open) {
      openKey({ isWrong: readKey() !== "", done: () => this.findModels() });
    }
  }

  // What the reader does.

  create() {
    this.library.create();
    this.showAll();
    this.composer.focus();
  }

  open(id) {
    this.library.choose(id);
    this.showAll();
    this.composer.focus();
  }

  rename(id, title) {
    this.library.rename(id, title);
    this.showHead();
    this.showList();
  }

  async remove(id) {
    const { title } = this.library.conversations.find((conversation) => conversation.id === id);
    const text = `“${title}” will be gone from this browser.`;
    if (await ask("Delete this conversation?", text, "Delete")) {
      if (this.answering?.id === id) {
        this.stop();
      }
      await this.library.remove(id);
      this.showAll();
    }
  }

  settings() {
    openSettings({
      settings: this.library.current.settings,
      models: this.models,
      keeps: this.library.conversations.length > 0,
      changed: (settings) => {
        this.library.settle(settings);
        this.showHead();
      },
      clearAll: () => this.clear(),
    });
  }

  async clear() {
    const n = this.library.conversations.length;
    const text = `All ${n} will be gone from this browser.`;
    if (await ask("Delete all conversations?", text, "Delete all")) {
      this.stop();
      byId("settings").close();
      await this.library.clear();
      this.showAll();
    }
  }

  send(text) {
    if (this.generation) {
      this.composer.fill(text);
      say("Another answer is still coming.");
      return;
    }
    this.library.say(text);
    this.answer();
  }

  edit(index, text) {
    if (!this.generation) {
      this.library.current.turns.length = index;
      this.library.say(text);
      this.answer();
    }
  }

  /** Another answer beside the one that is there; what followed it goes. */
  regenerate(index) {
    if (!this.generation) {
      const { turns } = this.library.current;
      turns.length = index + 1;
      this.answer(turns.pop());
    }
  }

  chooseVariant(index, by) {
    const { current } = this.library;
    const turn = current.turns[index];
    turn.chosen = Math.min(turn.variants.length - 1, Math.max(0, turn.chosen + by));
    this.library.save(current);
    this.thread.update(current, null);
  }

  stop() {
    this.generation?.stop();
  }

  /** Asks for an answer to all that was said; `turn` holds earlier answers to the same. */
  async answer(turn = { role: "assistant", variants: [], chosen: 0 }) {
    const conversation = this.library.current;
    const n = conversation.turns.length;
    const variant = emptyVariant();
    turn.variants = [...turn.variants.filter(({ error }) => !error), variant];
    turn.chosen = turn.variants.length - 1;
    conversation.turns.push(turn);
    const model = this.model ?? { id: "model", thinks: true };
    const generation = new Generation(requestOf(conversation, n, model), variant, {
      changed: () => this.changed(),
      waiting: () => this.changed(),
    });
    this.generation = generation;
    this.answering = conversation;
    this.showAll();
    this.follow();
    say("Asked.");
    const error = await generation.run();
    this.generation = null;
    this.answering = null;
    this.library.save(conversation);
    this.draw();
    say(error ? variant.error : variant.finish === "stopped" ? "Stopped." : "The answer is there.");
    if (error?.needsKey) {
      this.needKey();
    }
  }

  // What is shown.

  /** Something came: drawn with the next frame, together with whatever else comes until then. */
  changed() {
    this.library.saveSometimes(this.answering);
    if (!this.frame) {
      this.frame = requestAnimationFrame(() => this.draw());
    }
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = null;
    const { current } = this.library;
    this.thread.update(current, this.answering === current ? this.generation : null);
    this.composer.setRunning(this.generation !== null);
    if (this.isFollowing) {
      this.scroll.scrollTop = this.scroll.scrollHeight;
    }
    this.noteScroll();
  }

  showAll() {
    const { current } = this.library;
    const kept = this.library.conversations.includes(current);
    history.replaceState(null, "", kept ? `#${current.id}` : location.pathname);
    this.thread.show({ turns: [] });
    this.isFollowing = true;
    this.draw();
    this.showHead();
    this.showList();
    this.showWelcome();
  }

  showHead() {
    const { current } = this.library;
    byId("title").textContent = current.title;
    document.title = current.turns.length ? `${current.title} · ruminate` : "ruminate";
    if (this.model) {
      const { id, max_model_len: context } = this.model;
      byId("model").textContent = `${id} · ${whole(context)} tokens of context`;
    }
    this.composer.show(current.settings, this.model);
  }

  showList() {
    this.sidebar.show(this.library.conversations, this.library.current.id);
  }

  showWelcome() {
    const welcome = byId("welcome");
    welcome.hidden = this.library.current.turns.length > 0;
    const ideas = IDEAS.map((text) => (
      el("button", { type: "button", class: "idea", click: () => this.composer.fill(text) }, text)
    ));
    const words = this.model?.thinks
      ? "Its thinking unfolds while it comes, and folds when the answer begins."
      : "";
    welcome.replaceChildren(
      el("img", { src: "/assets/icon.svg", alt: "", width: "44", height: "44" }),
      el("h2", {}, "Something to chew on?"),
      el("p", {}, this.model ? `${this.model.id} answers, on this server alone. ${words}` : ""),
      el("div", { class: "ideas" }, ...ideas));
  }

  /** Notices whether the reader reads along or went back. */
  noteScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroll;
    const isNear = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    this.isFollowing = isNear;
    byId("to-end").hidden = isNear || this.library.current.turns.length === 0;
  }

  follow() {
    this.isFollowing = true;
    this.scroll.scrollTop = this.scroll.scrollHeight;
    this.noteScroll();
  }
}

const page = new Page(await Library.open());
await page.start();
