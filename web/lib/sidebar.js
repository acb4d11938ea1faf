// @ts-check
// The sidebar's tab "HPS": leaderboard and blind picks, one of them open at a time.
import { api, app, t } from "./host.js";
import { el, styleOnce } from "./dom.js";
import { keepKeys } from "./floating.js";
import { Leaderboard } from "./leaderboard.js";
import { Picks } from "./picks.js";
import { onSetting } from "./settings.js";

/**
 * takeFocus: the person has just opened it
 * @typedef {{element: HTMLElement, refresh: () => unknown, destroy: () => void, takeFocus?: () => void}} View
 */

const ID = "hps";
/** A queue of many runs ends many times: the list is asked for once they pause, and at the least this often. */
const PAUSE = 400;
const LONGEST_WAIT = 3000;

/** @returns {{name: string, title: string, open: () => View}[]} */
const views = () => [
  { name: "board", title: t("side.board", "Leaderboard"), open: () => new Leaderboard() },
  { name: "picks", title: t("side.picks", "Blind picks"), open: () => new Picks() },
];

/** The view that was open last, also after the tab was closed. */
let last = "board";

class Sidebar {
  /** @param {HTMLElement} place the host's */
  constructor(place) {
    this.place = place;
    /** @type {View | null} */
    this.view = null;
    this.name = "";
    this.stale = false;
    this.since = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.tabs = new Map(views().map(({ name, title }) => [name, this.#tab(name, title)]));
    this.list = el(
      "div",
      { class: "hps-tabs", role: "tablist", "aria-label": t("side.views", "Views") },
      ...this.tabs.values(),
    );
    this.panel = el("div", { class: "hps-view-panel", role: "tabpanel", id: "hps-view", tabIndex: -1 });
    this.element = el("div", { class: "hps-root hps-side hps-sidebar" }, this.list, this.panel);
    keepKeys(this.element);
    this.events = new AbortController();
    this.#listen();
    place.style.height = "100%";
    place.replaceChildren(this.element);
    // The host gives one place to the tabs of all packs in turn, and does not always call destroy() in between.
    this.guard = new MutationObserver(() => {
      if (place.childNodes.length !== 1 || place.firstChild !== this.element) leave(this);
    });
    this.guard.observe(place, { childList: true });
    this.open(last);
    // Not when the host restores its sidebar while the page loads.
    if (navigator.userActivation?.isActive) this.view?.takeFocus?.();
  }

  /** @param {string} name of a view */
  open(name) {
    if (name === this.name) return;
    const wanted = views().find((each) => each.name === name) ?? views()[0];
    // The other view leaves the page: blind picks must not stand beside a list of scores.
    this.view?.destroy();
    this.view = wanted.open();
    this.name = last = wanted.name;
    this.panel.replaceChildren(this.view.element);
    this.panel.setAttribute("aria-labelledby", `hps-tab-${wanted.name}`);
    for (const [each, tab] of this.tabs) {
      tab.setAttribute("aria-selected", String(each === wanted.name));
      tab.tabIndex = each === wanted.name ? 0 : -1;
    }
    this.view.refresh();
  }

  destroy() {
    clearTimeout(this.timer);
    this.guard.disconnect();
    this.events.abort();
    this.view?.destroy();
    this.view = null;
    this.element.remove();
  }

  /** @param {string} name @param {string} title */
  #tab(name, title) {
    const tab = el("button", { type: "button", class: "hps-tab", role: "tab", id: `hps-tab-${name}`, text: title });
    tab.setAttribute("aria-controls", "hps-view");
    tab.addEventListener("click", () => {
      this.open(name);
      this.view?.takeFocus?.();
    });
    tab.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#tabKey(event));
    return tab;
  }

  /** @param {KeyboardEvent} event */
  #tabKey(event) {
    const names = [...this.tabs.keys()];
    const at = names.indexOf(this.name);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: names.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const name = names[(to + names.length) % names.length];
    this.open(name);
    this.tabs.get(name)?.focus();
  }

  #listen() {
    const { signal } = this.events;
    const listen = (/** @type {any} */ target, /** @type {string} */ name, /** @type {() => void} */ run) => {
      target.addEventListener(name, run);
      signal.addEventListener("abort", () => target.removeEventListener(name, run));
    };
    for (const name of ["execution_success", "execution_error", "execution_interrupted", "reconnected"]) {
      listen(api, name, () => this.#later());
    }
    listen(document, "visibilitychange", () => this.#seen());
    const stop = onSetting((id) => id === "HPS.Ledger.Enabled" && this.#later());
    signal.addEventListener("abort", stop);
  }

  /** Something may have changed: ask once things are calm, and only while somebody can see it. */
  #later() {
    if (!this.element.isConnected) return leave(this);
    if (document.hidden) {
      this.stale = true;
      return;
    }
    const now = performance.now();
    if (this.timer === undefined) this.since = now;
    else if (now - this.since > LONGEST_WAIT - PAUSE) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#refresh(), PAUSE);
  }

  #seen() {
    if (!this.element.isConnected) return leave(this);
    if (!document.hidden && this.stale) this.#refresh();
  }

  #refresh() {
    this.timer = undefined;
    this.stale = false;
    this.view?.refresh();
  }
}

/** @type {Sidebar | null} */
let open = null;

/** The host put something else into its sidebar without telling. @param {Sidebar} sidebar */
function leave(sidebar) {
  sidebar.destroy();
  if (open === sidebar) open = null;
}

/** Show the tab; the host may call it again for a place that is filled. @param {HTMLElement} place */
function render(place) {
  if (open?.place === place && open.element.parentNode === place) return;
  open?.destroy();
  open = new Sidebar(place);
}

function destroy() {
  open?.destroy();
  open = null;
}

/** Put the tab into the host's sidebar. */
export function registerSidebar() {
  styleOnce("hps-sidebar-css", new URL("../sidebar.css", import.meta.url).href);
  const tooltip = t("side.tooltip", "HPS: leaderboard and blind picks");
  const tab = { id: ID, icon: "pi pi-trophy", title: "HPS", tooltip, type: "custom", render, destroy };
  app.extensionManager.registerSidebarTab(tab);
}
