"""Rows written out for other programs: CSV, JSON lines, Parquet."""

from __future__ import annotations

import csv
import importlib
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from ..errors import DependencyError, LedgerError, OutputError
from .records import Row

FORMATS: Final = ("csv", "jsonl")
COLUMNS: Final = (
    *("id", "time", "prompt", "prompt_id", "negative", "model", "loras", "sampler", "scheduler", "steps", "cfg"),
    *("denoise", "width", "height", "seed", "scorer", "scorer_version", "preprocess", "dtype", "checkpoint"),
    *("fingerprint", "score", "parts", "standing", "group_n", "group_mean", "group_sd", "file", "image_hash"),
    *("source", "run", "extra"),
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A spreadsheet runs cells that begin so."""
_LATER: Final = re.compile(r"""([;\t\r\n][ "']*)(?=[=+\-@])""")
"""A spreadsheet that splits at another sign than the comma begins a cell there, quotes or not."""
_TYPES: Final = {
    **dict.fromkeys(("id", "prompt_id", "steps", "width", "height", "group_n"), "int64"),
    **dict.fromkeys(("time", "cfg", "denoise", "score", "standing", "group_mean", "group_sd"), "float64"),
}


class TextStream(Protocol):
    """Anything text can be written to."""

    def write(self, text: str, /) -> object:
        """Write the text."""


def write(rows: Iterable[Row], stream: TextStream, format: str) -> int:
    """Write rows as they come and return how many; LedgerError on an unknown format."""
    if format not in FORMATS:
        raise LedgerError(f"The ledger cannot be exported as {format!r}; choose one of: {', '.join(FORMATS)}.")
    return (_write_csv if format == "csv" else _write_jsonl)(rows, stream)


def _write_csv(rows: Iterable[Row], stream: TextStream) -> int:
    writer = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(COLUMNS)
    count = 0
    for row in rows:
        writer.writerow([cell(value) for value in flat(row).values()])
        count += 1
    return count


def _write_jsonl(rows: Iterable[Row], stream: TextStream) -> int:
    count = 0
    for row in rows:
        whole = {name: getattr(row, name) for name in COLUMNS} | {"seed": flat(row)["seed"]}
        stream.write(json.dumps(whole, separators=(",", ":")) + "\n")
        count += 1
    return count


def flat(row: Row) -> dict[str, Any]:
    """Return the columns of a row: numbers, texts and None; lists and mappings as JSON, the seed as text."""
    values = {name: getattr(row, name) for name in COLUMNS}
    for name in ("loras", "parts", "extra"):
        values[name] = json.dumps(values[name], separators=(",", ":")) if values[name] else ""
    values["seed"] = None if row.seed is None else str(row.seed)
    return values


def cell(value: Any) -> Any:
    """Return a value as a CSV cell: where a spreadsheet would see a formula begin, an apostrophe comes before it."""
    if not isinstance(value, str):
        return value
    # Lone surrogates fit into no file, and Python 3.10 neither writes nor reads a NUL in one of these.
    text = value.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")
    is_number = text.lstrip("-").isdecimal() and text.isascii()
    inner = _LATER.sub(r"\1'", text)
    return f"'{inner}" if text.startswith(_FORMULA) and not is_number else inner


def write_parquet(rows: Iterable[Row], path: Path) -> int:
    """Write rows to a Parquet file that appears whole or not at all; DependencyError without pyarrow."""
    try:
        arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise DependencyError("Parquet needs the package pyarrow; install it, or export as CSV or JSONL.") from error
    schema = arrow.schema([(name, getattr(arrow, _TYPES.get(name, "string"))()) for name in COLUMNS])
    partial = path.with_name(f".{path.name}.part")
    count = 0
    try:
        with parquet.ParquetWriter(str(partial), schema) as writer:
            for batch in _batches(rows, 1000):
                writer.write_table(arrow.Table.from_pylist(batch, schema=schema))
                count += len(batch)
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error}); check the folder's permissions and space") from error
    finally:
        with suppress(OSError):
            partial.unlink()
    return count


def _batches(rows: Iterable[Row], size: int) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        values = flat(row)
        batch.append({name: _unicode(value) for name, value in values.items()})
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _unicode(value: Any) -> Any:
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value
