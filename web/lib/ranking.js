// @ts-check
// What a gallery shows, made of what the server sends; and how numbers are said.
import { setting, t } from "./host.js";

/**
 * One image of a ranking.
 * @typedef {{
 *   index: number, seed: string | null, score: number | null, rank: number, margin: number | null, win: number | null,
 *   kept: boolean, best: boolean, leading: boolean, parts: Record<string, number>, label: string, entry: number | null,
 *   image: import("./host.js").FileRef | null, thumb: import("./host.js").FileRef | null,
 *   name?: string, heading?: string, facts?: string[][],
 * }} Cell name, heading and facts: what the large view says instead of its own words
 */

/**
 * A ranking, best first; or, with `beside`, images in an order of their own, of which that one (by its index) is what the
 * others are held against. `turn` gives the view of a neighbouring row, `place` is the row's.
 * @typedef {{
 *   run: string, token: string, live: boolean, cells: Cell[], total: number, prompts: string[], scorer: string,
 *   warnings: string[], kept: number[], picked: boolean, status: string[],
 *   beside?: number, turn?: (by: number) => View | null, place?: number,
 * }} View
 */

/**
 * @param {any} value
 * @returns {value is number}
 */
export const finite = (value) => typeof value === "number" && Number.isFinite(value);

// --- from the server -------------------------------------------------------------------------------------------------

/**
 * @param {any} data result of a node
 * @returns {View}
 */
export function resultView(data) {
  const kept = list(data.kept);
  const items = list(data.items).length ? data.items : itemsOfColumns(data);
  const isKept = (/** @type {any} */ item) => Boolean(item.kept ?? kept.includes(item.index));
  const any = kept.length > 0 || items.some(isKept);
  const isBest = (/** @type {any} */ item) => !any && item.rank === 1 && finite(item.score); // all are handed on
  return {
    run: String(data.run ?? ""),
    token: String(data.token ?? ""),
    live: false,
    cells: items.map((/** @type {any} */ item) => cell({ ...item, kept: isKept(item), best: isBest(item) })),
    total: Math.max(list(data.scores).length, items.length),
    prompts: list(data.prompts).map(String),
    scorer: String(data.scorer?.name ?? data.scorer?.id ?? ""),
    warnings: list(data.warnings).map(String),
    kept,
    picked: Boolean(data.picked),
    status: resultStatus(data),
  };
}

/**
 * @param {any} data everything that a search has told about its candidates so far
 * @returns {View}
 */
export function searchView(data) {
  const leader = data.best?.index;
  const order = (/** @type {any} */ each) => (each.index === leader ? Infinity : (each.score ?? -Infinity));
  const sorted = [...list(data.candidates)].sort((a, b) => compare(order(b), order(a)) || a.index - b.index);
  const cells = sorted.map((each, place) =>
    cell({ ...each, rank: place + 1, margin: gap(each.score, sorted[place + 1]?.score), leading: place === 0 })
  );
  const run = String(data.run ?? "");
  return { ...empty(), run, live: true, cells, total: cells.length, status: searchStatus(data) };
}

/**
 * @param {any} data everything that a noise optimisation has told so far
 * @returns {View}
 */
export function noiseView(data) {
  const points = list(data.points);
  const best = points.at(-1)?.best ?? null;
  const share = Math.round(100 * Math.min(1, Math.max(0, Number(data.done) || 0)));
  const found = { index: 1, seed: null, score: best, rank: 1, leading: true, label: "best", image: data.image };
  const status = [t("gallery.share", "{share} % done", { share })];
  if (finite(best)) status.push(t("gallery.best", "best {score}", { score: number(best) }));
  const cells = data.image ? [cell(found)] : [];
  return { ...empty(), run: String(data.run ?? ""), live: true, cells, total: cells.length, status };
}

/** @returns {View} */
export function empty() {
  const none = { run: "", token: "", live: false, total: 0, scorer: "", picked: false };
  return { ...none, cells: [], prompts: [], warnings: [], kept: [], status: [] };
}

/** @param {any} value @returns {any[]} */
export function list(value) {
  return Array.isArray(value) ? value : [];
}

/** @param {number} a @param {number} b */
function compare(a, b) {
  return a === b ? 0 : a - b;
}

