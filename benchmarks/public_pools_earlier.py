"""Figures that an earlier, independent calculation with NumPy read off the same pools.

The defaults of the library (N = 8, gate, presets of the stopping rule) were chosen by them, so they are checked here
and not copied into the results. Gains are in standard deviations of the prompt's pool; None where it gave no figure.
"""

from __future__ import annotations

CURVES = {
    "flux": {
        "hps": {4: 1.00, 8: 1.36, 16: 1.68, 32: 1.96},
        "imr": {4: 0.88, 8: 1.14, 16: 1.32, 32: 1.47},
        "pic": {4: 1.00, 8: 1.34, 16: 1.63, 32: 1.88},
    },
    "sdxl": {
        "hps": {4: 1.03, 8: 1.42, 16: 1.76, 32: 2.05},
        "imr": {4: 0.90, 8: 1.16, 16: 1.35, 32: 1.51},
        "pic": {4: 1.00, 8: 1.37, 16: 1.66, 32: 1.91},
    },
}
SPREADS = {"flux": {"hps": 0.82, "imr": 0.475, "pic": 0.62}, "sdxl": {"hps": 0.73, "imr": 0.46, "pic": 0.58}}
"""Standard deviation between the seeds of a prompt, in points."""
TRANSFER = {
    "flux": {8: (0.44, 0.72), 16: (0.50, 0.85), 64: (0.58, 1.05)},
    "sdxl": {8: (0.38, 0.57), 16: (0.43, 0.68), 50: (0.48, 0.82)},
}
"""What ImageReward and PickScore gain when HPS alone chooses, by N."""
SPEARMAN = {("hps", "imr"): (0.33, 0.37), ("hps", "pic"): (0.45, 0.55), ("imr", "pic"): (0.34, 0.36)}
"""Rank correlation of two rewards between the seeds of a prompt: least and greatest of the two models."""
STOPPING: dict[str, dict[float, tuple[float, float, float]]] = {
    "flux": {0.05: (28.650, 7.3, 28.610), 0.10: (28.357, 4.4, 28.322)},
    "sdxl": {0.02: (28.940, 15.5, 28.908), 0.05: (28.630, 7.5, 28.592), 0.10: (28.354, 4.4, 28.321)},
}
"""Utility of stopping by expected improvement, its mean N, utility of the best fixed N; by cost of an image."""
RULES = {
    "flux": {
        "HPS alone": (1.68, 0.50, 0.85),
        "ImageReward alone": (0.55, 1.32, 0.49),
        "PickScore alone": (0.86, 0.48, 1.64),
        "zsum of all": (1.37, 0.95, 1.32),
        "rank of all": (1.27, 0.99, 1.24),
        "worst of all": (1.22, 0.99, 1.19),
        "zsum of HPS and ImageReward": (1.45, 1.07, 0.83),
        "zsum of HPS and PickScore": (1.47, 0.54, 1.40),
        "gate: HPS among the better half by ImageReward": (1.53, 0.83, 0.85),
    },
    "sdxl": {
        "HPS alone": (1.77, 0.43, 0.68),
        "ImageReward alone": (0.50, 1.36, 0.51),
        "PickScore alone": (0.71, 0.51, 1.68),
        "zsum of all": (1.38, 0.97, 1.30),
        "rank of all": (1.25, 1.02, 1.24),
        "worst of all": (1.19, 0.99, 1.18),
        "zsum of HPS and ImageReward": (1.52, 1.06, 0.75),
        "zsum of HPS and PickScore": (1.49, 0.54, 1.38),
        "gate: HPS among the better half by ImageReward": (1.58, 0.83, 0.73),
    },
}
"""Gains of HPS, ImageReward and PickScore when a rule chooses one of 16."""
