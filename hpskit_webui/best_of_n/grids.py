"""Files of what a best-of-N job keeps: pictures, masks and the grid, as the host's functions and options make them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .early import Held
from .gallery import TEXT, Group, Made

log = logging.getLogger("hps")

REJECTED = "hps-rejected"
"""Folder below the usual one for candidates that were not kept."""
MASK, COMPOSITE = "-mask", "-mask-composite"


@contextmanager
def as_one_of(p: Any, made: Made, number: int, total: int) -> Iterator[None]:
    """Let the job look like one of `total` pictures in batches of one, this being the `number`-th (from 0).

    Patterns of file names and other extensions read these attributes while a picture is saved.
    """
    standing = {
        "n_iter": total,
        "batch_size": 1,
        "iteration": number,
        "batch_index": 0,
        "prompts": [made.prompt],
        "negative_prompts": [made.negative],
        "seeds": [made.seed],
        "subseeds": [made.subseed],
    }
    before = {name: getattr(p, name) for name in standing if hasattr(p, name)}
    for name, value in standing.items():
        setattr(p, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(p, name, value)


class Saver:
    """Writes pictures of one job; trouble with a file is told once and stops nothing."""

    def __init__(self, p: Any) -> None:
        self.p = p
        self.trouble = ""
        self._paths: dict[str, tuple[Group, int, int]] = {}

    def save(self, group: Group, number: int, total: int, masks: Sequence[tuple[str, Any]] = ()) -> None:
        """Write a picture and its masks (suffix, picture) as the host would have."""
        path = self._write(group, group.to_save, number, total)
        if path in self._paths:
            # A pattern without seed or number has just overwritten an earlier picture of this very job.
            earlier, *place = self._paths[path]
            self._write(earlier, earlier.to_save, *place)
            path = self._write(group, group.to_save, number, total, suffix=f"-{number + 1}")
        if path:
            self._paths[path] = (group, number, total)
        for suffix, mask in masks:
            self._write(group, mask, number, total, suffix=suffix)

    def early(self, group: Group, number: int, total: int, held: Held | None) -> None:
        """Write what the host has saved of a picture before it was finished, where that was held back."""
        for file in held.of(group.made.at, saved=group.made.save) if held is not None else ():
            try:
                with as_one_of(self.p, group.made, number, total):
                    file.write()
            except Exception as error:
                log.exception("An image could not be saved.")
                self.trouble = self.trouble or f"an image{file.suffix} could not be saved: {error}"

    def reject(self, group: Group, number: int, total: int) -> None:
        """Write a candidate that was not kept into the folder for such."""
        self._write(group, group.to_save, number, total, folder=str(Path(self.p.outpath_samples) / REJECTED))

    def _write(self, group: Group, picture: Any, number: int, total: int, *, suffix: str = "", folder: str = "") -> str:
        from modules import images, shared

        p, made = self.p, group.made
        try:
            with as_one_of(p, made, number, total):
                saved = images.save_image(
                    picture,
                    folder or p.outpath_samples,
                    "",
                    made.seed,
                    made.prompt,
                    shared.opts.samples_format,
                    info=group.text,
                    p=p,
                    suffix=suffix,
                )
            return str(saved[0]) if saved else ""
        except Exception as error:
            log.exception("An image could not be saved.")
            self.trouble = self.trouble or f"an image could not be saved: {error}"
            return ""


def grid(p: Any, processed: Any, pictures: Sequence[Any], rows: int, switched_off: bool) -> None:
    """Make the grid of the kept pictures where the host's options ask for one; into the result and onto the disk."""
    from modules import images, shared
    from modules.processing import create_infotext

    opts = shared.opts
    alone = len(pictures) < 2 and opts.grid_only_if_multiple
    if switched_off or alone or not (opts.return_grid or opts.grid_save) or processed.index_of_first_image:
        return
    made = images.image_grid(list(pictures), rows)
    text = create_infotext(
        p,
        p.all_prompts,
        p.all_seeds,
        p.all_subseeds,
        use_main_prompt=True,
        index=0,
        all_negative_prompts=p.all_negative_prompts,
    )
    if opts.return_grid:
        if opts.enable_pnginfo:
            made.info[TEXT] = text
        processed.images.insert(0, made)
        processed.infotexts.insert(0, text)
        processed.index_of_first_image = 1
    if opts.grid_save:
        images.save_image(
            made,
            p.outpath_grids,
            "grid",
            p.all_seeds[0],
            p.all_prompts[0],
            opts.grid_format,
            info=text,
            short_filename=not opts.grid_extended_filename,
            p=p,
            grid=True,
        )
