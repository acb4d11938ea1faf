// @ts-check
// The ranked gallery of a node: pictures best first, one of them chosen, and what can be done with it.
import { button, closeSeedMenu, compareBlind, copySeed, openSeedMenu } from "./actions.js";
import { createCell, createRow, fillCell, fillRow, rowHeads } from "./cells.js";
import { el } from "./dom.js";
import { t } from "./host.js";
import { NARROW, WIDE, arrange, moved } from "./layout.js";
import { empty, heading, marginWords, seedWords, togglePick, winWords } from "./ranking.js";
import { openViewer } from "./viewer.js";

/** @typedef {import("./ranking.js").Cell} Cell */
/** @typedef {import("./ranking.js").View} View */
/**
 * The choice by hand; elsewhere: whether it was made among other images than those of the token.
 * @typedef {{
 *   get: (token: string) => number[], set: (picks: number[], token: string) => void,
 *   elsewhere: (token: string) => boolean,
 * }} Picks
 */

/** Images that are shown before a person asks for all. */
const TOP = 16;

/**
 * @param {Picks | null} picks where the choice by hand is kept, on nodes that have one
 */
export function createGallery(picks) {
  return new Gallery(picks);
}

class Gallery {
  /** @param {Picks | null} picks */
  constructor(picks) {
    this.picks = picks;
    /** @type {View} */
    this.view = empty();
    /** @type {number | null} index of the image that the person chose */
    this.chosen = null;
    this.all = false;
    this.aspect = 1;
    this.columns = 1;
    this.focused = 0;
    /** @type {Map<number, any>} elements by the image's index */
    this.elements = new Map();
    /** @type {ReturnType<typeof openViewer> | null} */
    this.viewer = null;
    this.buttons = this.makeButtons();
    this.heads = rowHeads();
    this.build();
    this.observer = new ResizeObserver(() => this.arrange());
    this.observer.observe(this.grid);
  }

  build() {
    this.grid = el("div", {
      class: "hps-grid", role: "listbox", tabIndex: -1, ariaLabel: t("gallery.list", "Images, best first"),
      ariaMultiSelectable: this.picks ? "true" : null, dataset: { captureWheel: "true", hpsScroll: "true" },
      on: {
        click: (event) => this.onClick(event),
        dblclick: (event) => this.onDoubleClick(event),
        keydown: (event) => this.onKey(event),
      },
    });
    this.more = button("", "more", () => this.showAll());
    this.warnings = el("div", { class: "hps-warnings", dataset: { captureWheel: "true", hpsScroll: "true" } });
    this.text = el("div", { class: "hps-chosen" });
    this.rule = button(t("gallery.byRule", "By rule again"), "rule", () => this.setPicks([]),
      t("gallery.byRuleTip", "Forget the choice by hand"));
    this.bar = el("div", { class: "hps-bar", role: "toolbar", ariaLabel: t("gallery.actions", "Actions") });
    this.bar.append(...Object.values(this.buttons));
    this.note = el("span", { class: "hps-quiet" });
    const byHand = el("div", { class: "hps-by-hand", hidden: !this.picks }, this.note, this.rule);
    this.element = el("div", { class: "hps-gallery" });
    this.element.append(this.heads, this.grid, this.more, this.warnings, this.text, byHand, this.bar);
  }

  makeButtons() {
    const seed = (/** @type {(seed: string, event: any) => void} */ act) => (/** @type {any} */ event) => {
      const { seed: text } = this.current() ?? {};
      if (text) act(text, event);
    };
    const send = seed((text, event) => openSeedMenu(event.currentTarget, text));
    return {
      copy: button(t("gallery.copySeed", "Copy seed"), "copy", seed(copySeed)),
      send: button(t("gallery.sendSeed", "Seed to\u2026"), "send", send,
        t("gallery.sendSeedTip", "Write the seed into a node of this workflow, and hold it there")),
      large: button(t("gallery.large", "Large"), "open-large", () => this.openLarge(),
        t("gallery.largeTip", "See the images large, side by side with c")),
      blind: button(t("gallery.blind", "Compare blind"), "blind", () => compareBlind(this.entries(), this.prompt()),
        t("gallery.blindTip", "Choose the best without seeing scores")),
    };
  }

  // --- what is shown -------------------------------------------------------------------------------------------------

  /** @param {View} view */
  show(view) {
    if (view.run !== this.view.run) {
      this.chosen = null;
      this.all = false;
      this.focused = 0;
      for (const element of this.elements.values()) element.remove();
      this.elements.clear();
    }
    this.view = view;
    this.observer.observe(this.grid);
    this.render();
    this.viewer?.update(view);
  }

