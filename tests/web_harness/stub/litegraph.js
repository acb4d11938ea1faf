// @ts-check
// Graph, node and canvas with the members that an extension may touch; a node's DOM widgets stand in the document.

let nextId = 1;

/** Badge of a node, as in the host. */
export class LGraphBadge {
  /** @param {{text: string, fgColor?: string, bgColor?: string}} options */
  constructor({ text, fgColor = "white", bgColor = "#0F1F0F" }) {
    Object.assign(this, { text, fgColor, bgColor, visible: true });
  }
}

/** A node with widgets; its DOM widgets are appended to a frame of the node's size in the document. */
export class StubNode {
  /** @param {Record<string, any>} [options] id, type, title, widgets, inputs, outputs, size, properties */
  constructor(options = {}) {
    this.id = options.id ?? nextId++;
    this.type = this.comfyClass = options.type ?? "HPS_Score";
    this.title = options.title ?? this.type;
    /** @type {any} */
    this.graph = null;
    this.size = Float64Array.from(options.size ?? [320, 260]);
    this.pos = Float64Array.from([0, 0]);
    this.flags = {};
    this.mode = 0;
    this.properties = options.properties ?? {};
    /** @type {any[]} */
    this.badges = [];
    /** @type {any[]} */
    this.inputs = (options.inputs ?? []).map((/** @type {any} */ input) => ({ link: null, ...input }));
    this.outputs = (options.outputs ?? []).map((/** @type {any} */ output) => ({ links: null, ...output }));
    /** @type {any[]} */
    this.widgets = [];
    for (const { type, name, value, ...rest } of options.widgets ?? []) {
      this.addWidget(type ?? "text", name, value, null, rest.options ?? {});
    }
    this.frame = document.createElement("section");
    this.frame.className = "stub-node";
    this.frame.dataset.node = String(this.id);
    this.#fit();
  }

  /** @param {string} type @param {string} name @param {any} value @param {Function | null} callback @param {any} options */
  addWidget(type, name, value, callback, options = {}) {
    const widget = { type, name, value, callback, options, y: 0, node: this };
    this.widgets.push(widget);
    return widget;
  }

  /** @param {any} widget */
  addCustomWidget(widget) {
    this.widgets.push(widget);
    return widget;
  }

  /** @param {string} name @param {string} type @param {HTMLElement} element @param {any} [options] */
  addDOMWidget(name, type, element, options = {}) {
    const widget = {
      type,
      name,
      element,
      options,
      node: this,
      y: 0,
      serialize: options.serialize,
      get value() {
        return options.getValue?.() ?? "";
      },
      set value(value) {
        options.setValue?.(value);
      },
      callback: options.callback,
      onRemove: () => element.remove(),
    };
    this.widgets.push(widget);
    element.classList.add("dom-widget");
    this.frame.append(element);
    this.#fit();
    return widget;
  }

  /** @param {any} widget */
  removeWidget(widget) {
    this.widgets = this.widgets.filter((each) => each !== widget);
    widget.onRemove?.();
  }

  computeSize() {
    const heights = this.widgets.map((widget) => widget.options?.getMinHeight?.() ?? (widget.element ? 60 : 24));
    return Float64Array.from([210, 30 + heights.reduce((sum, height) => sum + height, 0)]);
  }

  /** @param {ArrayLike<number>} size */
  setSize(size) {
    this.size = Float64Array.from(size);
    this.#fit();
    /** @type {any} */ (this).onResize?.(this.size);
  }

  setDirtyCanvas() {}

  /** @param {number} slot */
  isInputConnected(slot) {
    return this.inputs[slot]?.link != null;
  }

  /** @param {number} slot */
  getInputNode(slot) {
    const link = this.graph?.links[this.inputs[slot]?.link];
    return link ? this.graph.getNodeById(link.origin_id) : null;
  }

  /** @param {string} name */
  findInputSlot(name) {
    return this.inputs.findIndex((input) => input.name === name);
  }

  isSubgraphNode() {
    return Boolean(/** @type {any} */ (this).subgraph);
  }

  #fit() {
    if (!this.frame) return;
    this.frame.style.width = `${this.size[0]}px`;
    this.frame.style.height = `${this.size[1]}px`;
  }
}

/** The graph: nodes by id, with strings and numbers told apart as in the host. */
export class StubGraph {
  constructor() {
    this.id = "stub-graph";
    /** @type {StubNode[]} */
    this.nodes = [];
    /** @type {Record<string, any>} */
    this.links = {};
    /** @type {StubGraph} */
    this.rootGraph = this;
    this.isRootGraph = true;
    this.changes = 0;
  }

  get _nodes() {
    return this.nodes;
  }

  /** @param {any} id */
  getNodeById(id) {
    return this.nodes.find((node) => node.id === id) ?? null;
  }

  /** @param {StubNode} node */
  add(node) {
    node.graph = this;
    this.nodes.push(node);
    document.getElementById("graph")?.append(node.frame);
    return node;
  }

  /** @param {StubNode} node */
  remove(node) {
    for (const widget of node.widgets) widget.onRemove?.();
    /** @type {any} */ (node).onRemoved?.();
    this.nodes = this.nodes.filter((each) => each !== node);
    node.graph = null;
    node.frame.remove();
  }

  /** Links output `slot` of one node with input `entry` of another. @param {StubNode} from @param {number} slot @param {StubNode} to @param {number} entry */
  connect(from, slot, to, entry) {
    const id = Object.keys(this.links).length + 1;
    this.links[id] = { id, origin_id: from.id, origin_slot: slot, target_id: to.id, target_slot: entry };
    to.inputs[entry].link = id;
    from.outputs[slot].links = [...(from.outputs[slot].links ?? []), id];
  }

  change() {
    this.changes += 1;
  }

  setDirtyCanvas() {}

  serialize() {
    return { id: this.id, nodes: this.nodes.map(({ id, type }) => ({ id, type })), links: [] };
  }
}

/** The canvas; keeps the mouse events that a widget forwards to it. */
export class StubCanvas {
  /** @param {StubGraph} graph */
  constructor(graph) {
    this.graph = graph;
    this.canvas = document.createElement("canvas");
    this.ds = { scale: 1, offset: [0, 0] };
    this.selected_nodes = {};
    this.selectedItems = new Set();
    /** @type {[string, Event][]} */
    this.forwarded = [];
    for (const name of ["processMouseWheel", "processMouseDown", "processMouseMove", "processMouseUp"]) {
      /** @type {any} */ (this)[name] = (/** @type {Event} */ event) => this.forwarded.push([name, event]);
    }
  }

  setDirty() {}

  draw() {}

  /** @param {StubNode} node */
  centerOnNode(node) {
    this.centered = node;
  }

  /** @param {StubNode} node */
  selectNode(node) {
    this.selected_nodes = { [node.id]: node };
  }

  /** @param {StubGraph} graph */
  setGraph(graph) {
    this.graph = graph;
  }
}
