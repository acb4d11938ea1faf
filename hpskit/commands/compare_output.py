"""What `hps compare` shows and writes: the table or JSON, and files that replace nothing unless they are told to."""

from __future__ import annotations

import argparse
import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ..errors import OutputError
from ..study import Analysis, Cell, Study
from . import console, files

if TYPE_CHECKING:
    from PIL.Image import Image

    from .session import Outcome

_FILES: Final = ("html", "grid", "csv", "json_file")
_PICTURES: Final[Mapping[str, str]] = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_SIDE: Final = 256
Pictures: TypeAlias = "Callable[[Cell], Image | None]"


def check(args: argparse.Namespace) -> None:
    """Raise OutputError when a file could not be written: better now than after hours of scoring."""
    named = [(name, getattr(args, name)) for name in _FILES if getattr(args, name) is not None]
    for name, path in named:
        files.check_csv(path)
        _free(path, args.force)
        if name == "grid" and Path(path).suffix.lower() not in _PICTURES:
            raise OutputError(f"{path} does not say its format; let it end in {', '.join(_PICTURES)}.")
    places = [os.path.abspath(path) for _, path in named]  # noqa: PTH100
    if len(set(places)) < len(places):
        raise OutputError("Two outputs have the same name; give each a file of its own.")


def _free(path: str, force: bool) -> None:
    if not force and os.path.lexists(path):
        raise OutputError(f"{path} exists. Choose another name, or replace it with --force.")


def wants_pictures(args: argparse.Namespace) -> bool:
    """Tell whether thumbnails are needed; thousands of them are not kept for nothing."""
    return args.html is not None or args.grid is not None


def show(args: argparse.Namespace, study: Study, analysis: Analysis, outcome: Outcome | None) -> None:
    """Write the table, or the JSON document, to standard output."""
    if args.json:
        from ..study.export import to_json

        failed = [{"path": str(one.path), "reason": one.reason} for one in outcome.failures] if outcome else []
        files.write_json({**to_json(study, analysis), "failed": failed})
        return
    from ..study.table import table_text

    console.out(table_text(study, analysis))


def write(args: argparse.Namespace, study: Study, analysis: Analysis) -> None:
    """Write the files that were asked for; OutputError when one cannot be, those before it are there."""
    pictures = picture_of if args.study is None else proven_picture_of
    writers: dict[str, Callable[[Path], object]] = {
        "html": lambda path: _write_html(path, study, analysis, pictures),
        "grid": lambda path: _write_grid(path, study, analysis, pictures),
        "csv": lambda path: _write_csv(path, study),
        "json_file": lambda path: _write_json(path, study, analysis),
    }
    for name in _FILES:
        path = getattr(args, name)
        if path is not None:
            _free(path, args.force)  # hours may have passed
            writers[name](Path(path))
            console.note(f"Written: {path}")


def _write_html(path: Path, study: Study, analysis: Analysis, pictures: Pictures) -> None:
    from ..report import write_report
    from ..study.page import study_report

    write_report(path, study_report(study, analysis, pictures=pictures))


def _write_csv(path: Path, study: Study) -> None:
    from ..study.export import write_csv

    write_csv(path, study)


def _write_json(path: Path, study: Study, analysis: Analysis) -> None:
    from ..study.export import write_json

    write_json(path, study, analysis)


def _write_grid(path: Path, study: Study, analysis: Analysis, pictures: Pictures) -> None:
    from ..study.grid import grid_picture

    picture = grid_picture(study, analysis, pictures=pictures)
    stream = io.BytesIO()
    options: dict[str, Any] = {} if path.suffix.lower() == ".png" else {"quality": 90}
    picture.convert("RGB").save(stream, _PICTURES[path.suffix.lower()], **options)
    files.publish(path, stream.getvalue())


def picture_of(cell: Cell) -> Image | None:
    """Return the picture of a cell: its thumbnail, or a small one of its file; None when there is neither."""
    from PIL import Image as images

    try:
        if not cell.thumbnail and not Path(cell.file).is_file():  # opening a pipe would wait for ever
            return None
        with images.open(io.BytesIO(cell.thumbnail) if cell.thumbnail else cell.file) as image:
            image.draft("RGB", (_SIDE, _SIDE))
            return _small(image.convert("RGB"))
    except Exception:  # a picture that is gone or damaged by now is only missing from the report
        return None


def proven_picture_of(cell: Cell) -> Image | None:
    """Return a small picture of a cell's file where its pixels are still those that were scored, else None.

    A saved comparison may come from anybody, and could name any picture on this disk to have it shown in a report that
    is passed on. Only who has the picture knows the hash of its pixels.
    """
    from PIL import Image as images

    from ..ledger.picture import pixel_hash

    try:
        if not cell.image_hash or not Path(cell.file).is_file():
            return None
        with images.open(cell.file) as image:
            whole = image.convert("RGB")
        return _small(whole) if pixel_hash(whole) == cell.image_hash else None
    except Exception:  # as above
        return None


def _small(picture: Image) -> Image:
    picture.thumbnail((_SIDE, _SIDE))
    return picture
