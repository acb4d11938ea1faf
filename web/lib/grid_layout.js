// @ts-check
// What stands where in a grid of settings: its columns and rows, their sizes, and which of them can be seen. Numbers in,
// numbers out.

/** @typedef {import("./study.js").Study} Study */
/**
 * A column is a setting, or a value of the first axis; a row is a block, or a block with a value of the second axis.
 * @typedef {{setting: number | null, title: string}} Column
 * @typedef {{block: number, value: number, title: string, starts: boolean}} Row
 * @typedef {{crossed: boolean, columns: Column[], rows: Row[], setting: (row: number, column: number) => number}} Sheet
 */
/**
 * Pixels; picture is 0 where scores alone are shown.
 * @typedef {{width: number, height: number, picture: number, head: number, side: number}} Sizes
 */

/** Widths of a picture in pixels; the first shows scores alone. */
export const ZOOMS = [0, 56, 80, 112, 160, 224];
/** Width that is taken where the person has not chosen one. */
const USUAL = { least: 2, most: 4 };
const GAP = 6;
/** Room for a scroll bar. */
const SPARE = 12;
const CAPTION = 18;
const SCORE = { width: 84, height: 24 };
const HEAD = { plain: 30, full: 84 };
/** Rows and columns beyond what can be seen, so that scrolling finds them drawn. */
const BEYOND = 1;

/** @param {Study} study @returns {boolean} whether two axes stand across and down by themselves: with one block */
export function crossesItself(study) {
  return crosses(study) && study.prompts.length * study.seeds.length === 1;
}

/** @param {Study} study @returns {boolean} whether two axes can stand across and down */
export function crosses({ axes, settings }) {
  const [x, y] = axes;
  return axes.length === 2 && x.values.length > 1 && y.values.length > 1 &&
    x.values.length * y.values.length === settings.length;
}

/**
 * @param {Study} study
 * @param {{crossed: boolean | null, best: boolean}} wish crossed: null for what is usual; best: the best settings first
 * @returns {Sheet}
 */
export function sheetOf(study, { crossed, best }) {
  return crosses(study) && (crossed ?? crossesItself(study)) ? crossedSheet(study) : plainSheet(study, best);
}

/** @param {Study} study @param {boolean} best @returns {Sheet} */
function plainSheet(study, best) {
  const order = best ? study.order : study.settings.map((_, at) => at);
  const columns = order.map((setting) => ({ setting, title: study.settings[setting] }));
  const seeds = study.seeds.length;
  const rows = Array.from({ length: study.prompts.length * seeds }, (_, block) => (
    { block, value: 0, title: "", starts: block % seeds === 0 }
  ));
  return { crossed: false, columns, rows, setting: (_, column) => order[column] };
}

/** @param {Study} study @returns {Sheet} */
function crossedSheet(study) {
  const [x, y] = study.axes;
  const columns = x.values.map((title) => ({ setting: null, title }));
  const blocks = study.prompts.length * study.seeds.length;
  const rows = Array.from({ length: blocks * y.values.length }, (_, at) => {
    const value = at % y.values.length;
    return { block: Math.floor(at / y.values.length), value, title: y.values[value], starts: value === 0 };
  });
  const setting = (/** @type {number} */ row, /** @type {number} */ column) => column * y.values.length + rows[row].value;
  return { crossed: true, columns, rows, setting };
}

/** @param {number} setting @param {number} block @param {Sheet} sheet @returns {{row: number, column: number} | null} */
export function placeOf(setting, block, sheet) {
  if (!sheet.crossed) {
    const row = sheet.rows.findIndex((each) => each.block === block);
    const column = sheet.columns.findIndex((each) => each.setting === setting);
    return row < 0 || column < 0 ? null : { row, column };
  }
  for (let row = 0; row < sheet.rows.length; row++) {
    if (sheet.rows[row].block !== block) continue;
    const column = sheet.columns.findIndex((_, at) => sheet.setting(row, at) === setting);
    if (column >= 0) return { row, column };
  }
  return null;
}

