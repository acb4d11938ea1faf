// @ts-check
// A comparison of settings as the server tells it: its cells by block (a prompt with a seed), and what they show so far.
// Scores are compared within a block only.
import { finite, list } from "./ranking.js";

/** @typedef {import("./host.js").FileRef} FileRef */
/**
 * One image: which setting and block it is of; its place among the settings of its block.
 * @typedef {{
 *   setting: number, block: number, score: number | null, thumb: FileRef | null, image: FileRef | null,
 *   entry: number | null, z: number | null, rank: number, best: boolean,
 * }} Spot
 */
/**
 * One setting against the reference; numbers are null where nothing is known.
 * @typedef {{
 *   difference: number | null, low: number | null, high: number | null, p: number | null, verdict: string,
 *   wins: number | null, pairs: number, detectable: number | null,
 * }} Contrast
 */
/** @typedef {{relative: number | null, z: number | null, elo: number | null}} Stand */
/**
 * Contrasts and stands come by the position of the setting; order is the best first.
 * @typedef {{
 *   run: string, live: boolean, axes: {name: string, values: string[]}[], settings: string[], prompts: string[],
 *   seeds: string[], reference: number, scorer: string, done: number, total: number, reused: number,
 *   eta: number | null, blocks: Map<number, (Spot | undefined)[]>, pictures: boolean, complete: number,
 *   contrasts: Map<number, Contrast>, stands: Map<number, Stand>, order: number[], contenders: Set<number>,
 *   headline: string, units: string, warnings: string[],
 * }} Study
 */

/** Differences of a block below this are none: they come of the way in which numbers are kept. */
const TINY = 1e-9;

/**
 * @param {any} data everything that the node has told so far, or what it gave at its end
 * @param {boolean} live
 * @returns {Study}
 */
export function readStudy(data, live) {
  const settings = list(data.settings).map(String);
  const seeds = list(data.seeds).map(String);
  const base = {
    run: String(data.run ?? ""), live, settings, seeds,
    axes: list(data.axes).map((axis) => ({ name: String(axis?.name ?? ""), values: list(axis?.values).map(String) })),
    prompts: list(data.prompts).map(String),
    reference: settings[data.reference] === undefined ? 0 : Number(data.reference),
    scorer: String(data.scorer?.name ?? data.scorer ?? ""),
    done: Number(data.done) || 0, total: Number(data.total) || 0, reused: Number(data.reused) || 0,
    eta: finite(data.eta) ? data.eta : null,
    headline: String(data.headline ?? ""), units: String(data.units ?? ""), warnings: list(data.warnings).map(String),
    contenders: new Set(list(data.contenders).map(Number)),
  };
  const blocks = blocksOf(list(data.cells), settings.length, base.prompts.length, seeds.length);
  const pictures = list(data.cells).some((cell) => cell?.thumb ?? cell?.image);
  const shape = { n: settings.length, reference: base.reference, seeds: seeds.length };
  const { complete, contrasts, stands } = soFar(blocks, shape);
  for (const [at, found] of given(data, base)) contrasts.set(at, found);
  for (const each of list(data.standings)) stands.set(Number(each.setting), standOf(each));
  const order = orderOf(list(data.order).map(Number), stands, settings.length);
  return { ...base, blocks, pictures, complete, contrasts, stands, order };
}

/** @param {Study} study @param {number} block @returns {{prompt: number, seed: number}} */
export function placesOf(study, block) {
  return { prompt: Math.floor(block / study.seeds.length), seed: block % study.seeds.length };
}

/** @param {Study} study @param {number} setting @param {number} block @returns {Spot | undefined} */
export function spotAt(study, setting, block) {
  return study.blocks.get(block)?.[setting];
}

/** @param {Study} study @param {number} setting @returns {[string, string][]} names and values; none for bare names */
export function valuesOf({ axes, settings }, setting) {
  const count = axes.reduce((product, axis) => product * axis.values.length, 1);
  if (!axes.length || count !== settings.length) return [];
  let rest = setting;
  /** @type {[string, string][]} */
  const found = [];
  for (const axis of [...axes].reverse()) {
    found.unshift([axis.name, axis.values[rest % axis.values.length]]);
    rest = Math.floor(rest / axis.values.length);
  }
  return found;
}

// --- cells -----------------------------------------------------------------------------------------------------------

/**
 * @param {any[]} cells
 * @param {number} settings
 * @param {number} prompts
 * @param {number} seeds
 * @returns {Map<number, (Spot | undefined)[]>} cells of a block by setting; a cell that comes again replaces the old one
 */
function blocksOf(cells, settings, prompts, seeds) {
  /** @type {Map<number, (Spot | undefined)[]>} */
  const blocks = new Map();
  for (const cell of cells) {
    const { s, p, k } = cell ?? {};
    if (!within(s, settings) || !within(p, prompts) || !within(k, seeds)) continue;
    const block = p * seeds + k;
    const row = blocks.get(block) ?? new Array(settings).fill(undefined);
    row[s] = spotOf(cell, s, block);
    blocks.set(block, row);
  }
  for (const row of blocks.values()) rank(row);
  return blocks;
}

/** @param {any} at @param {number} n */
function within(at, n) {
  return Number.isInteger(at) && at >= 0 && at < n;
}

/** @param {any} cell @param {number} setting @param {number} block @returns {Spot} */
function spotOf(cell, setting, block) {
  return {
    setting, block, score: finite(cell.score) ? cell.score : null,
    thumb: cell.thumb ?? cell.image ?? null, image: cell.image ?? cell.thumb ?? null,
    entry: Number.isInteger(cell.entry) ? cell.entry : null, z: null, rank: 0, best: false,
  };
}

