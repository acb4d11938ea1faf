// @ts-check
// What can be done with the chosen image: copy its seed, send it to a widget, see it large, compare blind.
import { copyText, el } from "./dom.js";
import { fitsWidget, seedWidgets, setSeed, t, toast } from "./host.js";

/** @typedef {import("./ranking.js").Cell} Cell */

/**
 * @param {string} text
 * @param {string} name for tests and styles
 * @param {(event: any) => void} onClick
 * @param {string} [title]
 */
export function button(text, name, onClick, title = "") {
  return el("button", { class: `hps-button hps-${name}`, type: "button", text, title, on: { click: onClick } });
}

/** @param {string} seed @returns {Promise<boolean>} whether it is on the clipboard now */
export async function copySeed(seed) {
  const done = await copyText(seed);
  if (done) toast("success", t("seed.copied", "Seed copied"), seed, 2500);
  else toast("warn", t("seed.notCopied", "The browser does not let pages copy. Copy it by hand:"), seed, 15000);
  return done;
}

/**
 * Compare images without knowing their scores.
 * @param {number[]} entries rows of the ledger
 * @param {string} prompt that they were made from
 */
export async function compareBlind(entries, prompt) {
  try {
    const picks = await import("./picks.js");
    await picks.startBlindGrid(entries, prompt);
  } catch (error) {
    console.error(error);
    toast("error", t("blind.failed", "The blind comparison could not be opened. Reload the page and try again."));
  }
}

// --- seed to a widget ------------------------------------------------------------------------------------------------

/** @type {null | (() => void)} */
let closeOpen = null;

/**
 * Open a menu of all seed widgets of the workflow; a choice writes the seed and holds it there.
 * @param {HTMLElement} anchor the button that asked
 * @param {string} seed
 */
export function openSeedMenu(anchor, seed) {
  closeOpen?.();
  const menu = el("div", { class: "hps-root hps-menu", role: "menu", ariaLabel: menuTitle(seed) });
  menu.append(el("div", { class: "hps-menu-head", text: menuTitle(seed) }), ...entriesOf(seed));
  const close = (/** @type {boolean} */ back) => {
    window.removeEventListener("pointerdown", outside, true);
    window.removeEventListener("resize", leave);
    menu.remove();
    closeOpen = null;
    if (back && anchor.isConnected) anchor.focus({ preventScroll: true });
  };
  const leave = () => close(false);
  const outside = (/** @type {any} */ event) => {
    if (!menu.contains(event.target)) leave();
  };
  menu.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => onMenuKey(event, menu, close));
  menu.addEventListener("click", (/** @type {any} */ event) => event.target.closest("[role=menuitem]") && close(true));
  document.body.append(menu);
  place(menu, anchor.getBoundingClientRect());
  window.addEventListener("pointerdown", outside, true);
  window.addEventListener("resize", leave);
  closeOpen = leave;
  menu.querySelector("[role=menuitem]")?.focus({ preventScroll: true });
}

/** Close the menu if it is open. */
export function closeSeedMenu() {
  closeOpen?.();
}

/** @param {string} seed */
function menuTitle(seed) {
  return t("seed.menu", "Send seed {seed} to", { seed });
}

/** @param {string} seed */
function entriesOf(seed) {
  const copy = menuItem(t("seed.copyInstead", "Copy it instead"), "", () => copySeed(seed));
  const targets = seedWidgets();
  if (!fitsWidget(seed)) {
    const why = t("seed.tooLarge", "Seeds of 2^53 and above do not fit a widget: it would round them to another seed.");
    return [note(why), copy];
  }
  if (!targets.length) return [note(t("seed.noWidget", "No node of this workflow has a seed of its own.")), copy];
  const now = (/** @type {number} */ value) => t("seed.now", "now {value}", { value });
  return targets.map((target) => menuItem(target.label, now(target.value), () => send(target, seed)));
}

/** @param {import("./host.js").SeedWidget} target @param {string} seed */
function send(target, seed) {
  setSeed(target, seed);
  toast("success", t("seed.sent", "Seed {seed} set, and fixed", { seed }), target.label);
}

/** @param {string} text */
function note(text) {
  return el("div", { class: "hps-menu-note", text });
}

/** @param {string} text @param {string} detail @param {() => void} onClick */
function menuItem(text, detail, onClick) {
  const item = { class: "hps-menu-item", type: "button", role: "menuitem", tabIndex: -1, on: { click: onClick } };
  return el("button", item, el("span", { text }), detail && el("small", { text: detail }));
}

/** @param {KeyboardEvent} event @param {HTMLElement} menu @param {(back: boolean) => void} close */
function onMenuKey(event, menu, close) {
  event.stopPropagation(); // the host would take Delete and letters for the graph
  const items = /** @type {HTMLElement[]} */ ([...menu.querySelectorAll("[role=menuitem]")]);
  const at = items.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  const steps = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 };
  const to = steps[/** @type {keyof typeof steps} */ (event.key)];
  if (to !== undefined) items[(to + items.length) % items.length]?.focus();
  else if (event.key === "Escape" || event.key === "Tab") close(true);
  else return;
  event.preventDefault();
}

/** @param {HTMLElement} menu @param {DOMRect} anchor */
function place(menu, anchor) {
  const { width, height } = menu.getBoundingClientRect();
  const below = anchor.bottom + 4 + height <= window.innerHeight;
  const top = below ? anchor.bottom + 4 : Math.max(4, anchor.top - 4 - height);
  menu.style.left = `${Math.max(4, Math.min(anchor.left, window.innerWidth - width - 4))}px`;
  menu.style.top = `${top}px`;
}
