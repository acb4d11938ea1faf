// @ts-check
// A comparison of settings in the panel of a node: how far it is, its verdict, the grid or the standings, and what can be
// done with the image or the setting that was chosen.
import { button, closeSeedMenu, copySeed, openSeedMenu } from "./actions.js";
import { copyText, el, styleOnce } from "./dom.js";
import { createFold } from "./fold.js";
import { createGrid } from "./grid.js";
import { legend } from "./grid_cells.js";
import { crosses } from "./grid_layout.js";
import { t, toast } from "./host.js";
import { placesOf, readStudy, spotAt } from "./study.js";
import { createHeadline, fillHeadline } from "./study_report.js";
import { createStandings } from "./study_table.js";
import { rowView } from "./study_view.js";
import { blockWords, isSeed, scoreWords, settingLines, standingWords, valuesText } from "./study_words.js";
import { openViewer } from "./viewer.js";

/** @typedef {import("./study.js").Study} Study */
/** @typedef {import("./grid.js").At} At */
/** What is told of: a setting, with or without one of its images. @typedef {{setting: number, block: number | null}} Subject */

/** Make the part of the panel that shows a comparison. */
export function createStudy() {
  styleOnce("hps-study-css", new URL("../study.css", import.meta.url).href);
  return new StudyPart();
}

class StudyPart {
  constructor() {
    /** @type {Study | null} */
    this.study = null;
    /** @type {Subject | null} chosen by the person */
    this.chosen = null;
    /** @type {any} */
    this.waiting = null;
    this.frame = 0;
    /** @type {ReturnType<typeof openViewer> | null} */
    this.viewer = null;
    this.grid = createGrid({
      chosen: (at) => this.choose(this.subjectAt(at)),
      hovered: (at) => this.tell(at ? this.subjectAt(at) : this.chosen),
      open: (at) => this.open(at),
    });
    this.standings = createStandings((setting) => this.choose({ setting, block: null }));
    this.tools = this.makeTools();
    this.buttons = this.makeButtons();
    this.build();
  }

  build() {
    this.fill = el("div", { class: "hps-progress-fill" });
    this.progress = el("div", {
      class: "hps-progress", role: "progressbar", ariaLabel: t("study.progressBar", "Images made"), ariaValueMin: "0",
    }, this.fill);
    this.headline = createHeadline();
    this.warnings = createFold("hps-warnings", true);
    this.warnings.element.classList.add("hps-warned");
    this.words = el("div", { class: "hps-subject" });
    const bar = el("div", { class: "hps-bar", role: "toolbar", ariaLabel: t("gallery.actions", "Actions") });
    bar.append(...Object.values(this.buttons));
    this.element = el("div", { class: "hps-study", on: { "hps-zoom": (/** @type {any} */ event) => this.zoom(event.detail) } });
    this.element.append(this.progress, this.headline.element, this.toolbar(), this.grid.element, this.standings.element,
      this.warnings.element, this.words, bar);
    this.showView("grid");
  }

  makeTools() {
    const tab = (/** @type {string} */ text, /** @type {string} */ view) =>
      el("button", { class: "hps-switch", type: "button", role: "tab", text, on: { click: () => this.showView(view) } });
    return {
      grid: tab(t("study.tabGrid", "Grid"), "grid"),
      settings: tab(t("study.tabSettings", "Settings"), "settings"),
      cross: button(t("study.cross", "X/Y"), "cross", () => this.toggle("crossed"),
        t("study.crossTip", "The first axis across and the second one down, instead of one column a setting")),
      best: button(t("study.bestFirst", "Best first"), "best-first", () => this.toggle("best"),
        t("study.bestFirstTip", "Columns in the order of the standings, instead of as they were named")),
      smaller: button("\u2212", "smaller", () => this.zoom(-1), t("study.smaller", "Smaller pictures (-)")),
      larger: button("+", "larger", () => this.zoom(1), t("study.larger", "Larger pictures (+)")),
    };
  }

