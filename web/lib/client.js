// @ts-check
// The pack's routes as functions. Nothing is tried again by itself: a server in trouble is left in peace, and the
// person decides when to ask once more.
import { api, t } from "./host.js";

/**
 * @typedef {{n: number, mean: number, sd: number}} Group images of the same prompt, judged by the same scorer
 * @typedef {{
 *   id: number, time: number, prompt: string, prompt_id: number, negative: string, model: string,
 *   loras: [string, number][], sampler: string, scheduler: string, steps: number | null, cfg: number | null,
 *   denoise: number | null, width: number, height: number, seed: string | null, scorer: string,
 *   scorer_version: string, preprocess: string, fingerprint: string, score: number, parts: Record<string, number>,
 *   group: Group, standing: number | null, file: string, source: string, run: string, thumbnail: boolean,
 *   workflow: boolean
 * }} Row one scored image
 * @typedef {{id?: number, value: string, n: number, time: number}} Facet a value to filter by
 * @typedef {{prompts: Facet[], models: Facet[], samplers: Facet[], schedulers: Facet[], scorers: Facet[]}} Facets
 * @typedef {{
 *   enabled: boolean, reason: string, rows: number, prompts: number, picks: number, bytes: number,
 *   max_bytes: number, oldest: number | null, newest: number | null
 * }} Summary
 * @typedef {{
 *   value: string | number, n: number, groups: number, mean: number | null, gain: number | null, sd: number | null,
 *   wins: number, pairs: number
 * }} Setting one sampler, model or other setting against the others
 * @typedef {{prompt?: number | "", model?: string, sampler?: string, scheduler?: string, scorer?: string,
 *   search?: string}} Filters
 * @typedef {{ids: [number, number], size?: "full" | "thumb", prompt: string, width: number, height: number}} Pair
 * @typedef {{shown: number[], chosen: number | null, outcome: "pick" | "tie" | "skip", kind: "pair" | "grid",
 *   seconds: number | null}} Answer
 * @typedef {{id: number, score: number | null, seed: string | null, sampler: string, model: string,
 *   fingerprint?: string}} Revealed
 * @typedef {{n: number, agree: number, ties: number, skips: number, rate: number | null, low: number | null,
 *   high: number | null, prompts: number, enough: boolean}} Agreement
 * @typedef {"gone" | "slow" | "refused" | "missing" | "large" | "request" | "server" | "answer"} Trouble
 */

const PREFIX = "/hps/v1";
const PATIENCE = 20_000;
const PATIENCE_PURGE = 120_000;
const VERSION = 1;

/** A request that failed; the message says what happened and what to do. */
export class RouteError extends Error {
  /**
   * @param {Trouble} kind
   * @param {string} message
   * @param {number} [status] of the answer, 0 without one
   */
  constructor(kind, message, status = 0) {
    super(message);
    this.name = "RouteError";
    this.kind = kind;
    this.status = status;
  }
}

/**
 * @param {unknown} error
 * @returns {boolean} whether the request was given up by the page itself, which is no trouble
 */
export function isAbort(error) {
  return error instanceof DOMException && error.name === "AbortError";
}

/**
 * @param {unknown} error
 * @returns {string} words for the person
 */
export function explain(error) {
  if (error instanceof RouteError) return error.message;
  return t("error.page", "The page made a mistake ({detail}). Reload it; if it happens again, please report it.", {
    detail: error instanceof Error ? error.message : String(error),
  });
}

// --- routes ----------------------------------------------------------------------------------------------------------

/**
 * @param {Filters & {sort?: string, order?: "asc" | "desc", limit?: number, offset?: number}} query
 * @param {AbortSignal} [signal]
 * @returns {Promise<{rows: Row[], total: number}>}
 */
export const fetchRows = (query, signal) => call(`/ledger/rows${search(query)}`, { signal });

/** @param {AbortSignal} [signal] @returns {Promise<Facets>} */
export const fetchFacets = (signal) => call("/ledger/facets", { signal });

/** @param {AbortSignal} [signal] @returns {Promise<Summary>} */
export const fetchSummary = (signal) => call("/ledger/summary", { signal });

/** @param {number} id of a row @param {AbortSignal} [signal] @returns {Promise<{kind: string, graph: any}>} */
export const fetchWorkflow = (id, signal) => call(`/ledger/workflow/${whole(id)}`, { signal });

/**
 * @param {"sampler" | "scheduler" | "steps" | "cfg" | "model"} by
 * @param {Filters} filters prompt, model and scorer count here
 * @param {AbortSignal} [signal]
 * @returns {Promise<{by: string, settings: Setting[]}>}
 */
export const fetchCompare = (by, { prompt, model, scorer }, signal) =>
  call(`/ledger/compare${search({ by, prompt, model, scorer })}`, { signal });

