// @ts-check
// The standings of a comparison: settings best first, each with its difference from the reference as an interval.
import { button } from "./actions.js";
import { el, svg } from "./dom.js";
import { verdictChip } from "./grid_cells.js";
import { t } from "./host.js";
import { finite, number } from "./ranking.js";
import { differenceText, gain, settingLines, winsText } from "./study_words.js";

/** @typedef {import("./study.js").Study} Study */
/** @typedef {{low: number, high: number}} Range */

/** Settings that are shown before a person asks for all. */
const TOP = 50;
const BAR = { width: 120, height: 14, edge: 5 };

/** @param {(setting: number) => void} choose */
export function createStandings(choose) {
  return new Standings(choose);
}

class Standings {
  /** @param {(setting: number) => void} choose */
  constructor(choose) {
    this.choose = choose;
    /** @type {Study | null} */
    this.study = null;
    this.all = false;
    this.body = el("tbody", {
      on: {
        click: (/** @type {any} */ event) => this.onClick(event),
        focusin: (/** @type {any} */ event) => this.onClick(event),
        keydown: (/** @type {KeyboardEvent} */ event) => this.onKey(event),
      },
    });
    this.head = el("tr");
    const table = el("table", { class: "hps-standings" });
    table.append(
      el("caption", { class: "hps-unseen", text: t("study.standings", "Settings, best first") }),
      el("thead", {}, this.head), this.body,
    );
    this.more = button("", "more", () => this.showAll());
    const dataset = { captureWheel: "true", hpsScroll: "true" };
    this.element = el("div", { class: "hps-standings-box", dataset, hidden: true }, table, this.more);
  }

  /** @param {Study} study */
  show(study) {
    if (study.run !== this.study?.run) this.all = false;
    this.study = study;
    if (!this.element.hidden) this.draw();
  }

  showAll() {
    this.all = true;
    this.draw();
    this.body.children[TOP]?.focus({ preventScroll: true });
  }

  draw() {
    const { study } = this;
    if (!study) return;
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset?.setting;
    const inside = this.body.contains(document.activeElement);
    const shown = this.all ? study.order : study.order.slice(0, TOP);
    const range = rangeOf(study, shown);
    const elo = [...study.stands.values()].some((stand) => finite(stand.elo));
    this.head.replaceChildren(...headsOf(study, elo));
    this.body.replaceChildren(...shown.map((setting, place) => rowOf(study, setting, place, range, elo)));
    this.more.hidden = shown.length === study.order.length;
    this.more.textContent = t("gallery.showAll", "Show all {n}", { n: study.order.length });
    const row = inside ? this.rowFor(focused) : null;
    row?.focus({ preventScroll: true });
  }

  /** @param {string | undefined} setting */
  rowFor(setting) {
    return [...this.body.children].find((row) => row.dataset.setting === setting) ?? null;
  }

