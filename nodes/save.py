"""Node that saves scored images: the host's own metadata stays as it is, the score stands next to it."""

from __future__ import annotations

import io as bytesio
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import folder_paths
from comfy.cli_args import args
from comfy_api.latest import io
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..hpskit import stamp
from ..hpskit.errors import OutputError
from ..hpskit.images import to_pil
from ..hpskit.ledger.picture import pixel_hash
from . import batches, host
from .recording import saved
from .types import HPS_SCORES, ScoreTable

SUFFIXES = {"PNG": ".png", "WebP": ".webp", "JPEG": ".jpg"}


JPEG_ROOM = 60_000
"""Bytes that surely fit one JPEG segment, with the packet around them."""


class SaveScored(io.ComfyNode):
    """Saves images with their scores in the metadata."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return host.Schema(
            node_id="HPS_SaveScored",
            display_name="HPS Save Scored",
            category="HPS",
            description="Saves images with the score of each in its metadata and, if wanted, in its name.",
            search_aliases=["save image", "save with score", "export"],
            is_input_list=True,
            is_output_node=True,
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            inputs=[
                io.Image.Input("images", tooltip="The images of the table, in its order."),
                HPS_SCORES.Input("score_table", tooltip="From HPS Score, or kept_table of HPS Select."),
                io.String.Input(
                    "filename_prefix",
                    default="HPS/%hps%",
                    tooltip="As in Save Image, with %hps% for the score and %rank% for the rank of each image.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(SUFFIXES),
                    default="PNG",
                    tooltip="PNG and WebP keep the workflow; so does JPEG, if the workflow fits into its 64 kB.",
                ),
                io.Int.Input(
                    "quality", default=95, min=1, max=100, tooltip="For JPEG and WebP; 100 is lossless in WebP."
                ),
                io.MultiType.Input(
                    "seeds", [io.Int, io.String], optional=True, tooltip="Seeds to write down, one an image."
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", is_output_list=True, tooltip="The images, unchanged."),
                io.String.Output(display_name="paths", is_output_list=True, tooltip="The files that were written."),
            ],
        )

    @classmethod
    def execute(
        cls, images: list[Any], score_table: list[ScoreTable], seeds: list[Any] | None = None, **lists: Any
    ) -> io.NodeOutput:
        """Write the files."""
        table = score_table[0]
        batches.expect("images", batches.count(images), len(table))
        numbers = batches.parse_seeds(seeds or [], len(table)) or list(table.seeds)
        options = {name: lists[name][0] for name in ("filename_prefix", "format", "quality")}
        chunks = text_chunks(cls.hidden.prompt, cls.hidden.extra_pnginfo)
        flat = [to_pil(image) for batch in images for image in batch.movedim(-1, 1)]

        paths = list[Path]()
        try:
            host.each(
                range(len(table)),
                len(table),
                lambda k: paths.append(save(flat[k], table, k, numbers, chunks, **options)),
            )
        finally:  # what was saved before a cancel is known, too
            saved((pixel_hash(image.convert("RGB")), place_of(path)) for image, path in zip(flat, paths, strict=False))
        return io.NodeOutput(images, [str(path) for path in paths], ui={"images": [as_result(path) for path in paths]})


def text_chunks(prompt: Any, extra: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the host's metadata as SaveImage writes it; empty with --disable-metadata."""
    if args.disable_metadata:
        return {}
    chunks = {"prompt": json.dumps(prompt)} if prompt is not None else {}
    return chunks | {name: json.dumps(value) for name, value in (extra or {}).items()}


