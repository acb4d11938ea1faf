// @ts-check
// A widget of the page between its own scrolling and the canvas below it.
import { app } from "./host.js";

/**
 * In the classic canvas a widget of the page swallows zooming and panning: hand them on, unless something inside
 * scrolls. Keys stay inside, or Delete would remove the node.
 * @param {HTMLElement} box
 */
export function shareGestures(box) {
  const classic = () => !(/** @type {any} */ (window).LiteGraph?.vueNodesMode);
  box.addEventListener("wheel", (event) => {
    if (!classic()) return;
    const part = /** @type {any} */ (event.target).closest?.("[data-hps-scroll]");
    if (part && scrolls(part, event) && !event.ctrlKey) event.stopPropagation();
    else app.canvas?.processMouseWheel?.(event);
  }, { passive: false });
  /** @type {(name: string, method: string, when: (event: PointerEvent) => boolean) => void} */
  const pass = (name, method, when) =>
    box.addEventListener(name, (/** @type {any} */ event) => {
      if (classic() && when(event)) app.canvas?.[method]?.(event);
    });
  pass("pointerdown", "processMouseDown", (event) => event.button === 1);
  pass("pointermove", "processMouseMove", (event) => Boolean(event.buttons & 4));
  pass("pointerup", "processMouseUp", (event) => event.button === 1);
  box.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey) event.stopPropagation();
  });
}

/** @param {any} part @param {WheelEvent} event @returns {boolean} whether there is more of it in the wheel's direction */
function scrolls(part, event) {
  const sideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
  return sideways && part.scrollWidth > part.clientWidth + 1 || part.scrollHeight > part.clientHeight + 1;
}
