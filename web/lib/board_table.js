// @ts-check
// The leaderboard's table: which columns fit, its rows, and how keys move through them.
import { el } from "./dom.js";
import { ago, modelText, oneLine, scoreText, settingsText, standingText, standingTip, when } from "./format.js";
import { imageUrl } from "./client.js";
import { t } from "./host.js";

/** @typedef {import("./client.js").Row} Row */
/** @typedef {"workflow" | "seed" | "large"} Action what can be done with a row */
/** @typedef {{sort: string, order: "asc" | "desc", prompts: boolean, scorers: boolean}} Look prompts, scorers: whether
 * the list holds several of them */
/**
 * as: the column whose width and look it takes, when not its own
 * @typedef {{title: () => string, sort?: string, number?: boolean, as?: string,
 *   cell: (row: Row, look: Look) => Node[]}} Column
 */

/** @returns {[string, string][]} every key the server sorts by, with its name */
export const sortNames = () => [
  ["score", t("board.score", "Score")],
  ["standing", t("board.standing", "Standing")],
  ["time", t("board.time", "When")],
  ["seed", t("board.seed", "Seed")],
  ["model", t("board.model", "Model")],
  ["sampler", t("board.sampler", "Sampler")],
  ["steps", t("board.steps", "Steps")],
  ["cfg", t("board.cfg", "CFG")],
];

/** @param {string} name */
const sortName = (name) => sortNames().find(([key]) => key === name)?.[1] ?? name;

const small = (/** @type {string} */ text, title = text) => el("span", { class: "hps-small", text, title });

// --- cells -----------------------------------------------------------------------------------------------------------

/** @param {Action} act @param {string} text @param {Record<string, any>} props */
const action = (act, text, props) => el("button", { type: "button", tabIndex: -1, dataset: { act }, text, ...props });

/** @param {Row} row */
function picture(row) {
  const label = t("board.large", "Open large");
  const image = row.thumbnail
    ? el("img", { src: imageUrl(row.id), alt: "", loading: "lazy", decoding: "async", draggable: false })
    : el("span", { class: "hps-no-picture", text: t("board.noPicture", "no picture") });
  image.addEventListener("error", () => image.replaceWith(picture({ ...row, thumbnail: false }).firstChild));
  const button = action("large", "", { class: "hps-pic", title: label, "aria-label": label });
  button.append(image);
  return button;
}

/** @param {Row} row */
function seed(row) {
  if (row.seed === null) return small(t("board.noSeed", "no seed"));
  const label = t("board.copySeed", "Copy seed {seed}", { seed: row.seed });
  return action("seed", t("board.seedOf", "seed {seed}", { seed: row.seed }), { class: "hps-link hps-row-seed", title: label, "aria-label": label });
}

/** @param {Row} row */
function workflow(row) {
  if (!row.workflow) return el("span");
  const title = t("board.workflowTip", "Open the workflow that made this picture");
  return action("workflow", t("board.workflow", "Workflow"), { class: "hps-link", title });
}

/** @param {Row} row @param {Look} look */
function score(row, { scorers }) {
  const value = el("span", { class: "hps-value", text: scoreText(row.score) });
  return scorers ? [value, small(row.scorer, `${row.scorer} ${row.scorer_version}, ${row.preprocess}`)] : [value];
}

/** @param {Row} row */
const ofGroup = (row) => t("board.of", "of {n}", { n: row.group.n });

/** Short for the eye; the whole sentence for the pointer and for a screen reader. @param {Row} row */
function told(row, /** @type {Node[]} */ ...parts) {
  const tip = standingTip(row);
  return el("span", { class: "hps-told", role: "img", "aria-label": tip, title: tip }, ...parts);
}

/** @param {Row} row */
function standing(row) {
  const value = el("span", { class: "hps-value", text: standingText(row.standing) });
  return [told(row, value, el("span", { class: "hps-small", text: ofGroup(row) }))];
}

/** Score, standing and time in one narrow cell. @param {Row} row @param {Look} look */
function stacked(row, look) {
  const line = el("span", { class: "hps-standing", text: `${standingText(row.standing)} ${ofGroup(row)}` });
  return [...score(row, look), told(row, line), time(row)];
}

/** @param {Row} row */
const settings = (row) => el("span", { class: "hps-text", text: settingsText(row), title: settingsTip(row) });

/** @param {Row} row */
function settingsTip(row) {
  const loras = row.loras.map(([name, strength]) => `${name} ${strength}`);
  return [settingsText(row), row.scheduler, `${row.width}\u00d7${row.height}`, ...loras].filter(Boolean).join("\n");
}

/** @param {Row} row @param {Look} look */
const prompt = (row, { prompts }) => (prompts ? [small(oneLine(row.prompt, 120), row.prompt)] : []);

/** @param {Row} row */
const model = (row) => small(modelText(row.model), row.model);

/** @param {Row} row */
const time = (row) => small(ago(row.time), when(row.time));

