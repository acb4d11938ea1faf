"""A page of a real ComfyUI in a real browser: load a workflow, run it, look at it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from comfy_harness import Server

from .errors import Watch
from .places import Place, graph_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page

KNOWN = (
    r"reading 'id'",  # front end 1.27 throws this without any pack
    r"Attempted to cleanup event listeners for graph that was never set up",  # 1.27 when a subgraph is left
    r"ComfyApp graph accessed before initialization",  # front end 1.45 says so of its own code
    r"huggingface\.co",  # newer front ends look for models of their default workflow
)
_SEEDS = itertools.count(10_000, 5_000)
_READY = "() => Boolean(window.app?.extensionManager && window.__hps?.ready)"
_HELPERS = """
    () => {
        const root = () => app.rootGraph ?? app.graph;  // older front ends have the second only
        const all = (graph) => graph.nodes.flatMap((node) => [node, ...(node.subgraph ? all(node.subgraph) : [])]);
        const node = (type) => {
            const found = all(root()).find((each) => each.comfyClass === type);
            if (!found) throw new Error(`no node ${type} among ${all(root()).map((each) => each.comfyClass)}`);
            return found;
        };
        const widget = (type, name) => {
            const found = node(type).widgets.find((each) => each.name === name);
            if (!found) throw new Error(`${type} has no widget ${name}`);
            return found;
        };
        const { api } = comfyAPI.api;
        const ends = new Map();  // how each prompt ended, by its id
        for (const kind of ["execution_success", "execution_error", "execution_interrupted"]) {
            api.addEventListener(kind, (event) => ends.set(event.detail.prompt_id, kind));
        }
        const queue = api.queuePrompt;
        const queued = [];
        api.queuePrompt = async (...values) => {
            const answer = await queue.apply(api, values);
            queued.push(answer.prompt_id);
            return answer;
        };
        const running = () => queued.some((id) => !ends.has(id));
        const start = async () => {
            const before = queued.length;
            await app.queuePrompt(0, 1);
            if (queued.length === before) throw new Error("the server did not take the workflow");
        };
        const prompt = () => queued.at(-1);
        window.hpsTest = { root, node, widget, running, start, prompt, last: () => ends.get(prompt()) };
    }
