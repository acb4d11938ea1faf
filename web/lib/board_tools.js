// @ts-check
// The foot of the leaderboard: how much the ledger holds, taking it elsewhere, and deleting from it.
import { el } from "./dom.js";
import { megabytes, number } from "./format.js";
import { explain, exportUrl, purge } from "./client.js";
import { confirmed, t, toast } from "./host.js";

/** @typedef {import("./client.js").Filters} Filters */
/** @typedef {import("./client.js").Summary} Summary */

const DAY = 86_400;

/** @returns {[string, string][]} days to keep, with words; "" for nothing */
const ages = () => [
  ["30", t("ledger.older30", "Older than 30 days")],
  ["90", t("ledger.older90", "Older than 90 days")],
  ["365", t("ledger.older365", "Older than a year")],
  ["", t("ledger.everything", "Everything")],
];

/** A fold with the ledger's size, its export and its purge. */
export class LedgerFold {
  /** @param {() => Filters} filters in force @param {() => void} onPurged */
  constructor(filters, onPurged) {
    this.filters = filters;
    this.onPurged = onPurged;
    /** @type {Summary | null} */
    this.summary = null;
    this.size = el("span", { class: "hps-small" });
    this.age = el("select", { class: "hps-input", "aria-label": t("ledger.which", "Which rows to delete") });
    this.age.append(...ages().map(([value, text]) => el("option", { value, text })));
    this.button = el("button", {
      type: "button",
      class: "hps-button hps-danger",
      text: t("ledger.delete", "Delete\u2026"),
    });
    this.button.addEventListener("click", () => this.#purge());
    const scope = t("ledger.exportTip", "All rows that the filters leave, also those not loaded here");
    this.element = el(
      "details",
      { class: "hps-fold" },
      el("summary", {}, el("span", { text: t("ledger.title", "Ledger") }), " ", this.size),
      el(
        "div",
        { class: "hps-buttons", title: scope },
        el("span", { class: "hps-small", text: t("ledger.export", "Export what the filters leave:") }),
        this.#download("csv", "CSV"),
        this.#download("jsonl", "JSONL"),
      ),
      el("div", { class: "hps-buttons" }, this.age, this.button),
    );
  }

  /** @param {Summary} summary */
  show(summary) {
    this.summary = summary;
    const { rows, bytes, max_bytes: limit } = summary;
    const values = { rows: number(rows ?? 0), size: megabytes(bytes ?? 0), limit: megabytes(limit ?? 0) };
    this.size.textContent = t("ledger.size", "rows: {rows}, {size} of {limit}", values);
  }

  /** @param {"csv" | "jsonl"} format @param {string} text */
  #download(format, text) {
    const link = el("a", { class: "hps-button", text, download: `hps-ledger.${format}`, href: exportUrl(format, {}) });
    // The address is made when it is followed, so that it carries the filters of that moment.
    link.addEventListener("click", () => (link.href = exportUrl(format, this.filters())));
    return link;
  }

  async #purge() {
    const days = this.age.value;
    const chosen = this.age.selectedOptions[0]?.text ?? "";
    const title = t("ledger.confirmTitle", "Delete rows of the ledger?");
    const message = t(
      "ledger.confirm",
      "{which}: rows, small pictures and stored workflows are deleted for good; saved image files and your picks stay. Rows in the ledger: {rows}. Export first what you want to keep.",
      { which: chosen, rows: number(this.summary?.rows ?? 0) },
    );
    if (!(await confirmed(title, message, "delete"))) return;
    this.button.disabled = true;
    try {
      const { deleted } = await purge(days ? Date.now() / 1000 - Number(days) * DAY : null);
      toast("success", t("ledger.deleted", "Rows deleted: {n}", { n: number(deleted) }));
      this.onPurged();
    } catch (error) {
      toast("error", t("ledger.failed", "The rows could not be deleted"), explain(error));
    } finally {
      this.button.disabled = false;
    }
  }
}