  toolbar() {
    const { grid, settings, cross, best, smaller, larger } = this.tools;
    smaller.ariaLabel = smaller.title;
    larger.ariaLabel = larger.title;
    cross.ariaPressed = best.ariaPressed = "false";
    const tabs = el("div", {
      class: "hps-switches", role: "tablist", ariaLabel: t("study.views", "Views"),
      on: { keydown: (/** @type {KeyboardEvent} */ event) => this.onTabKey(event) },
    }, grid, settings);
    this.gridTools = el("div", { class: "hps-grid-tools" }, cross, best, legend(), smaller, larger);
    return el("div", { class: "hps-study-tools" }, tabs, this.gridTools);
  }

  makeButtons() {
    const send = (/** @type {any} */ event) => this.seed() && openSeedMenu(event.currentTarget, this.seed());
    return {
      copy: button(t("gallery.copySeed", "Copy seed"), "copy", () => this.seed() && copySeed(this.seed())),
      send: button(t("gallery.sendSeed", "Seed to\u2026"), "send", send,
        t("gallery.sendSeedTip", "Write the seed into a node of this workflow, and hold it there")),
      setting: button(t("study.copySetting", "Copy setting"), "copy-setting", () => this.copySetting(),
        t("study.copySettingTip", "The name of the setting, to be pasted as the reference")),
      values: button(t("study.copyValues", "Copy values"), "copy-values", () => this.copyValues(),
        t("study.copyValuesTip", "What the setting consists of, a line each")),
      large: button(t("gallery.large", "Large"), "open-large", () => this.open(this.grid.at),
        t("study.largeTip", "See the row large, side by side with the reference with c")),
    };
  }

  // --- what is shown -------------------------------------------------------------------------------------------------

  /**
   * A run that goes on is drawn once a frame, however often it tells.
   * @param {any} data everything that the node has told
   * @param {boolean} live
   * @returns {Study}
   */
  show(data, live) {
    const before = this.study;
    const study = readStudy(data, live);
    if (study.run !== before?.run || study.settings.length !== before?.settings.length) this.chosen = null;
    this.study = study;
    if (live) this.frame ||= requestAnimationFrame(() => this.draw());
    else this.draw();
    return study;
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const { study } = this;
    if (!study) return;
    const share = study.total ? Math.min(1, study.done / study.total) : 0;
    this.fill.style.transform = `scaleX(${share})`;
    this.progress.hidden = !study.live;
    this.progress.ariaValueNow = String(study.done);
    this.progress.ariaValueMax = String(study.total);
    fillHeadline(this.headline, study.headline);
    this.warnings.fill(study.warnings.map((text) => el("div", { text: `\u26A0 ${text}` })));
    this.tools.cross.hidden = !crosses(study);
    this.grid.show(study);
    this.tools.best.hidden = Boolean(this.grid.sheet?.crossed);
    this.tools.cross.ariaPressed = String(Boolean(this.grid.sheet?.crossed));
    this.standings.show(study);
    this.tell(this.chosen);
    if (this.viewer && this.grid.sheet) this.viewer.update(rowView(study, this.grid.sheet, this.viewer.view.place ?? 0));
  }

  /** The run ended without a verdict: what was made stays. @returns {Study | null} */
  stopped() {
    if (!this.study) return null;
    this.study.live = false;
    this.draw();
    return this.study;
  }

  /** @param {string} view "grid" or "settings" */
  showView(view) {
    const grid = view === "grid";
    this.grid.element.hidden = this.gridTools.hidden = !grid;
    this.standings.element.hidden = grid;
    this.element.classList.toggle("hps-listing", !grid);
    for (const [tab, on] of /** @type {[any, boolean][]} */ ([[this.tools.grid, grid], [this.tools.settings, !grid]])) {
      tab.setAttribute("aria-selected", String(on));
      tab.tabIndex = on ? 0 : -1;
    }
    if (!this.study) return;
    if (grid) this.grid.layout();
    else this.standings.draw();
    this.tell(this.chosen);
  }

  /** @param {"crossed" | "best"} wish */
  toggle(wish) {
    const on = wish === "best" ? !this.grid.wish.best : !this.grid.sheet?.crossed;
    this.grid.arrange({ [wish]: on });
    this.tools.best.ariaPressed = String(this.grid.wish.best);
    this.draw();
  }

  /** @param {number} by */
  zoom(by) {
    const { least, most } = this.grid.zoomBy(by);
    this.tools.smaller.disabled = least;
    this.tools.larger.disabled = most;
  }

