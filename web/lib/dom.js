// @ts-check
// Small helpers for building the page. Text reaches the page only as text: nothing here takes markup.

const SVG = "http://www.w3.org/2000/svg";

/**
 * What an element is made with: properties and attributes, and the special names below.
 * @typedef {Record<string, any> & {
 *   class?: string, text?: string, dataset?: Record<string, string>, style?: Record<string, string>,
 *   on?: Record<string, (event: any) => void>,
 * }} Props
 */

/**
 * Make an HTML element. `class` and `text` are what they say, `dataset` and `style` are objects, `on` maps event
 * names to listeners; any other name is set as a property where the element has one, else as an attribute.
 * @param {string} tag
 * @param {Props} [props]
 * @param {...(Node | string | null | undefined | false)} children left out when null, undefined or false
 * @returns {any}
 */
export function el(tag, props = {}, ...children) {
  return filled(document.createElement(tag), props, children);
}

/**
 * Make an SVG element, as el() does.
 * @param {string} tag
 * @param {Props} [props]
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {any}
 */
export function svg(tag, props = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), props, children);
}

/**
 * @param {any} element
 * @param {Props} props
 * @param {(Node | string | null | undefined | false)[]} children
 */
function filled(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value !== null && value !== undefined) apply(element, name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/**
 * @param {any} element
 * @param {string} name
 * @param {any} value
 */
function apply(element, name, value) {
  if (name === "class") element.setAttribute("class", value);
  else if (name === "text") element.textContent = String(value);
  else if (name === "dataset") Object.assign(element.dataset, value);
  else if (name === "style") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
  else if (name === "on") for (const [type, act] of Object.entries(value)) element.addEventListener(type, act);
  else if (name in element && !(element instanceof SVGElement)) element[name] = value;
  else element.setAttribute(name, String(value));
}

/**
 * Put text on the clipboard; works without the clipboard interface, too, which pages on plain http do not have.
 * @param {string} text
 * @returns {Promise<boolean>} whether it got there
 */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

/** @param {string} text */
function copyBySelection(text) {
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  const area = el("textarea", { value: text, readOnly: true, style: { position: "fixed", opacity: "0" } });
  document.body.append(area);
  area.select();
  let done = false;
  try {
    done = document.execCommand("copy");
  } catch {
    // Refused: the caller shows the text instead.
  }
  area.remove();
  focused?.focus?.({ preventScroll: true });
  return done;
}

/**
 * Load a style sheet once.
 * @param {string} id of the link element
 * @param {string} href
 */
export function styleOnce(id, href) {
  if (!document.getElementById(id)) document.head.append(el("link", { id, rel: "stylesheet", href }));
}

/**
 * A place whose text a screen reader speaks, at most every few seconds and never the same twice in a row.
 * @param {number} [every] milliseconds
 */
export function announcer(every = 5000) {
  const element = el("div", { class: "hps-unseen", role: "status", ariaLive: "polite" });
  let last = -Infinity;
  let timer = 0;
  let waiting = "";
  const speak = () => {
    window.clearTimeout(timer);
    timer = 0;
    last = performance.now();
    if (element.textContent !== waiting) element.textContent = waiting;
  };
  return {
    element,
    /**
     * @param {string} text
     * @param {boolean} [now] do not wait, as for the end of a run
     */
    say(text, now = false) {
      waiting = text;
      const wait = last + every - performance.now();
      if (now || wait <= 0) speak();
      else timer ||= window.setTimeout(speak, wait);
    },
    stop() {
      window.clearTimeout(timer);
    },
  };
}
