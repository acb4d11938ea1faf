// @ts-check
// The view "Blind picks": one pair after the other, and how often the scorer would have chosen the same.
import { el } from "./dom.js";
import { oneLine } from "./format.js";
import { RouteError, fetchAgreement, fetchFacets, fetchPair, fetchSummary, isAbort, sendPick } from "./client.js";
import { t } from "./host.js";
import { Floating } from "./floating.js";
import { options } from "./board_filters.js";
import { PickCard, loadPictures } from "./pick_card.js";
import { agreementPanel } from "./pick_agreement.js";
import { againButton, errorPanel, picksOffPanel, statePanel } from "./states.js";

export { startBlindGrid } from "./pick_grid.js";

/** @typedef {import("./client.js").Pair} Pair */
/** @typedef {import("./client.js").Agreement} Agreement */
/** @typedef {{pair: Pair, images: HTMLImageElement[] | null}} Loaded images: null when one of them cannot be had */

const MOST_BROKEN = 5;

/** Answers since the page was opened, and which prompt they are about; both outlive the view. */
let answers = 0;
let prompt = "";

/** @param {AbortSignal} signal @returns {Promise<Loaded | null>} null when no pair is left */
async function loadPair(signal) {
  const { pair } = await fetchPair(prompt === "" ? "" : Number(prompt), signal);
  if (!pair) return null;
  const images = await loadPictures(pair.ids, pair.size).catch(() => null);
  signal.throwIfAborted();
  return { pair, images };
}

/** @param {AbortSignal} signal @returns {Promise<string | null>} why nothing is recorded; null when it is */
async function whyOff(signal) {
  try {
    const { enabled, reason } = await fetchSummary(signal);
    return enabled ? null : reason;
  } catch {
    return null; // The question meets the same trouble and says it.
  }
}

/** @param {Pair | null} one @param {Pair | null} other */
const samePair = (one, other) =>
  one !== null && other !== null && [...one.ids].sort().join() === [...other.ids].sort().join();

/** @param {Element} element @returns {boolean} whether a person may be writing in it */
const writable = (element) => element.matches("input, textarea, select, [contenteditable=true]");

export class Picks {
  constructor() {
    /** @type {AbortController} */
    this.request = new AbortController();
    this.closed = new AbortController();
    /** @type {Pair | null} */
    this.pair = null;
    /** @type {Promise<Loaded | null> | null} the pair after this one */
    this.ahead = null;
    /** @type {Agreement | null} */
    this.agreement = null;
    /** @type {Floating | null} */
    this.float = null;
    /** @type {Element | null} what had the focus when the person opened this view; the card takes it over */
    this.heir = null;
    this.card = new PickCard({
      onAnswered: (answer) => this.#answered(answer.outcome),
      onNext: () => this.#next(""),
      onLeave: () => this.#leave(),
      onRefused: (error) => this.#fail(error),
      next: t("picks.next", "Next"),
    });
    this.prompt = el("select", { class: "hps-input" });
    this.prompt.append(el("option", { value: "", text: t("filter.allPrompts", "All prompts") }));
    this.prompt.addEventListener("change", () => this.#choose());
    this.larger = el("button", {
      type: "button",
      class: "hps-button",
      text: t("picks.larger", "Larger"),
      on: { click: () => this.#floatOut() },
    });
    this.larger.title = t("picks.largerTip", "Put the pictures on a card that floats over the page");
    this.state = el("div", { class: "hps-state-place" });
    this.dock = el("div", { class: "hps-dock" }, this.card.element);
    this.floating = statePanel("empty", t("picks.out", "The card floats over the page"), "", {
      text: t("picks.back", "Bring it back"),
      run: () => this.float?.close(),
    });
    this.score = el("div", { class: "hps-agreement-place" });
    const label = el("label", { class: "hps-field" }, el("span", { text: t("filter.prompt", "Prompt") }), this.prompt);
    const hint = el("p", {
      class: "hps-remark",
      text: t(
        "picks.hint",
        "Keys: 1 and 2 choose, 0 for cannot decide, s skips. They work while the card is framed in colour, as when this view opens; a click on the question frames it again.",
      ),
    });
    const top = el("div", { class: "hps-filter-top" }, label, this.larger);
    this.element = el("div", { class: "hps-view hps-picks-view" }, top, this.state, this.dock, hint, this.score);
    this.hint = hint;
    this.#setState(null);
  }

  destroy() {
    this.closed.abort();
    this.request.abort();
    this.float?.close();
    this.card.destroy();
  }

  /** A run has ended: look for pairs if none were left; never touch a question that stands. */
  refresh() {
    this.#loadPrompts();
    this.#loadAgreement();
    return this.#begin(true);
  }

  /** Give the card the focus once it asks, for the person who opened this view, if nothing else took it meanwhile. */
  takeFocus() {
    this.heir = document.activeElement;
    if (this.pair) this.#inherit();
  }

  #inherit() {
    if (this.heir && this.heir === document.activeElement && !writable(this.heir)) {
      this.card.element.focus({ preventScroll: true });
    }
    this.heir = null;
  }

  #choose() {
    prompt = this.prompt.value;
    this.#begin();
  }

