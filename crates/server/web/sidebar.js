/** The list of conversations. */

import { byId, el, iconButton, setIcon } from "./dom.js";

export class Sidebar {
  /**
   * @param {{open: (id: string) => void, create: () => void,
   *   rename: (id: string, title: string) => void, remove: (id: string) => void}} on
   */
  constructor(on) {
    this.on = on;
    this.element = byId("sidebar");
    this.opener = setIcon(byId("open-sidebar"), "list", "Conversations");
    this.closer = setIcon(byId("close-sidebar"), "close", "Close the list of conversations");
    this.opener.addEventListener("click", () => this.toggle());
    this.closer.addEventListener("click", () => this.toggle(false));
    byId("scrim").addEventListener("click", () => this.toggle(false));
    byId("new-chat").addEventListener("click", () => {
      this.toggle(false);
      on.create();
    });
    this.narrow = matchMedia("(max-width: 60rem)");
    this.narrow.addEventListener("change", () => this.toggle(false));
    this.toggle(false);
  }

  get isOpen() {
    return document.body.classList.contains("sidebar-open");
  }

  /** Where there is room it is always there; elsewhere it comes and goes. */
  toggle(open = !this.isOpen) {
    const wasOpen = this.isOpen;
    const isDrawer = this.narrow.matches;
    document.body.classList.toggle("sidebar-open", open && isDrawer);
    byId("scrim").hidden = !(open && isDrawer);
    this.element.inert = isDrawer && !open;
    this.opener.setAttribute("aria-expanded", String(open));
    if (open && isDrawer) {
      this.closer.focus();
    } else if (wasOpen) {
      this.opener.focus();
    }
  }

  /** Shows `conversations`, of which `current` is open. */
  show(conversations, current) {
    const items = conversations.map(({ id, title }) => {
      const open = el("button", {
        type: "button",
        class: "conversation",
        "aria-current": id === current ? "true" : null,
        title,
        click: () => {
          this.toggle(false);
          this.on.open(id);
        },
      }, title);
      const item = el("li", { class: id === current ? "is-current" : null }, open,
        iconButton("edit", `Rename “${title}”`, () => this.#rename(item, id, title)),
        iconButton("trash", `Delete “${title}”`, () => this.on.remove(id)));
      return item;
    });
    byId("conversations").replaceChildren(...items);
  }

  #rename(item, id, title) {
    const input = el("input", { class: "rename", "aria-label": "Title", maxlength: "80" });
    input.value = title;
    let isOver = false;
    const end = (keep) => {
      if (!isOver) {
        isOver = true;
        this.on.rename(id, keep && input.value.trim() ? input.value.trim() : title);
      }
    };
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.isComposing) {
        end(true);
      } else if (event.key === "Escape") {
        event.stopPropagation();
        end(false);
      }
    });
    input.addEventListener("blur", () => end(true));
    item.replaceChildren(input);
    input.select();
    input.focus();
  }
}
