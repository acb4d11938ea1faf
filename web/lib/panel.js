// @ts-check
// What a node of the pack shows of its work: a chart, a gallery and a line of words, as one widget at its end.
import { createChart } from "./chart.js";
import { foundCurve, noiseCurve, searchCurve, steerCurve } from "./curve.js";
import { announcer, el } from "./dom.js";
import { createGallery } from "./gallery.js";
import { shareGestures } from "./gestures.js";
import { chainMethod, t } from "./host.js";
import { KINDS, pickWidget } from "./panel_kinds.js";
import { list, noiseView, number, resultView, searchView } from "./ranking.js";
import { runsElsewhere } from "./runs.js";
import { createStudy } from "./study_panel.js";
import { createReport, reportWords } from "./study_report.js";
import { progressWords, stopWords } from "./study_words.js";

/** @typedef {import("./panel_kinds.js").Kind} Kind */

/** Heights in pixels: of the bare line of words, and of what the parts need. */
const HEIGHT = { bare: 34, chart: 130, words: 24, gallery: 256, pick: 24, warnings: 36, study: 540, report: 190 };
/** Least widths of a fresh node, so that everything can be read. */
const WIDTH = { usual: 340, study: 640 };
/** What the classic canvas keeps free around a widget of the page. */
const MARGIN = 20;

/** @type {WeakMap<any, Panel>} */
const panels = new WeakMap();

/** @param {any} node @returns {Panel | null} */
export function panelOf(node) {
  return (node && panels.get(node)) ?? null;
}

/** Give a node its panel, if it is one of the pack that has one. @param {any} node */
export function attachPanel(node) {
  const kind = KINDS[node.comfyClass];
  if (kind && !panels.has(node)) panels.set(node, new Panel(node, kind));
}

class Panel {
  /** @param {any} node @param {Kind} kind */
  constructor(node, kind) {
    this.node = node;
    this.kind = kind;
    this.run = "";
    /** @type {any[]} what the node gave; more than one when it ran on a list */
    this.results = [];
    this.page = 0;
    this.live = false;
    this.scorer = "";
    this.warned = false;
    /** @type {number | undefined} height that the node was made to hold */
    this.fitted = undefined;
    this.said = announcer();
    this.gallery = kind.gallery ? createGallery(kind.pick ? pickWidget(node) : null) : null;
    this.chart = kind.chart ? createChart() : null;
    this.study = kind.study ? createStudy() : null;
    this.report = kind.report ? createReport() : null;
    this.build();
    this.attach();
  }

  build() {
    this.status = el("div", { class: "hps-status", text: this.kind.hint() });
    this.pager = el("div", { class: "hps-pager", hidden: true });
    const head = el("div", { class: "hps-head" }, this.status, this.pager);
    const parts = [this.chart, this.gallery, this.study, this.report].map((part) => part?.element);
    for (const part of parts) if (part) part.hidden = true;
    this.element = el("div", { class: "hps-root hps-node" }, head, ...parts, this.said.element);
    shareGestures(this.element);
  }

  attach() {
    const { node, element } = this;
    const getMinHeight = () => this.height() + MARGIN;
    const options = { serialize: false, hideOnZoom: false, getValue: () => "", setValue: () => {}, getMinHeight };
    const widget = node.addDOMWidget("hps_panel", "hps_panel", element, options);
    widget.serialize = false;
    if (this.gallery || this.study) {
      node.hideOutputImages = true; // newer hosts: no second copy of the pictures
      node.onDrawBackground = () => {}; // the classic canvas draws its copy there
    }
    if (node.size?.[0] < this.width) node.setSize?.([this.width, node.size[1]]);
    // The host tells the node with that id, also when the run belongs to a workflow that is not open.
    chainMethod(node, "onExecuted", (output) => runsElsewhere() || this.showOutput(output));
    chainMethod(node, "onRemoved", () => this.destroy());
    this.fit();
  }

  // --- size ----------------------------------------------------------------------------------------------------------

  get width() {
    return this.study ? WIDTH.study : WIDTH.usual;
  }

  height() {
    const study = this.study && !this.study.element.hidden ? HEIGHT.study : 0;
    const report = this.report && !this.report.element.hidden ? HEIGHT.report : 0;
    return HEIGHT.bare + this.chartHeight() + this.galleryHeight() + study + report;
  }