/** @param {any} item @returns {Cell} */
function cell(item) {
  return {
    index: Number(item.index),
    seed: item.seed === null || item.seed === undefined ? null : String(item.seed),
    score: finite(item.score) ? item.score : null,
    rank: Number(item.rank),
    margin: finite(item.margin) ? item.margin : null,
    win: finite(item.win) && !item.label ? item.win : null, // of its own result an optimised scorer is no judge
    kept: Boolean(item.kept),
    best: Boolean(item.best),
    leading: Boolean(item.leading),
    parts: item.parts ?? item.scores ?? {},
    label: String(item.label ?? ""),
    entry: Number.isInteger(item.entry) ? item.entry : null,
    image: item.image ?? item.thumb ?? null,
    thumb: item.thumb ?? item.image ?? null,
  };
}

/** Without pictures there are no items, only columns in the order of the images. @param {any} data */
function itemsOfColumns(data) {
  const { scores = [], ranks = [], seeds = [] } = data;
  const order = list(scores).map((_, index) => index);
  order.sort((a, b) => (ranks[a] ?? Infinity) - (ranks[b] ?? Infinity) || a - b);
  return order.map((index, place) => ({
    index,
    seed: seeds[index] ?? null,
    score: scores[index],
    rank: ranks[index] ?? place + 1,
    margin: gap(scores[index], scores[order[place + 1]]),
    parts: Object.fromEntries(Object.entries(data.parts ?? {}).map(([id, column]) => [id, column[index]])),
  }));
}

/** @param {any} score @param {any} next */
function gap(score, next) {
  return finite(score) && finite(next) ? score - next : null;
}

// --- words -----------------------------------------------------------------------------------------------------------

/** @param {any} data */
function resultStatus(data) {
  const n = Math.max(list(data.scores).length, list(data.items).length);
  const parts = [];
  if (data.scorer?.name) parts.push(String(data.scorer.name));
  if (data.kind === "search") {
    if (data.method) parts.push(String(data.method));
  } else {
    parts.push(n === 1 ? t("gallery.oneImage", "1 image") : t("gallery.images", "{n} images", { n }));
  }
  if (finite(data.seconds)) parts.push(t("gallery.seconds", "{s} s", { s: data.seconds.toFixed(1) }));
  const reason = stopWords(data.stopped);
  if (reason && !data.reason && data.kind !== "search") parts.push(reason);
  return parts;
}

/** @param {any} stopped */
function stopWords(stopped) {
  if (stopped === "target") return t("gallery.stopTarget", "stopped early: the target is reached");
  if (stopped === "gain") return t("gallery.stopGain", "stopped early: more would add too little");
  if (stopped === "time") return t("gallery.stopTime", "stopped early: the time was up");
  return "";
}

/** @param {any} data */
function searchStatus(data) {
  const parts = [t("gallery.progress", "{done} of {total}", { done: Number(data.done), total: Number(data.total) })];
  if (finite(data.best?.score)) parts.push(t("gallery.best", "best {score}", { score: number(data.best.score) }));
  if (finite(data.expected_gain) && data.done < data.total) {
    parts.push(t("gallery.gain", "next ones should add about {gain}", { gain: roughly(data.expected_gain) }));
  }
  return parts;
}

/**
 * @param {number | null | undefined} value
 * @returns {string} with as many decimals as the person wants
 */
export function number(value) {
  if (!finite(value)) return t("gallery.noScore", "no score");
  const wanted = Math.round(Number(setting("HPS.Gallery.Decimals", 2)));
  return value.toFixed(Number.isFinite(wanted) ? Math.min(5, Math.max(2, wanted)) : 2);
}

/** @param {number} value @returns {string} an estimate, with as many digits as it deserves */
export function roughly(value) {
  if (Math.abs(value) < 0.005) return value.toFixed(2);
  const decimals = 1 - Math.floor(Math.log10(Math.abs(value)));
  return value.toFixed(Math.max(0, Math.min(3, decimals)));
}

/**
 * @param {number} win chance of being preferred to the next lower rank, 0 to 1
 * @returns {string} cases of a hundred; never all and never none, which no scorer knows
 */
export function ofHundred(win) {
  const n = Math.round(win * 100);
  if (n >= 100) return "> 99";
  return n <= 0 ? "< 1" : String(n);
}

/** @param {Cell} cell @returns {string} "" when nothing is known */
export function winWords(cell) {
  if (cell.win === null) return "";
  const values = { n: ofHundred(cell.win) };
  return t("gallery.win", "preferred to the next in {n} of 100 cases, says the scorer", values);
}

