// @ts-check
// Stands in for the host's /scripts/app.js: keeps what an extension registers and runs its hooks in the host's order.
import { api } from "./api.js";
import { LGraphBadge, StubCanvas, StubGraph, StubNode } from "./litegraph.js";

/** Settings with the defaults of what was registered; onChange is called at registration, before any graph. */
class StubSettings {
  constructor() {
    /** @type {Record<string, any>} */
    this.values = { "Comfy.Locale": "en", "Comfy.VueNodes.Enabled": false };
    /** @type {any[]} */
    this.registered = [];
  }

  /** @param {string} id */
  get(id) {
    const known = this.registered.find((setting) => setting.id === id);
    const standard = typeof known?.defaultValue === "function" ? known.defaultValue() : known?.defaultValue;
    return this.values[id] ?? standard;
  }

  /** @param {string} id @param {any} value */
  async set(id, value) {
    const old = this.get(id);
    this.registered.find((setting) => setting.id === id)?.onChange?.(value, old);
    this.values[id] = value;
  }

  /** @param {any} setting */
  add(setting) {
    if (this.registered.some((known) => known.id === setting.id)) {
      throw new Error(`Setting ${setting.id} must have a unique ID.`);
    }
    this.registered.push(setting);
    setting.onChange?.(this.get(setting.id), undefined);
  }
}

/** Toasts, sidebar, commands and dialogs. */
class StubManager {
  constructor() {
    this.setting = new StubSettings();
    /** @type {any[]} */
    this.toasts = [];
    this.toast = {
      add: (/** @type {any} */ message) => {
        if (!["success", "info", "warn", "error", "secondary", "contrast"].includes(message.severity)) {
          throw new Error(`unknown severity of a toast: ${message.severity}`);
        }
        this.toasts.push(message);
      },
    };
    /** @type {any[]} */
    this.tabs = [];
    /** @type {any} */
    this.openTab = null;
    this.sidebarTab = { registerSidebarTab: (/** @type {any} */ tab) => this.registerSidebarTab(tab) };
    /** @type {any[]} */
    this.commands = [];
    /** @type {string[]} */
    this.executed = [];
    this.command = { execute: (/** @type {string} */ id) => this.#execute(id), commands: this.commands };
    /** @type {any[]} answers that the next dialogs get, first in first out */
    this.answers = [];
    /** @type {any[]} */
    this.dialogs = [];
    this.dialog = {
      confirm: async (/** @type {any} */ options) => this.#ask(options),
      prompt: async (/** @type {any} */ options) => this.#ask(options),
    };
    const open = { path: "workflows/stub.json", key: "stub.json", activeState: { id: "stub-graph" } };
    this.workflow = { activeWorkflow: open, openWorkflows: [open] };
  }

  /** @param {any} tab */
  registerSidebarTab(tab) {
    if (this.tabs.some((known) => known.id === tab.id)) throw new Error(`Sidebar tab ${tab.id} is registered already`);
    this.tabs.push(tab);
  }

  /** Opens the tab, or closes it when it is open; as the host does, in a container of about 300 px. @param {string} id */
  toggleTab(id) {
    const place = /** @type {HTMLElement} */ (document.getElementById("sidebar"));
    const open = this.openTab;
    this.openTab = null;
    open?.destroy?.();
    place.replaceChildren();
    if (open?.id === id) return;
    const tab = this.tabs.find((known) => known.id === id);
    if (!tab) throw new Error(`no sidebar tab ${id}`);
    const container = document.createElement("div");
    container.className = "sidebar-content-container";
    place.append(container);
    this.openTab = tab;
    tab.render(container);
  }

  /** @param {string} id */
  async #execute(id) {
    this.executed.push(id);
    const tab = id.match(/^Workspace\.ToggleSidebarTab\.(.+)$/);
    if (tab) return this.toggleTab(tab[1]);
    const command = this.commands.find((known) => known.id === id);
    if (!command) throw new Error(`Command ${id} not found`);
    return command.function();
  }

  /** @param {any} options */
  #ask(options) {
    this.dialogs.push(options);
    return this.answers.length ? this.answers.shift() : null;
  }
}

/** The host's app object. */
class StubApp {
  constructor() {
    this.rootGraph = this.graph = new StubGraph();
    this.canvas = new StubCanvas(this.graph);
    this.extensionManager = new StubManager();
    this.api = api;
    this.ui = { settings: { addSetting: (/** @type {any} */ setting) => this.extensionManager.setting.add(setting) } };
    /** @type {any[]} */
    this.extensions = [];
    /** @type {Record<string, any>} outputs by execution id */
    this.nodeOutputs = {};
    /** @type {any[][]} */
    this.loaded = [];
    /** @type {any[][]} */
    this.loadedApi = [];
    /** @type {any[][]} */
    this.queued = [];
    api.addEventListener("executed", (/** @type {any} */ event) => this.#executed(event.detail));
  }

  /** @param {any} extension */
  registerExtension(extension) {
    if (!extension.name) throw new Error("Extensions must have a 'name' property.");
    if (this.extensions.some((known) => known.name === extension.name)) {
      throw new Error(`Extension named '${extension.name}' already registered.`);
    }
    this.extensions.push(extension);
    for (const setting of extension.settings ?? []) this.extensionManager.setting.add(setting);
    this.extensionManager.commands.push(...(extension.commands ?? []));
  }

  /** Runs one hook of every extension, in order. @param {string} hook @param {...any} values */
  async invoke(hook, ...values) {
    for (const extension of this.extensions) await extension[hook]?.(...values, this);
  }

  /** Adds a node as the host does when a person drops one. @param {Record<string, any>} options */
  async addNode(options) {
    const node = new StubNode(options);
    await this.invoke("nodeCreated", node);
    return this.graph.add(node);
  }

  /** @param {...any} values graph, clean, restore the view, workflow */
  async loadGraphData(...values) {
    this.loaded.push(values);
  }

  /** @param {...any} values graph in API format, file name */
  async loadApiJson(...values) {
    this.loadedApi.push(values);
  }

  /** @param {...any} values number, batch count */
  async queuePrompt(...values) {
    this.queued.push(values);
    return true;
  }

  async graphToPrompt() {
    return { workflow: this.graph.serialize(), output: {} };
  }

  /** @param {any} detail */
  #executed(detail) {
    const id = String(detail.display_node ?? detail.node);
    this.nodeOutputs[id] = detail.output;
    const node = nodeByExecutionId(this.rootGraph, id);
    node?.onExecuted?.(detail.output);
  }
}

/** @param {StubGraph} root @param {string} id @returns {any} */
function nodeByExecutionId(root, id) {
  /** @type {any} */
  let node = null;
  let graph = root;
  for (const part of id.split(":")) {
    node = graph?.nodes.find((each) => String(each.id) === part);
    graph = node?.subgraph;
  }
  return node;
}

const host = /** @type {any} */ (window);
const stub = new StubApp();
host.comfyAPI.app = { app: stub, ComfyApp: StubApp };
host.app = stub;
host.graph = stub.graph;
host.LiteGraph = { vueNodesMode: false };
Object.assign(host, { LGraphBadge, StubNode, StubGraph });
export const app = stub;
export const ComfyApp = StubApp;
