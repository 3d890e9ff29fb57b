/** Conversations, kept in this browser (IndexedDB), with bounds. */

const DATABASE = "ruminate";
const TABLE = "conversations";
/** The oldest go first. */
export const CONVERSATIONS_MAX = 200;

/**
 * @typedef {object} Variant One answer to a turn: several were asked for if it was regenerated.
 * @property {string} thinking
 * @property {string} content
 * @property {string | null} finish stop, length, stopped (by the reader) or error
 * @property {string | null} error
 * @property {object | null} usage
 * @property {number | null} thinkingMs
 * @property {number | null} firstMs
 * @property {number | null} totalMs
 */

/**
 * @typedef {{role: "user", content: string}
 *   | {role: "assistant", variants: Variant[], chosen: number}} Turn
 * @typedef {object} Conversation
 * @property {string} id
 * @property {string} title
 * @property {boolean} isNamed whether the reader chose the title
 * @property {number} updated
 * @property {object} settings
 * @property {Turn[]} turns
 */

export class Store {
  /** @param {IDBDatabase | null} database null where the browser keeps nothing */
  constructor(database) {
    this.database = database;
  }

  static async open() {
    try {
      const opening = indexedDB.open(DATABASE, 1);
      opening.onupgradeneeded = () => opening.result.createObjectStore(TABLE, { keyPath: "id" });
      return new Store(await done(opening));
    } catch {
      return new Store(null);
    }
  }

  get keeps() {
    return this.database !== null;
  }

  /** All of them, the newest first. */
  async all() {
    const found = (await this.#run("readonly", (table) => table.getAll())) ?? [];
    return found.sort((a, b) => b.updated - a.updated);
  }

  /** @param {Conversation} conversation */
  async save(conversation) {
    await this.#run("readwrite", (table) => table.put(conversation));
  }

  async remove(id) {
    await this.#run("readwrite", (table) => table.delete(id));
  }

  async clear() {
    await this.#run("readwrite", (table) => table.clear());
  }

  async #run(mode, ask) {
    if (!this.database) {
      return null;
    }
    return done(ask(this.database.transaction(TABLE, mode).objectStore(TABLE)));
  }
}

function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
