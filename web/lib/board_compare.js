// @ts-check
// Sampler against sampler (or model, steps, CFG): a small table that describes, and does not test.
import { el } from "./dom.js";
import { number, signed } from "./format.js";
import { fetchCompare, isAbort } from "./client.js";
import { t } from "./host.js";
import { errorPanel } from "./states.js";

/** @typedef {import("./client.js").Filters} Filters */
/** @typedef {import("./client.js").Setting} Setting */
/** @typedef {"sampler" | "scheduler" | "steps" | "cfg" | "model"} Kind */

/** @returns {[Kind, string][]} */
const kinds = () => [
  ["sampler", t("compare.sampler", "Samplers")],
  ["scheduler", t("compare.scheduler", "Schedulers")],
  ["steps", t("compare.steps", "Numbers of steps")],
  ["cfg", t("compare.cfg", "CFG values")],
  ["model", t("compare.model", "Models")],
];

/** A fold that asks the server only while it is open. */
export class CompareFold {
  /** @param {() => Filters | null} filters in force, null while unknown */
  constructor(filters) {
    this.filters = filters;
    /** @type {AbortController | null} */
    this.request = null;
    this.kind = el("select", { class: "hps-input", "aria-label": t("compare.what", "What to compare") });
    this.kind.append(...kinds().map(([value, text]) => el("option", { value, text })));
    this.kind.addEventListener("change", () => this.update());
    this.place = el("div", { class: "hps-fold-body", "aria-live": "polite" });
    this.element = el(
      "details",
      { class: "hps-fold", on: { toggle: () => this.update() } },
      el("summary", { text: t("compare.title", "Compare settings") }),
      this.kind,
      this.place,
    );
  }

  /** Ask again, if anybody looks. */
  async update() {
    this.request?.abort();
    const filters = this.filters();
    if (!this.element.open || !filters) return;
    const request = (this.request = new AbortController());
    try {
      const { settings } = await fetchCompare(this.kind.value, filters, request.signal);
      if (!request.signal.aborted) this.#show(settings);
    } catch (error) {
      if (!isAbort(error)) this.place.replaceChildren(errorPanel(error, () => this.update()));
    }
  }

  destroy() {
    this.request?.abort();
  }

  /** @param {Setting[]} settings */
  #show(settings) {
    if (settings.length === 0) {
      this.place.replaceChildren(
        el("p", {
          class: "hps-remark",
          text: t("compare.none", "Nothing to compare yet: it takes pictures of one prompt made in two ways."),
        }),
      );
      return;
    }
    const heads = [
      this.kind.selectedOptions[0]?.text ?? "",
      t("compare.gain", "Gain"),
      t("compare.wins", "Wins"),
      t("compare.n", "Pictures"),
    ];
    const head = el("tr", {}, ...heads.map((text) => el("th", { scope: "col", text })));
    const body = el("tbody", {}, ...settings.map(line));
    const note = t(
      "compare.note",
      "Descriptive, not a test. Gain: mean distance from the other pictures of the same prompt and scorer. Wins: pairs of the same prompt and seed.",
    );
    this.place.replaceChildren(
      el("table", { class: "hps-compare" }, el("thead", {}, head), body),
      el("p", { class: "hps-remark", text: note }),
    );
  }
}

/** @param {Setting} setting */
function line({ value, n, groups, gain, sd, wins, pairs }) {
  const name = String(value) || t("compare.unknown", "unknown");
  const spread = typeof sd === "number" ? t("compare.sd", "Standard deviation {sd}", { sd: sd.toFixed(3) }) : "";
  const prompts = t("compare.groups", "{n} prompts and scorers", { n: groups });
  return el(
    "tr",
    {},
    el("th", { scope: "row", text: name, title: name }),
    el("td", { class: "hps-number", text: typeof gain === "number" ? signed(gain, 2) : "\u2013", title: spread }),
    el("td", {
      class: "hps-number",
      text: pairs ? t("compare.winsOf", "{wins} of {pairs}", { wins, pairs }) : "\u2013",
    }),
    el("td", { class: "hps-number", text: number(n), title: prompts }),
  );
}
