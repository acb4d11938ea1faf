// @ts-check
// The parts of a grid of settings: a cell with its picture and score, the head of a column, the head of a row.
import { el } from "./dom.js";
import { t, viewUrl } from "./host.js";
import { finite, number } from "./ranking.js";
import { placesOf, spotAt } from "./study.js";
import { blockWords, cellWords, differenceText, directionOf, scoreWords, settingLines, verdictWords } from "./study_words.js";

/** @typedef {import("./study.js").Study} Study */
/** @typedef {import("./grid_layout.js").Sizes} Sizes */

/** Standard deviations at which a colour is at its strongest, and how many steps lead there. */
const FULL = 2;
const STEPS = 4;

/**
 * @param {number | null} z
 * @returns {string} "-4" to "4", "" where nothing is known
 */
export function tint(z) {
  if (!finite(z)) return "";
  return String(Math.round(Math.max(-1, Math.min(1, z / FULL)) * STEPS) + 0);
}

/**
 * An element for a cell; it stays while the cell can be seen, so that its picture does not load again.
 * @param {(image: HTMLImageElement) => void} onLoad
 */
export function createSpot(onLoad) {
  const image = el("img", { class: "hps-thumb", alt: "", draggable: false, decoding: "async" });
  image.addEventListener("load", () => onLoad(image));
  image.addEventListener("error", () => image.classList.add("hps-missing"));
  const parts = {
    image,
    frame: el("span", { class: "hps-frame" }, image),
    score: el("span", { class: "hps-spot-score" }),
    mark: el("span", { class: "hps-spot-mark", text: "\u2605", ariaHidden: "true" }),
  };
  const caption = el("span", { class: "hps-spot-caption" }, parts.mark, parts.score);
  const element = el("div", { class: "hps-spot", role: "gridcell", tabIndex: -1 }, parts.frame, caption);
  return Object.assign(element, { hpsParts: parts });
}

/**
 * @param {any} element from createSpot
 * @param {Study} study
 * @param {{setting: number, block: number, row: number, column: number}} place
 * @param {Sizes} sizes
 */
export function fillSpot(element, study, { setting, block, row, column }, sizes) {
  const { image, frame, score, mark } = element.hpsParts;
  const spot = spotAt(study, setting, block);
  move(element, column * sizes.width);
  element.dataset.place = `${row},${column}`;
  element.dataset.z = tint(spot?.z ?? null);
  element.classList.toggle("hps-spot-reference", setting === study.reference);
  element.classList.toggle("hps-spot-empty", !spot);
  element.classList.toggle("hps-spot-best", Boolean(spot?.best));
  element.setAttribute("aria-colindex", String(column + 2));
  const words = cellWords(study, setting, block);
  element.setAttribute("aria-label", words);
  element.title = words;
  frame.hidden = !sizes.picture;
  showPicture(image, sizes.picture ? spot?.thumb ?? null : null);
  // A cell that is still to come is a blank field: words in every one of them would be noise.
  score.textContent = spot ? number(spot.score).replace("-", "\u2212") : study.live ? "" : scoreWords(study, spot);
  mark.hidden = !spot?.best;
}

/** @param {HTMLElement} element @param {number} x */
function move(element, x) {
  const left = `${x}px`;
  if (element.style.left !== left) element.style.left = left;
}

/** @param {any} image @param {import("./host.js").FileRef | null} file */
function showPicture(image, file) {
  const url = file ? viewUrl(file) : "";
  if ((image.dataset.url ?? "") === url) return;
  image.classList.remove("hps-missing");
  image.dataset.url = url;
  if (url) image.src = url;
  else image.removeAttribute("src");
}

// --- heads -----------------------------------------------------------------------------------------------------------

/** An element for the head of a column. */
export function createHead() {
  const parts = {
    title: el("span", { class: "hps-column-title" }),
    figure: el("span", { class: "hps-column-figure" }),
  };
  const element = el("div", { class: "hps-column", role: "columnheader", tabIndex: -1 }, parts.title, parts.figure);
  return Object.assign(element, { hpsParts: parts });
}

/**
 * @param {any} element from createHead
 * @param {Study} study
 * @param {{setting: number | null, title: string, column: number}} head
 * @param {Sizes} sizes
 */
