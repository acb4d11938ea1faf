// @ts-check
// What can be done with a row of the leaderboard: open its workflow, see its picture large.
import { el } from "./dom.js";
import { modelText, number, oneLine, scoreText, settingsText, standingText, standingTip, when } from "./format.js";
import { explain, fetchWorkflow, imageUrl } from "./client.js";
import { confirmed, loadGraph, opensBeside, t, toast } from "./host.js";
import { copySeed } from "./actions.js";
import { Floating, plain } from "./floating.js";

/** @typedef {import("./client.js").Row} Row */

const LONGEST_NAME = 40;

let opening = false;

/** @param {Row} row @returns {string} "seed 53 - first words", fit to be the name of a tab and of a file */
export function tabName({ id, seed, prompt }) {
  const known = seed === null ? "" : t("board.seedOf", "seed {seed}", { seed });
  const whole = [known, oneLine(prompt, LONGEST_NAME * 2)].filter(Boolean).join(" - ");
  const safe = whole.replace(/[\p{C}<>:"/\\|?*]+/gu, " ").replace(/\s+/g, " ").trim();
  const short = [...safe].slice(0, LONGEST_NAME).join("");
  // A word that was cut goes, as long as something is left; no file's name begins or ends with a dot.
  const words = short === safe ? short : short.replace(/(?<=\S.*) \S*$/u, "");
  return words.replace(/^[. -]+|[. -]+$/g, "") || `HPS ${id}`;
}

/**
 * Open the workflow that made a row's picture in a new tab of the host.
 * @param {Row} row
 */
export async function openWorkflow(row) {
  if (opening) return;
  opening = true;
  try {
    const { kind, graph } = await fetchWorkflow(row.id);
    if (!opensBeside() && !(await askFirst())) return;
    await loadGraph(kind, graph, tabName(row));
    closeLarge();
  } catch (error) {
    toast("error", t("board.workflowFailed", "The workflow could not be opened"), explain(error));
  } finally {
    opening = false;
  }
}

function askFirst() {
  return confirmed(
    t("board.workflowTitle", "Open the workflow of this picture?"),
    t(
      "board.workflowAsk",
      "It takes the place of the workflow that is open. Save that one first if you want to keep it.",
    ),
  );
}

// --- large view ------------------------------------------------------------------------------------------------------

/** @type {LargeView | null} */
let large = null;

/**
 * Show a row's picture large, with all that is known of it.
 * @param {Row[]} rows to step through
 * @param {Row} row
 */
export function openLarge(rows, row) {
  large ??= new LargeView(() => (large = null));
  large.show(rows, row);
}

/** Close the large view, if it is open. */
export const closeLarge = () => large?.card.close();

class LargeView {
  /** @param {() => void} onClose */
  constructor(onClose) {
    /** @type {Row[]} */
    this.rows = [];
    this.at = 0;
    /** Esc on the canvas reaches no card; what the host has to close itself comes first. */
    const escape = (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Escape" || !plain(event) || event.defaultPrevented || hostsOwn(event.target)) return;
      event.preventDefault();
      event.stopPropagation();
      this.card.close();
    };
    document.addEventListener("keydown", escape);
    this.card = new Floating(t("large.title", "Picture"), "hps-large", () => {
      document.removeEventListener("keydown", escape);
      onClose();
    });
    this.image = el("img", { class: "hps-large-picture", draggable: false });
    this.image.addEventListener("error", () => this.#failed());
    this.image.addEventListener("load", () => this.card.element.classList.remove("hps-broken"));
    this.lost = el("p", {
      class: "hps-remark hps-lost",
      text: t("large.lost", "The picture is gone: it was not saved, or its file was moved."),
    });
    this.facts = el("dl", { class: "hps-large-facts" });
    this.before = button("\u2039", t("large.before", "Row above (left arrow)"), () => this.#step(-1));
    this.after = button("\u203a", t("large.after", "Row below (right arrow)"), () => this.#step(1));
    this.seed = button(t("gallery.copySeed", "Copy seed"), "", () => copySeed(this.rows[this.at].seed ?? ""));
    this.workflow = button(
      t("board.workflow", "Workflow"),
      t("board.workflowTip", "Open the workflow that made this picture"),
      () => openWorkflow(this.rows[this.at]),
    );
    const bar = el("div", { class: "hps-buttons" }, this.before, this.after, this.seed, this.workflow);
    this.card.body.append(this.image, this.lost, bar, this.facts);
    this.card.element.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
  }

  /** @param {Row[]} rows @param {Row} row */
  show(rows, row) {
    this.rows = rows;
    this.at = Math.max(
      0,
      rows.findIndex(({ id }) => id === row.id),
    );
    this.#draw();
    this.card.centre();
  }

  #draw() {
    const row = this.rows[this.at];
    const [width, height] = [row.width || 512, row.height || 512];
    this.small = false;
    Object.assign(this.image, {
      width,
      height,
      src: imageUrl(row.id, "full"),
      alt: t("large.alt", "Picture of row {id}", { id: row.id }),
    });
    this.image.style.aspectRatio = `${width} / ${height}`;
    this.before.disabled = this.at === 0;
    this.after.disabled = this.at === this.rows.length - 1;
    this.seed.hidden = row.seed === null;
    this.workflow.hidden = !row.workflow;
    this.facts.replaceChildren(
      ...facts(row).flatMap(([name, text, title = ""]) => [el("dt", { text: name }), el("dd", { text, title })]),
    );
  }

  /** The full picture did not load: take the small one, then say so. */
  #failed() {
    if (this.small) this.card.element.classList.add("hps-broken");
    else this.image.src = imageUrl(this.rows[this.at].id, "thumb");
    this.small = true;
  }

  /** @param {number} by */
  #step(by) {
    if (!this.rows[this.at + by]) return;
    this.at += by;
    this.#draw();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.target === this.card.handle) return;
    if (event.key === "ArrowLeft") this.#step(-1);
    if (event.key === "ArrowRight") this.#step(1);
  }
}

/** Dialogs and menus that close at Esc. */
const CLOSED_BY_ESC =
  "dialog[open], [aria-modal=true], .p-dialog, .p-contextmenu, .litecontextmenu, .graphdialog, .hps-viewer, .hps-menu";

/** @param {any} target of a key @returns {boolean} whether Esc has something to do there or in an open dialog */
function hostsOwn(target) {
  const writing = target?.closest?.("input, textarea, select, [contenteditable=true], [role=dialog], [role=menu]");
  return Boolean(writing) || document.querySelector(CLOSED_BY_ESC) !== null;
}

/** @param {string} text @param {string} title @param {() => void} run */
function button(text, title, run) {
  const made = el("button", { type: "button", class: "hps-button", text, title, on: { click: run } });
  if (text.length === 1) made.setAttribute("aria-label", title);
  return made;
}

/** @param {Row} row @returns {[string, string, string?][]} names and words of what is known, more in a tooltip */
function facts(row) {
  const parts = Object.entries(row.parts ?? {}).map(([name, score]) => `${name} ${scoreText(score)}`);
  const standing = `${standingText(row.standing)} ${t("board.of", "of {n}", { n: number(row.group.n) })}`;
  /** @type {[string, string, string?][]} */
  const all = [
    [t("board.score", "Score"), `${scoreText(row.score)} (${row.scorer} ${row.scorer_version}, ${row.preprocess})`],
    [t("large.parts", "Parts"), parts.join(", ")],
    [t("board.standing", "Standing"), standing, standingTip(row)],
    [t("large.prompt", "Prompt"), row.prompt],
    [t("large.negative", "Negative"), row.negative],
    [t("board.seed", "Seed"), row.seed ?? ""],
    [t("board.sampler", "Sampler"), [settingsText(row), row.scheduler].filter(Boolean).join(" \u00b7 ")],
    [t("board.model", "Model"), modelText(row.model)],
    [t("large.loras", "LoRAs"), row.loras.map(([name, strength]) => `${modelText(name)} ${strength}`).join(", ")],
    [t("large.size", "Size"), row.width && row.height ? `${row.width}\u00d7${row.height}` : ""],
    [t("large.file", "File"), row.file],
    [t("board.time", "When"), when(row.time)],
  ];
  return all.filter(([, text]) => text);
}