/** @param {number | null} before Unix seconds; null for all rows @returns {Promise<{deleted: number}>} */
export const purge = (before) => post("/ledger/purge", { confirm: true, before }, PATIENCE_PURGE);

/** @param {number | "" | undefined} prompt its id @param {AbortSignal} [signal] @returns {Promise<{pair: Pair | null}>} */
export const fetchPair = (prompt, signal) => call(`/picks/next${search({ prompt })}`, { signal });

/** @param {Answer} answer @returns {Promise<{id: number, reveal: Revealed[]}>} */
export const sendPick = (answer) => post("/picks", answer);

/** @param {string} [scorer] @param {AbortSignal} [signal] @returns {Promise<Agreement>} */
export const fetchAgreement = (scorer, signal) => call(`/picks/agreement${search({ scorer })}`, { signal });

/** @param {string} client name of this browser tab @param {AbortSignal} [signal] @returns {Promise<{nodes: Record<string, any>}>} */
export const fetchSnapshot = (client, signal) => call(`/snapshot${search({ client })}`, { signal });

/** @param {number} id of a row @param {"thumb" | "full"} [size] @returns {string} where its picture is */
export const imageUrl = (id, size = "thumb") => api.apiURL(`${PREFIX}/ledger/image/${whole(id)}${search({ size })}`);

/** @param {"csv" | "jsonl"} format @param {Filters} filters @returns {string} where the file is */
export const exportUrl = (format, filters) => api.apiURL(`${PREFIX}/ledger/export${search({ format, ...filters })}`);

// --- asking ----------------------------------------------------------------------------------------------------------

/** @param {Record<string, any>} values @returns {string} "?a=1&b=2" of those that are set */
function search(values) {
  const set = Object.entries(values).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return set.length ? `?${new URLSearchParams(set.map(([name, value]) => [name, String(value)]))}` : "";
}

/** @param {number} id */
function whole(id) {
  if (!Number.isSafeInteger(id) || id < 0) throw new RangeError(`not the id of a row: ${id}`);
  return String(id);
}

/** @param {string} path @param {any} body @param {number} [patience] */
function post(path, body, patience) {
  return call(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    patience,
  });
}

/**
 * @param {string} path below the prefix
 * @param {RequestInit & {patience?: number}} options patience in milliseconds
 * @returns {Promise<any>} the answer; fails with RouteError, or with AbortError when `signal` says so
 */
async function call(path, { signal, patience = PATIENCE, ...options }) {
  const own = new AbortController();
  const stop = () => own.abort(signal?.reason);
  if (signal?.aborted) stop();
  signal?.addEventListener("abort", stop, { once: true });
  const timer = setTimeout(() => own.abort(new RouteError("slow", slowText())), patience);
  try {
    return await read(await api.fetchApi(PREFIX + path, { ...options, signal: own.signal }));
  } catch (error) {
    if (own.signal.aborted) throw own.signal.reason;
    throw error instanceof RouteError ? error : new RouteError("gone", goneText());
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}

/** @param {Response} response */
async function read(response) {
  const text = await response.text();
  const data = parsed(text);
  if (!response.ok) throw refused(response.status, typeof data?.error === "string" ? data.error : "");
  if (data?.v !== VERSION) throw new RouteError("answer", answerText(), response.status);
  return data;
}

/** @param {string} text @returns {any} */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// --- what to say -----------------------------------------------------------------------------------------------------

const goneText = () =>
  t("error.gone", "The server does not answer. See whether ComfyUI still runs, then press Refresh.");
const slowText = () => t("error.slow", "The server took too long to answer. It may be busy: press Refresh in a while.");
const answerText = () =>
  t(
    "error.answer",
    "The server's answer cannot be read. Restart ComfyUI and reload this page, so that both are of one version.",
  );

/**
 * @param {number} status
 * @param {string} reason what the server said, "" if nothing
 */
function refused(status, reason) {
  const [kind, fallback] = trouble(status);
  return new RouteError(kind, reason || fallback, status);
}

/** @param {number} status @returns {[Trouble, string]} */
function trouble(status) {
  if (status === 401 || status === 403) {
    return [
      "refused",
      t(
        "error.refused",
        "The server refuses this. Open ComfyUI at the address it prints when it starts, and see whether the ledger is allowed there.",
      ),
    ];
  }
  if (status === 404) {
    return [
      "missing",
      t(
        "error.missing",
        "The server has no such thing. It may have been deleted: press Refresh. If that does not help, restart ComfyUI.",
      ),
    ];
  }
  if (status === 413) return ["large", t("error.large", "This is more than the server takes at once. Choose fewer.")];
  if (status >= 500) {
    return [
      "server",
      t("error.server", "The server failed (status {status}). Its log says why; press Refresh when it is mended.", {
        status,
      }),
    ];
  }
  return [
    "request",
    t(
      "error.request",
      "The server did not understand the request (status {status}). Restart ComfyUI and reload this page, so that both are of one version.",
      { status },
    ),
  ];
}
