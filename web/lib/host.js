// @ts-check
// The only door to the host's front end: its app, its server, its graph, its widgets, its words.

// @ts-ignore the host serves this file
import { app } from "../../../scripts/app.js";
// @ts-ignore the host serves this file
import { api } from "../../../scripts/api.js";

export { app, api };

/** @typedef {{filename: string, subfolder?: string, type?: string}} FileRef */
/** @typedef {"success" | "info" | "warn" | "error"} Severity */
/** @typedef {{node: any, widget: any, label: string, value: number}} SeedWidget */

// --- nodes -----------------------------------------------------------------------------------------------------------

/** @returns {any} the graph that holds all others, or undefined while the page loads */
export function rootGraph() {
  // Newer hosts throw when asked too early.
  try {
    return app.rootGraph ?? app.graph?.rootGraph ?? app.graph;
  } catch {
    return undefined;
  }
}

/** @returns {string} id of the workflow that is open, "" if it has none */
export function workflowId() {
  return String(rootGraph()?.id ?? "");
}

/**
 * Find a node by its id within one graph; ids are numbers in older hosts and text in newer ones.
 * @param {any} graph
 * @param {string} id
 */
function nodeIn(graph, id) {
  return graph?.getNodeById?.(Number(id)) ?? graph?.getNodeById?.(id) ?? null;
}

/**
 * Find a node by its execution id: "5", or "5:3" for node 3 of the subgraph that node 5 stands for.
 * @param {string | number | null | undefined} id
 * @returns {any} the node or null
 */
export function nodeByExecutionId(id) {
  if (id === null || id === undefined || id === "") return null;
  let graph = rootGraph();
  let node = /** @type {any} */ (null);
  for (const part of String(id).split(":")) {
    node = nodeIn(graph, part);
    if (!node) return null;
    graph = node.subgraph;
  }
  return node;
}

/**
 * Find a node by the id under which the host keeps outputs: "5", or "<id of the subgraph>:3".
 * @param {string} id
 * @returns {any} the node or null
 */
export function nodeByLocatorId(id) {
  const [head, tail] = splitOnce(String(id));
  if (tail === undefined) return nodeIn(rootGraph(), head);
  const subgraph = rootGraph()?.subgraphs?.get?.(head);
  return subgraph ? nodeIn(subgraph, tail) : nodeByExecutionId(id);
}

/** @param {string} id */
function splitOnce(id) {
  const at = id.lastIndexOf(":");
  return at < 0 ? [id] : [id.slice(0, at), id.slice(at + 1)];
}

/**
 * Call `visit` for every node of the workflow, also within subgraphs, each definition once.
 * @param {(node: any, path: string[]) => void} visit gets the titles of the subgraphs around the node, too
 */
export function eachNode(visit) {
  const seen = new Set();
  /** @type {(graph: any, path: string[]) => void} */
  const walk = (graph, path) => {
    if (!graph || seen.has(graph)) return;
    seen.add(graph);
    for (const node of graph.nodes ?? graph._nodes ?? []) {
      visit(node, path);
      if (node.subgraph) walk(node.subgraph, [...path, title(node)]);
    }
  };
  walk(rootGraph(), []);
}

/**
 * @param {any} node
 * @returns {string} what the person sees as its name
 */
export function title(node) {
  return String(node?.title ?? node?.comfyClass ?? node?.type ?? "");
}

/**
 * Let `after` run after a method of an object, whether it has one or not.
 * @param {any} object
 * @param {string} name
 * @param {(...args: any[]) => void} after
 */
export function chainMethod(object, name, after) {
  const before = object[name];
  object[name] = /** @this {any} @param {any[]} args */ function (...args) {
    const result = before?.apply(this, args);
    after.apply(this, args);
    return result;
  };
}

/** Redraw the canvas. */
export function redraw() {
  app.canvas?.setDirty?.(true, true);
}

/** Tell the host that the workflow was changed, so that it can be undone. */
export function changed() {
  redraw();
  const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker;
  (tracker?.captureCanvasState ?? tracker?.checkState)?.call(tracker);
}

// --- server ----------------------------------------------------------------------------------------------------------

/**
 * @param {FileRef} file
 * @returns {string} where the picture is; the host's own route decides what may be read
 */
export function viewUrl(file) {
  const query = new URLSearchParams({
    filename: file.filename,
    subfolder: file.subfolder ?? "",
    type: file.type ?? "temp",
  });
  return api.apiURL(`/view?${query}`);
}

/** @returns {string} the name by which the server knows this browser tab, "" while unknown */
export function clientId() {
  return String(api.clientId ?? api.initialClientId ?? "");
}

/**
 * Open a workflow in a new tab of the host.
 * @param {string} kind "workflow" for what the interface saves, "prompt" for the API's format
 * @param {any} graph
 * @param {string} [name] of the new tab
 */
export async function loadGraph(kind, graph, name = "HPS") {
  if (kind === "prompt") await app.loadApiJson(graph, name);
  else await app.loadGraphData(graph, true, true, name);
}

