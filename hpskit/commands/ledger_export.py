"""`hps ledger export`: rows as CSV, JSON lines or Parquet, in a file that appears whole or not at all, or as output."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from ..errors import OutputError
from ..ledger import Ledger, Query
from . import console, files

STREAM: Final = "-"
_ENDINGS: Final = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}


def export(args: argparse.Namespace, ledger: Ledger, query: Query) -> int:
    """Write the rows of a query where the command line says; return the exit code."""
    kind = _kind(args.output, args.format)
    if args.output == STREAM:
        number = ledger.export(Printer(), kind, query)
    else:
        number = _to_file(Path(args.output), kind, ledger, query, force=args.force)
    console.note(f"{console.count(number, 'row')} written.")
    return 0


def _kind(output: str, given: str | None) -> str:
    if output == STREAM:
        if given == "parquet":
            raise OutputError("Parquet is no text and does not go to standard output; give a file with -o.")
        return given or "csv"
    kind = given or _ENDINGS.get(Path(output).suffix.lower())
    if kind is None:
        raise OutputError(f"{output} does not say its format; give --format csv, jsonl or parquet.")
    return kind


def _to_file(path: Path, kind: str, ledger: Ledger, query: Query, *, force: bool) -> int:
    files.check_csv(str(path))
    if not force and os.path.lexists(path):
        raise _taken(path)
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=".hps-", suffix=".tmp", dir=path.parent)
        os.close(handle)
        number = _write(Path(temporary), kind, ledger, query)
        Path(temporary).chmod(0o666 & ~files.umask())
        _publish(Path(temporary), path, force=force)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{path} cannot be written ({error.strerror or error}); choose another place.") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                Path(temporary).unlink()
    return number


def _write(path: Path, kind: str, ledger: Ledger, query: Query) -> int:
    if kind == "parquet":
        return ledger.export_parquet(path, query)
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        return ledger.export(stream, kind, query)


def _publish(source: Path, target: Path, *, force: bool) -> None:
    """Give a finished file its name; another of that name, even one that has just appeared, goes by force only."""
    if force:
        source.replace(target)
        return
    try:
        os.link(source, target)
    except FileExistsError as error:
        raise _taken(target) from error
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise _taken(target) from None
        source.replace(target)


def _taken(path: Path) -> OutputError:
    return OutputError(f"{path} exists. Choose another name, or replace it with --force.")


class Printer:
    """Text stream to standard output: UTF-8 as it is where a program reads it, escaped on a terminal."""

    def write(self, text: str) -> int:
        """Write text, which may hold line breaks."""
        buffer = getattr(sys.stdout, "buffer", None)
        if buffer is None or sys.stdout.isatty():
            console.pieces(text.replace("\r\n", "\n"))
        else:
            console.out_bytes(text.encode("utf-8", "backslashreplace"))
        return len(text)