/** @param {Row} row @param {Look} look */
function details(row, look) {
  const rest = el("span", { class: "hps-small hps-wrap", text: settingsText({ ...row, sampler: "" }) });
  const lines = row.sampler ? [el("span", { text: row.sampler }), rest] : [rest];
  for (const line of lines) line.title = settingsTip(row);
  return [seed(row), ...lines, model(row), ...prompt(row, look)];
}

/** @param {Row} row @param {Look} look */
const dated = (row, look) => [...score(row, look), time(row)];

/** @param {Row} row @param {Look} look */
const setup = (row, look) => [settings(row), model(row), ...prompt(row, look)];

/** @type {Record<string, Column>} */
const COLUMNS = {
  picture: { title: () => t("board.picture", "Picture"), cell: (row) => [picture(row)] },
  score: { title: () => sortName("score"), sort: "score", number: true, cell: score },
  standing: { title: () => sortName("standing"), sort: "standing", number: true, cell: standing },
  tall: { title: () => t("board.picture", "Picture"), cell: (row) => [picture(row), workflow(row)] },
  dated: { title: () => sortName("score"), sort: "score", number: true, cell: dated },
  stacked: { title: () => sortName("score"), sort: "score", number: true, as: "dated", cell: stacked },
  details: { title: () => t("board.made", "Made with"), cell: details },
  seed: { title: () => sortName("seed"), sort: "seed", cell: (row) => [seed(row), workflow(row)] },
  settings: {
    title: () => sortName("sampler"),
    sort: "sampler",
    cell: (row, look) => [settings(row), ...prompt(row, look)],
  },
  setup: { title: () => sortName("sampler"), sort: "sampler", cell: setup },
  model: { title: () => sortName("model"), sort: "model", cell: (row) => [model(row)] },
  time: { title: () => sortName("time"), sort: "time", cell: (row) => [time(row)] },
};

/** Columns by the width that they need, in px. @type {[number, string[]][]} */
const LAYOUTS = [
  [760, ["picture", "score", "standing", "seed", "settings", "model", "time"]],
  [460, ["picture", "score", "standing", "seed", "setup", "time"]],
  [285, ["tall", "dated", "standing", "details"]],
  [0, ["tall", "stacked", "details"]],
];

/** @param {number} width @returns {string[]} */
const columnsFor = (width) => LAYOUTS.find(([least]) => width >= least)?.[1] ?? LAYOUTS[0][1];

// --- the table -------------------------------------------------------------------------------------------------------