  /** Ask a question if answers are kept. @param {boolean} [keep] the question that stands, if one does */
  async #begin(keep = false) {
    const off = await whyOff(this.closed.signal);
    if (this.closed.signal.aborted) return;
    if (off !== null) this.#setOff(off);
    else if (!keep || !this.pair || !this.state.hidden) this.#next("");
  }

  /** @param {string} reason */
  #setOff(reason) {
    this.request.abort();
    this.ahead = null;
    this.card.wait("");
    this.#setState(picksOffPanel(reason, () => this.#begin()));
  }

  // --- questions ---

  /** Ask the next question; an older call's answer is not heard. @param {string} note */
  async #next(note) {
    const ahead = this.ahead;
    this.ahead = null;
    const stale = this.shownPrompt !== prompt;
    if (stale || !ahead) this.request.abort();
    const request = stale || !ahead ? (this.request = new AbortController()) : this.request;
    this.shownPrompt = prompt;
    this.card.wait(note);
    try {
      const loaded = await this.#usable(stale ? null : ahead, request.signal);
      if (request !== this.request || request.signal.aborted) return;
      if (loaded) this.#show(loaded);
      else this.#setState(this.#nothing());
    } catch (error) {
      if (!isAbort(error) && request === this.request) this.#fail(error);
    }
  }

  /** Take pairs until both pictures of one can be shown. @param {Promise<Loaded | null> | null} ahead @param {AbortSignal} signal */
  async #usable(ahead, signal) {
    let loaded = await ahead?.catch(() => undefined);
    let note = "";
    for (let tries = 0; tries < MOST_BROKEN; tries += 1) {
      // What was asked for ahead may be the pair that has just been judged.
      if (loaded === undefined || samePair(loaded?.pair ?? null, this.pair)) loaded = await loadPair(signal);
      if (!loaded) return null;
      if (loaded.images) return { pair: loaded.pair, images: loaded.images, note };
      await sendPick({ shown: loaded.pair.ids, chosen: null, outcome: "skip", kind: "pair", seconds: null });
      signal.throwIfAborted();
      note = t("picks.broken", "A pair was skipped: one of its pictures could not be loaded.");
      loaded = undefined;
    }
    throw new RouteError(
      "missing",
      t(
        "picks.allBroken",
        "The pictures of several pairs could not be loaded. They may have been deleted: score new ones, or choose another prompt.",
      ),
    );
  }

  /** @param {{pair: Pair, images: HTMLImageElement[], note: string}} loaded */
  #show({ pair, images, note }) {
    this.pair = pair;
    this.#setState(null);
    this.card.show({ ids: pair.ids, kind: "pair", prompt: pair.prompt, images }, note);
    this.#inherit();
    const { signal } = this.request;
    this.ahead = loadPair(signal);
    this.ahead.catch(() => {}); // Told when it is needed, not before.
  }

  /** @param {"pick" | "tie" | "skip"} outcome */
  #answered(outcome) {
    if (outcome !== "skip") answers += 1;
    this.#loadAgreement();
  }

  #leave() {
    if (this.float) return this.float.close();
    const tab = /** @type {HTMLElement | null} */ (
      document.querySelector(".hps-sidebar [role=tab][aria-selected=true]")
    );
    tab?.focus();
  }

  // --- around the card ---

  async #loadPrompts() {
    try {
      const { prompts } = await fetchFacets();
      const known = prompts.filter(({ n }) => n > 1);
      if (!known.some(({ id }) => String(id) === prompt)) prompt = "";
      const each = known.map(({ id, value }) => /** @type {[string, string]} */ ([String(id), oneLine(value, 90)]));
      options(this.prompt, prompt, [["", t("filter.allPrompts", "All prompts")], ...each]);
    } catch {
      // The question below meets the same trouble and says it.
    }
  }

  async #loadAgreement() {
    try {
      this.agreement = await fetchAgreement();
      this.score.replaceChildren(agreementPanel(this.agreement, answers));
    } catch {
      // Old figures stand until there are new ones.
    }
  }

  #floatOut() {
    const float = new Floating(t("picks.title", "Blind pick"), "hps-pick-float", () => {
      this.float = null;
      this.dock.replaceChildren(this.card.element);
    });
    this.float = float;
    float.body.append(this.card.element);
    this.dock.replaceChildren(this.floating);
    float.centre();
    this.card.element.focus({ preventScroll: true });
  }

  #nothing() {
    const title = t("picks.nothing", "No pair is left to judge");
    const text = t(
      "picks.nothingHow",
      "It takes two scored pictures of one prompt. Score more seeds, or choose another prompt.",
    );
    return statePanel(
      "empty",
      title,
      text,
      againButton(() => this.#begin()),
    );
  }

  /** @param {unknown} error */
  #fail(error) {
    if (error instanceof RouteError && error.kind === "refused") this.#setOff(error.message);
    else this.#setState(errorPanel(error, () => this.#begin()));
  }

  /** @param {Node | null} panel in place of the card */
  #setState(panel) {
    this.state.replaceChildren(...(panel ? [panel] : []));
    this.state.hidden = !panel;
    this.dock.hidden = this.larger.hidden = this.hint.hidden = Boolean(panel);
    if (panel) {
      this.pair = this.heir = null;
      this.float?.close();
    }
  }
}
