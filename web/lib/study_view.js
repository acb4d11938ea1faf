// @ts-check
// From a comparison to the large view: the row of a block as a ranking whose neighbours are the settings beside it.
import { t } from "./host.js";
import { empty, number } from "./ranking.js";
import { placesOf } from "./study.js";
import { cellWords, isSeed, scoreWords, settingLines, standingWords } from "./study_words.js";

/** @typedef {import("./study.js").Study} Study */
/** @typedef {import("./grid_layout.js").Sheet} Sheet */

/**
 * @param {Study} study
 * @param {Sheet} sheet
 * @param {number} row
 * @returns {import("./ranking.js").View}
 */
export function rowView(study, sheet, row) {
  const { block } = sheet.rows[row];
  const settings = sheet.columns.map((_, column) => sheet.setting(row, column));
  const cells = settings.map((setting, place) => cellOf(study, block, setting, place));
  const beside = settings.includes(study.reference) ? study.reference : settings[0];
  return {
    ...empty(), run: study.run, live: study.live, cells, total: cells.length, scorer: study.scorer,
    prompts: [study.prompts[placesOf(study, block).prompt]], beside,
    turn: (by) => (sheet.rows[row + by] ? rowView(study, sheet, row + by) : null),
    place: row,
  };
}

/** @param {Study} study @param {number} block @param {number} setting @param {number} place @returns {any} */
function cellOf(study, block, setting, place) {
  const spot = study.blocks.get(block)?.[setting];
  const { seed } = placesOf(study, block);
  const heading = [study.settings[setting], scoreWords(study, spot), spot?.best ? "\u2605" : ""];
  return {
    index: setting, seed: isSeed(study.seeds[seed]) ? study.seeds[seed] : null, score: spot?.score ?? null, rank: place + 1, margin: null, win: null,
    kept: false, best: Boolean(spot?.best), leading: false, parts: {}, label: "", entry: spot?.entry ?? null,
    image: spot?.image ?? null, thumb: spot?.thumb ?? null,
    name: cellWords(study, setting, block), heading: heading.filter(Boolean).join(" \u00b7 "),
    facts: factsOf(study, block, setting),
  };
}

/** @param {Study} study @param {number} block @param {number} setting @returns {string[][]} */
function factsOf(study, block, setting) {
  const spot = study.blocks.get(block)?.[setting];
  const { prompt, seed } = placesOf(study, block);
  return [
    [t("study.setting", "Setting"), study.settings[setting]],
    [t("viewer.score", "Score"), spot ? `${number(spot.score)}${study.scorer ? ` (${study.scorer})` : ""}` : scoreWords(study, spot)],
    [t("study.among", "Among settings"), spot ? standingWords(study, spot) : ""],
    [t("study.overAll", "Over all"), settingLines(study, setting)[0]],
    [t("viewer.seed", "Seed"), study.seeds[seed]],
    [t("viewer.prompt", "Prompt"), study.prompts[prompt]],
  ];
}