"""


def fresh_seed() -> int:
    """Return a seed that no test has used: the host tells a search node nothing of a run that its cache answers."""
    return next(_SEEDS)


class UI:
    """One page with the host's interface; `page` is Playwright's."""

    def __init__(self, browser: Browser, server: Server, place: Place, context: BrowserContext | None = None) -> None:
        self.server, self.place = server, place
        self.context = context or browser.new_context(viewport={"width": 1500, "height": 900})
        self._owns = context is None
        if self._owns:
            self.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.url)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(15_000)
        self.watch = Watch(self.page, server.url, KNOWN)
        server.post("/settings/Comfy.VueNodes.Enabled", place.vue)
        self.open()

    def open(self) -> None:
        """Open the interface, and wait until it and the pack are ready."""
        self.page.goto(self.server.url)
        self.page.wait_for_function(_READY, timeout=90_000)
        self.page.evaluate(_HELPERS)

    def reload(self) -> None:
        """Load the page again, in its renderer: another page may have chosen the other one meanwhile."""
        self.server.post("/settings/Comfy.VueNodes.Enabled", self.place.vue)
        self.page.reload()
        self.page.wait_for_function(_READY, timeout=90_000)
        self.page.evaluate(_HELPERS)

    def close(self) -> None:
        """Close the page, and the context when it was made for it."""
        self.page.close()
        if self._owns:
            self.context.close()

    # --- workflows --------------------------------------------------------------------------------------------------

    def load(self, workflow: str | dict[str, Any], name: str = "test", **values: Any) -> None:
        """Load a workflow by its name in example_workflows, or as given; `values` are set as "Type__widget"=value."""
        self.page.evaluate(
            "async ([graph, name]) => { await app.loadGraphData(graph, true, true, name) }", [graph_of(workflow), name]
        )
        for key, value in values.items():
            self.set(*key.split("__"), value)

    def run(self, timeout: float = 60) -> str:
        """Run the workflow and return how it ended: "success", "error" or "interrupted"."""
        self.start()
        return self.ended(timeout)

    def start(self) -> None:
        """Queue the workflow without waiting for its end."""
        self.page.evaluate("() => hpsTest.start()")

    def prompt(self) -> str:
        """Return the id of the prompt that was queued last."""
        return str(self.page.evaluate("() => hpsTest.prompt()"))

    def ended(self, timeout: float = 60) -> str:
        """Wait until everything that start() queued has ended; return how the last one did."""
        self.page.wait_for_function("() => !hpsTest.running()", timeout=timeout * 1000, polling=50)
        return str(self.page.evaluate("() => hpsTest.last()")).removeprefix("execution_")

    def running(self) -> bool:
        """Return whether something that start() queued has not ended yet."""
        return bool(self.page.evaluate("() => hpsTest.running()"))

    def rest(self) -> None:
        """Interrupt what still runs, and wait until the queue is empty."""
        if self.running():
            self.server.interrupt()
            self.ended(30)

    # --- nodes ------------------------------------------------------------------------------------------------------

    def set(self, node: str, widget: str, value: Any) -> None:
        """Set a widget of the first node of a type, as a person would."""
        self.page.evaluate(
            """([type, name, value]) => {
                const widget = hpsTest.widget(type, name);
                widget.value = value;
                widget.callback?.(value, app.canvas, hpsTest.node(type));
            }""",
            [node, widget, value],
        )

    def get(self, node: str, widget: str) -> Any:
        """Return the value of a widget of the first node of a type."""
        return self.page.evaluate("([type, name]) => hpsTest.widget(type, name).value", [node, widget])

    def outputs(self, node: str) -> dict[str, Any]:
        """Return what the interface keeps of the last run of the first node of a type."""
        return dict(self.page.evaluate("(type) => app.nodeOutputs[hpsTest.node(type).id] ?? {}", node))

    def has(self, node: str) -> bool:
        """Return whether the workflow that is open has a node of a type."""
        script = "(type) => hpsTest.root().nodes.some((node) => node.comfyClass === type)"
        return bool(self.page.evaluate(script, node))

    def count(self) -> int:
        """Return the number of nodes of the workflow that is open."""
        return int(self.page.evaluate("() => hpsTest.root().nodes.length"))

    def focus(self, node: str, scale: float = 1.0) -> None:
        """Bring the lower end of the first node of a type, where its gallery is, into view."""
        self.page.evaluate(
            """([type, scale]) => {
                const { pos, size } = hpsTest.node(type);
                const { canvas } = app.canvas;
                const ratio = window.devicePixelRatio;
                app.canvas.ds.scale = scale;
                app.canvas.ds.offset[0] = canvas.width / ratio / 2 / scale - pos[0] - size[0] / 2;
                app.canvas.ds.offset[1] = (canvas.height / ratio - 90) / scale - pos[1] - size[1];
                app.canvas.setDirty(true, true);
            }""",
            [node, scale],
        )
        self.page.wait_for_timeout(200)

    # --- what the pack shows ----------------------------------------------------------------------------------------

    def cells(self) -> Locator:
        """Return the cells of the galleries that can be seen, best first."""
        return self.page.locator(".hps-cell:visible")

    def ranking(self) -> list[list[str]]:
        """Return what the badges of the cells say, part by part: rank, then score where it has room, then a label."""
        script = "all => all.map((badge) => [...badge.children].map((part) => part.textContent))"
        return list(self.page.locator(".hps-cell:visible .hps-badge").evaluate_all(script))

    def open_board(self) -> Locator:
        """Open the pack's tab of the sidebar when it is closed, and return its panel."""
        panel = self.page.locator(".hps-sidebar")
        if not panel.count():
            self.command(f"Workspace.ToggleSidebarTab.{self.tab_id()}")
        panel.first.wait_for()
        return panel.first

    def close_board(self) -> None:
        """Close the pack's tab of the sidebar when it is open."""
        if self.page.locator(".hps-sidebar").count():
            self.command(f"Workspace.ToggleSidebarTab.{self.tab_id()}")

    def tab_id(self) -> str:
        """Return the id of the pack's tab of the sidebar."""
        script = "() => app.extensionManager.getSidebarTabs().map((tab) => tab.id).find((id) => /^hps/i.test(id))"
        return str(self.page.evaluate(script))

    def command(self, name: str) -> None:
        """Execute a command of the interface."""
        self.page.evaluate("(name) => app.extensionManager.command.execute(name)", name)

    def setting(self, name: str, value: Any) -> None:
        """Change a setting of the interface."""
        self.page.evaluate("([name, value]) => app.extensionManager.setting.set(name, value)", [name, value])

    def theme(self, name: str) -> None:
        """Switch to the "light" or the "dark" theme."""
        self.setting("Comfy.ColorPalette", name)
        self.page.wait_for_timeout(200)

    def until(self, done: Callable[[], bool], seconds: float = 15) -> None:
        """Wait until `done` is true; raises AssertionError when it does not come true."""
        for _ in range(int(seconds * 20)):
            if done():
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"not within {seconds:.0f} s")
