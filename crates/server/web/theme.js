/** Light, dark, or as the system has it. */

import { byId, setIcon } from "./dom.js";
import { readTheme, writeTheme } from "./settings_store.js";

const ORDER = [null, "light", "dark"];
const LOOKS = {
  null: ["half", "Theme: as the system"],
  light: ["sun", "Theme: light"],
  dark: ["moon", "Theme: dark"],
};

/** Wires the switch; `changed` is called when colours are others than before. */
export function startTheme(changed) {
  const button = byId("theme");
  let theme = readTheme();
  const show = () => {
    if (theme) {
      document.documentElement.dataset.theme = theme;
    } else {
      delete document.documentElement.dataset.theme;
    }
    setIcon(button, ...LOOKS[theme]);
    changed();
  };
  button.addEventListener("click", () => {
    theme = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length];
    writeTheme(theme);
    show();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  show();
}
