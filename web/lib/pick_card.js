// @ts-check
// The card of a blind pick: two to nine pictures without names, one answer, then what the scorer thinks. Nothing about
// scores or seeds is in the page before the answer, for nothing of it has been sent.
import { el } from "./dom.js";
import { modelText, scoreText } from "./format.js";
import { RouteError, explain, imageUrl, sendPick } from "./client.js";
import { t } from "./host.js";
import { plain } from "./floating.js";

/** @typedef {import("./client.js").Answer} Answer */
/** @typedef {import("./client.js").Revealed} Revealed */
/** @typedef {{ids: number[], kind: "pair" | "grid", prompt: string, images: HTMLImageElement[]}} Question pictures are loaded */
/** @typedef {"waiting" | "opening" | "asking" | "sending" | "revealed"} State */
/**
 * @typedef {{onAnswered: (answer: Answer) => void, onNext: () => void, onLeave: () => void, next: string,
 *   onRefused?: (error: RouteError) => void}} Hooks next: words of the button that goes on; onRefused: answers are not
 * kept; without it the card says so
 */

/** So long a new question takes no answer: the second click of a double click belongs to the one before. */
const GUARD = 250;
/** So long the result stands before the next question comes by itself. */
const READING = 2500;
/** @type {Set<string>} what may or may not have reached the server; sending it again could count it twice */
const UNKNOWN = new Set(["gone", "slow", "answer"]);

/** Whether the next question comes by itself; holds until the page is loaded again. */
let goOn = true;

/** @param {number} place from 0 */
const pictureName = (place) => t("picks.picture", "Picture {n}", { n: place + 1 });

/**
 * Load the pictures of rows, decoded, so that all of them appear at once.
 * @param {number[]} ids
 * @param {"full" | "thumb"} [size] of all of them: a sharp picture beside a blurred one would be an answer
 * @returns {Promise<HTMLImageElement[]>} fails when one cannot be had
 */
export function loadPictures(ids, size = "full") {
  return Promise.all(
    ids.map(async (id) => {
      const image = el("img", { alt: "", draggable: false, decoding: "async", src: imageUrl(id, size) });
      await image.decode();
      return image;
    }),
  );
}

