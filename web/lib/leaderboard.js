// @ts-check
// The leaderboard: scored pictures of the ledger, ranked where ranking them is honest.
import { copyText, el } from "./dom.js";
import { number } from "./format.js";
import { fetchFacets, fetchRows, fetchSummary, isAbort } from "./client.js";
import { t, toast } from "./host.js";
import { BoardTable } from "./board_table.js";
import { FilterBar, LATEST, firstWish, narrowed } from "./board_filters.js";
import { CompareFold } from "./board_compare.js";
import { LedgerFold } from "./board_tools.js";
import { closeLarge, openLarge, openWorkflow } from "./board_actions.js";
import { copySeed } from "./actions.js";
import { emptyPanel, errorPanel, offPanel, remedyButton, settingsButton, statePanel } from "./states.js";

/** @typedef {import("./client.js").Row} Row */
/** @typedef {import("./client.js").Facets} Facets */
/** @typedef {import("./client.js").Filters} Filters */
/** @typedef {import("./client.js").Summary} Summary */
/** @typedef {{prompts: boolean, scorers: boolean}} Mixture whether a list holds several of them */

const PAGE = 50;
const CHUNK = 200;
/** More rows than a person reads; a page with ten thousand would be slow for everybody. */
const MOST = 400;
const TEXTS = new Set(["seed", "model", "sampler"]);

/** What was asked for stays until the page is loaded again, also while the tab is closed. */
const wish = firstWish();

/** One leaderboard, from opening the view to closing it. */
export class Leaderboard {
  constructor() {
    /** @type {Row[]} */
    this.rows = [];
    this.total = 0;
    /** @type {Facets | null} */
    this.facets = null;
    /** @type {Summary | null} */
    this.summary = null;
    /** @type {Mixture} */
    this.mixture = { prompts: false, scorers: false };
    /** @type {AbortController | null} */
    this.request = null;
    this.filters = new FilterBar(wish, () => this.#restart());
    this.table = new BoardTable(
      (sort) => this.#sortBy(sort),
      (action, row) => this.#act(action, row),
    );
    this.compare = new CompareFold(() => this.#filters());
    this.ledger = new LedgerFold(
      () => this.#filters() ?? {},
      () => this.refresh(),
    );
    this.told = "";
    this.notice = el("div", { class: "hps-notice", role: "status", hidden: true });
    this.more = button(t("board.more", "Show more"), () => this.#more());
    this.copy = button(t("board.copySeeds", "Copy the seeds shown"), () => this.#copySeeds());
    this.count = el("span", { class: "hps-small", role: "status" });
    this.foot = el("div", { class: "hps-board-foot" }, this.count, this.more, this.copy);
    this.list = el("div", { class: "hps-board-scroll" }, this.table.element, this.foot);
    this.state = el("div", { class: "hps-state-place" });
    this.element = el(
      "div",
      { class: "hps-view hps-leaderboard" },
      this.filters.element,
      this.notice,
      this.state,
      this.list,
      this.compare.element,
      this.ledger.element,
    );
    this.#setState(el("p", { class: "hps-remark", text: t("board.loading", "Loading\u2026") }));
    this.sizes = new ResizeObserver(([entry]) => this.table.fit(entry.contentRect.width));
    this.sizes.observe(this.element);
  }

  destroy() {
    this.request?.abort();
    this.filters.destroy();
    this.compare.destroy();
    this.sizes.disconnect();
    closeLarge();
  }

  /** Ask for everything again; what is on the screen stays where it is. */
  refresh() {
    return this.#load(async (signal) => {
      const summary = await fetchSummary(signal);
      signal.throwIfAborted();
      this.summary = summary;
      if (!summary.enabled && !summary.rows) return this.#setState(offPanel(summary.reason, () => this.refresh()));
      this.ledger.show(summary);
      const facets = await fetchFacets(signal);
      signal.throwIfAborted();
      this.facets = facets;
      this.filters.setFacets(facets);
      await this.#fill(Math.max(PAGE, this.rows.length), signal);
      this.compare.update();
    });
  }

  // --- asking ---

  /** Show the list from its start, after another filter or order was chosen. */
  #restart() {
    this.list.scrollTop = 0;
    this.compare.update();
    return this.#load((signal) => this.#fill(PAGE, signal));
  }

  async #more() {
    const first = this.rows.length;
    await this.#load((signal) => this.#fill(Math.min(MOST, first + PAGE), signal));
    // The button may be gone after its last press: the keyboard goes on at the first new row.
    if (this.more.hidden && this.rows[first]) this.table.focusRow(this.rows[first].id);
  }

