"""A workflow that compares settings with the embedded miniature; its widgets have their defaults until they are set."""

from __future__ import annotations

from typing import Any

NODE = "HPS_CompareSettings"
PROMPTS = (
    "a yellow star to the left of a white circle on a blue background",
    "a red square above a green triangle on a white background",
)
SIDES = [32, 32, 1]
_OUTPUTS = (
    ("study", "HPS_STUDY"),
    ("grid", "IMAGE"),
    ("table", "STRING"),
    ("verdict", "STRING"),
    ("best", "STRING"),
)


def compare_graph(size: tuple[int, int] = (700, 1200)) -> dict[str, Any]:
    """Return the workflow: miniature, latent and scorer into HPS Compare Settings, whose verdict is shown."""
    links = [
        [1, 1, 0, 4, 0, "MODEL"],
        [2, 1, 2, 4, 1, "VAE"],
        [3, 3, 0, 4, 2, "HPS_SCORER"],
        [4, 2, 0, 4, 3, "LATENT"],
        [5, 1, 1, 4, 4, "CLIP"],
        [6, 4, 3, 5, 0, "STRING"],
    ]
    inputs = ("model", "MODEL", 1), ("vae", "VAE", 2), ("scorer", "HPS_SCORER", 3), ("latent_image", "LATENT", 4)
    outputs = [("model", "MODEL", [1]), ("clip", "CLIP", [5]), ("vae", "VAE", [2]), ("prompt_text", "STRING", [])]
    nodes = [
        _node(1, "HPS_LoadEmbedded", (20, 40), (320, 160), outputs=outputs, widgets_values=[PROMPTS[0]]),
        _node(2, "EmptyLatentImage", (20, 260), (320, 110), outputs=[("LATENT", "LATENT", [4])], widgets_values=SIDES),
        _node(3, "HPS_LoadScorer", (20, 430), (320, 160), outputs=[("scorer", "HPS_SCORER", [3])]),
        _node(
            4, NODE, (380, 40), size, inputs=[*inputs, ("clip", "CLIP", 5)],
            outputs=[(name, kind, [6] if name == "verdict" else []) for name, kind in _OUTPUTS],
        ),
        _node(5, "PreviewAny", (1120, 40), (240, 120), inputs=[("source", "*", 6)]),
    ]  # fmt: skip
    return {"last_node_id": 5, "last_link_id": 6, "nodes": nodes, "links": links, "groups": [], "version": 0.4}


def _node(node: int, kind: str, pos: tuple[int, int], size: tuple[int, int], **more: Any) -> dict[str, Any]:
    inputs = [{"name": name, "type": kind_, "link": link} for name, kind_, link in more.pop("inputs", [])]
    outputs = [{"name": name, "type": kind_, "links": links} for name, kind_, links in more.pop("outputs", [])]
    base = {"id": node, "type": kind, "pos": list(pos), "size": list(size), "flags": {}, "order": node, "mode": 0}
    return base | {"inputs": inputs, "outputs": outputs, "properties": {}} | more
