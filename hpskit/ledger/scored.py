"""An entry out of what there is after scoring: the record that files are stamped with, and what stays of a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .entry import Entry
from .picture import pixel_hash, thumbnail_of

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from ..metadata import PromptInfo


@dataclass(frozen=True)
class Trace:
    """What stays of a picture when its pixels are gone."""

    image_hash: str
    width: int
    height: int
    thumbnail: bytes | None


def trace_of(picture: Image) -> Trace:
    """Return what stays of a picture of any mode; alpha, where Forge hides a text, does not count."""
    rgb = picture if picture.mode == "RGB" else picture.convert("RGB")
    return Trace(pixel_hash(rgb), *rgb.size, thumbnail_of(rgb))


def picture_of(pixels: Tensor) -> Image:
    """Return a picture from uint8 [3, H, W]; joining the planes is much faster than transposing them."""
    from PIL import Image

    planes = pixels.numpy()
    return Image.merge("RGB", [Image.fromarray(planes[k]) for k in range(3)])


def entry_of(record: Mapping[str, Any], prompt: str, seen: Trace, *, source: str, **made: Any) -> Entry:
    """Return the entry of a scored picture.

    `record` is what `hpskit.stamp.record` says about its score, `prompt` what it was scored against, and `made` more
    fields of the entry: how the picture was made, its file and its run.
    """
    return Entry(
        prompt=prompt,
        scorer=record["scorer"],
        scorer_version=record["version"],
        preprocess=record["preprocess"],
        dtype=record["dtype"],
        checkpoint=record["checkpoint"],
        score=record["value"],
        parts=dict(record.get("parts", {})),
        width=seen.width,
        height=seen.height,
        image_hash=seen.image_hash,
        thumbnail=seen.thumbnail,
        source=source,
        **made,
    )


def made_of(info: PromptInfo | None) -> dict[str, Any]:
    """Return the fields of an entry that a file's metadata tell; what makes no sense there the ledger leaves out."""
    if info is None:
        return {}
    return {
        "negative": info.negative,
        "model": info.model or "",
        "loras": info.loras,
        "sampler": info.sampler or "",
        "scheduler": info.scheduler or "",
        "seed": info.seed,
        "steps": info.steps,
        "cfg": info.cfg,
    }
