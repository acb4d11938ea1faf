// @ts-check
// Curves as numbers: from what the server sends to what is drawn. Nothing here touches the page.
import { t } from "./host.js";
import { finite, list } from "./ranking.js";

/** @typedef {{x: number, now: number | null, best: number | null, held: number | null}} Point */

/**
 * A curve: points by x; names of the lines; what x counts; whether the held-out line shares the axis; where the
 * optimisation proper begins; why it ended.
 * @typedef {{
 *   points: Point[], names: {now: string, best: string, held: string}, across: string, shared: boolean,
 *   begin: number | null, reason: string, over: boolean,
 * }} Curve
 */

/** Most points that are drawn. */
export const MOST = 1000;

/** @param {any} value @returns {number | null} */
const known = (value) => (finite(value) ? value : null);

// --- from the server -------------------------------------------------------------------------------------------------

/**
 * @param {{points: any[], unit?: string, reason?: string, stopped?: any}} data of a noise optimisation
 * @returns {Curve}
 */
export function noiseCurve(data) {
  const source = list(data.points);
  const points = source.map((each, place) => ({
    x: known(each.images) ?? place + 1,
    now: known(each.score),
    best: known(each.best),
    held: known(each.held_out),
  }));
  const screened = source.findIndex((each) => each.phase === "optimize");
  return {
    points,
    names: { now: t("chart.now", "current"), best: t("chart.best", "best"), held: t("chart.held", "held out") },
    across: t("chart.images", "images made"),
    shared: data.unit === "gain",
    begin: screened > 0 ? points[screened].x : null,
    reason: String(data.reason ?? ""),
    over: Boolean(data.stopped || data.reason),
  };
}

/**
 * @param {any} data of a search over seeds
 * @returns {Curve}
 */
export function searchCurve(data) {
  let best = /** @type {number | null} */ (null);
  const sorted = [...list(data.candidates)].sort((a, b) => a.index - b.index);
  const points = sorted.map((each, place) => {
    const now = known(each.score);
    if (now !== null) best = best === null ? now : Math.max(best, now);
    return { x: place + 1, now, best, held: null };
  });
  return {
    points,
    names: { now: t("chart.candidate", "candidate"), best: t("chart.best", "best"), held: "" },
    across: t("chart.candidates", "candidates"),
    shared: true,
    begin: null,
    reason: String(data.reason ?? ""),
    over: Number(data.done) >= Number(data.total),
  };
}

/**
 * @param {any} data result of a search over seeds; its columns are in the order in which the candidates were made
 * @returns {Curve}
 */
export function foundCurve(data) {
  const all = list(data.scores).map((score, index) => ({ index, score }));
  const candidates = all.length > 2 ? all : []; // a line of two says less than the numbers on the pictures
  return searchCurve({ candidates, done: candidates.length, total: candidates.length, reason: data.reason });
}

/**
 * @param {any[]} steps events of a guided sampling, in their order
 * @returns {Curve}
 */
export function steerCurve(steps) {
  const points = steps.map((each, place) => ({
    x: (known(each.step) ?? place) + 1,
    now: mean(each.before),
    best: mean(each.after),
    held: mean(each.held_out?.after),
  }));
  const last = steps.at(-1);
  return {
    points,
    names: {
      now: t("chart.before", "before the nudge"),
      best: t("chart.after", "after"),
      held: t("chart.held", "held out"),
    },
    across: t("chart.steps", "steps"),
    shared: false,
    begin: null,
    reason: "",
    over: finite(last?.steps) && Number(last.step) + 1 >= last.steps,
  };
}

/** @param {any} values @returns {number | null} */
function mean(values) {
  const usable = list(values).filter(finite);
  return usable.length ? usable.reduce((sum, value) => sum + value, 0) / usable.length : null;
}

// --- for drawing -----------------------------------------------------------------------------------------------------

/**
 * Thin out a line: of each stretch the lowest and the highest point stay, so that peaks do not vanish.
 * @param {{x: number, y: number}[]} line
 * @param {number} [most]
 */
