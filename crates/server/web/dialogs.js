/** Settings, the key, and questions that need a yes. */

import { byId, el, iconButton } from "./dom.js";
import { readKey, writeKey } from "./settings_store.js";

const FIELDS = [
  ["temperature", "Temperature", "0 takes the likeliest token", { min: 0, max: 2, step: 0.05 }],
  ["top_p", "Top p", "Tokens that make up this share", { min: 0, max: 1, step: 0.01 }],
  ["top_k", "Top k", "So many of the likeliest", { min: 0, max: 1000, step: 1 }],
  ["min_p", "Min p", "At least this share of the likeliest", { min: 0, max: 1, step: 0.01 }],
  ["max_tokens", "Max tokens", "Of an answer, thinking included", { min: 1, step: 1 }],
  ["seed", "Seed", "The same draws again", { step: 1 }],
];

/** Settings of the open conversation; new ones begin with them. */
export function openSettings({ settings, models, keeps, changed, clearAll }) {
  const dialog = byId("settings");
  const system = el("textarea", { id: "system", rows: "5", spellcheck: "true" });
  system.value = settings.system;
  const fields = FIELDS.map((of) => field(settings, of));
  const model = el("select", { id: "model-choice" },
    ...models.map(({ id }) => el("option", { value: id, selected: id === settings.model }, id)));
  const form = el("form", { method: "dialog", class: "dialog-form" },
    head("settings-title", "Settings", dialog),
    el("p", { class: "hint" }, "For this conversation, and those that begin after it."),
    models.length > 1 && el("label", { class: "wide" }, "Model", model),
    el("label", { class: "wide" }, "System prompt", system),
    el("div", { class: "fields" }, ...fields.map(({ element }) => element)),
    el("p", { class: "hint" }, "What is left empty is chosen by the server."),
    el("div", { class: "dialog-buttons" },
      el("button", { type: "button", class: "quiet", click: () => openKey({}) }, "API key"),
      el("button", { type: "button", class: "quiet danger", click: clearAll, disabled: !keeps },
        "Delete all conversations"),
      el("button", { type: "submit", class: "primary" }, "Done")));
  const read = () => {
    const values = Object.fromEntries(fields.map(({ name, value }) => [name, value()]));
    const chosen = models.length > 1 ? { model: model.value } : {};
    changed({ system: system.value, ...chosen, ...values });
  };
  form.addEventListener("change", read);
  show(dialog, form);
  dialog.addEventListener("close", read, { once: true });
}

function field(settings, [name, label, hint, limits]) {
  const input = el("input", {
    type: "number", inputmode: "decimal", placeholder: "default", name,
    "aria-describedby": `${name}-hint`, ...limits,
  });
  input.value = settings[name] ?? "";
  const value = () => (input.value === "" || !input.validity.valid ? null : input.valueAsNumber);
  const element = el("label", {}, label, input, el("small", { id: `${name}-hint` }, hint));
  return { name, element, value };
}

/** Asks for the API key; `done` is called once there is one. */
export function openKey({ isWrong = false, done = () => {} }) {
  const dialog = byId("key");
  const input = el("input", {
    type: "password", id: "key-input", autocomplete: "off", spellcheck: "false", required: true,
  });
  input.value = isWrong ? "" : readKey();
  const keep = el("input", { type: "checkbox", id: "key-keep" });
  const form = el("form", { method: "dialog", class: "dialog-form" },
    head("key-title", "API key", dialog),
    el("p", { class: "hint" }, isWrong && readKey()
      ? "The server does not know this key."
      : "This server answers only those who have a key."),
    el("label", { class: "wide" }, "Key", input),
    el("label", { class: "check" }, keep, "Keep it in this browser, not just in this tab"),
    el("div", { class: "dialog-buttons" },
      el("button", {
        type: "button",
        class: "quiet",
        click: () => {
          writeKey("", false);
          dialog.close();
        },
      }, "Forget it"),
      el("button", { type: "submit", class: "primary" }, "Use key")));
  form.addEventListener("submit", () => {
    writeKey(input.value.trim(), keep.checked);
    done();
  });
  show(dialog, form);
  input.focus();
}

/** Resolves to whether the reader said yes. */
export function ask(title, text, yes) {
  const dialog = byId("question");
  return new Promise((resolve) => {
    const form = el("form", { method: "dialog", class: "dialog-form" },
      head("question-title", title, dialog),
      el("p", {}, text),
      el("div", { class: "dialog-buttons" },
        el("button", { type: "submit", class: "quiet", value: "no" }, "Cancel"),
        el("button", { type: "submit", class: "primary danger", value: "yes" }, yes)));
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    show(dialog, form);
  });
}

function head(id, title, dialog) {
  return el("div", { class: "dialog-head" },
    el("h2", { id }, title),
    iconButton("close", "Close", () => dialog.close()));
}

function show(dialog, form) {
  dialog.replaceChildren(form);
  if (!dialog.open) {
    dialog.showModal();
  }
}
