// @ts-check
// A card that floats over the page, can be moved by hand or by arrow keys, and never stands between a person and
// the graph: it is not modal, and keys reach it only while the focus is inside.
import { el } from "./dom.js";
import { t } from "./host.js";

const MARGIN = 8;
/** The host's bars at the top of the page, as its versions name them; they lie above everything of the page's body. */
const BARS = [".comfyui-body-top", ".comfyui-menu", ".workflow-tabs-container", ".actionbar-container"].join();
/** Where they end when they cannot be found, and at the latest. */
const BARS_END = 84;
const BARS_MOST = 160;
const STEP = 16;
const STRIDE = 96;

/** @param {KeyboardEvent} event @returns {boolean} whether no modifier is held but Shift */
export const plain = (event) => !event.ctrlKey && !event.metaKey && !event.altKey;

/**
 * Keep bare keys from the host, which takes letters as shortcuts and Delete for the selected nodes; those with Ctrl,
 * such as "queue", go on.
 * @param {HTMLElement} element
 */
export function keepKeys(element) {
  element.addEventListener("keydown", (event) => {
    if (plain(event)) event.stopPropagation();
  });
}

/** @returns {number} where the host's bars at the top end, in pixels from above */
export function barsEnd() {
  const boxes = [...document.querySelectorAll(BARS)].map((bar) => bar.getBoundingClientRect());
  const ends = boxes.filter((box) => box.height > 0 && box.top < BARS_END).map((box) => box.bottom);
  return ends.length ? Math.min(BARS_MOST, Math.max(...ends)) : BARS_END;
}

export class Floating {
  /**
   * @param {string} title
   * @param {string} name class of the card
   * @param {() => void} onClose
   */
  constructor(title, name, onClose) {
    this.onClose = onClose;
    this.back = /** @type {HTMLElement | null} */ (document.activeElement);
    this.body = el("div", { class: "hps-float-body" });
    this.handle = el("button", { type: "button", class: "hps-float-handle", text: title });
    this.handle.title = t("float.move", "Drag, or press the arrow keys, to move this card");
    const close = el("button", { type: "button", class: "hps-button hps-float-close", text: "\u00d7" });
    close.title = t("float.close", "Close (Esc)");
    close.setAttribute("aria-label", close.title);
    close.addEventListener("click", () => this.close());
    const head = el("header", { class: "hps-float-head" }, this.handle, close);
    this.element = el("section", {
      class: `hps-root hps-side hps-float ${name}`,
      role: "dialog",
      "aria-label": title,
      tabIndex: -1,
    });
    this.element.append(head, this.body);
    this.#listen();
    this.resized = () => this.#moveTo(this.left, this.top);
    window.addEventListener("resize", this.resized);
    document.body.append(this.element);
    this.left = this.top = 0;
    this.centre();
    this.element.focus({ preventScroll: true });
  }

  /** Put the card in the middle of what the sidebar leaves free; for once its content is there. */
  centre() {
    this.#limit();
    const { width, height } = this.element.getBoundingClientRect();
    const edge = document.querySelector(".hps-sidebar")?.getBoundingClientRect().right ?? 0;
    const from = edge + width + 2 * MARGIN <= window.innerWidth ? edge : 0;
    this.#moveTo((from + window.innerWidth - width) / 2, (window.innerHeight - height) / 2.5);
  }

  close() {
    if (!this.element.isConnected) return;
    const inside = this.element.contains(document.activeElement);
    window.removeEventListener("resize", this.resized);
    this.element.remove();
    if (inside && this.back?.isConnected) this.back.focus({ preventScroll: true });
    this.onClose();
  }

  #listen() {
    this.element.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Escape" && plain(event)) {
        event.preventDefault();
        this.close();
      }
    });
    keepKeys(this.element);
    this.handle.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
    this.handle.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => this.#drag(event));
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const by = event.shiftKey ? STRIDE : STEP;
    const ways = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by] };
    const way = ways[/** @type {keyof typeof ways} */ (event.key)];
    if (!way) return;
    event.preventDefault();
    this.#moveTo(this.left + way[0], this.top + way[1]);
  }

  /** @param {PointerEvent} event */
  #drag(event) {
    if (event.button !== 0) return;
    const [x, y] = [event.clientX - this.left, event.clientY - this.top];
    const move = (/** @type {PointerEvent} */ to) => this.#moveTo(to.clientX - x, to.clientY - y);
    this.handle.setPointerCapture(event.pointerId);
    this.handle.addEventListener("pointermove", move);
    this.handle.addEventListener("lostpointercapture", () => this.handle.removeEventListener("pointermove", move), {
      once: true,
    });
  }

  /** Leave the host's bars their room: what is too high for the rest scrolls inside. @returns {number} where it begins */
  #limit() {
    const top = barsEnd() + MARGIN;
    this.element.style.maxHeight = `${Math.max(120, window.innerHeight - top - MARGIN)}px`;
    return top;
  }

  /** Move the card, always below the host's bars and whole on the page. @param {number} left @param {number} top */
  #moveTo(left, top) {
    const first = this.#limit();
    const { width, height } = this.element.getBoundingClientRect();
    const within = (/** @type {number} */ at, /** @type {number} */ least, /** @type {number} */ room) =>
      Math.max(least, Math.min(at, room - MARGIN));
    this.left = within(left, MARGIN, window.innerWidth - width);
    this.top = within(top, first, window.innerHeight - height);
    this.element.style.left = `${Math.round(this.left)}px`;
    this.element.style.top = `${Math.round(this.top)}px`;
  }
}