def save(
    picture: Image.Image,
    table: ScoreTable,
    index: int,
    seeds: Sequence[int],
    chunks: Mapping[str, str],
    filename_prefix: str,
    format: str,
    quality: int,
) -> Path:
    """Write one image and return its path; nothing is overwritten, and a file appears whole or not at all."""
    data = encode(picture, format, quality, chunks)
    if not args.disable_metadata:
        data = stamp.stamped(data, record(table, index, seeds, format))
    prefix = fill_tokens(filename_prefix, table.scores.tolist()[index], table.ranking.rank[index])
    try:
        folder, name, counter, _, _ = folder_paths.get_save_image_path(
            prefix, folder_paths.get_output_directory(), *picture.size
        )
        return write_new(Path(folder), name.replace("%batch_num%", str(index)), counter, SUFFIXES[format], data)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f'Cannot save "{prefix}" below {folder_paths.get_output_directory()}: {reason}. '
            "Make the folder writable, free some space, or choose another filename_prefix."
        ) from error


def record(table: ScoreTable, index: int, seeds: Sequence[int], format: str) -> dict[str, Any]:
    """Return what is written about one image; a JPEG has no room for a very long prompt, its hash must do there."""
    seed = {"seed": seeds[index]} if seeds else {}
    entry = stamp.record(table.scores, index, rank=table.ranking.rank[index], **seed)
    if format == "JPEG" and len(json.dumps(entry)) > JPEG_ROOM:
        del entry["prompt"]
    return entry


def fill_tokens(prefix: str, score: float, rank: int) -> str:
    """Return the prefix with %hps% as "27.314" and %rank% as "01"; everything else is left to the host."""
    return prefix.replace("%hps%", f"{score:.3f}").replace("%rank%", f"{rank:02d}")


def encode(picture: Image.Image, format: str, quality: int, chunks: Mapping[str, str]) -> bytes:
    """Return the encoded file, with the host's metadata where the host itself puts it for this format."""
    buffer = bytesio.BytesIO()
    if format == "PNG":
        info = PngInfo()
        for name, text in chunks.items():
            info.add_text(name, text)
        picture.save(buffer, "PNG", pnginfo=info, compress_level=4)
    elif format == "WebP":
        picture.save(buffer, "WEBP", quality=quality, lossless=quality == 100, exif=exif(picture, chunks))
    else:
        picture.convert("RGB").save(
            buffer, "JPEG", quality=quality, subsampling=0, exif=_fitting(exif(picture, chunks))
        )
    return buffer.getvalue()


def exif(picture: Image.Image, chunks: Mapping[str, str]) -> bytes:
    """Return EXIF with the prompt in tag 0x0110 and the rest from 0x010f downwards, as the host writes it."""
    data = picture.getexif()
    tag = 0x010F
    for name, text in chunks.items():
        if name == "prompt":
            data[0x0110] = f"{name}:{text}"
        else:
            data[tag] = f"{name}:{text}"
            tag -= 1
    return data.tobytes() if chunks else b""


def _fitting(data: bytes) -> bytes:
    """Return EXIF that fits a JPEG segment, else none: a JPEG cannot hold more than 64 kB of it."""
    if len(data) <= JPEG_ROOM:
        return data
    host.log.warning("The workflow is too long for a JPEG and was left out; save as PNG or WebP to keep it.")
    return b""


def write_new(folder: Path, name: str, counter: int, suffix: str, data: bytes) -> Path:
    """Write `data` under the first free number from `counter` on, in the host's naming name_00001_.png."""
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".hps-", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).chmod(0o666 & ~_umask())  # mkstemp makes private files
        while True:
            path = folder / f"{name}_{counter:05}_{suffix}"
            if _claim(Path(temporary), path):
                return path
            counter += 1
    finally:
        Path(temporary).unlink(missing_ok=True)


def _claim(temporary: Path, path: Path) -> bool:
    """Give the finished file its name unless the name is taken."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if path.exists():
            return False
        temporary.rename(path)
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def place_of(path: Path) -> str:
    """Return where a file lies below the output folder."""
    place = as_result(path)
    return "/".join(filter(None, (place["subfolder"], place["filename"])))


def as_result(path: Path) -> dict[str, str]:
    """Return what the interface needs to show a saved file."""
    subfolder = os.path.relpath(path.parent, folder_paths.get_output_directory()).replace(os.sep, "/")
    return {"filename": path.name, "subfolder": "" if subfolder == "." else subfolder, "type": "output"}


NODES = (SaveScored,)
