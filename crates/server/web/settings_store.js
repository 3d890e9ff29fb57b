/** Small things that this browser remembers: the key, the theme, how new conversations begin. */

const KEY = "ruminate.key";
const THEME = "ruminate.theme";
const DEFAULTS = "ruminate.defaults";
const PANEL = "ruminate.panel";

/** How a conversation is answered. What is null is left to the server. */
export const UNSET = Object.freeze({
  model: null,
  system: "",
  /** off, auto or on. */
  think: "auto",
  /** Tokens of thinking at most. */
  budget: null,
  temperature: null,
  top_p: null,
  top_k: null,
  min_p: null,
  max_tokens: null,
  seed: null,
});

/** The API key: kept for this tab, or until it's forgotten. */
export function readKey() {
  return guarded(() => sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY)) ?? "";
}

/** @param {string} key none at all if empty */
export function writeKey(key, keep) {
  guarded(() => {
    sessionStorage.removeItem(KEY);
    localStorage.removeItem(KEY);
    if (key) {
      (keep ? localStorage : sessionStorage).setItem(KEY, key);
    }
  });
}

/** light, dark, or null for the system's. */
export function readTheme() {
  return guarded(() => localStorage.getItem(THEME));
}

export function writeTheme(theme) {
  guarded(() => (theme ? localStorage.setItem(THEME, theme) : localStorage.removeItem(THEME)));
}

export function readPanel() {
  return guarded(() => localStorage.getItem(PANEL)) === "open";
}

export function writePanel(isOpen) {
  guarded(() => localStorage.setItem(PANEL, isOpen ? "open" : "closed"));
}

/** How a new conversation begins. */
export function readDefaults() {
  const kept = guarded(() => JSON.parse(localStorage.getItem(DEFAULTS) ?? "{}")) ?? {};
  return { ...UNSET, ...kept };
}

export function writeDefaults(settings) {
  guarded(() => localStorage.setItem(DEFAULTS, JSON.stringify(settings)));
}

/** A browser that keeps nothing throws; the page works without. */
function guarded(run) {
  try {
    return run();
  } catch {
    return null;
  }
}