  chartHeight() {
    if (!this.chart || this.chart.element.hidden) return 0;
    return this.chart.wordsOnly ? HEIGHT.words : HEIGHT.chart;
  }

  galleryHeight() {
    if (!this.gallery || this.gallery.element.hidden) return 0;
    return HEIGHT.gallery + (this.kind.pick ? HEIGHT.pick : 0) + (this.warned ? HEIGHT.warnings : 0);
  }

  /** Make the node as high as its panel needs; it never shrinks by itself. */
  fit() {
    const height = this.height();
    if (this.fitted === height) return;
    const grown = this.fitted !== undefined && height > this.fitted;
    this.fitted = height;
    this.element.style.setProperty("--hps-height", `${height}px`);
    const { node } = this;
    const least = grown ? node.computeSize?.()[1] : 0;
    if (least > node.size[1]) node.setSize([Math.max(node.size[0], this.width), least]);
  }

  /** @param {{chart?: boolean, gallery?: boolean, study?: boolean, report?: boolean}} parts */
  reveal({ chart = false, gallery = false, study = false, report = false }) {
    if (this.chart) this.chart.element.hidden = !chart;
    if (this.gallery) this.gallery.element.hidden = !gallery;
    if (this.study) this.study.element.hidden = !study;
    if (this.report) this.report.element.hidden = !report;
    this.fit();
  }

  // --- results -------------------------------------------------------------------------------------------------------

  /** @param {any} output of the node, as the host keeps it */
  showOutput(output) {
    const results = list(output?.hps).filter((data) => data && (data.v ?? 1) === 1);
    if (results.length) this.showResults(results);
  }

  /** @param {any[]} results */
  showResults(results) {
    this.element.classList.add("hps-done");
    const run = results.map((data) => data.run).join();
    if (!this.live && run && run === this.run && results.length === this.results.length) return; // told twice
    const end = this.live;
    Object.assign(this, { run, results, page: 0, live: false });
    this.showPage();
    if (end) this.said.say(this.spoken(), true);
  }

  showPage() {
    const data = this.results[this.page];
    this.showPager();
    if (data.kind === "study") return this.showStudy(data, false);
    if (data.kind === "report") return this.showReport(data);
    const view = resultView(data);
    this.warned = view.warnings.length > 0;
    this.reveal({ chart: this.drawResult(data), gallery: view.cells.length > 0 });
    this.gallery?.show(view);
    this.say(view.status, view.prompts.length === 1 ? view.prompts[0] : "");
    this.badge(view.scorer);
  }

  /** The curve stays after the run. @param {any} data @returns {boolean} whether there is something to draw */
  drawResult(data) {
    const points = list(data.curve);
    const curve = points.length ? noiseCurve({ ...data, points }) : foundCurve(data);
    this.chart?.set(curve);
    return curve.points.length > 0 || Boolean(curve.reason);
  }

  showPager() {
    const n = this.results.length;
    this.pager.hidden = n < 2 || this.live;
    if (this.pager.hidden) return;
    const turn = (/** @type {number} */ by, /** @type {string} */ text, /** @type {string} */ name) =>
      el("button", {
        class: "hps-button", type: "button", text, ariaLabel: name, disabled: !this.results[this.page + by],
        on: { click: () => this.turn(by) },
      });
    const place = t("panel.page", "{page} of {n}", { page: this.page + 1, n });
    this.pager.replaceChildren(turn(-1, "\u2039", t("panel.previous", "Previous result")), place,
      turn(1, "\u203a", t("panel.next", "Next result")));
  }

  /** @param {number} by */
  turn(by) {
    this.page = Math.min(this.results.length - 1, Math.max(0, this.page + by));
    this.showPage();
    this.pager.querySelector("button:not(:disabled)")?.focus({ preventScroll: true });
  }

  // --- a run ---------------------------------------------------------------------------------------------------------

  /**
   * Show a run that goes on.
   * @param {string} event
   * @param {any} data everything that the run has told so far
   */
  showLive(event, data) {
    if (event === "hps.candidate") this.showSearch(data);
    else if (event === "hps.optimize") this.showNoise(data);
    else if (event === "hps.steer") this.showSteering(data);
    else if (event === "hps.compare" && this.study) this.showStudy(data, true);
  }

