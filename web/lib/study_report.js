// @ts-check
// What HPS Report has written: its headline, and the files with their places, to open or to save.
import { button } from "./actions.js";
import { el, styleOnce } from "./dom.js";
import { createFold } from "./fold.js";
import { t, viewUrl } from "./host.js";
import { list } from "./ranking.js";
import { openReport } from "./report_view.js";

/** @typedef {import("./host.js").FileRef} FileRef */

/** What a browser shows by itself; the host hands all else out to be saved only. */
const PICTURE = /\.(png|jpe?g|webp)$/i;
const PAGE = /\.html?$/i;

/** Make the part of the panel that shows the files of a report. */
export function createReport() {
  styleOnce("hps-study-css", new URL("../study.css", import.meta.url).href);
  return new Report();
}

/** The place of the verdict. */
export function createHeadline() {
  return createFold("hps-headline");
}

/**
 * The first sentence says it, the others say what to think of it.
 * @param {ReturnType<typeof createHeadline>} headline
 * @param {string} text
 */
export function fillHeadline(headline, text) {
  const [first] = text.match(/^.*?[.!?](?=\s+[A-Z"'(])/) ?? [text];
  const rest = text.slice(first.length).trim();
  headline.fill(text ? [el("b", { text: first }), ...(rest ? [el("span", { text: ` ${rest}` })] : [])] : []);
}

class Report {
  constructor() {
    this.headline = createHeadline();
    this.files = el("ul", { class: "hps-files", ariaLabel: t("report.files", "Files") });
    this.element = el("div", { class: "hps-report" }, this.headline.element, this.files);
  }

  /** @param {any} data what the node gave */
  show(data) {
    fillHeadline(this.headline, String(data.headline ?? ""));
    this.files.replaceChildren(...list(data.files).map((file) => el("li", {}, ...entryOf(file))));
  }
}

/**
 * @param {any} file as the server names it
 * @returns {FileRef | null} null for what is no plain name below one of the host's folders
 */
export function safeFile(file) {
  const name = String(file?.filename ?? "");
  const folder = String(file?.subfolder ?? "");
  const type = String(file?.type ?? "output");
  const plain = name && !/[/\\\0]/.test(name) && !/^\.+$/.test(name);
  const inside = !/^[/\\]|^[a-z]:|\0/i.test(folder) && !folder.split(/[/\\]/).includes("..");
  return plain && inside && ["output", "temp"].includes(type) ? { filename: name, subfolder: folder, type } : null;
}

/** @param {any} given @returns {(HTMLElement | null)[]} its place and what can be done; only its name where it is no plain file */
function entryOf(given) {
  const file = safeFile(given);
  if (!file) return [el("span", { class: "hps-file-name", text: String(given?.filename ?? "") })];
  const place = [file.type, ...file.subfolder.split(/[/\\]/), file.filename].filter(Boolean).join("/");
  const opens = PICTURE.test(file.filename);
  return [
    el("span", { class: "hps-file-name", text: place, title: place }),
    PAGE.test(file.filename)
      ? button(t("report.open", "Open"), "open-report", () => openReport(file, place), t("report.openTip", "Look at it here, over the page"))
      : null,
    opens ? linkOf(file, t("report.open", "Open"), { target: "_blank" })
      : linkOf(file, t("report.save", "Save"), { download: file.filename }),
  ];
}

/** @param {FileRef} file @param {string} text @param {Record<string, string>} more */
function linkOf(file, text, more) {
  return el("a", { class: "hps-button", href: viewUrl(file), text, rel: "noopener", draggable: false, ...more });
}

/** @param {any} data @returns {string[]} what the line above says */
export function reportWords(data) {
  const n = list(data.files).length;
  return [n === 1 ? t("report.oneFile", "1 file written") : t("report.written", "{n} files written", { n })];
}