/** Where each cell stands in its block; a single one stands nowhere. @param {(Spot | undefined)[]} row */
function rank(row) {
  const scored = /** @type {(Spot & {score: number})[]} */ (row.filter((spot) => finite(spot?.score)));
  const mean = scored.reduce((sum, { score }) => sum + score, 0) / (scored.length || 1);
  const squares = scored.reduce((sum, { score }) => sum + (score - mean) ** 2, 0);
  const sd = Math.sqrt(squares / Math.max(1, scored.length - 1));
  const level = sd <= TINY * Math.max(1, Math.abs(mean));
  scored.sort((a, b) => b.score - a.score);
  scored.forEach((spot, place) => {
    const before = scored[place - 1];
    spot.z = scored.length < 2 ? null : level ? 0 : (spot.score - mean) / sd;
    spot.rank = before?.score === spot.score ? before.rank : place + 1;
    spot.best = scored.length > 1 && !level && spot.rank === 1;
  });
}

// --- what the cells show so far --------------------------------------------------------------------------------------

/** @typedef {{prompt: number, row: (Spot | undefined)[], mean: number}} Row */

/**
 * Mean differences while a run goes on: over the blocks that every setting has, or, before there is one, over those that
 * a setting and the reference have. Every prompt counts the same.
 * @param {Map<number, (Spot | undefined)[]>} blocks
 * @param {{n: number, reference: number, seeds: number}} shape
 */
function soFar(blocks, { n, reference, seeds }) {
  const rows = [...blocks].map(([block, row]) => ({ prompt: Math.floor(block / seeds), row, mean: 0 }));
  const whole = rows.filter(({ row }) => row.every((spot) => finite(spot?.score)));
  for (const each of whole) each.mean = each.row.reduce((sum, spot) => sum + scoreOf(spot), 0) / n;
  const used = whole.length ? whole : rows;
  /** @type {Map<number, Contrast>} */
  const contrasts = new Map();
  /** @type {Map<number, Stand>} */
  const stands = new Map();
  for (let at = 0; at < n; at++) {
    const pairs = used.filter(({ row }) => finite(row[at]?.score) && finite(row[reference]?.score));
    const off = (/** @type {Row} */ { row }) => scoreOf(row[at]) - scoreOf(row[reference]);
    if (at !== reference) contrasts.set(at, contrastOf(pairs.map(off), meanByPrompt(pairs, off)));
    const relative = meanByPrompt(whole, ({ row, mean }) => scoreOf(row[at]) - mean);
    stands.set(at, { relative, z: null, elo: null });
  }
  return { complete: whole.length, contrasts, stands };
}

/** @param {number[]} differences @param {number | null} difference @returns {Contrast} */
function contrastOf(differences, difference) {
  const won = differences.reduce((sum, each) => sum + (each > 0 ? 1 : each < 0 ? 0 : 0.5), 0);
  const wins = differences.length ? won / differences.length : null;
  const none = { low: null, high: null, p: null, detectable: null, verdict: "" };
  return { ...none, difference, wins, pairs: differences.length };
}

/** @param {Spot | undefined} spot @returns {number} of one that has a score */
function scoreOf(spot) {
  return spot?.score ?? 0;
}

/**
 * @template {{prompt: number}} T
 * @param {T[]} rows
 * @param {(row: T) => number} value
 * @returns {number | null} mean over the prompts of the means over their rows
 */
function meanByPrompt(rows, value) {
  if (!rows.length) return null;
  /** @type {Map<number, {sum: number, n: number}>} */
  const prompts = new Map();
  for (const row of rows) {
    const { sum, n } = prompts.get(row.prompt) ?? { sum: 0, n: 0 };
    prompts.set(row.prompt, { sum: sum + value(row), n: n + 1 });
  }
  return [...prompts.values()].reduce((sum, each) => sum + each.sum / each.n, 0) / prompts.size;
}

// --- what the server says at the end ---------------------------------------------------------------------------------

/** @param {any} value */
const known = (value) => (finite(value) ? value : null);

/**
 * @param {any} data
 * @param {{settings: string[], reference: number}} study
 * @returns {[number, Contrast][]}
 */
function given(data, { settings, reference }) {
  const places = new Map(settings.map((label, at) => [label, at]));
  return list(data.comparisons).flatMap((each) => {
    const at = places.get(String(each?.label));
    return at === undefined || at === reference ? [] : [[at, compared(each)]];
  });
}

/** The interval that is adjusted for many comparisons goes with the verdict. @param {any} each @returns {Contrast} */
function compared(each) {
  return {
    difference: known(each.difference), low: known(each.adjusted_low ?? each.low), high: known(each.adjusted_high ?? each.high),
    p: known(each.p_adjusted), verdict: String(each.verdict ?? ""), wins: known(each.wins),
    pairs: Number(each.pairs) || 0, detectable: known(each.detectable),
  };
}

/** @param {any} each @returns {Stand} */
function standOf(each) {
  return { relative: known(each.relative), z: known(each.z), elo: known(each.elo) };
}

/**
 * @param {number[]} said by the server, if it has
 * @param {Map<number, Stand>} stands
 * @param {number} n
 * @returns {number[]} every setting once, best first; those of which nothing is known come last, as they were given
 */
function orderOf(said, stands, n) {
  const all = Array.from({ length: n }, (_, at) => at);
  const value = (/** @type {number} */ at) => stands.get(at)?.relative ?? -Infinity;
  const own = [...all].sort((a, b) => (value(a) === value(b) ? a - b : value(b) - value(a)));
  return [...new Set([...said.filter((at) => within(at, n)), ...own])];
}
