// @ts-check
// What can be done with a row of the leaderboard: open its workflow, see its picture large.
import { el } from "./dom.js";
import { modelText, number, scoreText, settingsText, standingText, when } from "./format.js";
import { explain, fetchWorkflow, imageUrl } from "./client.js";
import { confirmed, loadGraph, t, toast, unsaved } from "./host.js";
import { copySeed } from "./actions.js";
import { Floating } from "./floating.js";

/** @typedef {import("./client.js").Row} Row */

let opening = false;

/**
 * Open the workflow that made a row's picture in a new tab of the host.
 * @param {Row} row
 */
export async function openWorkflow(row) {
  if (opening) return;
  opening = true;
  try {
    const { kind, graph } = await fetchWorkflow(row.id);
    if (unsaved() && !(await askFirst())) return;
    await loadGraph(kind, graph, `HPS ${row.id}`);
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
      "The workflow that is open has unsaved changes. This one opens beside it, in a tab of its own; save first if you are not sure.",
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
    this.card = new Floating(t("large.title", "Picture"), "hps-large", onClose);
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
    this.facts.replaceChildren(...facts(row).flatMap(([name, text]) => [el("dt", { text: name }), el("dd", { text })]));
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

/** @param {string} text @param {string} title @param {() => void} run */
function button(text, title, run) {
  const made = el("button", { type: "button", class: "hps-button", text, title, on: { click: run } });
  if (text.length === 1) made.setAttribute("aria-label", title);
  return made;
}

/** @param {Row} row @returns {[string, string][]} names and words of what is known */
function facts(row) {
  const parts = Object.entries(row.parts ?? {}).map(([name, score]) => `${name} ${scoreText(score)}`);
  const standing = `${standingText(row.standing)} ${t("board.of", "of {n}", { n: number(row.group.n) })}`;
  /** @type {[string, string][]} */
  const all = [
    [t("board.score", "Score"), `${scoreText(row.score)} (${row.scorer} ${row.scorer_version}, ${row.preprocess})`],
    [t("large.parts", "Parts"), parts.join(", ")],
    [t("board.standing", "Standing"), standing],
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
