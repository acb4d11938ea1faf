"""Scoring of any number of files: decoded in threads, scored in batches, one bad file never stops the rest."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .. import metadata
from ..errors import HpsError, ImageError
from ..images import from_pil
from ..metadata import PromptInfo
from ..prompts import clean
from ..types import Scorer, Scores
from .inputs import Failure, Job

_log = logging.getLogger("hps")
MOST_PIXELS: Final = 32 * 10**6
"""Pixels that are decoded ahead, and as many in a batch, unless a single image has more."""


Look = Callable[[Job, Tensor, PromptInfo | None], object]
"""Sees a picture, uint8 [3, H, W], with what its metadata says."""


@dataclass(frozen=True)
class Scored:
    """One scored image."""

    path: Path
    prompt: str
    """The text that was scored."""
    scores: Mapping[str, float]
    """Score by scorer id."""
    tokens: int | None = None
    truncated: bool = False
    record: Mapping[str, object] = field(default_factory=dict)
    """What `--write-metadata` writes into the file."""
    named: str = ""
    """The prompt in the image's own metadata, where it is another one and somebody asked."""


@dataclass
class _Decoded:
    job: Job
    image: Tensor
    """uint8: a quarter of the canonical image's memory."""
    prompt: str
    named: str = ""

    @property
    def pixels(self) -> int:
        return self.image.shape[-2] * self.image.shape[-1]

    def take(self) -> Tensor:
        """Return the canonical image and let go of this one: together they are large."""
        image, self.image = self.image, torch.empty(3, 0, 0, dtype=torch.uint8)
        return image.float().div_(255)


def score_files(
    jobs: Iterable[Job],
    scorer: Scorer,
    *,
    batch: int,
    threads: int,
    raw: bool,
    look: Look | None = None,
    heed: bool = False,
) -> Iterator[tuple[Job, Scored | Failure]]:
    """Yield every job with its result, in about their order; memory stays bounded by batch, threads and pixels.

    `look` sees each picture as uint8 [3, H, W], with what its metadata says, in the thread that decoded it. With `heed`
    the results name the prompt in a picture's metadata where it is not the one that was given.
    """

    def prepare(job: Job) -> _Decoded:
        if not job.path.is_file():  # opening a pipe would wait for ever
            raise ImageError("is no regular file")
        image = decode(job.path)
        own = job.prompt is None
        info = metadata.read_prompt(job.path) if own else maybe_info(job.path) if heed or look is not None else None
        text = prompt_for(job, info, raw, scorer.info.needs_text)
        if look is not None:
            look(job, image, info)
        return _Decoded(job, image, text, another(text, info) if heed and not own else "")

    waiting: list[_Decoded] = []
    for job, decoded in _ahead(jobs, prepare, threads, batch + threads):
        if isinstance(decoded, Failure):
            yield job, decoded
            continue
        waiting.append(decoded)
        if len(waiting) == batch or sum(entry.pixels for entry in waiting) >= MOST_PIXELS:
            yield from _score(waiting, scorer)
            waiting = []
    yield from _score(waiting, scorer)


