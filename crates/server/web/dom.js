/** Elements, made by hand: no text is ever parsed as HTML. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. Functions among `attributes` listen, `true` sets an attribute, `false`, `null` and
 * `undefined` leave it out; strings among `children` become text.
 *
 * @param {string} tag
 * @param {Record<string, unknown>} [attributes]
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {HTMLElement}
 */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same in SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") {
      node.addEventListener(name, value);
    } else if (value !== false && value !== null && value !== undefined) {
      node.setAttribute(name, value === true ? "" : String(value));
    }
  }
  for (const child of children) {
    if (child instanceof Node || typeof child === "string") {
      node.append(child);
    }
  }
  return node;
}

/** @param {string} id */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) {
    throw new Error(`the page has no #${id}`);
  }
  return found;
}

const ICONS = {
  list: ["M4 7h16", "M4 12h16", "M4 17h10"],
  close: ["M6 6l12 12", "M18 6 6 18"],
  pulse: ["M3 12h4l3 7 4-14 3 7h4"],
  sliders: ["M4 8h9", "M19 8h1", "M16 5.5v5", "M4 16h3", "M12 16h8", "M9.5 13.5v5"],
  sun: [
    "M12 8.2a3.8 3.8 0 1 0 0 7.6 3.8 3.8 0 0 0 0-7.6z", "M12 3v1.5", "M12 19.5V21", "M3 12h1.5",
    "M19.5 12H21", "M5.6 5.6l1 1", "M17.4 17.4l1 1", "M5.6 18.4l1-1", "M17.4 6.6l1-1",
  ],
  moon: ["M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z"],
  half: ["M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17z", "M12 3.5v17", "M15 5v14", "M18 7v10"],
  up: ["M12 19V5", "M6 11l6-6 6 6"],
  down: ["M12 5v14", "M6 13l6 6 6-6"],
  stop: ["M8 8h8v8H8z"],
  copy: ["M9 9h10v11H9z", "M15 9V5H5v11h4"],
  check: ["M5 12.5 10 17l9-10"],
  again: ["M19.5 12a7.5 7.5 0 1 1-2.2-5.3", "M19.5 4v4h-4"],
  edit: ["M4 20h4L19.5 8.5l-4-4L4 16z"],
  trash: ["M5 7h14", "M9 7V4h6v3", "M7 7l1 13h8l1-13"],
  left: ["M14 6l-6 6 6 6"],
  right: ["M10 6l6 6-6 6"],
  warning: ["M12 4 3 20h18z", "M12 10v5", "M12 17.5v.2"],
};

/** @param {keyof typeof ICONS} name */
export function icon(name) {
  const paths = ICONS[name].map((d) => svg("path", { d }));
  return svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, ...paths);
}

/** A button of an icon alone, with a name for those who don't see it. */
export function iconButton(name, label, click) {
  const button = el("button", { type: "button", class: "icon-button", click });
  return setIcon(button, name, label);
}

/** Gives `button` an icon and a name. */
export function setIcon(button, name, label) {
  button.replaceChildren(icon(name));
  button.setAttribute("aria-label", label);
  button.title = label;
  return button;
}

/** Says something to those who listen to the page. */
export function say(text) {
  byId("status").textContent = text;
}
