// @ts-check
// From the server's events to the nodes: keeps what each node has told, so that it comes back after a page reload,
// after undo and when another workflow was open in between.
import { api, clientId, nodeByExecutionId, nodeByLocatorId, setting, t, toast, workflowId } from "./host.js";
import { panelOf } from "./panel.js";
import { list } from "./ranking.js";
import { aboutRun, ask, runBegins, runsElsewhere, runsIn } from "./runs.js";

/**
 * What is known of one node: its newest event, joined with those before, what it gave at its end, and whether and why
 * its run was stopped.
 * @typedef {{event: string | null, data: any, hps: any, over?: boolean, why?: "interrupted" | "failed"}} State
 */

const EVENTS = ["hps.candidate", "hps.optimize", "hps.steer", "hps.compare"];
/** Nodes that are remembered, and points of one node. */
const MOST_NODES = 200;
const MOST_POINTS = 20000;
const MOST_CELLS = 50000;

/** @type {Map<string, State>} by workflow and execution id */
const states = new Map();

/** Begin to listen. */
export function startLive() {
  for (const event of EVENTS) api.addEventListener(event, ({ detail }) => receive(event, detail));
  api.addEventListener("hps.notice", ({ detail }) => showNotice(detail));
  api.addEventListener("execution_start", ({ detail }) => runBegins(detail));
  api.addEventListener("executed", ({ detail }) => keepResult(detail));
  api.addEventListener("execution_error", ({ detail }) => onError(detail));
  api.addEventListener("executing", ({ detail }) => panelOf(nodeByExecutionId(detail))?.starting());
  api.addEventListener("execution_cached", ({ detail }) => askCached(detail));
  api.addEventListener("execution_success", () => stopAll());
  api.addEventListener("execution_interrupted", () => stopAll("interrupted"));
  api.addEventListener("reconnected", () => loadSnapshot());
  if (api.clientId) loadSnapshot();
  else api.addEventListener("status", () => loadSnapshot(), { once: true });
}

// --- events ----------------------------------------------------------------------------------------------------------

/** @param {string} event @param {any} detail */
export function receive(event, detail) {
  if (!detail || detail.node === null || detail.node === undefined) return;
  // Without a name the event can only be for the workflow that is open.
  const workflow = detail.workflow || workflowId();
  const panel = workflow === workflowId() ? panelOf(nodeByExecutionId(detail.node)) : null;
  if (!detail.workflow && !panel) return;
  const key = keyOf(workflow, detail.node);
  const known = states.get(key);
  const before = known?.event === event ? known.data : null;
  const data = joined(event, before, detail);
  remember(key, { event, data, hps: null });
  panel?.showLive(event, data);
}

/**
 * Join an event with those of the same run before it.
 * @param {string} event
 * @param {any} before null for none
 * @param {any} detail
 * @returns {any}
 */
export function joined(event, before, detail) {
  const now = event === "hps.steer" ? { points: [detail], ...detail } : detail;
  const same = before && (event === "hps.steer" ? goesOn(before, now) : before.run === now.run);
  const first = { candidates: list(now.candidates), points: list(now.points), cells: list(now.cells) };
  if (!same) return { ...now, ...first };
  return {
    ...before,
    ...now,
    image: now.image ?? before.image ?? null,
    candidates: byIndex(list(before.candidates), list(now.candidates)),
    points: appended(list(before.points), list(now.points)),
    cells: byPlace(list(before.cells), list(now.cells)),
  };
}

/** Cells of a grid; one that comes again takes the place of the old one. @param {any[]} before @param {any[]} now */
function byPlace(before, now) {
  const again = new Map(now.map((cell) => [placeOf(cell), cell]));
  const kept = before.filter((cell) => !again.has(placeOf(cell)));
  return [...kept, ...again.values()].slice(-MOST_CELLS);
}

/** @param {any} cell */
const placeOf = (cell) => `${cell?.s},${cell?.p},${cell?.k}`;

/**
 * A guided sampling goes on while its steps count up; runs after each other have no other mark.
 * @param {any} before
 * @param {any} now
 */
function goesOn(before, now) {
  const last = list(before.points).at(-1)?.step;
  const next = list(now.points)[0]?.step;
  const counted = Number.isInteger(next) && Number.isInteger(last);
  return (before.run ?? null) === (now.run ?? null) && (!counted || next > last);
}

/** @param {any[]} before @param {any[]} now */
function byIndex(before, now) {
  const all = new Map(before.map((each) => [each.index, each]));
  for (const each of now) all.set(each.index, each);
  return [...all.values()];
}

/** Points that come twice, from the snapshot and as an event, count once. @param {any[]} before @param {any[]} now */
function appended(before, now) {
  const seen = new Set(before.slice(-500).map(markOf));
  return [...before, ...now.filter((each) => !seen.has(markOf(each)))].slice(-MOST_POINTS);
}

/** @param {any} point */
function markOf(point) {
  return [point.phase, point.start, point.iteration, point.images, point.step].join();
}

/**
 * The host has told the node already; this is for the time after the workflow was closed and opened again.
 * @param {any} detail
 */
