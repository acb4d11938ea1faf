// @ts-check
// A live chart: best, current and held-out scores over the work done, as SVG in the colours of the theme.
import { el, svg } from "./dom.js";
import { t } from "./host.js";
import { decimate, lineOf, rangeOf, summary, ticks } from "./curve.js";
import { number } from "./ranking.js";

/** @typedef {import("./curve.js").Curve} Curve */
/** @typedef {{x: number, y: number}[]} Line */
/** @typedef {{low: number, high: number}} Range */
/** @typedef {{left: number, right: number, top: number, bottom: number}} Box */
/** @typedef {(value: number) => number} Scale */

const LINES = /** @type {const} */ (["now", "held", "best"]); // the last one lies on top
const EDGE = { top: 6, bottom: 16, left: 40, right: 8 };
const HELD_EDGE = 40;

/** Make an empty chart. */
export function createChart() {
  return new Chart();
}

class Chart {
  constructor() {
    this.legend = el("div", { class: "hps-legend" });
    this.svg = svg("svg", { class: "hps-chart", role: "img" });
    this.reason = el("div", { class: "hps-reason", hidden: true });
    this.element = el("div", { class: "hps-chart-box" }, this.legend, this.svg, this.reason);
    /** @type {Curve | null} */
    this.curve = null;
    this.frame = 0;
    this.observer = new ResizeObserver(() => this.schedule());
    this.observer.observe(this.svg);
  }

  /**
   * Show a curve; drawn once a frame, however often this is called.
   * @param {Curve} curve
   */
  set(curve) {
    this.curve = curve;
    this.element.classList.toggle("hps-words-only", this.wordsOnly);
    this.observer.observe(this.svg);
    this.schedule();
  }

  /** @returns {boolean} whether there is only a reason to show */
  get wordsOnly() {
    return Boolean(this.curve?.reason) && !this.curve?.points.length;
  }

  /** @returns {string} the curve in words */
  get summary() {
    return this.curve ? summary(this.curve, number) : "";
  }

  schedule() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  destroy() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    this.observer.disconnect();
  }

  draw() {
    const { curve } = this;
    if (!curve) return;
    this.reason.textContent = curve.reason;
    this.reason.hidden = !curve.reason;
    this.svg.setAttribute("aria-label", this.summary);
    const lines = linesOf(curve);
    this.legend.replaceChildren(...[...LINES].reverse().flatMap((name) => legend(curve, name, lines[name])));
    const width = this.svg.clientWidth;
    const height = this.svg.clientHeight;
    if (width < 60 || height < 40) return; // hidden or folded: drawn when it can be seen
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.replaceChildren(...shapes(curve, lines, width, height));
  }
}

/** @param {Curve} curve @returns {Record<"now" | "best" | "held", Line>} */
function linesOf({ points }) {
  return { now: lineOf(points, "now"), best: lineOf(points, "best"), held: lineOf(points, "held") };
}

/** @param {Curve} curve @param {"now" | "best" | "held"} name @param {Line} line */
function legend(curve, name, line) {
  if (!line.length) return [];
  const look = { class: "hps-swatch", viewBox: "0 0 16 6", "aria-hidden": "true" };
  const swatch = svg("svg", look, stroke(name, "0,3 16,3"));
  const value = el("b", { text: number(line[line.length - 1].y) });
  return [el("span", { class: "hps-legend-entry" }, swatch, `${curve.names[name]} `, value)];
}

/** @param {string} name @param {string} points */
function stroke(name, points) {
  return svg("polyline", { class: `hps-line hps-line-${name}`, points });
}

/** @param {Curve} curve @param {Record<string, Line>} lines @param {number} width @param {number} height */
function shapes(curve, lines, width, height) {
  const own = !curve.shared && lines.held.length > 0; // another scorer's numbers need their own axis
  const edge = { ...EDGE, right: own ? HELD_EDGE : EDGE.right };
  const box = { left: edge.left, right: width - edge.right, top: edge.top, bottom: height - edge.bottom };
  const main = rangeOf(own ? [lines.now, lines.best] : [lines.now, lines.best, lines.held]);
  const held = own ? rangeOf([lines.held]) : main;
  const first = curve.points.length ? curve.points[0].x : 0;
  const last = curve.points.length ? curve.points[curve.points.length - 1].x : 1;
  const across = { low: Math.min(first, last), high: Math.max(last, first + 1) };
  const x = scale(across, box.left, box.right);
  const up = (/** @type {Range} */ range) => scale(range, box.bottom, box.top);
  return [
    ...sideAxis(main, box, false),
    ...(own ? sideAxis(held, box, true) : []),
    ...bottomAxis(across, x, box, curve.across),
    ...begin(curve, x, box),
    ...LINES.flatMap((name) => drawn(name, lines[name], x, up(name === "held" ? held : main))),
  ];
}

/** @param {Range} range @param {number} from @param {number} to @returns {Scale} */
function scale({ low, high }, from, to) {
  return (value) => from + ((to - from) * (value - low)) / (high - low || 1);
}

/** @param {Range} range @param {Box} box @param {boolean} atRight */
function sideAxis(range, box, atRight) {
  const y = scale(range, box.bottom, box.top);
  const { values, decimals } = ticks(range.low, range.high, Math.max(2, (box.bottom - box.top) / 30));
  return values.flatMap((value) => [
    atRight ? "" : svg("line", { class: "hps-rule", x1: box.left, x2: box.right, y1: y(value), y2: y(value) }),
    svg("text", {
      class: atRight ? "hps-axis hps-axis-held" : "hps-axis",
      x: atRight ? box.right + 4 : box.left - 4,
      y: y(value) + 3,
      "text-anchor": atRight ? "start" : "end",
    }, value.toFixed(decimals)),
  ]).filter(Boolean);
}

/** @param {Range} range @param {Scale} x @param {Box} box @param {string} name */
function bottomAxis(range, x, box, name) {
  const { values } = ticks(range.low, range.high, Math.max(2, (box.right - box.left) / 70), true);
  const at = { y: box.bottom + 12, class: "hps-axis" };
  const room = box.right - name.length * 6; // the axis' name stands at its end
  const numbers = values.filter((value) => x(value) < room - 12);
  return [
    svg("line", { class: "hps-rule hps-rule-base", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }),
    ...numbers.map((value) => svg("text", { ...at, x: x(value), "text-anchor": "middle" }, String(value))),
    svg("text", { ...at, x: box.right, "text-anchor": "end" }, name),
  ];
}

/** Where trying ends and optimising begins. @param {Curve} curve @param {Scale} x @param {Box} box */
function begin(curve, x, box) {
  if (curve.begin === null) return [];
  const at = x(curve.begin);
  return [
    svg("line", { class: "hps-rule hps-begin", x1: at, x2: at, y1: box.top, y2: box.bottom },
      svg("title", {}, t("chart.begin", "From here on the best starting noise is optimised."))),
  ];
}

/** @param {string} name @param {Line} line @param {Scale} x @param {Scale} y */
function drawn(name, line, x, y) {
  if (!line.length) return [];
  const place = (/** @type {{x: number, y: number}} */ point) => `${x(point.x).toFixed(1)},${y(point.y).toFixed(1)}`;
  const last = line[line.length - 1];
  return [
    stroke(name, decimate(line).map(place).join(" ")),
    svg("circle", { class: `hps-dot hps-dot-${name}`, cx: x(last.x), cy: y(last.y), r: name === "best" ? 3 : 2 }),
  ];
}
