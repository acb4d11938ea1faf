// @ts-check
// What HPS Report has written: its headline, the files to open or to save, and the table as text.
import { el, styleOnce } from "./dom.js";
import { t, viewUrl } from "./host.js";
import { list } from "./ranking.js";

/** @typedef {import("./host.js").FileRef} FileRef */

/** What a browser shows by itself; the host hands all else out to be saved only. */
const PICTURE = /\.(png|jpe?g|webp)$/i;

/** Make the part of the panel that shows the files of a report. */
export function createReport() {
  styleOnce("hps-study-css", new URL("../study.css", import.meta.url).href);
  return new Report();
}

/** The place of the verdict; where it is long, it scrolls. */
export function createHeadline() {
  return el("div", { class: "hps-headline", hidden: true, dataset: { captureWheel: "true", hpsScroll: "true" } });
}

/** The first sentence says it, the others say what to think of it. @param {HTMLElement} element @param {string} text */
export function fillHeadline(element, text) {
  const [first] = text.match(/^.*?[.!?](?=\s+[A-Z"'(])/) ?? [text];
  const rest = text.slice(first.length).trim();
  element.replaceChildren(el("b", { text: first }), ...(rest ? [" ", el("span", { text: rest })] : []));
  element.hidden = !text;
}

class Report {
  constructor() {
    this.headline = createHeadline();
    this.files = el("ul", { class: "hps-files", ariaLabel: t("report.files", "Files") });
    const dataset = { captureWheel: "true", hpsScroll: "true" };
    const ariaLabel = t("report.table", "Table");
    this.table = el("pre", { class: "hps-report-table", hidden: true, tabIndex: 0, role: "region", ariaLabel, dataset });
    this.element = el("div", { class: "hps-report" }, this.headline, this.files, this.table);
  }

  /** @param {any} data what the node gave */
  show(data) {
    fillHeadline(this.headline, String(data.headline ?? ""));
    this.files.replaceChildren(...list(data.files).map((file) => el("li", {}, entryOf(file))));
    this.table.textContent = String(data.table ?? "");
    this.table.hidden = !data.table;
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

/** @param {any} given @returns {HTMLElement} a link, or only the name where it cannot be one */
function entryOf(given) {
  const file = safeFile(given);
  if (!file) return el("span", { text: String(given?.filename ?? "") });
  const place = [file.type, file.subfolder, file.filename].filter(Boolean).join("/");
  const link = el("a", { href: viewUrl(file), title: place, rel: "noopener", draggable: false });
  const opens = PICTURE.test(file.filename);
  if (opens) link.target = "_blank";
  else link.download = file.filename;
  link.append(
    el("span", { class: "hps-file-act", text: opens ? t("report.open", "Open") : t("report.save", "Save") }),
    el("span", { class: "hps-file-name", text: file.filename }),
  );
  return link;
}

/** @param {any} data @returns {string[]} what the line above says */
export function reportWords(data) {
  const n = list(data.files).length;
  return [n === 1 ? t("report.oneFile", "1 file written") : t("report.written", "{n} files written", { n })];
}
