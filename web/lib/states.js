// @ts-check
// What stands in a view's place when it has nothing to show, always with something to do about it.
import { el } from "./dom.js";
import { openSettings, setting, t } from "./host.js";
import { explain } from "./client.js";

/** @typedef {{text: string, run: () => void}} Remedy */

/**
 * @param {"empty" | "off" | "error"} kind
 * @param {string} title what happened
 * @param {string} text what to do
 * @param {...Remedy} remedies as buttons
 */
export function statePanel(kind, title, text, ...remedies) {
  const role = kind === "error" ? "alert" : "status";
  return el(
    "div",
    { class: `hps-state hps-state-${kind}`, role },
    el("p", { class: "hps-state-title", text: title }),
    el("p", { text }),
    remedies.length > 0 && el("div", { class: "hps-buttons" }, ...remedies.map(remedyButton)),
  );
}

/** @param {Remedy} remedy */
export const remedyButton = ({ text, run }) => el("button", { type: "button", class: "hps-button", text, on: { click: run } });

/** @param {unknown} error @param {() => void} again */
export function errorPanel(error, again) {
  return statePanel("error", t("state.failed", "This did not work"), explain(error), againButton(again));
}

/** @param {() => void} again @returns {Remedy} */
export const againButton = (again) => ({ text: t("state.refresh", "Refresh"), run: again });

/**
 * The server's reason, but where the person's own setting is the reason only what to do: the title has said the rest.
 * @param {string} reason @param {string} how
 */
const whyOff = (reason, how) => (reason && setting("HPS.Ledger.Enabled", true) !== false ? reason : how);

/** @returns {Remedy} */
export const settingsButton = () => ({
  text: t("state.settings", "Open settings"),
  run: () => void openSettings(),
});

/** @param {string} reason what the server says, "" for switched off in the settings @param {() => void} again */
export function offPanel(reason, again) {
  return statePanel(
    "off",
    t("state.off", "Recording is off"),
    whyOff(reason, t("state.offHow", "Switch it on in Settings, HPS, Ledger; images scored from then on appear here.")),
    settingsButton(),
    againButton(again),
  );
}

/** @param {string} reason what the server says @param {() => void} again */
export function picksOffPanel(reason, again) {
  const title = t("picks.off", "Recording is off, so picks would not be kept.");
  const how = t("picks.offHow", "Switch it on in Settings, HPS, Ledger.");
  return statePanel("off", title, whyOff(reason, how), settingsButton(), againButton(again));
}

/** @param {() => void} again */
export function emptyPanel(again) {
  return statePanel(
    "empty",
    t("state.empty", "No scored pictures yet"),
    t(
      "state.emptyHow",
      "Run a workflow with an HPS Score, Select or Best of N node: every picture it scores is kept here.",
    ),
    againButton(again),
  );
}
