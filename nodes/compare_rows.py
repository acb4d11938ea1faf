"""What the ledger keeps of a comparison's images beyond their scores, and the keys under which it finds them again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ..hpskit.graphsettings import loras_at
from ..hpskit.promptgraph import Graph, scalar, side_text
from ..hpskit.study.design import Recipe
from .compare_keys import Keys, upstream
from .compare_run import Plan
from .recording import Origin
from .shown_study import Place

_STUDY = 16
"""Hex digits of a study's name."""


class Rows:
    """Keys and common fields of all cells of a plan."""

    def __init__(self, plan: Plan, origin: Origin, keys: Keys) -> None:
        self._plan = plan
        recipes = plan.design.recipes
        self.keys: Mapping[Place, str] = {
            (s, p, k): keys.cell(recipes[s], plan.prompts[p], plan.scored[p], plan.seeds[k])
            for s, p, k in plan.places()
        }
        """Under which key each cell is found again."""
        self.study = hashlib.sha256("".join(self.keys.values()).encode()).hexdigest()[:_STUDY]
        """The same for the same comparison, however often it is run."""
        self._model, self._loras, self._negative, self._guided = _read(origin)

    def common(self, recipe: Recipe, prompt: int) -> Mapping[str, Any]:
        """Return prompt, fields and extra data of the rows of a setting and a prompt."""
        plan = self._plan
        text = recipe.text(plan.prompts[prompt])
        loras = () if recipe.checkpoint else self._loras
        made = {"denoise": plan.denoise, "negative": self._negative or plan.negative, "model": self._model}
        made["loras"] = (*loras, *((name, strength) for name, strength in recipe.loras if strength))
        extra = {"study": self.study} | ({"text": text} if text != plan.prompts[prompt] else {})
        guided = {"guidance": True} if self._guided and not recipe.checkpoint else {}
        return {"prompt": plan.scored[prompt], "made": made, "extra": extra | guided}


def _read(origin: Origin) -> tuple[str, tuple[tuple[str, float], ...], str, bool]:
    """Return model, LoRAs and negative text that are wired to the node, and whether guidance changes the model."""
    inputs = origin.graph.get(origin.node, {}).get("inputs", {})
    try:
        graph = Graph(origin.graph)
        model = scalar(graph, origin.node, "model")
        negative = side_text(graph, origin.node, "negative") if "negative" in inputs else ""
        loras = loras_at(origin.graph, origin.node)
    except Exception:  # the graph is whatever other packs make of it
        return "", (), "", False
    link = inputs.get("model")
    above = list(upstream(origin.graph, str(link[0]))) if isinstance(link, (list, tuple)) else []
    guided = any(node.get("class_type") == "HPS_RewardGuidance" for node in above)
    return model if isinstance(model, str) else "", loras, negative, guided
