"""Files that are written in the middle of a job: before hires fix, face restoration, colour correction, a detailer.

While candidates are made nobody knows yet which are kept. So the host is told that it may save, and what it and other
extensions save for the job is held back: at the end it is written for those that are kept.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

log = logging.getLogger("hps")

OPTIONS = (
    "save_images_before_highres_fix",
    "save_images_before_face_restoration",
    "save_images_before_color_correction",
)
BEFORE_HIRES = "-before-highres-fix"
_LATE = ("-mask", "-mask-composite")
"""Suffixes of files that best of N writes by itself, as it does with the picture itself."""
_HELD = "_hps_held"
"""Attribute of a job whose files are held back."""


@dataclass(frozen=True)
class File:
    """One file that is held back."""

    at: tuple[int, int]
    """Batch of its picture, and the place in it."""
    suffix: str
    write: Callable[[], Any]
    """Write it as the host would have."""


@dataclass
class Held:
    """The files of one job."""

    owner: int
    """Identity of the job: a copy of it, made by another extension, saves for itself."""
    files: list[File] = field(default_factory=list)

    def add(self, p: Any, suffix: str, write: Callable[[], Any]) -> None:
        """Hold a file back; the host saves what comes before hires fix in the order of the batch."""
        batch, place = int(p.iteration), int(getattr(p, "batch_index", 0) or 0)
        if suffix == BEFORE_HIRES:
            place = sum(file.suffix == suffix and file.at[0] == batch for file in self.files)
        self.files.append(File((batch, place), suffix, write))

    def of(self, at: tuple[int, int], *, saved: bool = True) -> list[File]:
        """Return the files of a picture but itself, which the host saves last if it is `saved`, and its masks."""
        found = [file for file in self.files if file.at == at and file.suffix not in _LATE]
        if not saved:
            return found
        last = max((k for k, file in enumerate(found) if not file.suffix), default=-1)
        return [file for k, file in enumerate(found) if k != last]


def wanted(p: Any) -> bool:
    """Tell whether a person has asked for such files."""
    from modules import shared

    return any(p.override_settings.get(name, getattr(shared.opts, name, False)) for name in OPTIONS)


def hold(p: Any, switched_off: bool) -> Held | None:
    """Hold the files of a job back; `switched_off` is the job's own wish that nothing be saved.

    None where the host saves in a way that is not known: then it saves nothing meanwhile.
    """
    from modules import images, processing

    if getattr(processing, "images", None) is not images:
        return None
    _watch(images)
    held = Held(id(p))
    setattr(p, _HELD, held)
    p.do_not_save_samples = switched_off
    return held


def let_go(p: Any) -> None:
    """Let the host save again."""
    p.__dict__.pop(_HELD, None)


def _watch(images: Any) -> None:
    """Have the host's function hold back the files of jobs that want it; does nothing twice."""
    original = images.save_image
    if getattr(original, "_hps_watched", False):
        return

    @functools.wraps(original)
    def save_image(image: Any, path: Any, *args: Any, **kwargs: Any) -> Any:
        p = kwargs.get("p")
        held = getattr(p, _HELD, None)
        if held is None or held.owner != id(p) or path != p.outpath_samples:
            return original(image, path, *args, **kwargs)
        held.add(p, str(kwargs.get("suffix") or ""), functools.partial(original, image, path, *args, **kwargs))
        return "", None

    save_image._hps_watched = True  # type: ignore[attr-defined]
    images.save_image = save_image