  /** @param {any} data @param {boolean} live */
  showStudy(data, live) {
    if (!this.study) return;
    if (live) this.begin(data.run);
    this.reveal({ study: true });
    const study = this.study.show(data, live);
    const words = progressWords(study);
    this.say(words, study.prompts.length === 1 ? study.prompts[0] : "");
    if (live) this.said.say(words.join(", "));
    else this.badge(study.scorer);
  }

  /** @param {any} data */
  showReport(data) {
    this.reveal({ report: true });
    this.report?.show(data);
    this.say(reportWords(data));
  }

  /** @param {any} data */
  showSearch(data) {
    this.begin(data.run);
    const view = searchView(data);
    this.chart?.set(searchCurve(data));
    this.reveal({ chart: view.cells.length > 1, gallery: view.cells.length > 0 });
    this.gallery?.show(view);
    this.say(view.status);
    this.said.say(view.status.join(", "));
  }

  /** @param {any} data */
  showNoise(data) {
    this.begin(data.run);
    const view = noiseView(data);
    this.chart?.set(noiseCurve(data));
    this.reveal({ chart: list(data.points).length > 0, gallery: view.cells.length > 0 });
    this.gallery?.show(view);
    this.say(view.status);
    this.said.say(this.chart?.summary ?? "");
  }

  /** @param {any} data */
  showSteering(data) {
    const steps = list(data.points);
    this.begin(data.run ?? "");
    this.chart?.set(steerCurve(steps));
    this.reveal({ chart: steps.length > 0 });
    const { step, steps: of, scorer, skipped } = steps[steps.length - 1] ?? {};
    const words = scorer ? [String(scorer)] : [];
    if (Number.isInteger(step) && of) words.push(t("panel.step", "step {step} of {n}", { step: step + 1, n: of }));
    if (skipped) words.push(t("panel.skipped", "{n} nudges were skipped", { n: skipped }));
    this.say(words);
    this.said.say(this.chart?.summary ?? "");
  }

  /** @param {any} run */
  begin(run) {
    Object.assign(this, { run: String(run ?? ""), results: [], page: 0, live: true });
    this.starting();
    this.element.classList.add("hps-running");
    this.pager.hidden = true;
  }

  /** The node begins to work. */
  starting() {
    this.element.classList.remove("hps-done");
  }

  /** The run ended without a result of this node. @param {"interrupted" | "failed"} [why] */
  stopped(why) {
    if (!this.live) return;
    this.live = false;
    this.element.classList.replace("hps-running", "hps-done");
    const words = stopWords(why, Boolean(this.study));
    const study = this.study?.stopped();
    if (study) this.say(progressWords(study));
    this.status.textContent = [this.status.textContent, words].filter(Boolean).join(" \u00b7 ");
    this.said.say(words || (this.chart?.summary ?? ""), true);
  }

  // --- words ---------------------------------------------------------------------------------------------------------

  /** @param {string[]} parts @param {string} [prompt] */
  say(parts, prompt = "") {
    const text = [...parts, prompt].filter(Boolean).join(" \u00b7 ");
    this.status.textContent = text;
    this.status.title = text;
    this.element.classList.toggle("hps-running", this.live);
  }

  /** @returns {string} the result for a screen reader */
  spoken() {
    const data = this.results[this.page];
    if (data?.curve && this.chart) return this.chart.summary;
    if (data?.headline) return String(data.headline);
    const best = list(data?.items)[0];
    if (!best) return this.status.textContent ?? "";
    const values = { n: list(data.scores).length, score: number(best.score) };
    return t("panel.done", "Done: {n} images, best score {score}", values);
  }

  /** Name the scorer on the node. @param {string} name */
  badge(name) {
    const Badge = /** @type {any} */ (window).LGraphBadge;
    const known = this.scorer;
    this.scorer = name;
    if (!name || known || !Badge || !Array.isArray(this.node.badges)) return;
    this.node.badges.push(() => new Badge({ text: this.scorer, fgColor: "#fff", bgColor: "#5a4a78" }));
  }

  /** Settings changed. */
  refresh() {
    if (this.results.length) this.showPage();
    else this.gallery?.refresh();
  }

  destroy() {
    this.gallery?.destroy();
    this.chart?.destroy();
    this.study?.destroy();
    this.said.stop();
  }
}