  /** @param {KeyboardEvent} event */
  onTabKey(event) {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = this.grid.element.hidden ? "grid" : "settings";
    this.showView(other);
    this.tools[/** @type {"grid" | "settings"} */ (other)].focus({ preventScroll: true });
    event.preventDefault();
  }

  // --- what was chosen -----------------------------------------------------------------------------------------------

  /** @param {At} at @returns {Subject | null} null for the value of an axis, which is no setting */
  subjectAt({ row, column }) {
    const { sheet } = this.grid;
    if (!sheet) return null;
    if (row >= 0) return { setting: sheet.setting(row, column), block: sheet.rows[row].block };
    const { setting } = sheet.columns[column];
    return setting === null ? null : { setting, block: null };
  }

  /** @param {Subject | null} subject */
  choose(subject) {
    this.chosen = subject ?? this.chosen;
    this.tell(this.chosen);
  }

  /** Two lines about a cell or a setting; there is always room for both. @param {Subject | null} subject */
  tell(subject) {
    const { study, chosen } = this;
    const seed = this.seed();
    this.buttons.copy.disabled = this.buttons.send.disabled = !seed;
    this.buttons.setting.disabled = !chosen;
    this.buttons.values.hidden = !study || !valuesText(study, 0);
    this.buttons.values.disabled = !chosen;
    this.buttons.large.disabled = chosen?.block === null || !chosen;
    if (!study) return;
    const lines = subject ? linesOf(study, subject) : [this.hint(), ""];
    const [first, second] = lines;
    this.words.replaceChildren(el("div", { class: subject ? "" : "hps-quiet" }, el(subject ? "b" : "span", { text: first })), el("div", { class: "hps-quiet", text: second, title: second }));
  }

  /** @returns {string} what to do to read more */
  hint() {
    if (this.grid.element.hidden) return t("study.pointToRow", "Choose a row to read about it.");
    if (this.study?.pictures) return t("study.pointTo", "Point at a picture or a column to read about it.");
    return t("study.pointToScore", "Point at a score or a column to read about it.");
  }

  /** @returns {string} of the chosen image, "" where there is none */
  seed() {
    const { study, chosen } = this;
    if (!study || !chosen || chosen.block === null) return "";
    const seed = study.seeds[placesOf(study, chosen.block).seed] ?? "";
    return isSeed(seed) ? seed : "";
  }

  copySetting() {
    if (this.study && this.chosen) copy(this.study.settings[this.chosen.setting]);
  }

  copyValues() {
    if (this.study && this.chosen) copy(valuesText(this.study, this.chosen.setting));
  }

  /** @param {At} at */
  open(at) {
    const { study, grid } = this;
    if (!study || !grid.sheet || at.row < 0) return;
    const setting = grid.sheet.setting(at.row, at.column);
    this.viewer?.close();
    this.viewer = openViewer(rowView(study, grid.sheet, at.row), setting, () => this.returned());
  }

  /** The grid goes on where the large view was left. */
  returned() {
    const { viewer, grid } = this;
    this.viewer = null;
    if (!viewer || !grid.sheet || grid.element.hidden) return;
    const row = viewer.view.place ?? 0;
    const column = viewer.view.cells.findIndex((cell) => cell.index === viewer.index);
    if (column >= 0 && grid.sheet.rows[row]) grid.go({ row, column });
  }

  destroy() {
    cancelAnimationFrame(this.frame);
    this.grid.destroy();
    this.viewer?.close();
    closeSeedMenu();
  }
}

/** @param {Study} study @param {Subject} subject @returns {[string, string]} */
function linesOf(study, { setting, block }) {
  if (block === null) return [study.settings[setting], settingLines(study, setting).join(" \u00b7 ")];
  const spot = spotAt(study, setting, block);
  const first = [study.settings[setting], scoreWords(study, spot), spot ? standingWords(study, spot) : ""];
  return [first.filter(Boolean).join(" \u00b7 "), [...blockWords(study, block)].reverse().join(" \u00b7 ")];
}

/** @param {string} text */
async function copy(text) {
  if (await copyText(text)) toast("success", t("study.copied", "Copied"), text, 2500);
  else toast("warn", t("seed.notCopied", "The browser does not let pages copy. Copy it by hand:"), text, 15000);
}