def decode(path: Path) -> Tensor:
    """Decode a file as `images.from_file` does, but to uint8 [3, H, W]; ImageError when it is no image."""
    try:
        with Image.open(path) as image:
            if 0 in image.size or image.mode.startswith("I"):
                return from_pil(image).mul_(255).round_().to(torch.uint8)
            array = np.array(image if image.mode == "RGB" else image.convert("RGB"))
    except (HpsError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise a dozen kinds on damaged files
        raise ImageError(f"cannot be read as an image ({error}). Replace or remove the file.") from error
    return torch.from_numpy(array).permute(2, 0, 1).contiguous()


def pixels_of(path: Path) -> int:
    """Return the pixels of an image by its header; 0 when it has none to read."""
    try:
        if not path.is_file():
            return 0
        with Image.open(path) as image:
            return int(image.width * image.height)
    except Exception:  # decoding it will say what is wrong
        return 0


def _ahead(
    jobs: Iterable[Job], prepare: Callable[[Job], _Decoded], threads: int, depth: int
) -> Iterator[tuple[Job, _Decoded | Failure]]:
    """Prepare jobs in threads, at most `depth` and MOST_PIXELS ahead of whoever takes the results, but at least one."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="hps-decode")
    queue: deque[tuple[Job, int, Future[_Decoded]]] = deque()
    source = ((job, pixels_of(job.path)) for job in jobs)
    following = next(source, None)
    try:
        while True:
            held = sum(pixels for _, pixels, _ in queue)
            while following and len(queue) < depth and (not queue or held + following[1] <= MOST_PIXELS):
                held += following[1]
                queue.append((*following, pool.submit(prepare, following[0])))
                following = next(source, None)
            if not queue:
                return
            job, _, future = queue.popleft()
            yield job, _result(job, future)
            del future  # the image with it
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _result(job: Job, future: Future[_Decoded]) -> _Decoded | Failure:
    try:
        return future.result()
    except Exception as error:  # whatever one strange file does must not end a run over thousands
        return Failure(job.path, reason_of(error, job.path))


def reason_of(error: Exception, path: Path) -> str:
    """Return an error's message without the path in front, which stands beside it anyway."""
    if isinstance(error, (HpsError, OSError)):
        return str(error).removeprefix(str(path)).lstrip(": ")
    _log.info("%s", path, exc_info=error)
    return f"{type(error).__name__}: {error}".rstrip(": ")


def maybe_info(path: Path) -> PromptInfo | None:
    """Return what a picture's metadata says; None too where it is damaged, since nothing depends on it."""
    try:
        return metadata.read_prompt(path)
    except Exception:
        return None


def prompt_for(job: Job, info: PromptInfo | None, raw: bool, needed: bool) -> str:
    """Return the text to score an image against: the given one or the image's own, cleaned up unless `raw`."""
    text = job.prompt
    if text is None:
        if info is None and needed:
            raise ImageError("there is no prompt in its metadata; give one with --prompt or --prompts")
        text = info.positive if info is not None else ""
    return text if raw else clean(text)


def another(text: str, info: PromptInfo | None) -> str:
    """Return the prompt that metadata name, where it says something else than `text`, weights and spaces aside."""
    named = info.positive.strip() if info is not None else ""
    said, own = (" ".join(clean(words).casefold().split()) for words in (text, named))
    return named if own and own != said else ""


def _score(batch: list[_Decoded], scorer: Scorer) -> Iterator[tuple[Job, Scored | Failure]]:
    if batch:
        yield from _score_images(batch, [entry.take() for entry in batch], scorer)


def _score_images(
    batch: list[_Decoded], images: list[Tensor], scorer: Scorer
) -> Iterator[tuple[Job, Scored | Failure]]:
    prompts = [entry.prompt for entry in batch]
    try:
        scores = scorer.score(images, prompts)
    except ImageError as error:
        if len(batch) == 1:
            yield batch[0].job, Failure(batch[0].job.path, reason_of(error, batch[0].job.path))
            return
        for entry, image in zip(batch, images, strict=True):  # one of them is the culprit
            yield from _score_images([entry], [image], scorer)
        return
    yield from ((entry.job, _scored(entry, scores, index)) for index, entry in enumerate(batch))


def _scored(entry: _Decoded, scores: Scores, index: int) -> Scored:
    from .. import stamp

    by_id = scores.parts or {scores.info.id: scores}
    text = scores.texts[index] if len(scores.texts) == len(scores) else (scores.texts or (None,))[0]
    return Scored(
        path=entry.job.path,
        prompt=entry.prompt,
        scores={name: part.tolist()[index] for name, part in by_id.items()},
        tokens=text.tokens if text is not None else None,
        truncated=text is not None and text.truncated,
        record=stamp.record(scores, index),
        named=entry.named,
    )


def decode_threads(asked: int | None) -> int:
    """Return the number of decode threads: as asked, else one per core up to 8."""
    return max(asked or min(os.cpu_count() or 1, 8), 1)
