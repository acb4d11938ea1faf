// @ts-check
// The one file that registers with the host.
import { closeLarge } from "./lib/board_actions.js";
import { styleOnce } from "./lib/dom.js";
import { app, eachNode, loadWords } from "./lib/host.js";
import { restore, showOutputs, startLive } from "./lib/live.js";
import { attachPanel, panelOf } from "./lib/panel.js";
import { onSetting, settings } from "./lib/settings.js";
import { registerSidebar } from "./lib/sidebar.js";

/** Of the data that server and page exchange. */
const VERSION = 1;

/** Draw every panel anew, with the settings as they are now. */
function refresh() {
  eachNode((node) => panelOf(node)?.refresh());
}

app.registerExtension({
  name: "hps",
  settings,
  commands: [
    {
      id: "HPS.ToggleSidebar",
      label: "HPS: leaderboard and blind picks",
      icon: "pi pi-trophy",
      function: () => app.extensionManager.command.execute("Workspace.ToggleSidebarTab.hps"),
    },
  ],
  keybindings: [{ combo: { key: "h", alt: true, shift: true }, commandId: "HPS.ToggleSidebar" }],
  menuCommands: [{ path: ["Extensions", "HPS"], commands: ["HPS.ToggleSidebar"] }],

  async init() {
    styleOnce("hps-css", new URL("./hps.css", import.meta.url).href);
    await loadWords();
  },

  setup() {
    // The host's getter still gives the old value while it tells of a new one.
    onSetting((id) => id.startsWith("HPS.Gallery.") && window.setTimeout(refresh));
    registerSidebar();
    startLive();
    Object.assign(window, { __hps: { ready: true, version: VERSION } });
  },

  nodeCreated(/** @type {any} */ node) {
    attachPanel(node);
  },

  afterConfigureGraph() {
    closeLarge();
    restore();
  },

  onNodeOutputsUpdated(/** @type {any} */ outputs) {
    showOutputs(outputs);
  },
});
