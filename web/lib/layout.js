// @ts-check
// How many columns a gallery gets, and what has room in a cell. Numbers in, numbers out.

export const GAP = 4;
/** Below this width of a cell only the rank has room on the picture. */
export const NARROW = 90;
/** From this width on a cell has room for a longer line below the picture. */
export const WIDE = 112;
const CAPTION = 16;
const LEAST = 44;
/** A short line below the picture, where there is room to spare. */
const WORDED = 60;

/**
 * The arrangement that shows all pictures as large as possible.
 * @param {{width: number, height: number}} box
 * @param {number} n pictures
 * @param {number} aspect width over height of a picture
 * @returns {{columns: number, width: number, height: number, caption: number}} of a cell, in pixels; too many pictures
 *   for the box get the least width, and the box scrolls
 */
export function arrange(box, n, aspect) {
  let best = fit(box, n, aspect, 1);
  for (let columns = 2; columns <= n; columns++) {
    const tried = fit(box, n, aspect, columns);
    if (worth(tried) > worth(best)) best = tried;
  }
  if (best.width >= LEAST) return best;
  const columns = Math.max(1, Math.min(n, Math.floor((box.width + GAP) / (LEAST + GAP))));
  const width = Math.floor((box.width - (columns - 1) * GAP) / columns);
  return { columns, width, height: Math.floor(width / aspect), caption: 0 };
}

/**
 * Narrow pictures have no room for their score but below: a line there is worth some width.
 * @param {{width: number, caption: number}} cell
 */
function worth({ width, caption }) {
  return caption && width < NARROW ? 1.25 * width : width;
}

/** @param {{width: number, height: number}} box @param {number} n @param {number} aspect @param {number} columns */
function fit(box, n, aspect, columns) {
  const rows = Math.ceil(n / columns);
  const across = (box.width - (columns - 1) * GAP) / columns;
  const down = (box.height - (rows - 1) * GAP) / rows;
  const bare = Math.floor(Math.min(across, down * aspect));
  const captioned = Math.floor(Math.min(across, (down - CAPTION) * aspect));
  // A line of words is worth a slightly smaller picture, but not a tiny one.
  const caption = captioned >= WIDE || (captioned >= WORDED && captioned > 0.85 * bare) ? CAPTION : 0;
  const width = caption ? captioned : bare;
  return { columns, width, height: Math.floor(width / aspect) + caption, caption };
}

/**
 * Where the focus goes from a cell.
 * @param {string} key
 * @param {number} at
 * @param {number} n
 * @param {number} columns
 * @returns {number | null} null for keys that do not move it
 */
export function moved(key, at, n, columns) {
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
  if (key === "Home") return 0;
  if (key === "End") return n - 1;
  const step = steps[/** @type {keyof typeof steps} */ (key)];
  if (!step) return null;
  const to = at + step;
  return to >= 0 && to < n ? to : at;
}