  /** @param {(signal: AbortSignal) => Promise<any>} work whose answer counts unless something newer was asked for */
  async #load(work) {
    this.request?.abort();
    const request = (this.request = new AbortController());
    this.list.setAttribute("aria-busy", "true");
    try {
      await work(request.signal);
    } catch (error) {
      if (!isAbort(error) && request === this.request) this.#fail(error);
    } finally {
      if (request === this.request) this.list.setAttribute("aria-busy", "false");
    }
  }

  /** @param {number} wanted rows @param {AbortSignal} signal */
  async #fill(wanted, signal) {
    const filters = this.#filters();
    if (!filters) return this.#show([], 0, "score");
    let sort = this.#sort(filters);
    let page = await this.#fetch(filters, sort, wanted, signal);
    const mixture = this.#mixtureOf(page.rows, page.total, filters);
    if (!wish.sort && sort === "score" && (mixture.prompts || mixture.scorers)) {
      sort = "standing";
      page = await this.#fetch(filters, sort, wanted, signal);
    }
    this.mixture = this.#mixtureOf(page.rows, page.total, filters);
    this.#show(page.rows, page.total, sort);
  }

  /** @param {Filters} filters @param {string} sort @param {number} wanted @param {AbortSignal} signal */
  async #fetch(filters, sort, wanted, signal) {
    /** @type {Map<number, Row>} a row that moved between two answers comes only once */
    const rows = new Map();
    let total = 0;
    for (let offset = 0; offset < wanted; offset += CHUNK) {
      const limit = Math.min(CHUNK, wanted - offset);
      const page = await fetchRows({ ...filters, sort, order: wish.order, limit, offset }, signal);
      signal.throwIfAborted();
      total = page.total;
      for (const row of page.rows) rows.set(row.id, row);
      if (offset + page.rows.length >= total || page.rows.length === 0) break;
    }
    return { rows: [...rows.values()], total };
  }

  /** @returns {Filters | null} for the server; null before the latest prompt is known */
  #filters() {
    const { prompt, search, model, sampler, scorer } = wish;
    const rest = { search, model, sampler, scorer };
    if (prompt !== LATEST) return { prompt: prompt === "" ? "" : Number(prompt), ...rest };
    const latest = this.facets?.prompts[0];
    return latest?.id === undefined ? null : { prompt: latest.id, ...rest };
  }

  /** @param {Filters} filters */
  #sort(filters) {
    if (wish.sort) return wish.sort;
    return filters.prompt === "" || this.mixture.scorers ? "standing" : "score";
  }

  /** @param {Row[]} rows @param {number} total @param {Filters} filters @returns {Mixture} */
  #mixtureOf(rows, total, { prompt }) {
    const unseen = rows.length < total && prompt === "" && (this.facets?.prompts.length ?? 0) > 1;
    return {
      prompts: unseen || new Set(rows.map((row) => row.prompt_id)).size > 1,
      scorers: new Set(rows.map((row) => row.fingerprint)).size > 1,
    };
  }

  // --- showing ---

  /** @param {Row[]} rows @param {number} total @param {string} sort */
  #show(rows, total, sort) {
    const place = this.#place();
    this.rows = rows;
    this.total = total;
    this.filters.setOrder(sort, wish.order);
    this.table.show(rows, { sort, order: wish.order, ...this.mixture });
    this.#restore(place);
    this.#tell();
    this.#setState(rows.length ? null : this.#nothing());
  }

  #tell() {
    const { rows, total } = this;
    this.count.textContent = t("board.count", "{shown} of {total}", {
      shown: number(rows.length),
      total: number(total),
    });
    this.more.hidden = rows.length >= Math.min(total, MOST);
    if (rows.length >= MOST && total > rows.length) {
      this.count.textContent += ` \u00b7 ${t("board.most", "narrow the filters to see the rest")}`;
    }
    this.#notify(this.summary?.enabled === false, this.#mixedLine());
  }

  /** @param {boolean} off @param {string} mixed */
  #notify(off, mixed) {
    const told = JSON.stringify([off, mixed]);
    // What stands there stays, with the focus on its button.
    if (told === this.told) return;
    this.told = told;
    const words = t("board.off", "Recording is off: new pictures are not listed here.");
    this.notice.replaceChildren(
      ...(off ? [el("p", { text: words }), el("div", { class: "hps-buttons" }, remedyButton(settingsButton()))] : []),
      ...(mixed ? [el("p", { text: mixed })] : []),
    );
    this.notice.hidden = !off && !mixed;
  }

  #mixedLine() {
    const { prompts, scorers } = this.mixture;
    if (prompts)
      return t(
        "board.mixedPrompts",
        "Scores of different prompts do not compare; the standing within each prompt does.",
      );
    if (scorers)
      return t("board.mixedScorers", "Scores of different scorers do not compare; choose one, or go by the standing.");
    return "";
  }

  #nothing() {
    if (!narrowed(wish) && !this.summary?.rows) return emptyPanel(() => this.refresh());
    const clear = { text: t("board.clear", "Clear the filters"), run: () => this.filters.clear() };
    const title = t("board.none", "No picture matches");
    return statePanel("empty", title, t("board.noneHow", "Other filters, or fewer words, may find some."), clear);
  }

  /** @param {Node | null} panel in place of the list; null shows the list */
  #setState(panel) {
    this.state.replaceChildren(...(panel ? [panel] : []));
    this.state.hidden = !panel;
    this.list.hidden = Boolean(panel);
    const known = this.summary !== null && (this.summary.enabled || Boolean(this.summary.rows));
    this.filters.element.hidden = this.compare.element.hidden = !known || !(this.summary?.rows || this.rows.length);
    this.ledger.element.hidden = !known;
  }

  /** @param {unknown} error */
  #fail(error) {
    const panel = errorPanel(error, () => this.refresh());
    this.told = "";
    if (!this.rows.length) {
      this.notice.hidden = true;
      return this.#setState(panel);
    }
    // Old rows are better than none, as long as it is said that they are old.
    this.notice.replaceChildren(panel);
    this.notice.hidden = false;
  }

  /** @returns {{id: number, top: number} | null} the first row in sight, and where; null at the top of the list */
  #place() {
    if (this.list.scrollTop < 4) return null;
    const edge = this.list.getBoundingClientRect().top;
    for (const [id, { tr }] of this.table.drawn) {
      const box = tr.getBoundingClientRect();
      if (box.bottom > edge + 40) return { id, top: box.top };
    }
    return null;
  }

  /** @param {{id: number, top: number} | null} place */
  #restore(place) {
    const tr = place && this.table.drawn.get(place.id)?.tr;
    if (tr) this.list.scrollTop += tr.getBoundingClientRect().top - place.top;
  }

  // --- doing ---

  /** @param {string} sort */
  #sortBy(sort) {
    const again = sort === this.table.look.sort;
    wish.order = again ? (wish.order === "asc" ? "desc" : "asc") : TEXTS.has(sort) ? "asc" : "desc";
    wish.sort = sort;
    this.#restart();
  }

  /** @param {import("./board_table.js").Action} action @param {Row} row */
  #act(action, row) {
    if (action === "seed" && row.seed !== null) copySeed(row.seed);
    if (action === "large") openLarge(this.rows, row);
    if (action === "workflow" && row.workflow) openWorkflow(row);
  }

  async #copySeeds() {
    const seeds = [...new Set(this.rows.map((row) => row.seed).filter((seed) => seed !== null))];
    if (!seeds.length) return toast("info", t("board.noSeeds", "None of these pictures has a known seed"));
    const text = seeds.join(", ");
    const title = t("board.seedsCopied", "Seeds copied: {n}", { n: seeds.length });
    if (await copyText(text))
      toast("success", title, t("board.seedsUse", "Paste them where a list of seeds is asked for."));
    else toast("warn", t("seed.notCopied", "The browser does not let pages copy. Copy it by hand:"), text, 15000);
  }
}

/** @param {string} text @param {() => void} run */
const button = (text, run) => el("button", { type: "button", class: "hps-button", text, on: { click: run } });
