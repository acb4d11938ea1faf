"""A study written out for other programs: everything as JSON, which reads back, and one row a cell as CSV."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

from ..errors import OutputError
from ..ledger.export import cell as safe_cell
from .reading import FORMAT, from_json
from .records import Analysis, Cell, Study
from .shown import block_z

__all__ = ["FORMAT", "csv_text", "from_json", "to_json", "write_csv", "write_json"]

_FIRST: Final = ("setting", "prompt", "seed", "score", "z_in_row")
_LAST: Final = ("width", "height", "contrast", "saturation", "file", "image_hash", "entry")


def to_json(study: Study, analysis: Analysis | None = None) -> dict[str, Any]:
    """Return a study and its analysis as plain JSON values: no thumbnails, NaN and infinities as None.

    `from_json` reads the study part back.
    """
    cells = [{key: value for key, value in _asdict(cell).items() if key != "thumbnail"} for cell in study.cells]
    whole = {field.name: getattr(study, field.name) for field in fields(study) if field.name != "cells"}
    plain: dict[str, Any] = _json({**whole, "cells": cells})
    return {"format": FORMAT, **plain, "analysis": None if analysis is None else _json(analysis)}


def write_json(path: str | Path, study: Study, analysis: Analysis | None = None) -> Path:
    """Write `to_json` to a file that appears whole or not at all, and return its path; OutputError if it cannot."""
    text = json.dumps(to_json(study, analysis), allow_nan=False, separators=(",", ":"))
    return _write(path, lambda out: out.write(text + "\n"))


def write_csv(path: str | Path, study: Study) -> Path:
    """Write one row a cell, whole or not at all, and return the path; OutputError if it cannot be written.

    UTF-8. Cells in which a spreadsheet would see a formula begin with an apostrophe; z is that within the cell's block.
    """
    return _write(path, lambda out: csv.writer(out, quoting=csv.QUOTE_NONNUMERIC).writerows(_rows(study)))


def csv_text(study: Study) -> str:
    """Return what `write_csv` writes."""
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_NONNUMERIC).writerows(_rows(study))
    return out.getvalue()


def _rows(study: Study) -> Iterator[list[Any]]:
    parts = sorted({name for cell in study.cells for name in cell.parts})
    axes = [axis.name for axis in study.axes]
    heads = [f"axis {axis}" if axis in {*_FIRST, *_LAST} else axis for axis in axes]
    names = [_FIRST[0], *heads, *_FIRST[1:], *(f"score {study.part_names.get(name, name)}" for name in parts), *_LAST]
    yield [safe_cell(name) for name in _distinct(names)]
    z = block_z(study)
    for cell in sorted(study.cells, key=lambda cell: (cell.prompt, cell.seed, cell.setting)):
        setting = study.settings[cell.setting]
        row: list[Any] = [setting.label, *(str(setting.values.get(axis, "")) for axis in axes)]
        row += [study.prompts[cell.prompt], study.seeds[cell.seed], cell.score, z[cell.setting, cell.prompt, cell.seed]]
        row += [cell.parts.get(name) for name in parts]
        row += [getattr(cell, name) for name in _LAST]
        yield [_csv(value) for value in row]


def _distinct(names: list[str]) -> list[str]:
    """Make the heads of the columns differ: two members of an ensemble may share a name."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


def _csv(value: Any) -> Any:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, float):
        return float(f"{value:.9g}") + 0.0  # no "-0.0", which a spreadsheet would take for a formula
    return safe_cell(value)


def _asdict(cell: Cell) -> dict[str, Any]:
    return {field.name: getattr(cell, field.name) for field in fields(cell)}


def _json(value: Any) -> Any:
    """Return a value of records, mappings, sequences, texts and numbers as plain JSON values."""
    if hasattr(value, "__dataclass_fields__"):
        return {key: _json(item) for key, item in asdict(value).items()}
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    return float(value) if math.isfinite(value) else None


def _write(path: str | Path, fill: Callable[[Any], object]) -> Path:
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".hps-", suffix=".tmp", dir=target.parent)
    except OSError as error:
        raise _not_written(target, error) from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace", newline="") as out:
            fill(out)
        # mkstemp makes files that only the owner may read; results are made to be passed on.
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except OSError as error:
        raise _not_written(target, error) from error
    finally:
        with suppress(OSError):
            Path(name).unlink()
    return target


def _not_written(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path} cannot be written ({error.strerror or error}). Choose another folder.")
