// @ts-check
// How often a person and the scorer agree, with what is known about it and not more.
import { el, svg } from "./dom.js";
import { number, percent } from "./format.js";
import { t } from "./host.js";

/** @typedef {import("./client.js").Agreement} Agreement */

const ENOUGH = 15;
const FEW_PROMPTS = 5;

/** @param {Agreement} agreement @param {number} now answers since the page was opened */
export function agreementPanel(agreement, now) {
  const known = agreement.enough && agreement.rate !== null;
  return el(
    "section",
    { class: "hps-agreement", "aria-label": t("agree.title", "You and the scorer") },
    known ? rate(agreement) : notEnough(agreement),
    el("p", { class: "hps-remark", text: tally(agreement, now) }),
  );
}

/** @param {Agreement} agreement */
function notEnough({ n, prompts }) {
  const text =
    n < ENOUGH
      ? t("agree.notEnough", "{n} of {enough} picks: not enough yet to say how often you and the scorer agree.", {
          n,
          enough: ENOUGH,
        })
      : t(
          "agree.onePrompt",
          "{n} picks, but too few prompts ({prompts} of {enough}) to say how often you and the scorer agree.",
          { n, prompts, enough: FEW_PROMPTS },
        );
  const bar = el("progress", { max: ENOUGH, value: Math.min(n, ENOUGH) });
  bar.setAttribute("aria-label", t("agree.progress", "Picks until agreement is shown"));
  return el("div", {}, el("p", { text }), bar);
}

/** @param {Agreement} agreement */
function rate({ n, rate, low, high, prompts }) {
  const values = { rate: percent(rate ?? 0), n: number(n), low: percent(low ?? 0), high: percent(high ?? 1) };
  const text = t(
    "agree.rate",
    "You and the scorer agree in {rate} of {n} picks (95% interval {low} to {high}; chance is 50%).",
    values,
  );
  const few = t("agree.fewPrompts", "Prompts behind this: {n}. With more, it says more about your taste.", {
    n: prompts,
  });
  return el(
    "div",
    {},
    el("p", { text }),
    band(rate ?? 0, low ?? 0, high ?? 1),
    prompts < FEW_PROMPTS && el("p", { class: "hps-remark", text: few }),
  );
}

/** The interval on a line from 0 to 100 %, with a tick at chance. @param {number} rate @param {number} low @param {number} high */
function band(rate, low, high) {
  const box = svg("svg", {
    class: "hps-band",
    viewBox: "0 0 100 10",
    preserveAspectRatio: "none",
    "aria-hidden": "true",
  });
  box.append(
    svg("rect", { class: "hps-band-all", x: 0, y: 4, width: 100, height: 2 }),
    svg("rect", {
      class: "hps-band-interval",
      x: 100 * low,
      y: 3,
      width: Math.max(0.5, 100 * (high - low)),
      height: 4,
    }),
    svg("rect", { class: "hps-band-chance", x: 49.75, y: 0, width: 0.5, height: 10 }),
    svg("rect", { class: "hps-band-rate", x: 100 * rate - 0.75, y: 1, width: 1.5, height: 8 }),
  );
  return box;
}

/** @param {Agreement} agreement @param {number} now */
function tally({ n, ties, skips }, now) {
  const values = { now, n: number(n), ties: number(ties), skips: number(skips) };
  return t(
    "agree.tally",
    "Answers: {now} since this page was opened. In all: picked {n}, undecided {ties}, skipped {skips}.",
    values,
  );
}
