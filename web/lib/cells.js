// @ts-check
// One image of a ranking as an option of a list: a picture with its rank and score, or a line of a table.
import { el } from "./dom.js";
import { setting, t, viewUrl } from "./host.js";
import { cellName, labelWords, marginWords, number, ofHundred, signed, starred, winWords } from "./ranking.js";

/** @typedef {import("./ranking.js").Cell} Cell */

/**
 * An element for a cell; fill() shows a ranking's cell in it. The element stays when the order changes, so that
 * pictures do not load again.
 * @param {(element: HTMLElement) => void} onLoad gets told when the picture is there
 */
export function createCell(onLoad) {
  const image = el("img", { class: "hps-thumb", alt: "", draggable: false, decoding: "async" });
  image.addEventListener("load", () => onLoad(image));
  image.addEventListener("error", () => image.classList.add("hps-missing"));
  const parts = {
    image,
    badge: el("span", { class: "hps-badge" }),
    mark: el("span", { class: "hps-mark" }),
    caption: el("span", { class: "hps-caption" }),
  };
  const element = el("div", { class: "hps-cell", role: "option", tabIndex: -1, dataset: { index: "" } });
  element.append(el("span", { class: "hps-frame" }, image, parts.badge, parts.mark), parts.caption);
  return Object.assign(element, { hpsParts: parts });
}

/**
 * @param {any} element from createCell
 * @param {Cell} cell
 * @param {{
 *   selected: boolean, pick: number, applied: boolean, narrow: boolean, wide: boolean, captioned: boolean,
 * }} state pick: its place among those picked by hand; applied: these are the ones that the last run kept
 */
export function fillCell(element, cell, state) {
  const { image, badge, mark, caption } = element.hpsParts;
  const url = cell.thumb ? viewUrl(cell.thumb) : "";
  if (image.dataset.url !== url) {
    image.classList.remove("hps-missing");
    image.dataset.url = url;
    if (url) image.src = url;
    else image.removeAttribute("src");
  }
  describe(element, cell, state);
  fillBadge(badge, cell, state.narrow);
  mark.textContent = markOf(cell, state);
  mark.hidden = !mark.textContent;
  caption.textContent = captionOf(cell, state);
  caption.hidden = !state.captioned;
}

/**
 * What pictures and lines of a table have in common.
 * @param {any} element
 * @param {Cell} cell
 * @param {{selected: boolean, pick: number, applied: boolean}} state
 */
function describe(element, cell, state) {
  element.dataset.index = String(cell.index);
  element.dataset.rank = String(cell.rank);
  element.classList.toggle("hps-kept", cell.kept || cell.best);
  element.classList.toggle("hps-leading", cell.leading && !cell.kept);
  element.classList.toggle("hps-picked", state.pick > 0 && !state.applied);
  element.setAttribute("aria-selected", String(state.selected));
  element.setAttribute("aria-label", cellName(cell, state.pick));
  element.title = tooltip(cell);
}

/** @param {Cell} cell @param {{pick: number, applied: boolean}} state @returns {string} a sign that needs no colour */
function markOf(cell, { pick, applied }) {
  if (pick && !applied) return `\u2713${pick}`;
  return starred(cell) ? "\u2605" : "";
}

/** @param {HTMLElement} badge @param {Cell} cell @param {boolean} narrow */
function fillBadge(badge, cell, narrow) {
  const rank = el("b", { text: `#${cell.rank}` });
  const score = !narrow && cell.score !== null ? el("span", { text: number(cell.score) }) : null;
  const label = !narrow && labelWords(cell) ? el("i", { text: labelWords(cell) }) : null;
  const parts = [rank, score, label].filter((part) => part !== null);
  badge.replaceChildren(...parts.flatMap((part, place) => (place ? [" ", part] : [part])));
  badge.hidden = !setting("HPS.Gallery.Badges", true);
}

/** What the picture itself has no room for. @param {Cell} cell @param {{narrow: boolean, wide: boolean}} room */
function captionOf(cell, { narrow, wide }) {
  if (narrow) return number(cell.score);
  if (!wide) return cell.margin === null ? "" : signed(cell.margin);
  const parts = [];
  if (cell.margin !== null) parts.push(signed(cell.margin));
  if (cell.win !== null) parts.push(t("gallery.winShort", "{n} of 100", { n: ofHundred(cell.win) }));
  return parts.join(" \u00b7 ");
}

/** @param {Cell} cell */
function tooltip(cell) {
  const lines = [cellName(cell)];
  const margin = [marginWords(cell), winWords(cell)].filter(Boolean).join(", ");
  if (margin) lines.push(margin);
  return lines.join("\n");
}

// --- lines of a table, when there are no pictures --------------------------------------------------------------------

/** @returns {HTMLElement} names of the columns; a screen reader hears them with every line, so it skips these */
export function rowHeads() {
  const names = [
    t("gallery.headRank", "rank"),
    t("gallery.headScore", "score"),
    t("gallery.headMargin", "to the next"),
    t("gallery.headSeed", "seed"),
  ];
  return el("div", { class: "hps-row hps-row-head", ariaHidden: "true" }, ...names.map((text) => el("span", { text })));
}

/** An element for a line of the table. */
export function createRow() {
  return el("div", { class: "hps-cell hps-row", role: "option", tabIndex: -1, dataset: { index: "" } });
}

/**
 * @param {any} element from createRow
 * @param {Cell} cell
 * @param {{selected: boolean, pick: number, applied: boolean}} state
 */
export function fillRow(element, cell, state) {
  describe(element, cell, state);
  const mark = markOf(cell, state);
  const chance = cell.win === null ? "" : ` (${t("gallery.winShort", "{n} of 100", { n: ofHundred(cell.win) })})`;
  const texts = [
    mark ? `#${cell.rank} ${mark}` : `#${cell.rank}`,
    number(cell.score),
    cell.margin === null ? "" : signed(cell.margin) + chance,
    cell.seed ?? t("gallery.image", "image {index}", { index: cell.index }),
  ];
  element.replaceChildren(...texts.map((text) => el("span", { text })));
}
