// @ts-check
// Stands in for the host's /scripts/api.js: the same names, the same addresses, no server.

/** The part of the host's api object that an extension may use. */
class StubApi extends EventTarget {
  constructor() {
    super();
    this.api_base = "";
    this.clientId = "stub-client";
    this.initialClientId = "stub-client";
    this.user = "default";
    /** @type {Record<string, number>} milliseconds to wait before a path is asked */
    this.delays = {};
    /** @type {string[]} */
    this.interrupts = [];
  }

  /** @param {string} route */
  apiURL(route) {
    return route.startsWith("/api/") ? this.api_base + route : this.api_base + "/api" + route;
  }

  /** @param {string} route */
  fileURL(route) {
    return this.api_base + route;
  }

  /** @param {string} route */
  internalURL(route) {
    return this.api_base + "/internal" + route;
  }

  /** @param {string} route @param {RequestInit} [options] */
  async fetchApi(route, options = {}) {
    const headers = new Headers(options.headers);
    headers.set("Comfy-User", this.user);
    await this.#wait(route.split("?")[0], options.signal ?? null);
    return fetch(this.apiURL(route), { cache: "no-cache", ...options, headers });
  }

  /** @param {string} type @param {any} [detail] */
  dispatchCustomEvent(type, detail) {
    return this.dispatchEvent(detail === undefined ? new CustomEvent(type) : new CustomEvent(type, { detail }));
  }

  /** @param {string} [promptId] */
  async interrupt(promptId) {
    this.interrupts.push(promptId ?? "");
  }

  /** @param {string} path @param {AbortSignal | null} signal */
  #wait(path, signal) {
    const milliseconds = this.delays[path];
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (!milliseconds) return Promise.resolve();
    return new Promise((resolve, reject) => {
      setTimeout(resolve, milliseconds);
      signal?.addEventListener("abort", () => reject(signal.reason));
    });
  }
}

const host = /** @type {any} */ (window);
host.comfyAPI ??= {};
host.comfyAPI.api = { api: new StubApi(), ComfyApi: StubApi };
export const api = host.comfyAPI.api.api;
export const ComfyApi = StubApi;