export class PickCard {
  /** @param {Hooks} hooks */
  constructor(hooks) {
    this.hooks = hooks;
    /** @type {Question | null} */
    this.question = null;
    /** @type {any[]} */
    this.choices = [];
    this.shownAt = 0;
    this.away = false;
    /** The time of an answer says nothing when the page was in the background meanwhile. */
    this.hide = () => (this.away = true);
    document.addEventListener("visibilitychange", this.hide);
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.ask = el("p", { class: "hps-ask" });
    this.prompt = el("p", { class: "hps-prompt", tabIndex: 0 });
    this.place = el("div", { class: "hps-choices" });
    this.verdict = el("p", { class: "hps-verdict", role: "status" });
    this.tie = button("hps-tie", t("picks.tie", "Cannot decide"), "0", () => this.answer("tie"));
    this.skip = button("hps-skip", t("picks.skip", "Skip"), "s", () => this.answer("skip"));
    this.next = button("hps-next", hooks.next, "n", () => this.#goOn());
    this.auto = el("input", { type: "checkbox", checked: goOn, on: { change: () => this.#setAuto() } });
    this.autoLabel = el("label", { class: "hps-auto" }, this.auto, t("picks.auto", "Next one automatically"));
    this.bar = el("div", { class: "hps-buttons" }, this.tie, this.skip, this.next, this.autoLabel);
    this.element = el(
      "div",
      { class: "hps-picks", role: "group", tabIndex: -1, "aria-label": t("picks.card", "Blind pick") },
      this.ask,
      this.prompt,
      this.place,
      this.verdict,
      this.bar,
    );
    this.element.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
    this.wait("");
  }

  destroy() {
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.hide);
    this.question = null;
  }

  /** @param {State} state */
  #set(state) {
    this.state = this.element.dataset.state = state;
    const closed = state !== "asking" && state !== "opening";
    for (const each of [...this.choices, this.tie, this.skip]) each.setAttribute("aria-disabled", String(closed));
    this.element.setAttribute("aria-busy", String(state === "waiting" || state === "sending"));
    const revealed = state === "revealed";
    this.next.hidden = !revealed;
    this.autoLabel.hidden = !revealed || this.question?.kind === "grid";
    this.tie.hidden = this.skip.hidden = revealed;
  }

  /** Show that the next question is on its way. @param {string} note */
  wait(note) {
    clearTimeout(this.timer);
    this.verdict.textContent = note;
    this.#set("waiting");
  }

  /** @param {Question} question @param {string} [note] to be read with it */
  show(question, note = "") {
    clearTimeout(this.timer);
    this.#holdFocus();
    this.question = question;
    this.ask.textContent =
      question.kind === "pair"
        ? t("picks.which", "Which picture is better for this prompt?")
        : t("picks.whichOf", "Which of these is best?");
    this.prompt.textContent = question.prompt;
    this.prompt.hidden = !question.prompt;
    this.choices = question.images.map((image, place) => this.#choice(image, place));
    this.place.dataset.n = String(this.choices.length);
    this.place.replaceChildren(...this.choices);
    this.verdict.textContent = note;
    this.shownAt = performance.now();
    this.away = document.hidden;
    this.#set("opening");
    this.timer = setTimeout(() => this.#set("asking"), GUARD);
  }

  /** @param {HTMLImageElement} image @param {number} place */
  #choice(image, place) {
    const sign = el("span", { class: "hps-sign", text: String(place + 1) });
    const name = pictureName(place);
    const box = el("button", { type: "button", class: "hps-choice", dataset: { side: String(place + 1) } });
    box.setAttribute("aria-label", name);
    box.setAttribute("aria-keyshortcuts", String(place + 1));
    box.append(image, sign);
    box.addEventListener("click", () => this.answer("pick", place));
    return box;
  }

  /** Buttons come and go; a person at the keyboard must not be thrown out of the card. */
  #holdFocus() {
    if (this.element.contains(document.activeElement)) this.element.focus({ preventScroll: true });
  }

  // --- answering ---

  /**
   * Send the answer; whatever comes after the first one is not heard.
   * @param {"pick" | "tie" | "skip"} outcome
   * @param {number} [place] of the picture, from 0
   */
  async answer(outcome, place) {
    const question = this.question;
    if (this.state !== "asking" || !question) return;
    const chosen = place === undefined ? null : question.ids[place];
    if (chosen === undefined) return;
    const seconds = this.away ? null : Math.round((performance.now() - this.shownAt) / 100) / 10;
    /** @type {Answer} */
    const answer = { shown: question.ids, chosen, outcome, kind: question.kind, seconds };
    this.#set("sending");
    try {
      const { reveal } = await sendPick(answer);
      if (this.question === question) this.#answered(answer, reveal);
    } catch (error) {
      if (this.question === question) this.#failed(error);
    }
  }

  /** @param {Answer} answer @param {Revealed[]} reveal */
  #answered(answer, reveal) {
    this.hooks.onAnswered(answer);
    if (answer.outcome === "skip") return this.hooks.onNext();
    const byId = new Map(reveal.map((each) => [each.id, each]));
    const shown = answer.shown.map((id) => byId.get(id) ?? null);
    const place = answer.chosen === null ? -1 : answer.shown.indexOf(answer.chosen);
    const best = favourite(shown);
    this.choices.forEach((box, at) => tell(box, shown[at], at === place, at === best));
    this.#reveal(verdict(shown, place, best));
  }

  /** @param {unknown} error */
  #failed(error) {
    if (error instanceof RouteError && error.kind === "refused" && this.hooks.onRefused) {
      return this.hooks.onRefused(error);
    }
    const lost = !(error instanceof RouteError) || UNKNOWN.has(error.kind) || error.status === 404;
    if (!lost) {
      this.verdict.textContent = `${t("picks.notCounted", "Your answer was not counted.")} ${explain(error)}`;
      this.#set("asking");
      return;
    }
    const unsure = t(
      "picks.unsure",
      "Your answer may not have been counted; it is not sent again, so that it cannot count twice.",
    );
    this.#reveal(`${unsure} ${explain(error)}`, false);
  }

  /** @param {string} text @param {boolean} [moveOn] */
  #reveal(text, moveOn = true) {
    this.#holdFocus();
    this.#set("revealed");
    this.verdict.textContent = text;
    if (moveOn && goOn && this.question?.kind === "pair") this.timer = setTimeout(() => this.#goOn(), READING);
  }

