// @ts-check
// How a comparison of settings is said: its cells, its settings, how far it is.
import { percent } from "./format.js";
import { t } from "./host.js";
import { number, signed } from "./ranking.js";
import { placesOf, valuesOf } from "./study.js";

/** @typedef {import("./study.js").Study} Study */
/** @typedef {import("./study.js").Spot} Spot */
/** @typedef {import("./study.js").Contrast} Contrast */

/** What the server's verdicts are called. @type {Record<string, () => string>} */
const VERDICTS = {
  clear: () => t("study.clear", "clear"),
  "clear up": () => t("study.clearBetter", "clear better"),
  "clear down": () => t("study.clearWorse", "clear worse"),
  leaning: () => t("study.leaning", "leaning"),
  "leaning up": () => t("study.leaningBetter", "leaning better"),
  "leaning down": () => t("study.leaningWorse", "leaning worse"),
  "no evidence": () => t("study.noEvidence", "no evidence"),
};

/** @param {Contrast} contrast @returns {"up" | "down" | ""} which way it points; "" where it does not */
export function directionOf({ difference }) {
  if (difference === null || Math.abs(difference) < 1e-9) return "";
  return difference > 0 ? "up" : "down";
}

/** @param {Contrast} contrast with a verdict as the server says it @returns {string} that and its direction */
export function verdictWords(contrast) {
  const { verdict } = contrast;
  return (VERDICTS[`${verdict} ${directionOf(contrast)}`] ?? VERDICTS[verdict])?.() ?? verdict;
}

/** @param {number} z @returns {string} "+1.2" */
export function zWords(z) {
  const text = Math.abs(z).toFixed(1);
  return text === "0.0" ? text : (z < 0 ? "\u2212" : "+") + text;
}

/** @param {Study} study @param {Spot | undefined} spot @returns {string} the score, or why there is none */
export function scoreWords(study, spot) {
  if (spot) return number(spot.score);
  return study.live ? t("study.waiting", "not made yet") : t("study.missing", "missing");
}

/** @param {Study} study @param {number} block @returns {string[]} prompt, where there are several, and seed */
export function blockWords(study, block) {
  const { prompt, seed } = placesOf(study, block);
  const name = study.seeds[seed] ?? "";
  const seeds = isSeed(name) ? t("gallery.seed", "seed {seed}", { seed: name }) : name;
  return study.prompts.length > 1 ? [study.prompts[prompt], seeds] : [seeds];
}

/** @param {string} name of a replicate @returns {boolean} whether it is a seed; images that were handed in have others */
export const isSeed = (name) => /^\d+$/.test(name);

/** @param {Study} study @param {Spot} spot @returns {string} where it stands among the settings of its block */
export function standingWords(study, spot) {
  if (spot.z === null) return "";
  const n = study.blocks.get(spot.block)?.filter((each) => each?.score !== null && each !== undefined).length ?? 0;
  return t("study.standing", "rank {rank} of {n} settings, {z} sd", { rank: spot.rank, n, z: zWords(spot.z) });
}

/**
 * @param {Study} study
 * @param {number} setting
 * @param {number} block
 * @returns {string} all of a cell, for a screen reader and for a pointer that rests
 */
export function cellWords(study, setting, block) {
  const spot = study.blocks.get(block)?.[setting];
  const score = spot?.score === null || !spot ? scoreWords(study, spot) : scoreOf(spot.score);
  const best = spot?.best ? t("study.isBest", "best of this prompt and seed") : "";
  const place = spot ? standingWords(study, spot) : "";
  return [study.settings[setting], score, place, best, ...blockWords(study, block)].filter(Boolean).join(", ");
}

/** @param {number | null} score */
function scoreOf(score) {
  return t("gallery.score", "score {score}", { score: number(score) });
}

// --- settings --------------------------------------------------------------------------------------------------------

