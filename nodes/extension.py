"""The extension that the host asks for: the list of nodes, the model folder that they read, the routes."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import (
    best_of_n,
    compare,
    compare_images,
    embedded,
    host,
    load,
    noise,
    optimize_noise,
    report,
    routes,
    save,
    score,
    select,
    steer,
)

NODES: tuple[type[io.ComfyNode], ...] = (
    *load.NODES,
    *score.NODES,
    *select.NODES,
    *best_of_n.NODES,
    *optimize_noise.NODES,
    *noise.NODES,
    *compare.NODES,
    *compare_images.NODES,
    *report.NODES,
    *save.NODES,
    *embedded.NODES,
    *steer.NODES,
)


class HpsExtension(ComfyExtension):
    """All nodes of the pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Register models/reward_models, which the loader lists, and the routes; return the node classes."""
        host.register_folder()
        routes.add_routes()
        return list(NODES)
