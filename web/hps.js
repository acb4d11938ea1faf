// @ts-check
// The one file that registers with the host.
import { app, loadWords } from "./lib/host.js";
import { styleOnce } from "./lib/dom.js";

const VERSION = 1;

app.registerExtension({
  name: "hps",
  async init() {
    styleOnce("hps-css", new URL("./hps.css", import.meta.url).href);
    await loadWords();
  },
  setup() {
    Object.assign(window, { __hps: { ready: true, version: VERSION } });
  },
});