  render() {
    const { cells } = this.view;
    const pictures = this.hasPictures();
    this.element.classList.toggle("hps-table", !pictures);
    this.element.hidden = !cells.length;
    this.heads.hidden = pictures;
    const shown = this.shownCells();
    this.more.hidden = shown.length === cells.length;
    this.more.textContent = t("gallery.showAll", "Show all {n}", { n: cells.length });
    this.focused = Math.min(this.focused, Math.max(0, shown.length - 1));
    const elements = shown.map((cell) => this.elementOf(cell, pictures));
    keepOrder(this.grid, elements);
    this.arrange();
    this.warnings.replaceChildren(...this.view.warnings.map((text) => el("div", { text: `\u26A0 ${text}` })));
    this.warnings.hidden = !this.view.warnings.length;
    this.renderChosen();
  }

  hasPictures() {
    return this.view.cells.some((cell) => cell.thumb);
  }

  shownCells() {
    const { cells } = this.view;
    return this.all || cells.length <= TOP ? cells : cells.slice(0, TOP);
  }

  /** @param {Cell} cell @param {boolean} picture */
  elementOf(cell, picture) {
    let element = this.elements.get(cell.index);
    if (!element || Boolean(element.hpsParts) !== picture) {
      element?.remove();
      element = picture ? createCell((image) => this.onLoad(image)) : createRow();
      this.elements.set(cell.index, element);
    }
    return element;
  }

  /** Sizes of the cells, and what has room in them. */
  arrange() {
    const shown = this.shownCells();
    if (!shown.length) return;
    const pictures = this.hasPictures();
    const box = { width: this.grid.clientWidth, height: this.grid.clientHeight };
    const size = arrange(box, shown.length, this.aspect);
    if (pictures && size.width > 0) {
      this.grid.style.setProperty("--hps-columns", String(size.columns));
      this.grid.style.setProperty("--hps-cell-width", `${size.width}px`);
      this.grid.style.setProperty("--hps-cell-height", `${size.height}px`);
    }
    this.columns = pictures ? size.columns : 1;
    const room = { narrow: size.width < NARROW, wide: size.width >= WIDE, captioned: size.caption > 0 };
    const picks = this.picked();
    const current = this.current();
    const applied = this.applied(picks);
    shown.forEach((cell, place) => {
      const pick = picks.indexOf(cell.index) + 1;
      const selected = this.picks ? pick > 0 : cell === current && this.chosen !== null;
      const element = this.elements.get(cell.index);
      if (pictures) fillCell(element, cell, { selected, pick, applied, ...room });
      else fillRow(element, cell, { selected, pick, applied });
      element.classList.toggle("hps-current", cell === current && this.chosen !== null);
      element.tabIndex = place === this.focused ? 0 : -1;
    });
  }

  renderChosen() {
    const cell = this.current();
    if (!cell) return;
    const picks = this.picked();
    const seed = seedWords(cell, this.view.total);
    const lines = [
      el("div", {}, el("b", { text: heading(cell) }), seed && el("span", { class: "hps-seed", text: seed })),
      el("div", { class: "hps-quiet", text: [marginWords(cell), winWords(cell)].filter(Boolean).join("; ") }),
    ];
    this.text.replaceChildren(...lines);
    this.note.textContent = this.picks ? this.pickWords(picks) : "";
    this.buttons.copy.hidden = this.buttons.send.hidden = cell.seed === null;
    this.buttons.large.hidden = !this.hasPictures();
    this.buttons.blind.hidden = this.view.live || this.entries().length < 2;
    this.rule.hidden = !picks.length;
  }

  /** @param {number[]} picks */
  pickWords(picks) {
    if (!picks.length && !this.view.picked && this.picks?.elsewhere(this.view.token)) {
      return t("gallery.pickedElsewhere",
        "Your pick belonged to other images, so the rule chose. Click images to choose again.");
    }
    if (!picks.length) return t("gallery.clickToPick", "Kept by the rule. Click images to choose by hand.");
    const ranks = new Map(this.view.cells.map((cell) => [cell.index, cell.rank]));
    const text = picks.map((index) => `#${ranks.get(index) ?? "?"}`).join(", ");
    if (this.applied(picks)) return t("gallery.pickApplied", "By hand: {picks}", { picks: text });
    return t("gallery.pickNext", "By hand: {picks}. Run again to apply.", { picks: text });
  }

  /** @param {number[]} picks @returns {boolean} whether they are what the last run kept */
  applied(picks) {
    return this.view.picked && picks.length > 0 && picks.join() === this.view.kept.join();
  }

  // --- the chosen image ----------------------------------------------------------------------------------------------