/**
 * The widest pictures that let all columns and two rows be seen, within the usual.
 * @param {{width: number, height: number}} box
 * @param {number} aspect width over height of a picture
 * @param {{crossed: boolean, prompts: number, width: number}} shape as for sizesOf
 * @param {number} columns
 * @returns {number} position in ZOOMS
 */
export function usualZoom(box, aspect, shape, columns) {
  let zoom = USUAL.least;
  for (let at = zoom; at <= USUAL.most; at++) {
    const { width, height, side, head } = sizesOf(at, aspect, shape);
    if (side + columns * width <= box.width - SPARE && head + 2 * height <= box.height) zoom = at;
  }
  return zoom;
}

/**
 * @param {number} zoom position in ZOOMS
 * @param {number} aspect width over height of a picture
 * @param {{crossed: boolean, prompts: number, width: number}} shape width: of the box
 * @returns {Sizes} of a cell with the gap beside it, and of the heads
 */
export function sizesOf(zoom, aspect, { crossed, prompts, width }) {
  const picture = ZOOMS[zoom];
  const side = sideOf(prompts, width);
  const head = crossed ? HEAD.plain : HEAD.full;
  if (!picture) return { width: SCORE.width + GAP, height: SCORE.height + GAP, picture, head, side };
  const across = Math.max(SCORE.width, picture);
  const down = Math.min(2 * picture, Math.round(picture / aspect));
  return { width: across + GAP, height: down + CAPTION + GAP, picture, head, side };
}

/** @param {number} prompts @param {number} width @returns {number} width of the heads of rows */
export function sideOf(prompts, width) {
  return prompts > 1 && width > 520 ? 128 : 92;
}

/**
 * @param {{left: number, top: number, width: number, height: number}} seen what the box shows, without the heads
 * @param {Sizes} sizes
 * @param {Sheet} sheet
 * @returns {{rows: [number, number], columns: [number, number]}} first and one behind the last
 */
export function visible(seen, sizes, sheet) {
  return {
    rows: span(seen.top, seen.height, sizes.height, sheet.rows.length),
    columns: span(seen.left, seen.width, sizes.width, sheet.columns.length),
  };
}

/** @param {number} from @param {number} length @param {number} size @param {number} n @returns {[number, number]} */
function span(from, length, size, n) {
  const first = Math.max(0, Math.floor(from / size) - BEYOND);
  return [Math.min(first, n), Math.min(n, Math.ceil((from + length) / size) + BEYOND)];
}

/**
 * Where the focus goes; row -1 holds the heads of the columns.
 * @param {{key: string, ctrlKey: boolean}} event
 * @param {{row: number, column: number}} at
 * @param {Sheet} sheet
 * @param {number} page rows that can be seen
 * @returns {{row: number, column: number} | null} null for keys that do not move it
 */
export function movedIn({ key, ctrlKey }, { row, column }, sheet, page) {
  const last = { row: sheet.rows.length - 1, column: sheet.columns.length - 1 };
  /** @type {Record<string, () => {row: number, column: number}>} */
  const moves = {
    ArrowRight: () => ({ row, column: column + 1 }),
    ArrowLeft: () => ({ row, column: column - 1 }),
    ArrowDown: () => ({ row: row + 1, column }),
    ArrowUp: () => ({ row: row - 1, column }),
    PageDown: () => ({ row: row + page, column }),
    PageUp: () => ({ row: Math.max(0, row - page), column }),
    Home: () => ({ row: ctrlKey ? 0 : row, column: 0 }),
    End: () => ({ row: ctrlKey ? last.row : row, column: last.column }),
  };
  const to = moves[key]?.();
  if (!to) return null;
  return { row: Math.max(-1, Math.min(last.row, to.row)), column: Math.max(0, Math.min(last.column, to.column)) };
}