async function keepResult(detail) {
  const hps = list(detail?.output?.hps);
  if (!hps.length) return;
  const open = workflowId();
  const { workflow } = await aboutRun(detail.prompt_id);
  remember(keyOf(workflow || open, detail.display_node ?? detail.node), { event: null, data: null, hps });
}

/**
 * Nodes whose result came out of the host's cache: the host tells again only of some of them, so the rest is asked for.
 * @param {any} detail
 */
async function askCached(detail) {
  const ours = (/** @type {string} */ id) => Boolean(panelOf(nodeByExecutionId(id)));
  const ids = list(detail?.nodes).map(String).filter((id) => ours(id) || runsElsewhere());
  if (!ids.length || !detail.prompt_id) return;
  const { nodes, workflow } = await aboutRun(detail.prompt_id);
  for (const [id, data] of Object.entries(nodes ?? {})) {
    if (!ids.includes(id) || !data) continue;
    const hps = [data].flat();
    remember(keyOf(workflow || workflowId(), id), { event: null, data: null, hps });
    if (!runsElsewhere()) panelOf(nodeByExecutionId(id))?.showResults(hps);
  }
}

/** @param {string} workflow @param {string | number} node */
function keyOf(workflow, node) {
  return `${workflow} ${node}`;
}

/** @param {string} key @param {State} state */
function remember(key, state) {
  states.delete(key); // to the end: the oldest goes first
  states.set(key, state);
  for (const oldest of states.keys()) {
    if (states.size <= MOST_NODES) break;
    states.delete(oldest);
  }
}

// --- coming back -----------------------------------------------------------------------------------------------------

/** Ask the server what the nodes of this browser tab have told so far. */
export async function loadSnapshot() {
  const client = clientId();
  if (!client) return;
  const { nodes } = await ask(`/hps/v1/snapshot?client=${encodeURIComponent(client)}`);
  for (const [id, shown] of Object.entries(nodes ?? {})) adopt(shown.node ?? id, shown);
  restore();
}

/** @param {string} id @param {any} shown */
function adopt(id, shown) {
  const key = keyOf(shown.workflow || workflowId(), id);
  const ours = states.get(key);
  const hps = [shown.hps ?? []].flat();
  if (hps.length) {
    remember(key, { event: null, data: null, hps });
  } else if (shown.event && shown.data) {
    const data = joined(shown.event, null, shown.data);
    const same = ours?.event === shown.event && ours?.data?.run === data.run;
    remember(key, { event: shown.event, data: same ? joined(shown.event, data, ours?.data) : data, hps: null });
  }
}

/** Show again what the nodes of the open workflow have told. */
export function restore() {
  const prefix = keyOf(workflowId(), "");
  for (const [key, state] of states) {
    if (!key.startsWith(prefix)) continue;
    const panel = panelOf(nodeByExecutionId(key.slice(prefix.length)));
    if (!panel) continue;
    if (state.hps) panel.showResults(state.hps);
    else if (state.event) panel.showLive(state.event, state.data);
    if (state.over && !state.hps) panel.stopped(state.why);
  }
}

/**
 * The host has outputs of earlier runs for its nodes: after undo, or from the history.
 * @param {any} outputs by locator id
 */
export function showOutputs(outputs) {
  for (const [id, output] of Object.entries(outputs ?? {})) {
    const panel = list(output?.hps).length ? panelOf(nodeByLocatorId(id)) : null;
    if (panel && !panel.live) panel.showOutput(output);
  }
}

// --- messages --------------------------------------------------------------------------------------------------------

/** @param {any} detail */
function showNotice(detail) {
  const { severity, summary, detail: more } = detail ?? {};
  if (!setting("HPS.Notices", true)) return;
  const known = ["success", "info", "warn", "error"].includes(severity) ? severity : "info";
  toast(known, String(summary ?? "HPS"), String(more ?? ""), known === "info" ? 6000 : 12000);
}

/** The host shows its own dialog; this says in a sentence what to do. @param {any} detail */
function onError(detail) {
  stopAll("failed");
  const type = String(detail?.node_type ?? "");
  if (!type.startsWith("HPS_") || !setting("HPS.Notices", true)) return;
  const { first, rest } = sentences(String(detail.exception_message ?? ""));
  const open = t("live.openLog", "The server's log says more.");
  toast("error", first || t("live.nodeFailed", "{node} failed", { node: type }), rest || open);
}

/**
 * @param {string} message
 * @returns {{first: string, rest: string}} what happened, and what to do
 */
export function sentences(message) {
  const text = message.trim().replace(/\s+/g, " ");
  const end = text.match(/^.*?[.!?:](?=\s+[A-Z"'(])/);
  const first = end ? end[0] : text;
  return { first: shortened(first, 200), rest: shortened(text.slice(first.length).trim(), 400) };
}

/** @param {string} text @param {number} most */
function shortened(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}\u2026` : text;
}

/** What runs has ended, in whichever workflow it was started. @param {"interrupted" | "failed"} [why] if not as planned */
function stopAll(why) {
  const prefix = keyOf(runsIn(), "");
  for (const [key, state] of states) {
    if (!key.startsWith(prefix)) continue;
    Object.assign(state, { over: true, why });
    if (!runsElsewhere()) panelOf(nodeByExecutionId(key.slice(prefix.length)))?.stopped(why);
  }
}