// --- settings and messages -------------------------------------------------------------------------------------------

/**
 * @template T
 * @param {string} id
 * @param {T} fallback
 * @returns {T} value of a setting, or the fallback before it is registered
 */
export function setting(id, fallback) {
  try {
    return app.extensionManager?.setting?.get?.(id) ?? fallback;
  } catch {
    return fallback;
  }
}

/**
 * Show a short message.
 * @param {Severity} severity
 * @param {string} summary
 * @param {string} [detail]
 * @param {number} [life] milliseconds
 */
export function toast(severity, summary, detail = "", life = severity === "error" ? 10000 : 4000) {
  app.extensionManager?.toast?.add?.({ severity, summary, detail, life });
}

// --- the host's dialogs and commands ---------------------------------------------------------------------------------

/**
 * Ask the person in the host's own dialog.
 * @param {string} title
 * @param {string} message
 * @param {"default" | "delete"} [type] which words the buttons carry
 * @returns {Promise<boolean>} false too when the dialog was closed without an answer
 */
export async function confirmed(title, message, type = "default") {
  return (await app.extensionManager?.dialog?.confirm?.({ title, message, type })) === true;
}

/** @returns {boolean} whether a workflow opens in a tab of its own; older hosts put it in the place of the open one */
export function opensBeside() {
  return Array.isArray(app.extensionManager?.workflow?.openWorkflows);
}

/** Open the host's settings. */
export async function openSettings() {
  await app.extensionManager?.command?.execute?.("Comfy.ShowSettingsDialog");
}

// --- words -----------------------------------------------------------------------------------------------------------

/** @type {any} */
let words = null;

/** Ask the host for the translations of this pack; without them the English words stand. */
export async function loadWords() {
  try {
    const answer = await api.fetchApi("/i18n");
    words = answer.ok ? await answer.json() : null;
  } catch {
    words = null;
  }
}

/** @returns {string} language of the interface, such as "en" or "zh-TW" */
export function locale() {
  return String(setting("Comfy.Locale", "") || navigator.language?.split("-")[0] || "en");
}

/**
 * Say something in the person's language.
 * @param {string} key such as "gallery.copySeed", within "hps" of locales/<language>/main.json
 * @param {string} fallback in English; {name} stands for values.name
 * @param {Record<string, string | number>} [values]
 * @returns {string}
 */
export function t(key, fallback, values = {}) {
  let found = words?.[locale()]?.hps;
  for (const part of key.split(".")) found = found?.[part];
  const text = typeof found === "string" && found ? found : fallback;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

// --- seeds -----------------------------------------------------------------------------------------------------------

const SEED_NAMES = new Set(["seed", "noise_seed"]);

/** @returns {SeedWidget[]} every widget of the workflow that holds a seed and whose value counts */
export function seedWidgets() {
  /** @type {SeedWidget[]} */
  const found = [];
  eachNode((node, path) => {
    for (const widget of node.widgets ?? []) {
      if (!SEED_NAMES.has(widget.name) || typeof widget.value !== "number" || isWired(node, widget.name)) continue;
      const label = [...path, `${title(node)} (${node.id})`].join(" / ");
      found.push({ node, widget, label: `${label}: ${widget.name}`, value: widget.value });
    }
  });
  return found;
}

/**
 * @param {any} node
 * @param {string} name of a widget
 * @returns {boolean} whether another node sets it
 */
function isWired(node, name) {
  const slot = (node.inputs ?? []).findIndex((/** @type {any} */ input) => input.widget?.name === name);
  return slot >= 0 && Boolean(node.isInputConnected?.(slot));
}

/**
 * @param {string} seed
 * @returns {boolean} whether a widget can hold it: numbers of JavaScript are exact up to 2^53 - 1
 */
export function fitsWidget(seed) {
  return /^\d+$/.test(seed) && BigInt(seed) <= BigInt(Number.MAX_SAFE_INTEGER);
}

/**
 * Write a seed into a widget, and hold it there: what would change it after a run is set to fixed.
 * @param {SeedWidget} target
 * @param {string} seed
 * @returns {boolean} false if the widget cannot hold the number
 */
export function setSeed(target, seed) {
  if (!fitsWidget(seed)) return false;
  setWidget(target.node, target.widget, Number(seed));
  const control = controlOf(target);
  if (control) setWidget(target.node, control, "fixed");
  changed();
  return true;
}

/** @param {SeedWidget} target */
function controlOf({ node, widget }) {
  const isControl = (/** @type {any} */ other) => /control_(after|before)_generate$/.test(other?.name ?? "");
  const linked = widget.linkedWidgets?.find(isControl);
  if (linked) return linked;
  const next = node.widgets?.[node.widgets.indexOf(widget) + 1];
  return isControl(next) ? next : null;
}

/**
 * Set a widget as if the person had.
 * @param {any} node
 * @param {any} widget
 * @param {any} value
 */
export function setWidget(node, widget, value) {
  widget.value = value;
  widget.callback?.(value, app.canvas, node, node.pos, undefined);
}
