// @ts-check
// Which run goes on, and in which workflow it was started: the person may have opened another one meanwhile, whose nodes
// have the same ids.
import { api, workflowId } from "./host.js";

/**
 * What the server says of a run: its workflow, and what its nodes gave when their inputs were last the same.
 * @typedef {{workflow?: string, nodes?: Record<string, any>}} Answer
 */

/** @type {{prompt: string, workflow: string, answer: Promise<Answer>}} */
let current = { prompt: "", workflow: "", answer: Promise.resolve({}) };

/**
 * A run begins: ask where it belongs.
 * @param {any} detail of the host's event
 */
export function runBegins(detail) {
  const prompt = String(detail?.prompt_id ?? "");
  const answer = prompt ? ask(`/hps/v1/shown?prompt=${encodeURIComponent(prompt)}`) : Promise.resolve({});
  const run = { prompt, workflow: "", answer };
  current = run;
  answer.then(({ workflow }) => {
    run.workflow = String(workflow ?? "");
  });
}

/**
 * @param {any} prompt id of the run that is asked about
 * @returns {Promise<Answer>}
 */
export function aboutRun(prompt) {
  if (String(prompt ?? "") !== current.prompt) runBegins({ prompt_id: prompt });
  return current.answer;
}

/** @returns {string} id of the workflow that runs or ran last; that of the open one while it is not known */
export function runsIn() {
  return current.workflow || workflowId();
}

/** @returns {boolean} whether what runs belongs to another workflow than the one that is open, as far as is known */
export function runsElsewhere() {
  return runsIn() !== workflowId();
}

/**
 * Ask the server for what nodes show; what it cannot say is left out, for the graph works without.
 * @param {string} route
 * @returns {Promise<any>} the answer, or {}
 */
export async function ask(route) {
  try {
    const answer = await api.fetchApi(route);
    return answer.ok ? await answer.json() : {};
  } catch (error) {
    console.warn("HPS: the state of the nodes could not be asked for", error);
    return {};
  }
}