/** A table that keeps its rows from one answer to the next, so that focus and place stay where they are. */
export class BoardTable {
  /**
   * @param {(sort: string) => void} onSort a header was pressed
   * @param {(action: Action, row: Row) => void} onAction
   */
  constructor(onSort, onAction) {
    this.onSort = onSort;
    this.onAction = onAction;
    /** @type {Row[]} */
    this.rows = [];
    /** @type {Map<number, {tr: any, drawn: string, stood: string}>} what each row shows */
    this.drawn = new Map();
    /** @type {number | null} id of the row that keys start from */
    this.current = null;
    this.columns = columnsFor(0);
    /** @type {Look} */
    this.look = { sort: "", order: "desc", prompts: false, scorers: false };
    this.head = el("tr");
    this.body = el("tbody", { on: { click: (e) => this.#click(e), focusin: (e) => this.#focus(e) } });
    this.body.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
    const caption = el("caption", { class: "hps-unseen", text: t("board.caption", "Scored pictures") });
    this.element = el("table", { class: "hps-board" }, caption, el("thead", {}, this.head), this.body);
  }

  /** @param {number} width of the place, in px */
  fit(width) {
    const columns = columnsFor(width);
    if (columns === this.columns) return;
    this.columns = columns;
    this.show(this.rows, this.look);
  }

  /** @param {Row[]} rows @param {Look} look */
  show(rows, look) {
    this.rows = rows;
    this.look = look;
    this.element.classList.toggle("hps-mixed", look.prompts || look.scorers);
    this.element.dataset.columns = String(this.columns.length);
    const focused = this.#focusedAction();
    this.#drawHead();
    const drawn = new Map(rows.map((row) => [row.id, this.#drawRow(row)]));
    this.drawn = drawn;
    this.#place([...drawn.values()].map(({ tr }) => tr));
    this.#setCurrent(this.current !== null && drawn.has(this.current) ? this.current : (rows[0]?.id ?? null));
    this.#restoreFocus(focused);
  }

  /** @param {number} id */
  focusRow(id) {
    this.#setCurrent(id);
    this.drawn.get(id)?.tr.focus();
  }

  #drawHead() {
    const active = /** @type {any} */ (document.activeElement);
    const focused = this.head.contains(active) && active.dataset.sort;
    this.head.replaceChildren(...this.columns.map((name) => this.#header(name, COLUMNS[name])));
    if (focused) this.head.querySelector(`[data-sort="${focused}"]`)?.focus({ preventScroll: true });
  }

  /** @param {string} name @param {Column} column */
  #header(name, { title, sort, as = name }) {
    const cell = el("th", { scope: "col", class: `hps-col-${as}` });
    if (!sort) return filled(cell, [el("span", { text: title() })]);
    const active = this.look.sort === sort;
    cell.setAttribute("aria-sort", active ? (this.look.order === "asc" ? "ascending" : "descending") : "none");
    const press = () => this.onSort(sort);
    return filled(cell, [el("button", { type: "button", text: title(), dataset: { sort }, on: { click: press } })]);
  }

  /** A new picture moves the standing of its whole group: then that cell alone is made anew. @param {Row} row */
  #drawRow(row) {
    const { standing, group, ...rest } = row;
    const drawn = JSON.stringify([rest, ago(row.time), this.columns, this.look.prompts, this.look.scorers]);
    const stood = JSON.stringify([standing, group]);
    const known = this.drawn.get(row.id);
    const tr = known?.tr ?? newRow(row.id);
    if (known?.drawn !== drawn) {
      tr.replaceChildren(...this.columns.map((name) => this.#cell(name, COLUMNS[name], row)));
    } else if (known.stood !== stood) {
      const name = this.columns.includes("standing") ? "standing" : "stacked";
      tr.children[this.columns.indexOf(name)].replaceWith(this.#cell(name, COLUMNS[name], row));
    }
    return { tr, drawn, stood };
  }

  /** @param {string} name @param {Column} column @param {Row} row */
  #cell(name, { cell, number, as = name }, row) {
    const box = el("td", { class: `hps-col-${as}${number ? " hps-number" : ""}` });
    return filled(box, cell(row, this.look));
  }

  /**
   * Put the rows in order and move only those that are not in place: moving one would take its focus.
   * @param {any[]} wanted
   */
  #place(wanted) {
    const keep = new Set(wanted);
    for (const tr of [...this.body.children]) if (!keep.has(tr)) tr.remove();
    wanted.forEach((tr, at) => {
      if (this.body.children[at] !== tr) this.body.insertBefore(tr, this.body.children[at] ?? null);
    });
  }

  // --- focus and keys ---

  #focusedAction() {
    const focused = /** @type {any} */ (document.activeElement);
    const tr = this.body.contains(focused) ? focused.closest("tr") : null;
    return tr && { id: Number(tr.dataset.id), act: focused.dataset.act ?? "" };
  }

  /** @param {{id: number, act: string} | null} focused */
  #restoreFocus(focused) {
    const tr = focused && this.drawn.get(focused.id)?.tr;
    if (!tr || tr.contains(document.activeElement)) return;
    (tr.querySelector(`[data-act="${focused.act}"]`) ?? tr).focus({ preventScroll: true });
  }

  /** @param {number | null} id */
  #setCurrent(id) {
    if (this.current !== null && this.current !== id) this.#mark(this.current, false);
    this.current = id;
    if (id !== null) this.#mark(id, true);
  }

  /** Let Tab reach one row and its buttons only. @param {number} id @param {boolean} here */
  #mark(id, here) {
    const tr = this.drawn.get(id)?.tr;
    if (!tr) return;
    for (const each of [tr, ...tr.querySelectorAll("[data-act]")]) each.tabIndex = here ? 0 : -1;
    if (here) tr.setAttribute("aria-current", "true");
    else tr.removeAttribute("aria-current");
  }

  /** @param {Event} event */
  #focus(event) {
    const tr = /** @type {any} */ (event.target).closest("tr");
    if (tr && Number(tr.dataset.id) !== this.current) this.#setCurrent(Number(tr.dataset.id));
  }

  /** @param {Event} event */
  #click(event) {
    const target = /** @type {any} */ (event.target);
    const tr = target.closest("tr");
    const row = tr && this.rows.find(({ id }) => id === Number(tr.dataset.id));
    if (!row) return;
    this.#setCurrent(row.id);
    const act = target.closest("[data-act]")?.dataset.act;
    if (act) this.onAction(act, row);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = this.rows.findIndex(({ id }) => id === this.current);
    const last = this.rows.length - 1;
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: last }[event.key];
    const onRow = /** @type {any} */ (event.target).tagName === "TR";
    const act = { c: "seed", o: "large", ...(onRow ? { Enter: "workflow", " ": "large" } : {}) }[event.key];
    if (to !== undefined && this.rows[to]) this.focusRow(this.rows[to].id);
    else if (act && this.rows[at] && !event.repeat) this.onAction(/** @type {Action} */ (act), this.rows[at]);
    if (to !== undefined || act) event.preventDefault();
  }
}

/** @param {number} id */
const newRow = (id) => el("tr", { tabIndex: -1, "aria-keyshortcuts": "Enter C O", dataset: { id: String(id) } });

/** @param {any} element @param {Node[]} children */
function filled(element, children) {
  element.append(...children);
  return element;
}
