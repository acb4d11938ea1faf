// @ts-check
// The grid of a comparison: a field that scrolls, of which only what can be seen is in the page, however large it is.
import { el } from "./dom.js";
import { createHead, createRow, createSpot, fillHead, fillRow, fillSpot } from "./grid_cells.js";
import { ZOOMS, movedIn, sheetOf, sizesOf, usualZoom, visible } from "./grid_layout.js";
import { t } from "./host.js";

/** @typedef {import("./study.js").Study} Study */
/** @typedef {{study: Study, sheet: import("./grid_layout.js").Sheet, sizes: import("./grid_layout.js").Sizes}} Scene */
/** @typedef {{row: number, column: number}} At row -1 holds the heads of the columns */
/**
 * @typedef {{
 *   chosen: (at: At) => void, hovered: (at: At | null) => void, open: (at: At) => void,
 * }} Acts
 */

/** @param {Acts} acts */
export function createGrid(acts) {
  return new Grid(acts);
}

class Grid {
  /** @param {Acts} acts */
  constructor(acts) {
    this.acts = acts;
    /** @type {Study | null} */
    this.study = null;
    /** @type {import("./grid_layout.js").Sheet | undefined} */
    this.sheet = undefined;
    /** @type {{crossed: boolean | null, best: boolean}} crossed: null until the person chooses */
    this.wish = { crossed: null, best: false };
    /** @type {number | null} as the person chose it */
    this.zoom = null;
    this.aspect = 1;
    /** @type {At} where the focus is or was */
    this.at = { row: 0, column: 0 };
    /** @type {Map<number, any>} rows that are in the page */
    this.rows = new Map();
    /** @type {Map<number, any>} heads that are in the page, by column */
    this.heads = new Map();
    this.frame = 0;
    this.known = false; // whether the shape of the pictures is
    this.tapped = "";
    this.touched = false; // whether the person has been to a cell of this run
    this.build();
    this.observer = new ResizeObserver(() => this.layout());
    this.observer.observe(this.element);
  }

  build() {
    this.corner = el("div", { class: "hps-corner", role: "columnheader" });
    this.top = el("div", { class: "hps-sheet-head", role: "row", ariaRowIndex: "1" }, this.corner);
    this.body = el("div", { class: "hps-sheet-body", role: "presentation" });
    this.field = el("div", { class: "hps-sheet-field", role: "presentation" }, this.top, this.body);
    this.element = el("div", {
      class: "hps-sheet", role: "grid", tabIndex: 0, ariaLabel: t("study.grid", "Images by setting"),
      dataset: { captureWheel: "true", hpsScroll: "true" },
      on: {
        scroll: () => this.schedule(),
        keydown: (event) => this.onKey(event),
        click: (event) => this.onClick(event),
        focusin: (event) => this.onFocus(event),
        pointerover: (event) => this.onHover(event),
        pointerleave: () => this.acts.hovered(null),
      },
    }, this.field);
  }

  // --- what is shown -------------------------------------------------------------------------------------------------

  /** @param {Study} study */
  show(study) {
    if (this.study && study.run !== this.study.run) this.forget();
    this.study = study;
    this.sheet = sheetOf(study, this.wish);
    this.at = this.within(this.at);
    this.layout();
  }

  /** Another run: nothing of the last one stays. */
  forget() {
    this.at = { row: 0, column: 0 };
    this.aspect = 1;
    this.known = this.touched = false;
    this.element.scrollTo(0, 0);
    this.clear();
  }

  clear() {
    this.keepFocus(this.body);
    this.body.replaceChildren();
    for (const head of this.heads.values()) head.remove();
    this.rows.clear();
    this.heads.clear();
  }

  /** @param {{crossed?: boolean, best?: boolean}} wish */
  arrange(wish) {
    Object.assign(this.wish, wish);
    if (!this.study) return;
    this.clear();
    this.at = { row: 0, column: 0 };
    this.element.scrollTo(0, 0);
    this.show(this.study);
  }

  /** @param {number} by @returns {{least: boolean, most: boolean}} whether it can go no further */
  zoomBy(by) {
    this.zoom = Math.max(0, Math.min(ZOOMS.length - 1, this.zoomNow() + by));
    this.layout();
    if (by) this.bring(this.at);
    return { least: this.zoom === 0, most: this.zoom === ZOOMS.length - 1 };
  }

