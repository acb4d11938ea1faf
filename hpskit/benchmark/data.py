"""The benchmark's prompts from the authors' public data set: downloaded when asked to, and checked for their form.

The data set is zhwang/HPDv2 on Hugging Face. It publishes no checksum of these files and none is known here, so what
arrives is pinned by its commit alone; its form is checked, and its sha256 is written beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from .. import weights
from ..cards import Card, CardFile
from ..errors import BenchmarkError, DownloadError
from ..paths import weights_dir
from .styles import DRAWBENCH, PROMPTS_EACH, STYLES, Layout, load_json, texts

REPOSITORY: Final = "datasets/zhwang/HPDv2"
REVISION: Final = "260dbde75ab1c68e86d32a8e7739f1b49b100578"
"""The commit of 2023-07-28 that added the lists; later ones left them as they are."""


def prompts_dir() -> Path:
    """Return where downloaded lists of prompts lie: a folder among the weights (not made here)."""
    return weights_dir() / "benchmark-prompts"


def files(layout: Layout) -> dict[str, int | None]:
    """Return the names of a layout's lists with the number of prompts that each must have, where that is published."""
    if layout == DRAWBENCH:
        return {f"{DRAWBENCH}.json": None}
    return {f"{style}.json": PROMPTS_EACH for style in STYLES}


def download_prompts(
    folder: Path,
    layout: Layout,
    *,
    progress: weights.Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[Path]:
    """Download the lists of a layout into `folder` and return their paths; a list that is there is checked and kept.

    Goes on where an earlier download stopped. Raises DownloadError (Offline among them) when a list does not come or
    is not what it should be, Cancelled, and OutputError when the folder cannot be written.
    """
    found = weights.download(_card(layout), folder, progress=progress, cancelled=cancelled)
    for path in found.values():
        _check(path, files(layout)[path.name])
    return list(found.values())


def _check(path: Path, wanted: int | None) -> None:
    try:
        count = len(texts(load_json(path), str(path)))
    except BenchmarkError as error:
        raise DownloadError(f"{error} It is not the benchmark's list; delete it and get it again.") from error
    if wanted is not None and count != wanted:
        raise DownloadError(f"{path} has {count} prompts instead of {wanted}; delete it and get it again.")


def _card(layout: Layout) -> Card:
    """Return the lists as a card, so that they are fetched the way weights are."""
    wanted = tuple(CardFile(name, name, REPOSITORY, REVISION, f"benchmark/{name}") for name in files(layout))
    return Card(
        id="benchmark-prompts",
        name="Benchmark prompts",
        family="",
        version="",
        description="Prompts of the HPS v2 benchmark.",
        domain="",
        files=wanted,
        licence="see the data set's page",
        source="https://huggingface.co/datasets/zhwang/HPDv2",
        preprocess="",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
