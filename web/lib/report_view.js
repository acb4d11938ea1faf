// @ts-check
// A look at a report without saving it first. The host hands HTML out to be saved only, and rightly so: in its own
// origin a page could do all that the interface can. Here it gets a frame with an origin of its own, which cannot
// reach into this page.
import { button } from "./actions.js";
import { el } from "./dom.js";
import { t, viewUrl } from "./host.js";

/** @typedef {import("./host.js").FileRef} FileRef */

/** Scripts of the report may sort its tables; without allow-same-origin they reach neither this page nor what it keeps. */
const RIGHTS = "allow-scripts";

/**
 * Show the file over the page; Esc or a button closes it.
 * @param {FileRef} file HTML
 * @param {string} name that is shown
 */
export async function openReport(file, name) {
  const dialog = frameOf(name);
  document.body.append(dialog.element);
  dialog.element.showModal();
  try {
    const answer = await fetch(viewUrl(file), { cache: "no-store" });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    dialog.fill(await answer.blob());
  } catch {
    dialog.fail(t("report.gone", "The report cannot be read. It may have been moved or deleted: run again."));
  }
}

/** @param {string} name */
function frameOf(name) {
  let address = "";
  const stage = el("div", { class: "hps-report-stage" });
  const close = button(t("viewer.close", "Close (Esc)"), "close", () => element.close());
  const bar = el("div", { class: "hps-report-bar" }, el("b", { text: name }), close);
  const element = el("dialog", {
    class: "hps-root hps-report-view", ariaLabel: name,
    on: {
      close: () => {
        document.removeEventListener("securitypolicyviolation", refused);
        if (address) URL.revokeObjectURL(address);
        element.remove();
      },
      keydown: (/** @type {KeyboardEvent} */ event) => event.stopPropagation(), // the host's keys are for the graph
    },
  }, bar, stage);
  const fail = (/** @type {string} */ text) => stage.replaceChildren(el("p", { role: "alert", text }));
  const refused = (/** @type {SecurityPolicyViolationEvent} */ event) => {
    if (!/^(frame|child|default)-src/.test(event.effectiveDirective)) return;
    fail(t("report.refused", "This server lets no page be shown within its own. Save the report, and open the file."));
  };
  document.addEventListener("securitypolicyviolation", refused);
  const fill = (/** @type {Blob} */ data) => {
    if (!element.isConnected) return;
    address = URL.createObjectURL(new Blob([data], { type: "text/html;charset=utf-8" }));
    const frame = el("iframe", { title: name, referrerPolicy: "no-referrer" });
    frame.setAttribute("sandbox", RIGHTS); // before the address: it holds for what is loaded after it
    frame.src = address;
    stage.replaceChildren(frame);
  };
  return { element, fill, fail };
}