  /** @param {any} event */
  onClick(event) {
    const row = event.target.closest?.("tr[data-setting]");
    if (!row) return;
    for (const each of this.body.children) {
      const chosen = each === row;
      each.tabIndex = chosen ? 0 : -1;
      each.classList.toggle("hps-current", chosen);
    }
    if (event.type === "click") row.focus({ preventScroll: true });
    this.choose(Number(row.dataset.setting));
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const rows = [...this.body.children];
    const at = rows.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (at < 0 || to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    const row = rows[Math.max(0, Math.min(rows.length - 1, to))];
    row.focus({ preventScroll: true });
    const low = row.offsetTop + row.offsetHeight - this.element.clientHeight;
    this.element.scrollTop = Math.min(row.offsetTop - this.head.offsetHeight, Math.max(low, this.element.scrollTop));
    event.preventDefault();
  }
}

/** @param {Study} study @param {boolean} elo */
function headsOf(study, elo) {
  const reference = study.settings[study.reference];
  const points = t("study.points", "points");
  /** @type {[string, string, string, string?][]} name of the column, head, explanation, unit */
  const heads = [
    ["place", "#", ""],
    ["name", t("study.setting", "Setting"), ""],
    ["difference", t("study.toReference", "To the reference"), reference, points],
    ["interval", t("study.intervalHead", "Interval"),
      t("study.barTip", "The line is the interval of the difference from the reference; the dashed rule is 0"), points],
    ["verdict", t("study.verdict", "Verdict"), ""],
    ["wins", t("study.wins", "Wins"), t("study.winsTip", "Share of pairs in which it scores higher than the reference")],
    ["relative", t("study.relative", "Relative"),
      t("study.relativeTip", "Points above the mean of all settings on the same prompts and seeds"), points],
  ];
  const tip = t("study.eloTip", "Strength by wins and losses between all settings; 0 is their middle");
  if (elo) heads.push(["elo", "Elo", tip]);
  return heads.map(([name, text, title, unit]) =>
    el("th", { scope: "col", class: `hps-of-${name}`, title }, text, unit && el("small", { text: unit })));
}

/**
 * @param {Study} study
 * @param {number} setting
 * @param {number} place
 * @param {Range} range
 * @param {boolean} elo
 */
function rowOf(study, setting, place, range, elo) {
  const contrast = study.contrasts.get(setting);
  const stand = study.stands.get(setting);
  const own = setting === study.reference;
  const all = study.contenders.size >= study.settings.length; // then it says nothing
  const top = setting === study.order[0] && Boolean(study.headline);
  const near = !all && study.contenders.has(setting) && !top;
  const lines = [study.settings[setting], ...settingLines(study, setting)];
  if (near) lines.push(t("study.contender", "it may be the best as well"));
  const row = el("tr", { tabIndex: place ? -1 : 0, title: lines.join("\n"), dataset: { setting: String(setting) } });
  row.classList.toggle("hps-row-reference", own);
  row.classList.toggle("hps-row-top", top || near);
  const label = el("th", { scope: "row" }, el("span", { text: study.settings[setting] }));
  const cell = (/** @type {string} */ name, /** @type {any} */ part) => el("td", { class: `hps-of-${name}` }, part);
  const known = (/** @type {string} */ text) => (own ? "\u2013" : text);
  row.append(
    cell("place", `${place + 1}${top ? " \u2605" : near ? " \u2248" : ""}`), label,
    cell("difference", known(differenceText(contrast))),
    cell("interval", bar(study, setting, range)),
    cell("verdict", own ? el("span", { class: "hps-chip hps-chip-reference", text: t("study.reference", "reference") })
      : contrast?.verdict && verdictChip(contrast)),
    cell("wins", known(winsText(contrast?.wins ?? null))),
    cell("relative", finite(stand?.relative) ? gain(stand.relative) : "\u2013"),
    ...(elo ? [cell("elo", finite(stand?.elo) ? signedWhole(stand.elo) : "\u2013")] : []),
  );
  return row;
}

/** @param {number} value */
function signedWhole(value) {
  const text = Math.abs(value).toFixed(0);
  return text === "0" ? text : (value < 0 ? "\u2212" : "+") + text;
}

// --- intervals -------------------------------------------------------------------------------------------------------

/** @param {Study} study @param {number[]} shown @returns {Range} of all differences and intervals, 0 within */
function rangeOf(study, shown) {
  const values = shown.flatMap((setting) => {
    const { low = null, high = null, difference = null } = study.contrasts.get(setting) ?? {};
    return [low, high, difference].filter(finite);
  });
  const low = Math.min(0, ...values);
  const high = Math.max(0, ...values);
  return low === high ? { low: -1, high: 1 } : { low, high };
}

/** @param {Study} study @param {number} setting @param {Range} range */
function bar(study, setting, range) {
  const { width, height, edge } = BAR;
  const x = (/** @type {number} */ value) =>
    (edge + ((width - 2 * edge) * (value - range.low)) / (range.high - range.low)).toFixed(1);
  const middle = height / 2;
  const line = (/** @type {number} */ from, /** @type {number} */ to, /** @type {string} */ name) =>
    svg("line", { class: name, x1: x(from), x2: x(to), y1: middle, y2: middle });
  const zero = svg("line", { class: "hps-zero", x1: x(0), x2: x(0), y1: 0, y2: height });
  const contrast = study.contrasts.get(setting);
  const parts = [zero];
  if (contrast && finite(contrast.difference)) {
    const { low, high, difference } = contrast;
    if (finite(low) && finite(high)) parts.push(line(low, high, "hps-interval"));
    parts.push(svg("circle", { class: "hps-point", cx: x(difference), cy: middle, r: 3 }));
  } else if (setting === study.reference) {
    parts.push(svg("rect", { class: "hps-point", x: Number(x(0)) - 3, y: middle - 3, width: 6, height: 6 }));
  }
  const words = contrast && finite(contrast.difference) ? differenceWords(contrast) : "";
  const box = { class: "hps-bar-drawing", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": words };
  const drawing = svg("svg", box, ...parts);
  drawing.dataset.verdict = contrast?.verdict ?? "";
  drawing.dataset.up = contrast && finite(contrast.difference) && contrast.difference < 0 ? "down" : "up";
  return drawing;
}

/** @param {import("./study.js").Contrast} contrast */
function differenceWords({ difference, low, high }) {
  const values = { value: gain(difference ?? 0), low: finite(low) ? number(low) : "", high: finite(high) ? number(high) : "" };
  if (!finite(low) || !finite(high)) return values.value;
  return t("study.intervalWords", "{value}, interval {low} to {high}", values);
}
