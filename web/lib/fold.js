// @ts-check
// Text of which the first lines can be seen; a button opens the rest, where there is more.
import { button } from "./actions.js";
import { el } from "./dom.js";
import { t } from "./host.js";

/** @param {string} name class of the text @param {boolean} [counted] whether the button counts the lines that are hidden */
export function createFold(name, counted = false) {
  return new Fold(name, counted);
}

class Fold {
  /** @param {string} name @param {boolean} counted */
  constructor(name, counted) {
    this.counted = counted;
    this.open = false;
    this.text = "";
    this.body = el("div", { class: `hps-fold-body ${name}`, dataset: { captureWheel: "true", hpsScroll: "true" } });
    this.toggle = button("", "unfold", () => this.turn(!this.open));
    this.toggle.hidden = true;
    this.element = el("div", { class: "hps-fold", hidden: true }, this.body, this.toggle);
    new ResizeObserver(() => this.measure()).observe(this.body);
  }

  /** Another text begins folded. @param {HTMLElement[]} parts */
  fill(parts) {
    const text = parts.map((part) => part.textContent).join("\n");
    if (text !== this.text) this.turn(false);
    this.text = text;
    this.body.replaceChildren(...parts);
    this.element.hidden = !parts.length;
    this.measure();
  }

  /** @param {boolean} open */
  turn(open) {
    this.open = open;
    this.element.classList.toggle("hps-fold-open", open);
    if (!open) this.body.scrollTop = 0;
    this.measure();
  }

  /** Whether there is more than can be seen, and how much. */
  measure() {
    const { body, toggle, open } = this;
    if (!body.clientHeight) return;
    const cut = !open && body.scrollHeight > body.clientHeight + 2;
    const below = [...body.children].filter((part) => part.offsetTop + part.offsetHeight > body.clientHeight + 2).length;
    this.element.classList.toggle("hps-fold-cut", cut);
    toggle.hidden = !cut && !open;
    toggle.ariaExpanded = String(open);
    const more = this.counted ? t("study.moreOf", "more ({n})", { n: below }) : t("study.more", "more");
    const words = open ? t("study.less", "less") : more;
    if (toggle.textContent !== words) toggle.textContent = words;
  }
}
