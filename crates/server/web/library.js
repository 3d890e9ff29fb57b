/** The conversations of this browser: which there are, which is open, and that they are kept. */

import { readDefaults, writeDefaults } from "./settings_store.js";
import { CONVERSATIONS_MAX, Store } from "./store.js";

const TITLE_CHARS_MAX = 60;
/** While an answer comes it's kept now and then: a page that is closed loses little. */
const SAVE_EVERY_MS = 1000;

export class Library {
  /** @param {Store} store */
  constructor(store, conversations) {
    this.store = store;
    /** The newest first. */
    this.conversations = conversations;
    this.current = fresh();
    this.saved = 0;
  }

  static async open() {
    const store = await Store.open();
    return new Library(store, await store.all().catch(() => []));
  }

  get keeps() {
    return this.store.keeps;
  }

  /** Begins a conversation, which is kept once something was said. */
  create() {
    this.current = fresh();
  }

  /** Opens a conversation; false if there is none of this id. */
  choose(id) {
    const found = this.conversations.find((conversation) => conversation.id === id);
    this.current = found ?? this.current;
    return found !== undefined;
  }

  /** Appends a turn of the reader, which gives the conversation its title. */
  say(content) {
    const { current } = this;
    current.turns.push({ role: "user", content });
    if (!current.isNamed && current.turns.length === 1) {
      current.title = titleOf(content);
    }
    this.#touch(current);
  }

  rename(id, title) {
    const conversation = this.conversations.find((one) => one.id === id);
    if (conversation && conversation.title !== title) {
      conversation.title = title;
      conversation.isNamed = true;
      this.save(conversation);
    }
  }

  /** Changes how the open conversation is answered, and those that begin after it. */
  settle(changes) {
    Object.assign(this.current.settings, changes);
    writeDefaults(this.current.settings);
    if (this.conversations.includes(this.current)) {
      this.save(this.current);
    }
  }

  async remove(id) {
    this.conversations = this.conversations.filter((conversation) => conversation.id !== id);
    await this.store.remove(id);
    if (this.current.id === id) {
      this.create();
    }
  }

  async clear() {
    this.conversations = [];
    await this.store.clear();
    this.create();
  }

  /** Keeps a conversation, unless it was removed meanwhile. */
  save(conversation) {
    this.saved = performance.now();
    if (this.conversations.includes(conversation)) {
      this.store.save(conversation).catch((error) => {
        this.failed?.(error);
      });
    }
  }

  /** The same, but not often. */
  saveSometimes(conversation) {
    if (performance.now() - this.saved > SAVE_EVERY_MS) {
      this.save(conversation);
    }
  }

  #touch(conversation) {
    conversation.updated = Date.now();
    const others = this.conversations.filter((one) => one !== conversation);
    this.conversations = [conversation, ...others];
    for (const old of this.conversations.splice(CONVERSATIONS_MAX)) {
      this.store.remove(old.id).catch(() => {});
    }
    this.save(conversation);
  }
}

function fresh() {
  // Over plain HTTP from another machine there is no `randomUUID`.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const id = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return {
    id, title: "New conversation", isNamed: false, updated: Date.now(),
    settings: readDefaults(), turns: [],
  };
}

function titleOf(text) {
  const line = text.trim().split("\n")[0];
  const chars = Array.from(line);
  return chars.length > TITLE_CHARS_MAX ? `${chars.slice(0, TITLE_CHARS_MAX).join("")}…` : line;
}
