// @ts-check
// The leaderboard's filters: prompt, words, model, sampler, scorer, and the order.
import { el } from "./dom.js";
import { oneLine } from "./format.js";
import { t } from "./host.js";
import { sortNames } from "./board_table.js";

/** @typedef {import("./client.js").Facet} Facet */
/** @typedef {import("./client.js").Facets} Facets */
/**
 * What the person asked for. `prompt` is an id, "" for all, or LATEST for whichever was scored last; `sort` is ""
 * until the person chooses one.
 * @typedef {{prompt: string, search: string, model: string, sampler: string, scorer: string, sort: string,
 *   order: "asc" | "desc"}} Wish
 */

export const LATEST = "latest";
const PAUSE = 250;
const LONGEST = 90;

/** @returns {Wish} */
export const firstWish = () => ({
  prompt: LATEST, search: "", model: "", sampler: "", scorer: "", sort: "", order: "desc",
});

/**
 * @param {Wish} wish
 * @returns {boolean} whether something but the prompt narrows the list
 */
export const narrowed = ({ search, model, sampler, scorer }) => Boolean(search || model || sampler || scorer);

/** @param {Facet} facet @returns {[string, string]} value and words of an option */
const asOption = ({ value, n }) => [String(value), `${oneLine(String(value), LONGEST)} (${n})`];

/** A bar of filters over one wish; every change is told at once, typing after a pause. */
export class FilterBar {
  /** @param {Wish} wish changed in place @param {() => void} onChange */
  constructor(wish, onChange) {
    this.wish = wish;
    this.onChange = onChange;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    /** @type {string | undefined} the prompt chosen before words were typed */
    this.narrow = undefined;
    this.prompt = this.#select("prompt");
    this.model = this.#select("model");
    this.sampler = this.#select("sampler");
    this.scorer = this.#select("scorer");
    this.sort = this.#select("sort");
    this.order = el("button", { type: "button", class: "hps-button hps-order", on: { click: () => this.#turn() } });
    this.search = this.#searchBox();
    this.count = el("span", { class: "hps-small" });
    this.element = this.#layout();
    this.setFacets({ prompts: [], models: [], samplers: [], schedulers: [], scorers: [] });
    this.setOrder("", "desc");
  }

  /** @param {Facets} facets values to choose from */
  setFacets({ prompts, models, samplers, scorers }) {
    const latest = prompts[0]
      ? t("filter.latestOf", "Latest: {prompt}", { prompt: oneLine(prompts[0].value, LONGEST) })
      : "";
    options(this.prompt, this.wish.prompt, [
      [LATEST, latest || t("filter.latest", "Latest prompt")],
      ["", t("filter.allPrompts", "All prompts")],
      ...prompts.map((facet) => /** @type {[string, string]} */ ([String(facet.id), asOption(facet)[1]])),
    ]);
    options(this.model, this.wish.model, [["", t("filter.allModels", "All models")], ...models.map(asOption)]);
    options(this.sampler, this.wish.sampler, [
      ["", t("filter.allSamplers", "All samplers")],
      ...samplers.map(asOption),
    ]);
    options(this.scorer, this.wish.scorer, [["", t("filter.allScorers", "All scorers")], ...scorers.map(asOption)]);
    this.#tell();
  }

  /** @param {string} sort in force @param {"asc" | "desc"} order */
  setOrder(sort, order) {
    options(this.sort, sort, sortNames());
    const up = order === "asc";
    this.order.textContent = up ? "\u2191" : "\u2193";
    const label = up ? t("filter.ascending", "Smallest first") : t("filter.descending", "Largest first");
    this.order.title = label;
    this.order.setAttribute("aria-label", label);
  }

  /** Forget every filter, also the words typed. */
  clear() {
    Object.assign(this.wish, { prompt: LATEST, search: "", model: "", sampler: "", scorer: "" });
    this.prompt.value = LATEST;
    this.search.value = this.model.value = this.sampler.value = this.scorer.value = "";
    this.#changed();
  }

  destroy() {
    clearTimeout(this.timer);
  }

  #layout() {
    const more = el(
      "details",
      { class: "hps-fold" },
      el("summary", {}, el("span", { text: t("filter.more", "Filter and sort") }), " ", this.count),
      el(
        "div",
        { class: "hps-filter-grid" },
        labelled(t("filter.model", "Model"), this.model),
        labelled(t("filter.sampler", "Sampler"), this.sampler),
        labelled(t("filter.scorer", "Scorer"), this.scorer),
        el("div", { class: "hps-sort" }, labelled(t("filter.sort", "Sort by"), this.sort), this.order),
      ),
    );
    const top = el(
      "div",
      { class: "hps-filter-top" },
      labelled(t("filter.prompt", "Prompt"), this.prompt),
      this.search,
    );
    return el("div", { class: "hps-filters", role: "search", "aria-label": t("filter.region", "Filters") }, top, more);
  }

  #searchBox() {
    const label = t("filter.search", "Search in prompts");
    const box = el("input", {
      type: "search",
      class: "hps-input",
      placeholder: label,
      "aria-label": label,
      maxLength: 500,
    });
    box.value = this.wish.search;
    box.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.#set("search", box.value.trim()), PAUSE);
    });
    box.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Enter" && !event.isComposing) this.#set("search", box.value.trim());
    });
    return box;
  }

  /** @param {"prompt" | "model" | "sampler" | "scorer" | "sort"} name */
  #select(name) {
    const box = el("select", { class: "hps-input" });
    box.addEventListener("change", () => this.#set(name, box.value));
    return box;
  }

  /** @param {"prompt" | "search" | "model" | "sampler" | "scorer" | "sort"} name @param {string} value */
  #set(name, value) {
    clearTimeout(this.timer);
    if (this.wish[name] === value) return;
    this.wish[name] = value;
    if (name === "search") this.#widen(value);
    this.#changed();
  }

  /** Words are looked for in all prompts: within one they would find all or nothing. @param {string} words */
  #widen(words) {
    if (words && this.wish.prompt !== "") this.narrow = this.wish.prompt;
    this.wish.prompt = this.prompt.value = words ? "" : (this.narrow ?? this.wish.prompt);
    if (!words) this.narrow = undefined;
  }

  #turn() {
    this.wish.order = this.wish.order === "asc" ? "desc" : "asc";
    this.#changed();
  }

  #changed() {
    this.#tell();
    this.onChange();
  }

  #tell() {
    const { model, sampler, scorer } = this.wish;
    const n = [model, sampler, scorer].filter(Boolean).length;
    this.count.textContent = n ? t("filter.active", "{n} active", { n }) : "";
  }
}

/** @param {string} text @param {any} box */
const labelled = (text, box) => el("label", { class: "hps-field" }, el("span", { text }), box);

/**
 * Fill a select, keeping what is chosen even when it is not on offer any more.
 * @param {any} box
 * @param {string} chosen
 * @param {[string, string][]} offered
 */
export function options(box, chosen, offered) {
  const all = offered.some(([value]) => value === chosen) || chosen === "" ? offered : [...offered, pair(chosen)];
  const drawn = JSON.stringify(all);
  if (box.drawn !== drawn) {
    // An open list would close: only touch it when something changed.
    box.replaceChildren(...all.map(([value, text]) => el("option", { value, text })));
    box.drawn = drawn;
  }
  if (box.value !== chosen) box.value = chosen;
}

/** @param {string} value @returns {[string, string]} */
const pair = (value) => [value, oneLine(value, LONGEST)];
