// @ts-check
// Which nodes have a panel and what it shows.
import { changed, setWidget, t } from "./host.js";
import { parsePick, pickText, pickedElsewhere } from "./ranking.js";

/**
 * @typedef {{
 *   gallery?: boolean, chart?: boolean, pick?: boolean, study?: boolean, report?: boolean, hint: () => string,
 * }} Kind
 */

const afterRun = () => t("panel.hintRank", "Ranked images appear here after a run.");
const byHand = () => t("panel.hintSelect", "After a run, choose images here by hand.");
const whileSearching = () => t("panel.hintSearch", "Candidates appear here during a run.");
const whileGuiding = () => t("panel.hintSteer", "Scores before and after each nudge appear here.");
const whileOptimising = () => t("panel.hintNoise", "The curve and the best image appear here during a run.");
const whileComparing = () => t("panel.hintStudy", "The grid of settings appears here during a run.");
const afterCompared = () => t("panel.hintCompared", "The comparison appears here after a run.");
const afterReport = () => t("panel.hintReport", "The files of the report appear here after a run.");

/** @type {Record<string, Kind>} */
export const KINDS = {
  HPS_Score: { gallery: true, hint: afterRun },
  HPS_Select: { gallery: true, pick: true, hint: byHand },
  HPS_BestOfN: { gallery: true, chart: true, hint: whileSearching },
  HPS_BestOfNSimple: { gallery: true, chart: true, hint: whileSearching },
  HPS_OptimizeNoise: { gallery: true, chart: true, hint: whileOptimising },
  HPS_OptimizeNoiseSimple: { gallery: true, chart: true, hint: whileOptimising },
  HPS_RewardGuidance: { chart: true, hint: whileGuiding },
  HPS_CompareSettings: { study: true, hint: whileComparing },
  HPS_CompareImages: { study: true, hint: afterCompared },
  HPS_Report: { report: true, hint: afterReport },
};

/** Where HPS Select keeps the choice by hand. @param {any} node */
export function pickWidget(node) {
  const find = () => node.widgets?.find((/** @type {any} */ widget) => widget.name === "pick");
  return {
    get: (/** @type {string} */ token) => parsePick(find()?.value, token),
    elsewhere: (/** @type {string} */ token) => pickedElsewhere(find()?.value, token),
    set: (/** @type {number[]} */ picks, /** @type {string} */ token) => {
      const widget = find();
      if (!widget) return;
      setWidget(node, widget, pickText(picks, token));
      changed();
    },
  };
}