export function fillHead(element, study, { setting, title, column }, sizes) {
  const { title: words, figure } = element.hpsParts;
  move(element, column * sizes.width);
  element.dataset.place = `-1,${column}`;
  element.setAttribute("aria-colindex", String(column + 2));
  // Names of samplers are long: they break where a person would.
  words.replaceChildren(...title.split(/(?<=[_/,-])/).flatMap((part) => [part, el("wbr")]));
  figure.hidden = setting === null;
  element.classList.toggle("hps-column-reference", setting === study.reference);
  if (setting === null) {
    figure.replaceChildren();
    element.title = `${study.axes[0].name}: ${title}`;
    element.setAttribute("aria-label", element.title);
    return;
  }
  const lines = [title, ...settingLines(study, setting)];
  element.title = lines.join("\n");
  element.setAttribute("aria-label", lines.join(", "));
  figure.replaceChildren(...figures(study, setting));
}

/** @param {Study} study @param {number} setting @returns {HTMLElement[]} difference and verdict as a chip */
function figures(study, setting) {
  if (setting === study.reference) {
    return [el("span", { class: "hps-chip hps-chip-reference", text: t("study.reference", "reference") })];
  }
  const contrast = study.contrasts.get(setting);
  if (!contrast?.verdict) return [el("b", { class: "hps-running-figure", text: differenceText(contrast) })];
  return [el("b", { text: differenceText(contrast) }), verdictChip(contrast)];
}

/** @param {import("./study.js").Contrast} contrast with a verdict @returns {HTMLElement} */
export function verdictChip(contrast) {
  const { verdict } = contrast;
  const text = verdictWords(contrast);
  const sure = verdict === "clear" ? "clear" : verdict === "leaning" ? "leaning" : "none";
  return el("span", { class: `hps-chip hps-chip-${sure}`, text, title: text, dataset: { up: directionOf(contrast) } });
}

/** An element for a row: its head, and room for its cells. */
export function createRow() {
  const parts = {
    title: el("b", { class: "hps-line-title" }),
    detail: el("span", { class: "hps-line-detail" }),
  };
  const head = el("div", { class: "hps-line-head", role: "rowheader" }, parts.title, parts.detail);
  const element = el("div", { class: "hps-sheet-row", role: "row" }, head);
  return Object.assign(element, { hpsParts: { ...parts, head } });
}

/**
 * @param {any} element from createRow
 * @param {Study} study
 * @param {{block: number, title: string, starts: boolean}} row
 * @param {number} at its place
 * @param {Sizes} sizes
 */
export function fillRow(element, study, { block, title, starts }, at, sizes) {
  const { title: main, detail, head } = element.hpsParts;
  const words = blockWords(study, block);
  const { prompt } = placesOf(study, block);
  element.style.top = `${at * sizes.height}px`;
  element.style.height = `${sizes.height}px`;
  element.setAttribute("aria-rowindex", String(at + 2));
  element.classList.toggle("hps-sheet-start", starts && at > 0);
  const seed = words[words.length - 1];
  const text = words.length > 1 ? `${prompt + 1}. ${words[0]}` : "";
  main.textContent = title || text || seed;
  // Of one block only the axes are worth a word.
  const place = study.blocks.size > 1 || study.seeds.length * study.prompts.length > 1 ? [seed, text] : [];
  detail.textContent = title ? place.filter(Boolean).join(" \u00b7 ") : text ? seed : "";
  head.title = [title && `${study.axes[1]?.name}: ${title}`, ...words].filter(Boolean).join("\n");
}

/** @returns {HTMLElement} what the colours mean */
export function legend() {
  const steps = Array.from({ length: 2 * STEPS + 1 }, (_, at) => el("i", { dataset: { z: String(at - STEPS) } }));
  const title = t("study.legendTip",
    "Colours compare the settings of one prompt and seed, up to 2 standard deviations from their mean: scores of " +
    "different prompts do not compare.");
  const parts = [t("study.lower", "lower"), el("span", { class: "hps-scale-steps" }, ...steps),
    t("study.higher", "higher")];
  return el("div", { class: "hps-scale", title, role: "img", ariaLabel: title }, ...parts);
}