/** @param {Contrast | undefined} contrast @returns {string} "+0.62", or a dash */
export function differenceText(contrast) {
  return contrast && contrast.difference !== null ? gain(contrast.difference) : "\u2013";
}

/** @param {number} value @returns {string} with its sign; what rounds to nothing has none */
export function gain(value) {
  return Number(number(Math.abs(value))) === 0 ? number(0) : signed(value);
}

/** @param {Contrast} contrast @returns {string} "0.31 to 0.93", "" where nothing is known */
export function intervalText({ low, high }) {
  if (low === null || high === null) return "";
  return t("study.interval", "{low} to {high}", { low: gain(low), high: gain(high) });
}

/** @param {number | null} share @returns {string} */
export function winsText(share) {
  return share === null ? "\u2013" : percent(share);
}

/** @param {Study} study @param {number} setting @returns {string[]} what is known of a setting, in sentences */
export function settingLines(study, setting) {
  if (setting === study.reference) {
    return [t("study.isReference", "The reference: the others are compared with it on the same prompts and seeds.")];
  }
  const contrast = study.contrasts.get(setting);
  if (!contrast || contrast.difference === null) return [t("study.nothingYet", "Nothing to compare yet")];
  const interval = intervalText(contrast);
  return [
    t("study.against", "{difference} against {reference}", {
      difference: gain(contrast.difference), reference: study.settings[study.reference],
    }) + (interval ? ` (${interval})` : ""),
    contrast.verdict && verdictWords(contrast),
    contrast.p === null ? "" : t("study.p", "p {p} after correction", { p: chance(contrast.p) }),
    contrast.wins === null ? "" : t("study.winsOf", "higher in {share} of {n} pairs", {
      share: percent(contrast.wins), n: contrast.pairs,
    }),
    contrast.detectable === null || !Number.isFinite(contrast.detectable) ? "" :
      t("study.detectable", "this grid can show differences of {value} and more", { value: number(contrast.detectable) }),
  ].filter(Boolean);
}

/** @param {number} p @returns {string} "= 0.031" */
function chance(p) {
  return p < 0.001 ? "< 0.001" : `= ${p.toFixed(3)}`;
}

/** @param {Study} study @param {number} setting @returns {string} its values by name, one a line; "" for bare names */
export function valuesText(study, setting) {
  return valuesOf(study, setting).map(([name, value]) => `${name}: ${value}`).join("\n");
}

// --- the run ---------------------------------------------------------------------------------------------------------

/** @param {Study} study @returns {string[]} */
export function progressWords(study) {
  const { live, done, total, reused, eta, scorer } = study;
  const parts = !live && scorer ? [scorer] : [];
  const counts = { done, total };
  if (live || done < total) parts.push(t("study.progress", "{done} of {total} images", counts));
  else parts.push(total === 1 ? t("gallery.oneImage", "1 image") : t("gallery.images", "{n} images", { n: total }));
  if (reused) parts.push(t("study.reused", "{n} of them from before", { n: reused }));
  if (live && eta !== null && done < total) parts.push(timeWords(eta));
  return parts;
}

/**
 * @param {"interrupted" | "failed" | undefined} why a run ended before its time
 * @param {boolean} resumes whether another run goes on where this one was left
 * @returns {string}
 */
export function stopWords(why, resumes) {
  if (why === "failed") return t("live.failed", "stopped by an error");
  if (why !== "interrupted") return "";
  return resumes ? t("study.stopped", "stopped; queue again to go on") : t("live.interrupted", "interrupted");
}

/** @param {number} seconds */
function timeWords(seconds) {
  if (seconds < 90) return t("study.etaSeconds", "about {s} s left", { s: Math.max(1, Math.round(seconds)) });
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return t("study.etaMinutes", "about {m} min left", { m: minutes });
  const values = { h: Math.floor(minutes / 60), m: minutes % 60 };
  return t("study.etaHours", "about {h} h {m} min left", values);
}