  /** @returns {number} */
  zoomNow() {
    if (!this.study?.pictures && !this.study?.live) return 0;
    const { clientWidth: width, clientHeight: height } = this.element;
    return this.zoom ?? usualZoom({ width, height }, this.aspect, this.shape(), this.sheet?.columns.length ?? 1);
  }

  shape() {
    const width = this.element.clientWidth;
    return { crossed: Boolean(this.sheet?.crossed), prompts: this.study?.prompts.length ?? 1, width };
  }

  /** Sizes of everything; then what can be seen. */
  layout() {
    const { study, sheet } = this;
    if (!study || !sheet || !this.element.clientWidth) return;
    const sizes = sizesOf(this.zoomNow(), this.aspect, this.shape());
    this.sizes = sizes;
    const { style } = this.field;
    style.setProperty("--hps-cell-width", `${sizes.width - 6}px`);
    style.setProperty("--hps-picture", `${sizes.picture}px`);
    style.setProperty("--hps-side", `${sizes.side}px`);
    style.setProperty("--hps-head", `${sizes.head}px`);
    style.width = `${sizes.side + sheet.columns.length * sizes.width}px`;
    this.body.style.height = `${sheet.rows.length * sizes.height}px`;
    this.element.classList.toggle("hps-scores-only", !sizes.picture);
    this.element.setAttribute("aria-rowcount", String(sheet.rows.length + 1));
    this.element.setAttribute("aria-colcount", String(sheet.columns.length + 1));
    const [x, y] = study.axes;
    this.corner.replaceChildren(...(sheet.crossed
      ? [el("span", { text: `${x.name} \u2192` }), el("span", { text: `${y.name} \u2193` })] : []));
    this.draw();
  }

  schedule() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  draw() {
    const { study, sheet, sizes, element } = this;
    if (!study || !sheet || !sizes) return;
    const seen = {
      left: element.scrollLeft, top: element.scrollTop,
      width: element.clientWidth - sizes.side, height: element.clientHeight - sizes.head,
    };
    const { rows, columns } = visible(seen, sizes, sheet);
    const scene = { study, sheet, sizes };
    this.drawHeads(scene, columns);
    prune(this.rows, rows, (row) => this.keepFocus(row));
    for (let row = rows[0]; row < rows[1]; row++) this.drawRow(scene, row, columns);
    this.mark();
  }

  /** @param {Scene} scene @param {[number, number]} columns */
  drawHeads({ study, sheet, sizes }, columns) {
    prune(this.heads, columns, (head) => this.keepFocus(head));
    for (let column = columns[0]; column < columns[1]; column++) {
      const head = this.heads.get(column) ?? createHead();
      fillHead(head, study, { ...sheet.columns[column], column }, sizes);
      if (!head.isConnected) this.top.append(head);
      this.heads.set(column, head);
    }
  }

  /** @param {Scene} scene @param {number} at @param {[number, number]} columns */
  drawRow({ study, sheet, sizes }, at, columns) {
    const row = this.rows.get(at) ?? Object.assign(createRow(), { hpsSpots: new Map() });
    const place = sheet.rows[at];
    fillRow(row, study, place, at, sizes);
    /** @type {Map<number, any>} by setting, so that a picture moves with its setting */
    const spots = row.hpsSpots;
    const wanted = new Map();
    for (let column = columns[0]; column < columns[1]; column++) wanted.set(sheet.setting(at, column), column);
    for (const [setting, spot] of spots) {
      if (wanted.has(setting)) continue;
      this.keepFocus(spot);
      spot.remove();
      spots.delete(setting);
    }
    for (const [setting, column] of wanted) {
      const spot = spots.get(setting) ?? createSpot((image) => this.onLoad(image));
      fillSpot(spot, study, { setting, block: place.block, row: at, column }, sizes);
      if (!spot.isConnected) row.append(spot);
      spots.set(setting, spot);
    }
    if (!row.isConnected) this.body.append(row);
    this.rows.set(at, row);
  }

  /** One cell takes part in the order of the tab key; the field itself does while that cell is out of sight. */
  mark() {
    for (const old of this.field.querySelectorAll("[tabindex='0']")) old.tabIndex = -1;
    for (const old of this.field.querySelectorAll(".hps-current")) old.classList.remove("hps-current");
    const now = this.elementAt(this.at);
    this.element.tabIndex = now ? -1 : 0;
    if (!now) return;
    now.tabIndex = 0;
    now.classList.toggle("hps-current", this.touched);
  }