  /** @returns {Cell | null} the image that the person chose, else the best */
  current() {
    return this.view.cells.find((cell) => cell.index === this.chosen) ?? this.view.cells[0] ?? null;
  }

  /** @returns {number[]} images that were picked by hand, in their order */
  picked() {
    return this.picks?.get(this.view.token) ?? [];
  }

  /** @returns {number[]} rows of the ledger; none where the prompts differ, whose images do not compare */
  entries() {
    return this.view.prompts.length > 1 ? [] : this.shownCells().flatMap((cell) => (cell.entry ? [cell.entry] : []));
  }

  /** @returns {string} the text that all images were made from, "" for several */
  prompt() {
    return this.view.prompts.length === 1 ? this.view.prompts[0] : "";
  }

  /** @param {number} index */
  choose(index) {
    const place = this.shownCells().findIndex((cell) => cell.index === index);
    if (place < 0) return;
    this.focused = place;
    this.chosen = index;
    if (this.picks) this.setPicks(togglePick(this.picked(), index));
    else this.refresh();
  }

  /** @param {number[]} picks */
  setPicks(picks) {
    this.picks?.set(picks, this.view.token);
    this.refresh();
  }

  /** Show changed choices and settings. */
  refresh() {
    this.arrange();
    this.renderChosen();
  }

  showAll() {
    this.all = true;
    this.render();
    this.elements.get(this.view.cells[this.focused]?.index)?.focus({ preventScroll: true });
  }

  openLarge() {
    const cell = this.current();
    if (!cell) return;
    this.viewer?.close();
    this.viewer = openViewer(this.view, cell.index, () => (this.viewer = null));
  }

  // --- events --------------------------------------------------------------------------------------------------------

  /** @param {any} image */
  onLoad(image) {
    const aspect = image.naturalWidth / image.naturalHeight;
    if (!(aspect > 0) || Math.abs(aspect - this.aspect) < 0.01 || image !== this.grid.querySelector("img")) return;
    this.aspect = Math.min(3, Math.max(1 / 3, aspect));
    this.arrange();
  }

  /** @param {any} event */
  onClick(event) {
    const cell = event.target.closest?.(".hps-cell");
    if (cell && event.detail < 2) this.choose(Number(cell.dataset.index));
    cell?.focus({ preventScroll: true });
  }

  /** @param {any} event */
  onDoubleClick(event) {
    const cell = event.target.closest?.(".hps-cell");
    if (!cell || !this.hasPictures()) return;
    // The first click of the two chose the image; on nodes that pick by hand that is taken back.
    if (this.picks) this.setPicks(togglePick(this.picked(), Number(cell.dataset.index)));
    this.chosen = Number(cell.dataset.index);
    this.refresh();
    this.openLarge();
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const shown = this.shownCells();
    const at = shown.findIndex((cell) => this.elements.get(cell.index) === event.target);
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const to = moved(event.key, at, shown.length, this.columns);
    if (event.key === "Enter" || event.key === " ") this.choose(shown[at].index);
    else if (event.key === "o") this.openLargeOf(shown[at].index);
    else if (to !== null) this.focus(to);
    else return;
    event.preventDefault();
  }

  /** @param {number} index */
  openLargeOf(index) {
    this.chosen = index;
    this.refresh();
    if (this.hasPictures()) this.openLarge();
  }

  /** Move the focus; words and buttons follow it, a choice by hand does not. @param {number} place */
  focus(place) {
    this.focused = place;
    this.chosen = this.shownCells()[place].index;
    this.refresh();
    const element = this.elements.get(this.shownCells()[place].index);
    element.focus({ preventScroll: true });
    // Only the gallery scrolls; the browser's own way would also move the page around the canvas.
    const inside = element.offsetTop - this.grid.offsetTop;
    const low = inside + element.offsetHeight - this.grid.clientHeight;
    this.grid.scrollTop = Math.min(inside, Math.max(low, this.grid.scrollTop));
  }

  destroy() {
    this.observer.disconnect();
    this.viewer?.close();
    closeSeedMenu();
  }
}

/**
 * Make the children of a list these elements in this order, moving as few as possible, so that the focus stays.
 * @param {HTMLElement} parent
 * @param {HTMLElement[]} elements
 */
function keepOrder(parent, elements) {
  const wanted = new Set(elements);
  for (const child of [...parent.children]) if (!wanted.has(/** @type {any} */ (child))) child.remove();
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  elements.forEach((element, place) => {
    if (parent.children[place] !== element) parent.insertBefore(element, parent.children[place] ?? null);
  });
  if (focused && focused !== document.activeElement && wanted.has(focused)) focused.focus({ preventScroll: true });
}
