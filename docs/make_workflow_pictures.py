"""Draws example_workflows/*.jpg: every workflow run in a real ComfyUI and photographed in its own interface.

    python docs/make_workflow_pictures.py [NAME ...]

Needs what the browser tests need: a ComfyUI (COMFYUI_PATH, else ~/comfy/ComfyUI), playwright and Chromium.
"""

from __future__ import annotations

import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from web_harness import UI, Farm, chromium, places  # noqa: E402

FOLDER = ROOT / "example_workflows"
WIDTH = 1600
"""Pixels of a picture."""
HIDE = ".litegraph-minimap, .minimap-main-container, .comfyui-body-top, .comfyui-body-left, .side-tool-bar-container"
_FIT = """
    () => {
        const nodes = hpsTest.root().nodes;
        const title = 40, edge = 24;
        const left = Math.min(...nodes.map((n) => n.pos[0])) - edge, top = Math.min(...nodes.map((n) => n.pos[1])) - title - edge;
        const right = Math.max(...nodes.map((n) => n.pos[0] + n.size[0])) + edge;
        const bottom = Math.max(...nodes.map((n) => n.pos[1] + (n.flags.collapsed ? 0 : n.size[1]))) + edge;
        const scale = Math.min(1, 1560 / (right - left), 1350 / (bottom - top));
        app.canvas.ds.scale = scale;
        app.canvas.ds.offset[0] = 60 / scale - left;
        app.canvas.ds.offset[1] = 90 / scale - top;
        app.canvas.setDirty(true, true);
        return [60, 90, (right - left) * scale, (bottom - top) * scale];
    }
"""


def photograph(ui: UI, name: str) -> Image.Image:
    """Return the picture of a workflow after a run."""
    ui.load(name)
    ended = ui.run(180)
    if ended != "success":
        raise SystemExit(f"{name}: {ended}")
    ui.page.wait_for_timeout(9000)  # previews are loaded from the server, and the host's message of success goes
    left, top, width, height = ui.page.evaluate(_FIT)
    ui.page.wait_for_timeout(800)
    shot = ui.page.screenshot(clip={"x": left, "y": top, "width": width, "height": height})
    return Image.open(BytesIO(shot)).convert("RGB")


def main(names: list[str]) -> None:
    """Draw the named workflows, or all."""
    place = places(False)[0][0]
    with chromium() as browser, tempfile.TemporaryDirectory() as folder:
        farm = Farm(Path(folder))
        try:
            server = farm.server(place)
            context = browser.new_context(viewport={"width": 1680, "height": 1500}, device_scale_factor=1)
            ui = UI(browser, server, place, context)
            ui.page.add_style_tag(content=f"{HIDE} {{ display: none !important; }}")
            for name in names or sorted(path.stem for path in FOLDER.glob("*.json")):
                picture = photograph(ui, name)
                picture.save(FOLDER / f"{name}.jpg", quality=88, optimize=True)
                sys.stdout.write(f"{name}: {picture.size}\n")
        finally:
            farm.close()


if __name__ == "__main__":
    main(sys.argv[1:])
