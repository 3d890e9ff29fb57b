/** TeX to MathML, by the vendored Temml. */

/** Longer formulas are shown as they were written. */
const SOURCE_CHARS_MAX = 4000;
const OPTIONS = {
  throwOnError: true, trust: false, maxExpand: 200, maxSize: [20, 20], annotate: false,
};
/** What a formula may not bring along: names that clash with the page's, and addresses. */
const FORBIDDEN = ["id", "href", "src", "xlink:href"];

/**
 * @param {string} source
 * @param {boolean} display on a line of its own
 * @returns {Node}
 */
export function renderMath(source, display) {
  const temml = globalThis.temml;
  if (!temml || source.length > SOURCE_CHARS_MAX) {
    return asWritten(source);
  }
  const place = document.createElement("span");
  place.className = display ? "math math-display" : "math";
  try {
    temml.render(source, place, { ...OPTIONS, displayMode: display });
  } catch {
    return asWritten(source);
  }
  for (const node of place.querySelectorAll("*")) {
    for (const name of FORBIDDEN) {
      node.removeAttribute(name);
    }
  }
  place.firstElementChild?.setAttribute("aria-label", source);
  return place;
}

function asWritten(source) {
  const code = document.createElement("code");
  code.className = "math-source";
  code.textContent = source;
  return code;
}
