// @ts-check
// The large view: one image over the page, or the best and another side by side. The graph goes on with its work.
import { button, copySeed } from "./actions.js";
import { el } from "./dom.js";
import { t, viewUrl } from "./host.js";
import { belowWords, cellName, heading, labelWords, marginWords, number, seedWords, winWords } from "./ranking.js";

/** @typedef {import("./ranking.js").Cell} Cell */
/** @typedef {import("./ranking.js").View} View */

/**
 * Open the large view; the focus goes into it, stays there, and comes back when it closes.
 * @param {View} view
 * @param {number} index of the image to begin with
 * @param {() => void} [onClose]
 */
export function openViewer(view, index, onClose) {
  return new Viewer(view, index, onClose ?? (() => {}));
}

class Viewer {
  /** @param {View} view @param {number} index @param {() => void} onClose */
  constructor(view, index, onClose) {
    this.view = view;
    this.index = index;
    this.onClose = onClose;
    this.both = false;
    this.back = /** @type {HTMLElement | null} */ (document.activeElement);
    this.buttons = this.makeButtons();
    this.build();
    document.body.append(this.element);
    this.render();
    this.stage.focus({ preventScroll: true });
  }

  makeButtons() {
    const row = this.view.beside !== undefined; // of a grid, whose order is its own
    return {
      previous: button("\u2039", "previous", () => this.step(-1), row
        ? t("viewer.left", "The image to the left (left arrow); up and down arrows change the row")
        : t("viewer.previous", "The next better image (left arrow)")),
      next: button("\u203a", "next", () => this.step(1), row
        ? t("viewer.right", "The image to the right (right arrow); up and down arrows change the row")
        : t("viewer.next", "The next lower image (right arrow)")),
      both: button(t("viewer.both", "Side by side (c)"), "both", () => this.toggleBoth(), row
        ? t("viewer.bothReference", "The reference and this one next to each other")
        : t("viewer.bothTip", "The best and this one next to each other")),
      copy: button(t("gallery.copySeed", "Copy seed"), "copy", () => this.copy()),
      close: button(t("viewer.close", "Close (Esc)"), "close", () => this.close()),
    };
  }

  build() {
    this.stage = el("div", { class: "hps-stage", tabIndex: 0, role: "group" });
    this.facts = el("div", { class: "hps-facts" });
    this.place = el("span", { class: "hps-place" });
    this.spoken = el("div", { class: "hps-unseen", role: "status", ariaLive: "polite" });
    const { previous, next, both, copy, close } = this.buttons;
    previous.ariaLabel = previous.title;
    next.ariaLabel = next.title;
    const space = el("span", { class: "hps-space" });
    const bar = el("div", { class: "hps-viewer-bar" }, previous, this.place, next, space, both, copy, close);
    this.element = el("div", {
      class: "hps-root hps-viewer", role: "dialog", ariaModal: "true", ariaLabel: t("viewer.title", "Large view"),
      on: { keydown: (event) => this.onKey(event), click: (event) => this.onClick(event) },
    });
    this.element.append(bar, this.stage, this.facts, this.spoken);
    // The canvas below must neither zoom nor take a paste or a click meant for this view.
    for (const name of ["wheel", "pointerdown", "pointerup", "dblclick", "contextmenu"]) {
      this.element.addEventListener(name, (/** @type {Event} */ event) => event.stopPropagation());
    }
  }

  // --- what is shown -------------------------------------------------------------------------------------------------

  /** @returns {Cell} */
  cell() {
    return this.view.cells.find((cell) => cell.index === this.index) ?? this.view.cells[0];
  }

  /** The best image or the one to hold others against; where that is shown already, the next one. */
  other() {
    const { beside, cells } = this.view;
    const first = cells.find((cell) => cell.index === beside) ?? cells[0];
    const second = beside === undefined ? cells[1] : cells.find((cell) => cell.best && cell !== first) ??
      cells.find((cell) => cell !== first);
    return this.cell() === first ? second ?? first : first;
  }

  /** @returns {Cell[]} what stands side by side: better ones left, in a grid the one to hold others against */
  pair() {
    const pair = [this.other(), this.cell()];
    return this.view.beside === undefined ? pair.sort((a, b) => a.rank - b.rank) : pair;
  }

  /** The ranking went on while the view is open. @param {View} view */
  update(view) {
    if (!view.cells.length || view.run !== this.view.run) {
      this.close();
      return;
    }
    this.view = view;
    this.render();
  }

  render() {
    const cell = this.cell();
    const place = this.view.cells.indexOf(cell) + 1;
    this.both &&= this.view.cells.length > 1;
    const pair = this.both ? this.pair() : [cell];
    keep(this.stage, pair.map((each) => figureKey(each, this.both)), () => pair.map((each) => figure(each, this.both)));
    this.stage.classList.toggle("hps-both", this.both);
    this.stage.setAttribute("aria-label", pair.map(nameOf).join("; "));
    this.place.textContent = t("viewer.place", "{place} of {n}", { place, n: this.view.cells.length });
    this.spoken.textContent = this.stage.getAttribute("aria-label") ?? "";
    this.buttons.previous.disabled = place <= 1;
    this.buttons.next.disabled = place >= this.view.cells.length;
    this.buttons.both.disabled = this.view.cells.length < 2;
    this.buttons.both.ariaPressed = String(this.both);
    this.buttons.copy.hidden = cell.seed === null;
    this.facts.replaceChildren(...facts(cell, this.view, this.both));
  }

