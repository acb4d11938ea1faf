"""The HPS v2 benchmark of image generators, and agreement of scorers with human rankings, counted as published.

Pure functions on scores, and readers of the public layouts; scoring itself is the caller's. Downloads nothing unless
`data.download_prompts` is called.
"""

from __future__ import annotations

from .accuracy import Accuracy, Share, pair_counts, predicted_ranks, rank_accuracy
from .folders import ModelFolder
from .humans import Ranked, Rankings, read_rankings
from .protocol import ModelFigure, StyleFigure, group_means, model_figure, style_figure
from .styles import DRAWBENCH, STYLES, Layout, PromptSet, read_prompts

__all__ = [
    "DRAWBENCH",
    "STYLES",
    "Accuracy",
    "Layout",
    "ModelFigure",
    "ModelFolder",
    "PromptSet",
    "Ranked",
    "Rankings",
    "Share",
    "StyleFigure",
    "group_means",
    "model_figure",
    "pair_counts",
    "predicted_ranks",
    "rank_accuracy",
    "read_prompts",
    "read_rankings",
    "style_figure",
]