  /** @param {At} at @returns {any} */
  elementAt({ row, column }) {
    if (row < 0) return this.heads.get(column);
    return this.sheet && this.rows.get(row)?.hpsSpots.get(this.sheet.setting(row, column));
  }

  /** @param {Element} part that is about to go: the keys go on to work */
  keepFocus(part) {
    if (part.contains(document.activeElement)) this.element.focus({ preventScroll: true });
  }

  // --- what a person does --------------------------------------------------------------------------------------------

  /** @param {At} at @returns {At} */
  within({ row, column }) {
    const { rows, columns } = this.sheet ?? { rows: [], columns: [] };
    return { row: Math.min(row, rows.length - 1), column: Math.max(0, Math.min(column, columns.length - 1)) };
  }

  /** @param {At} at Bring a place into view, and the focus to it. @param {boolean} [focus] */
  go(at, focus = true) {
    this.at = this.within(at);
    this.touched = true;
    this.bring(this.at);
    this.draw();
    if (focus) this.elementAt(this.at)?.focus({ preventScroll: true });
    this.acts.chosen(this.at);
  }

  /** Only the grid scrolls; the browser's own way would also move the page around the canvas. @param {At} at */
  bring({ row, column }) {
    const { element, sizes } = this;
    if (!sizes) return;
    const { width, height, side, head } = sizes;
    element.scrollLeft = nearest(element.scrollLeft, column * width, width, element.clientWidth - side);
    if (row >= 0) element.scrollTop = nearest(element.scrollTop, row * height, height, element.clientHeight - head);
  }

  /** @param {any} event @returns {At | null} */
  placeIn(event) {
    const place = event.target.closest?.("[data-place]")?.dataset.place;
    if (!place) return null;
    const [row, column] = place.split(",").map(Number);
    return { row, column };
  }

  /** @param {any} event */
  onHover(event) {
    if (event.pointerType !== "touch") this.acts.hovered(this.placeIn(event));
  }

  /** @param {any} event */
  onFocus(event) {
    const at = this.placeIn(event);
    if (!at || (this.touched && at.row === this.at.row && at.column === this.at.column)) return;
    this.touched = true;
    this.at = at;
    this.mark();
    this.acts.chosen(at);
  }

  /** A finger chooses first, for it cannot rest on a picture, and opens with the second tap. @param {any} event */
  onClick(event) {
    const at = this.placeIn(event);
    if (!at) return;
    const again = this.tapped === `${at.row},${at.column}`;
    this.tapped = `${at.row},${at.column}`;
    this.touched = true;
    this.at = at;
    this.mark();
    this.elementAt(at)?.focus({ preventScroll: true });
    this.acts.chosen(at);
    if (at.row >= 0 && (event.pointerType !== "touch" || again)) this.acts.open(at);
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    if (!this.sheet || !this.sizes || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor((this.element.clientHeight - this.sizes.head) / this.sizes.height));
    const to = movedIn(event, this.at, this.sheet, page);
    if (to) this.go(to);
    else if (event.ctrlKey) return;
    else if ((event.key === "Enter" || event.key === " ") && this.at.row >= 0) this.acts.open(this.at);
    else if (event.key === "+" || event.key === "-") this.element.dispatchEvent(zoomed(event.key === "+" ? 1 : -1));
    else return;
    event.preventDefault();
  }

  /** @param {HTMLImageElement} image */
  onLoad(image) {
    const aspect = image.naturalWidth / image.naturalHeight;
    if (this.known || !(aspect > 0)) return;
    this.known = true;
    if (Math.abs(aspect - this.aspect) < 0.01) return;
    this.aspect = Math.min(3, Math.max(1 / 3, aspect));
    this.layout();
  }

  destroy() {
    cancelAnimationFrame(this.frame);
    this.observer.disconnect();
  }
}

/** @param {number} by */
const zoomed = (by) => new CustomEvent("hps-zoom", { detail: by, bubbles: true });

/**
 * Take out of the page what lies outside.
 * @param {Map<number, any>} elements
 * @param {[number, number]} span first and one behind the last
 * @param {(element: Element) => void} before
 */
function prune(elements, [first, end], before) {
  for (const [at, element] of elements) {
    if (at >= first && at < end) continue;
    before(element);
    element.remove();
    elements.delete(at);
  }
}

/** @param {number} now @param {number} from @param {number} size @param {number} room @returns {number} */
function nearest(now, from, size, room) {
  if (from < now) return from;
  return from + size > now + room ? from + size - room : now;
}