  #goOn() {
    if (this.state !== "revealed") return;
    this.#holdFocus();
    clearTimeout(this.timer);
    this.hooks.onNext();
  }

  #setAuto() {
    goOn = this.auto.checked;
    clearTimeout(this.timer);
    if (goOn && this.state === "revealed") this.timer = setTimeout(() => this.#goOn(), READING);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (!plain(event)) return;
    // Space and Enter belong to the button or box that has the focus.
    const own = event.target !== this.element && (event.key === "Enter" || event.key === " ");
    const act = own ? undefined : this.#keyAction(event.key);
    if (act) {
      event.preventDefault();
      if (!event.repeat) act();
    }
  }

  /** @param {string} key @returns {(() => void) | undefined} */
  #keyAction(key) {
    if (/^[1-9]$/.test(key) && Number(key) <= this.choices.length) return () => this.answer("pick", Number(key) - 1);
    const acts = {
      0: () => this.answer("tie"),
      s: () => this.answer("skip"),
      n: () => this.#goOn(),
      Enter: () => this.#goOn(),
      " ": () => this.#goOn(),
      Escape: () => this.hooks.onLeave(),
    };
    return acts[/** @type {keyof typeof acts} */ (key.length === 1 ? key.toLowerCase() : key)];
  }
}

/** @param {string} name @param {string} text @param {string} key @param {() => void} run */
function button(name, text, key, run) {
  const made = el(
    "button",
    { type: "button", class: `hps-button ${name}`, on: { click: run } },
    text,
    el("kbd", { text: key }),
  );
  made.setAttribute("aria-keyshortcuts", key);
  return made;
}

// --- what the scorer says --------------------------------------------------------------------------------------------

/** @param {(Revealed | null)[]} shown @returns {boolean} whether their scores may be compared */
const oneScorer = (shown) => new Set(shown.map((each) => each?.fingerprint)).size < 2;

/** @param {(Revealed | null)[]} shown @returns {number} place of the highest score; -1 without one, or with two */
function favourite(shown) {
  if (!oneScorer(shown)) return -1;
  const scores = shown.map((each) => each?.score ?? -Infinity);
  const best = Math.max(...scores);
  return best > -Infinity && scores.filter((score) => score === best).length === 1 ? scores.indexOf(best) : -1;
}

/** @param {(Revealed | null)[]} shown @param {number} place chosen, -1 for none @param {number} best */
function verdict(shown, place, best) {
  if (shown.some((each) => typeof each?.score !== "number"))
    return t("picks.noScore", "Not all of these have a score.");
  if (!oneScorer(shown)) {
    return t("picks.otherScorers", "These were scored by different scorers: their scores do not compare.");
  }
  if (best < 0) return t("picks.noDifference", "The scorer sees no difference.");
  const ahead = lead(shown, best);
  const name = pictureName(best);
  if (place === best) return t("picks.agree", "The scorer agrees: {name}, ahead by {lead}.", { name, lead: ahead });
  if (place < 0) return t("picks.prefers", "The scorer prefers {name}, by {lead}.", { name, lead: ahead });
  const own = shown[place]?.score ?? 0;
  const rank = 1 + shown.filter((each) => (each?.score ?? 0) > own).length;
  const other = t("picks.other", "The scorer would have chosen {name}, by {lead}.", { name, lead: ahead });
  if (shown.length === 2) return other;
  return `${other} ${t("picks.rank", "Yours is its number {rank} of {n}.", { rank, n: shown.length })}`;
}

/** @param {(Revealed | null)[]} shown @param {number} best @returns {string} how far it is ahead of the next */
function lead(shown, best) {
  const scores = shown.map((each) => each?.score ?? 0);
  const next = Math.max(...scores.filter((_, place) => place !== best));
  const text = scoreText(scores[best] - next);
  return Number(text) > 0 ? text : `< ${text.replace(/0$/, "1")}`;
}

/** @param {any} box @param {Revealed | null} known @param {boolean} yours @param {boolean} theirs */
function tell(box, known, yours, theirs) {
  box.classList.toggle("hps-yours", yours);
  box.classList.toggle("hps-theirs", theirs);
  const marks = [yours && t("picks.yours", "your pick"), theirs && t("picks.theirs", "the scorer's")].filter(Boolean);
  const seed = known?.seed ? t("picks.seed", "seed {seed}", { seed: known.seed }) : "";
  const made = [seed, known?.sampler, known && modelText(known.model)].filter(Boolean).join(" \u00b7 ");
  box.append(
    el(
      "span",
      { class: "hps-result" },
      el("b", { text: scoreText(known?.score) }),
      marks.length > 0 && el("i", { text: marks.join(", ") }),
      el("small", { text: made, title: made }),
    ),
  );
}
