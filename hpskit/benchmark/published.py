"""Figures that the authors of HPS v2 published (README of tgxs002/HPSv2), to look at beside one's own, with care."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ..types import ScorerInfo

CAVEAT: Final = (
    "Published figures were computed by the authors in half precision on a GPU, most likely with a torchvision older "
    "than 0.17, which resized tensors without antialiasing (--mode legacy). Users of a newer one report 28.71 instead "
    "of 30.63 for the authors' own SDXL Base 0.9 images. Compare models that were scored in one run; do not set a "
    "figure of mode reference beside these."
)


@dataclass(frozen=True)
class Row:
    """One model of a published benchmark table: points by style, and over all."""

    model: str
    anime: float
    concept_art: float
    paintings: float
    photo: float
    average: float

    @property
    def styles(self) -> Mapping[str, float]:
        """The figures by the names of the styles on disk."""
        return {
            "anime": self.anime,
            "concept-art": self.concept_art,
            "paintings": self.paintings,
            "photo": self.photo,
        }


V2_0: Final = (
    Row("Dreamlike Photoreal 2.0", 28.24, 27.60, 27.59, 27.99, 27.86),
    Row("SDXL Refiner 0.9", 28.45, 27.66, 27.67, 27.46, 27.80),
    Row("Realistic Vision", 28.22, 27.53, 27.56, 27.75, 27.77),
    Row("SDXL Base 0.9", 28.42, 27.63, 27.60, 27.29, 27.73),
    Row("Deliberate", 28.13, 27.46, 27.45, 27.62, 27.67),
    Row("ChilloutMix", 27.92, 27.29, 27.32, 27.61, 27.54),
    Row("MajicMix Realistic", 27.88, 27.19, 27.22, 27.64, 27.48),
    Row("Openjourney", 27.85, 27.18, 27.25, 27.53, 27.45),
    Row("DeepFloyd-XL", 27.64, 26.83, 26.86, 27.75, 27.27),
    Row("Epic Diffusion", 27.57, 26.96, 27.03, 27.49, 27.26),
    Row("Stable Diffusion v2.0", 27.48, 26.89, 26.86, 27.46, 27.17),
    Row("Stable Diffusion v1.4", 27.26, 26.61, 26.66, 27.27, 26.95),
    Row("DALL-E 2", 27.34, 26.54, 26.68, 27.24, 26.95),
    Row("Versatile Diffusion", 26.59, 26.28, 26.43, 27.05, 26.59),
    Row("CogView2", 26.50, 26.59, 26.33, 26.44, 26.47),
    Row("VQGAN + CLIP", 26.44, 26.53, 26.47, 26.12, 26.39),
    Row("DALL-E mini", 26.10, 25.56, 25.56, 26.12, 25.83),
    Row("Latent Diffusion", 25.73, 25.15, 25.25, 26.97, 25.78),
    Row("FuseDream", 25.26, 25.15, 25.13, 25.57, 25.28),
    Row("VQ-Diffusion", 24.97, 24.70, 25.01, 25.71, 25.10),
    Row("LAFITE", 24.63, 24.38, 24.43, 25.81, 24.81),
    Row("GLIDE", 23.34, 23.08, 23.27, 24.50, 23.55),
)
V2_1: Final = (
    Row("SDXL Refiner 0.9", 33.26, 32.07, 31.63, 28.38, 31.34),
    Row("SDXL Base 0.9", 32.84, 31.36, 30.86, 27.48, 30.63),
    Row("Deliberate", 31.46, 30.48, 30.17, 28.83, 30.23),
    Row("Realistic Vision", 31.01, 29.95, 30.00, 28.61, 29.89),
    Row("Dreamlike Photoreal 2.0", 30.87, 29.75, 29.46, 28.85, 29.73),
    Row("MajicMix Realistic", 29.67, 28.50, 28.44, 28.02, 28.66),
    Row("ChilloutMix", 29.46, 28.46, 28.35, 27.63, 28.47),
    Row("Openjourney", 28.37, 27.38, 27.53, 26.66, 27.48),
    Row("DeepFloyd-XL", 27.71, 26.07, 25.79, 27.96, 26.88),
    Row("Epic Diffusion", 27.07, 26.14, 26.17, 26.43, 26.45),
    Row("Stable Diffusion v2.0", 27.09, 26.02, 25.68, 26.73, 26.38),
    Row("Stable Diffusion v1.4", 26.03, 24.87, 24.80, 25.70, 25.35),
    Row("DALL-E 2", 26.38, 24.51, 24.93, 25.55, 25.34),
    Row("Versatile Diffusion", 23.69, 23.39, 24.02, 24.64, 23.93),
    Row("CogView2", 23.64, 24.86, 23.40, 22.68, 23.64),
    Row("VQGAN + CLIP", 22.55, 23.76, 23.41, 21.51, 22.81),
    Row("DALL-E mini", 21.54, 20.50, 20.32, 21.72, 21.02),
    Row("Latent Diffusion", 20.63, 19.65, 19.79, 21.26, 20.34),
    Row("FuseDream", 19.16, 19.37, 19.07, 20.07, 19.42),
    Row("VQ-Diffusion", 18.44, 18.31, 19.24, 20.62, 19.15),
    Row("LAFITE", 17.79, 17.55, 17.61, 20.88, 18.46),
    Row("GLIDE", 13.90, 13.50, 13.94, 16.72, 14.51),
)
BY_SCORER: Final[Mapping[str, tuple[Row, ...]]] = {"hps-v2.0": V2_0, "hps-v2.1": V2_1}
"""Tables by scorer id, highest average first as published."""

ABBREVIATIONS: Final[Mapping[str, str]] = {
    "CM": "ChilloutMix",
    "Cog2": "CogView2",
    "DALLE-mini": "DALL-E mini",
    "DALLE": "DALL-E 2",
    "DF-IF": "DeepFloyd-XL",
    "DL": "Dreamlike Photoreal 2.0",
    "Deliberate": "Deliberate",
    "ED": "Epic Diffusion",
    "FD": "FuseDream",
    "LDM": "Latent Diffusion",
    "Laf": "LAFITE",
    "MM": "MajicMix Realistic",
    "OJ": "Openjourney",
    "RV": "Realistic Vision",
    "SDXL-base-0.9": "SDXL Base 0.9",
    "SDXL-refiner-0.9": "SDXL Refiner 0.9",
    "VD": "Versatile Diffusion",
    "VQD": "VQ-Diffusion",
    "VQGAN": "VQGAN + CLIP",
    "glide": "GLIDE",
    "sdv1": "Stable Diffusion v1.4",
    "sdv2": "Stable Diffusion v2.0",
}
"""Names of the folders in the authors' own archives of images."""