export function decimate(line, most = MOST) {
  if (line.length <= most) return line;
  const stretches = Math.max(1, Math.floor((most - 2) / 2));
  const kept = [line[0]];
  for (let k = 0; k < stretches; k++) {
    const from = 1 + Math.floor((k * (line.length - 2)) / stretches);
    const to = 1 + Math.floor(((k + 1) * (line.length - 2)) / stretches);
    kept.push(...extremes(line, from, to));
  }
  return [...kept, line[line.length - 1]];
}

/** @param {{x: number, y: number}[]} line @param {number} from @param {number} to */
function extremes(line, from, to) {
  if (to <= from) return [];
  let low = from;
  let high = from;
  for (let k = from; k < to; k++) {
    if (line[k].y < line[low].y) low = k;
    if (line[k].y > line[high].y) high = k;
  }
  return low === high ? [line[low]] : [line[Math.min(low, high)], line[Math.max(low, high)]];
}

/**
 * @param {Point[]} points
 * @param {"now" | "best" | "held"} name
 * @returns {{x: number, y: number}[]} the points that have a value
 */
export function lineOf(points, name) {
  const line = [];
  for (const point of points) {
    const y = point[name];
    if (y !== null) line.push({ x: point.x, y });
  }
  return line;
}

/**
 * @param {{x: number, y: number}[][]} lines
 * @returns {{low: number, high: number}} their range with some room; a constant gets a range around it
 */
export function rangeOf(lines) {
  let low = Infinity;
  let high = -Infinity;
  for (const line of lines) {
    for (const { y } of line) {
      if (y < low) low = y;
      if (y > high) high = y;
    }
  }
  if (low > high) return { low: 0, high: 1 };
  const room = high > low ? 0.06 * (high - low) : 0.02 * Math.abs(high) || 1;
  return { low: low - room, high: high + room };
}

/**
 * @param {number} low
 * @param {number} high
 * @param {number} about how many
 * @param {boolean} [whole] only whole numbers
 * @returns {{values: number[], decimals: number}} round numbers within the range
 */
export function ticks(low, high, about, whole = false) {
  const rough = (high - low) / Math.max(1, about);
  if (!(rough > 0) || !Number.isFinite(rough)) return { values: [low], decimals: 2 };
  const power = 10 ** Math.floor(Math.log10(rough));
  const steps = [10, 5, 2, 1, 0.5].map((each) => (whole ? Math.max(1, Math.round(each * power)) : each * power));
  // The smallest step that does not crowd, unless that leaves a single number.
  const first = steps.findLastIndex((each) => each >= rough);
  for (const step of steps.slice(Math.max(0, first))) {
    const values = multiples(step, low, high);
    if (values.length > 1 || step === steps[steps.length - 1]) return { values, decimals: decimalsOf(step) };
  }
  return { values: [], decimals: 0 };
}

/** @param {number} step */
function decimalsOf(step) {
  return Math.min(6, Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
}

/** @param {number} step @param {number} low @param {number} high */
function multiples(step, low, high) {
  const values = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) values.push(k * step);
  return values;
}

/**
 * @param {Curve} curve
 * @param {(value: number) => string} number how a score is written
 * @returns {string} the curve in a sentence or two
 */
export function summary(curve, number) {
  const best = lineOf(curve.points, "best");
  if (!best.length) return t("chart.nothing", "Nothing is known yet.");
  const { x, y } = best[best.length - 1];
  const words = [
    t("chart.summary", "{best} {value} at {x} {across}, from {first}", {
      best: curve.names.best, value: number(y), x, across: curve.across, first: number(best[0].y),
    }),
  ];
  const held = lineOf(curve.points, "held");
  if (held.length) words.push(`${curve.names.held} ${number(held[held.length - 1].y)}`);
  if (curve.reason) words.push(curve.reason);
  return words.map((word) => word.replace(/\.$/, "")).join(". ") + ".";
}
