// @ts-check
// The foot of the leaderboard: how much the ledger holds, taking it elsewhere, and deleting from it.
import { el } from "./dom.js";
import { megabytes, number, when } from "./format.js";
import { explain, exportUrl, fetchSummary, purge } from "./client.js";
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
    this.size = el("span");
    this.age = el("select", { class: "hps-input", "aria-label": t("ledger.which", "Which records to delete") });
    this.age.append(...ages().map(([value, text]) => el("option", { value, text })));
    this.button = el("button", {
      type: "button",
      class: "hps-button hps-danger",
      text: t("ledger.delete", "Delete\u2026"),
    });
    this.button.addEventListener("click", () => this.#purge());
    const scope = t("ledger.exportTip", "All records that the filters leave, also those not loaded here");
    this.element = el(
      "details",
      { class: "hps-fold" },
      el("summary", {}, this.size),
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
    this.size.textContent = t("ledger.size", "Recorded pictures: {rows}, {size} of {limit}", values);
  }

  /** @param {"csv" | "jsonl"} format @param {string} text */
  #download(format, text) {
    const link = el("a", { class: "hps-button", text, download: `hps-ledger.${format}`, href: exportUrl(format, {}) });
    // The address is made when it is followed, so that it carries the filters of that moment.
    link.addEventListener("click", () => (link.href = exportUrl(format, this.filters())));
    return link;
  }

  async #purge() {
    const days = Number(this.age.value);
    this.button.disabled = true;
    try {
      const summary = await fetchSummary();
      this.show(summary);
      const before = days ? Date.now() / 1000 - days * DAY : null;
      if (before !== null && !(summary.oldest !== null && summary.oldest < before)) return nothingOlder(summary, days);
      if (!(await confirmed(t("ledger.confirmTitle", "Delete recorded pictures?"), question(summary, days), "delete")))
        return;
      const { deleted } = await purge(before);
      toast("success", t("ledger.deleted", "Recorded pictures deleted: {n}", { n: number(deleted) }));
      this.onPurged();
    } catch (error) {
      toast("error", t("ledger.failed", "The records could not be deleted"), explain(error));
    } finally {
      this.button.disabled = false;
    }
  }
}

/** @param {Summary} summary @param {number} days */
function nothingOlder({ oldest }, days) {
  const title = t("ledger.nothingOlder", "Nothing is older than {days} days", { days });
  toast("info", title, oldest ? t("ledger.oldest", "The oldest record is of {time}.", { time: when(oldest) }) : "");
}

/** @param {Summary} summary @param {number} days 0 for everything @returns {string} what goes and what stays */
function question({ rows, oldest }, days) {
  const values = { days, rows: number(rows), time: when(oldest ?? 0) };
  const what = days
    ? t(
        "ledger.askOlder",
        "Deletes what is older than {days} days. Recorded pictures in all: {rows}, the oldest of {time}.",
        values,
      )
    : t("ledger.askAll", "Deletes everything. Recorded pictures: {rows}.", values);
  const rest = t(
    "ledger.askRest",
    "Their small pictures and stored workflows go, too, for good; saved image files and your picks stay. Export first what you want to keep.",
  );
  return `${what} ${rest}`;
}