  // --- what a person does --------------------------------------------------------------------------------------------

  /** @param {number} by */
  step(by) {
    this.go(this.view.cells.indexOf(this.cell()) + by);
  }

  /** Another row of a grid, the same column. @param {number} by */
  turn(by) {
    this.view = this.view.turn?.(by) ?? this.view;
    this.render();
  }

  /** @param {number} place from 0 */
  go(place) {
    const cell = this.view.cells[place];
    if (!cell) return;
    this.index = cell.index;
    this.render();
  }

  /** The host's message may lie behind this view: the button itself tells, too. */
  async copy() {
    if (!(await copySeed(this.cell().seed ?? ""))) return;
    this.buttons.copy.textContent = t("seed.copied", "Seed copied");
    window.setTimeout(() => (this.buttons.copy.textContent = t("gallery.copySeed", "Copy seed")), 1500);
  }

  toggleBoth() {
    this.both = !this.both;
    this.render();
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    event.stopPropagation(); // keys of the graph, such as Delete, stay without effect
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Tab") {
      this.keepFocus(event);
      return;
    }
    const acts = {
      Escape: () => this.close(),
      ArrowLeft: () => this.step(-1),
      ArrowRight: () => this.step(1),
      ArrowUp: () => this.turn(-1),
      ArrowDown: () => this.turn(1),
      Home: () => this.go(0),
      End: () => this.go(this.view.cells.length - 1),
      c: () => this.toggleBoth(),
    };
    const act = acts[/** @type {keyof typeof acts} */ (event.key)];
    if (!act) return;
    act();
    event.preventDefault();
  }

  /** @param {KeyboardEvent} event */
  keepFocus(event) {
    const buttons = Object.values(this.buttons).filter((each) => !each.disabled && !each.hidden);
    const stops = [...buttons, this.stage];
    const at = stops.indexOf(/** @type {any} */ (document.activeElement));
    stops[(at + (event.shiftKey ? -1 : 1) + stops.length) % stops.length].focus();
    event.preventDefault();
  }

  /** @param {any} event */
  onClick(event) {
    event.stopPropagation();
    if (event.target === this.element || event.target === this.stage) this.close();
  }

  close() {
    if (!this.element.isConnected) return;
    this.element.remove();
    if (this.back?.isConnected) this.back.focus({ preventScroll: true });
    this.onClose();
  }
}

// --- parts -----------------------------------------------------------------------------------------------------------

/** @param {Cell} cell */
const nameOf = (cell) => cell.name ?? cellName(cell);

/** @param {Cell} cell */
const headingOf = (cell) => cell.heading ?? heading(cell);

/** @param {Cell} cell @param {boolean} captioned */
function figureKey(cell, captioned) {
  return JSON.stringify([cell.image, captioned && headingOf(cell)]);
}

/**
 * Build children anew only when what they show has changed: pictures would flicker.
 * @param {HTMLElement} parent
 * @param {string[]} keys
 * @param {() => Node[]} make
 */
function keep(parent, keys, make) {
  const key = keys.join("\n");
  if (parent.dataset.key === key) return;
  parent.dataset.key = key;
  parent.replaceChildren(...make());
}

/** @param {Cell} cell @param {boolean} captioned */
function figure(cell, captioned) {
  const image = cell.image
    ? el("img", { src: viewUrl(cell.image), alt: nameOf(cell), draggable: false })
    : el("div", { class: "hps-menu-note", text: t("viewer.noPicture", "There is no picture of this one.") });
  image.addEventListener("error", () => {
    const text = t("viewer.gone", "The picture is gone: the host empties its temporary folder when it starts. Run again.");
    image.replaceWith(el("div", { class: "hps-menu-note", text }));
  });
  const caption = captioned && el("figcaption", { text: headingOf(cell) });
  return el("figure", { class: cell.kept || cell.best ? "hps-figure hps-kept" : "hps-figure" }, image, caption);
}

/** @param {Cell} cell @param {View} view @param {boolean} beside the best */
function facts(cell, view, beside) {
  const parts = Object.entries(cell.parts);
  const lead = [marginWords(cell), winWords(cell)].filter(Boolean).join("; ");
  const entries = cell.facts ?? [
    [t("viewer.rank", "Rank"), [String(cell.rank), labelWords(cell)].filter(Boolean).join(", ")],
    [t("viewer.score", "Score"), `${number(cell.score)}${view.scorer ? ` (${view.scorer})` : ""}`],
    [t("viewer.margin", "Margin"), (beside && belowWords(cell, view.cells[0])) || lead],
    ...(parts.length > 1 ? parts.map(([name, value]) => [name, number(value)]) : []),
    [t("viewer.seed", "Seed"), cell.seed ?? seedWords(cell, view.total)],
    [t("viewer.prompt", "Prompt"), view.prompts.length === 1 ? view.prompts[0] : ""],
  ];
  const shown = entries.filter(([, text]) => text);
  const fact = (/** @type {string} */ name, /** @type {string} */ text) =>
    el("div", { class: "hps-fact" }, el("span", { text: name }), el("span", { text }));
  return shown.map(([name, text]) => fact(name, text));
}