@dataclass(frozen=True)
class Agreement:
    """Published agreement of a scorer with people, in percent."""

    scorer: str
    imagereward: float
    """On ImageReward's test set."""
    hpdv2: float
    """On HPD v2's test set."""


AGREEMENT: Final = (
    Agreement("Aesthetic Score Predictor", 57.4, 76.8),
    Agreement("ImageReward", 65.1, 74.0),
    Agreement("HPS", 61.2, 77.6),
    Agreement("PickScore", 62.9, 79.8),
    Agreement("Single Human", 65.3, 78.1),
    Agreement("HPS v2", 65.7, 83.3),
    Agreement("HPS v2.1", 66.8, 84.1),
)
SCORERS: Final[Mapping[str, str]] = {
    "hps-v2.0": "HPS v2",
    "hps-v2.1": "HPS v2.1",
    "pickscore-v1": "PickScore",
    "aesthetic-v2": "Aesthetic Score Predictor",
}
"""Names in AGREEMENT by scorer id."""


def is_benchmark_scorer(scorer: ScorerInfo) -> bool:
    """Tell whether a scorer is one of HPS v2's with a preprocessing that pads, as the benchmark's figures ask for."""
    return scorer.id in BY_SCORER and scorer.preprocess in ("reference", "legacy")


def row_for(folder: str, scorer: str) -> Row | None:
    """Return the published row of the model that a folder is named after, by full name or the authors' short one."""
    name = ABBREVIATIONS.get(folder, folder)
    return next((row for row in BY_SCORER.get(scorer, ()) if row.model == name), None)


def agreement_for(scorer: str) -> Agreement | None:
    """Return the published agreement of a scorer; None when there is none."""
    return next((row for row in AGREEMENT if row.scorer == SCORERS.get(scorer)), None)