/** @param {Cell} cell @returns {string} "" for the last one */
export function marginWords(cell) {
  if (cell.margin === null) return "";
  const values = { margin: signed(cell.margin) };
  if (cell.label === "result") {
    return t("gallery.overStart", "{margin} over the start, by the scorer that was optimised", values);
  }
  return t("gallery.margin", "{margin} to the next", values);
}

/** @param {Cell} cell @param {Cell} best @returns {string} "" for the best itself */
export function belowWords(cell, best) {
  if (cell === best || cell.score === null || best.score === null) return "";
  return t("gallery.below", "{margin} below the best", { margin: number(best.score - cell.score) });
}

/** @param {Cell} cell @param {number} total images @returns {string} the seed, or why there is none; "" if unknown */
export function seedWords(cell, total) {
  if (cell.seed !== null) return t("gallery.seed", "seed {seed}", { seed: cell.seed });
  if (total < 2 || cell.label) return "";
  return t("gallery.noSeed", "seed of the batch; image {index} alone has none", { index: cell.index });
}

/** @param {Cell} cell @returns {boolean} whether it wears the star */
export function starred(cell) {
  return cell.kept || cell.best || cell.leading;
}

/** @param {number} value */
export function signed(value) {
  const text = number(value);
  return value < 0 ? text.replace("-", "\u2212") : `+${text}`;
}

/** @param {Cell} cell @returns {string} the state, in a word */
export function markWords(cell) {
  if (cell.kept) return t("gallery.kept", "kept");
  if (cell.best) return t("gallery.isBest", "best");
  return cell.leading ? t("gallery.leading", "best so far") : "";
}

/** @param {Cell} cell @returns {string} */
export function labelWords(cell) {
  if (cell.label === "start") return t("gallery.start", "start");
  return cell.label === "result" ? t("gallery.result", "result") : "";
}

/**
 * @param {Cell} cell
 * @param {number} pick its place among those picked by hand, from 1; 0 if it is none of them
 * @returns {string} name for a screen reader, such as "Rank 1, score 27.310, seed 123, kept"
 */
export function cellName(cell, pick = 0) {
  const parts = [t("gallery.rank", "Rank {rank}", { rank: cell.rank })];
  parts.push(cell.score === null ? t("gallery.noScore", "no score") : scoreWords(cell.score));
  if (cell.seed !== null) parts.push(t("gallery.seed", "seed {seed}", { seed: cell.seed }));
  if (pick) parts.push(t("gallery.picked", "picked as number {n}", { n: pick }));
  return [...parts, labelWords(cell), markWords(cell)].filter(Boolean).join(", ");
}

/** @param {number} score */
function scoreWords(score) {
  return t("gallery.score", "score {score}", { score: number(score) });
}

/** @param {Cell} cell @returns {string} rank, score and state in short */
export function heading(cell) {
  const words = [`#${cell.rank}`, number(cell.score), labelWords(cell), markWords(cell)];
  return words.filter(Boolean).join(" \u00b7 ");
}

// --- picks by hand ---------------------------------------------------------------------------------------------------

/**
 * @param {any} text such as "2,0" or "2,0@1f3a5b7c", whose end names the batch that was picked from
 * @param {string} token of the batch that is shown, "" if unknown
 * @returns {number[]} positions in their order, each once; none when they were picked from another batch
 */
export function parsePick(text, token) {
  if (pickedElsewhere(text, token)) return [];
  const [places] = String(text ?? "").split("@");
  return [...new Set((places.match(/\d+/g) ?? []).map(Number))];
}

/** @param {any} text @param {string} token @returns {boolean} whether it was picked from other images than these */
export function pickedElsewhere(text, token) {
  const [places, batch = ""] = String(text ?? "").split("@");
  return Boolean(token && batch.trim() && batch.trim() !== token && /\d/.test(places));
}

/** @param {number[]} picks @param {string} token @returns {string} */
export function pickText(picks, token) {
  return picks.length && token ? `${picks.join(",")}@${token}` : picks.join(",");
}

/** @param {number[]} picks @param {number} index @returns {number[]} with the index added at the end, or taken out */
export function togglePick(picks, index) {
  return picks.includes(index) ? picks.filter((each) => each !== index) : [...picks, index];
}
