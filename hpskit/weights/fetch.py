"""Download of a card's files: resumed where it stopped, checked, and under its name only when it is whole."""

from __future__ import annotations

import http.client
import json
import logging
import os
import shutil
import socket
import ssl
import time
import urllib.error
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..cards import Card, CardFile, card, is_safe_name
from ..errors import Cancelled, CardError, ChecksumMismatch, DownloadError, Offline, OutputError
from . import https
from .disk import exclusive, find, hash_file, remember, url, verify, writing

log = logging.getLogger("hps")

Progress = Callable[[int, int | None], None]
"""Called with the bytes present so far and the bytes in all, None when the server does not tell."""

CHUNK = 1 << 20
ATTEMPTS = 5
"""Connections in a row that may bring nothing before the download gives up."""
SPARE = 64 << 20
"""Bytes that must stay free on the disk."""

_pause = time.sleep


@dataclass(frozen=True)
class _Job:
    """One file on its way to disk."""

    file: CardFile
    target: Path
    report: Progress
    cancelled: Callable[[], bool]

    @property
    def address(self) -> str:
        return url(self.file)

    @property
    def host(self) -> str:
        return https.host_of(self.address)

    @property
    def part(self) -> Path:
        return self.target.with_name(self.target.name + ".part")

    @property
    def note(self) -> Path:
        return self.target.with_name(self.target.name + ".part.json")


@dataclass(frozen=True)
class _Begun:
    """What is known of a part on disk: enough to ask the same server for the rest of the same file."""

    url: str
    tag: str
    """ETag or Last-Modified of the response that the part came from; "" when the server gave none."""
    total: int | None


def download(
    card_or_id: Card | str,
    folder: Path | str,
    *,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> dict[str, Path]:
    """Download a scorer's files into `folder` and return their paths by role; what is there is checked and kept.

    Files come from the pinned revision over https. HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are honoured; the token
    goes to that server only. `progress` gets bytes done and in all, over all files; `cancelled` is asked between
    chunks. A second download of the same file waits for the first.

    Raises Offline, DownloadError or Cancelled with the part kept for the next attempt, ChecksumMismatch with the part
    deleted, OutputError when the folder cannot be written or the disk is full.
    """
    chosen = card(card_or_id) if isinstance(card_or_id, str) else card_or_id
    folder = Path(folder)
    wanted = [file for file in chosen.files if not file.shipped]
    if not wanted:
        return find(chosen)
    for file in wanted:
        if not is_safe_name(file.name):
            raise CardError(f"{chosen.id}: the file name {file.name!r} is not a bare file name: nothing was done.")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    paths: dict[str, Path] = {}
    done = 0
    for i, file in enumerate(wanted):
        report = _offset(progress, done, [f.bytes for f in wanted[i + 1 :]])
        paths[file.role] = _get(_Job(file, folder / file.name, report, cancelled or (lambda: False)))
        done += _size(paths[file.role])
    return paths


def _get(job: _Job) -> Path:
    _check_cancelled(job)
    with exclusive(job.target, lambda: _wait(job)):
        return _present(job) or _fetch(job)


def _present(job: _Job) -> Path | None:
    if not job.target.exists():
        return None
    verify(job.target, job.file)
    size = job.target.stat().st_size
    job.report(size, size)
    return job.target


def _fetch(job: _Job) -> Path:
    failures = 0
    while True:
        before = _size(job.part)
        try:
            return _finish(job, _transfer(job))
        except OutputError:
            raise
        except (http.client.HTTPException, OSError) as error:
            failures = 1 if _size(job.part) > before else failures + 1
            _give_up_or_wait(job, error, failures)


def _give_up_or_wait(job: _Job, error: Exception, failures: int) -> None:
    reason = getattr(error, "reason", error)
    hopeless = isinstance(reason, socket.gaierror | ssl.SSLCertVerificationError | ConnectionRefusedError)
    if hopeless or failures >= ATTEMPTS:
        raise Offline(_offline_message(job, reason)) from error
    log.info("%s: connection lost (%s), trying again", job.file.name, reason)
    for _ in range(2**failures):
        _check_cancelled(job)
        _pause(0.5)


def _transfer(job: _Job) -> int | None:
    """Bring the part up to the whole file over one connection; return its size, None when the server gave none."""
    begun = _begun(job)
    have = _size(job.part) if begun else 0
    with _open(job, have, begun.tag if begun else "") as response:
        if response.status == 416:
            return _after_416(job, begun, have)
        start = https.start_of(response, have)
        total = https.total_of(response, start)
        _check_response(job, response, total)
        _check_space(job, (total or 0) - _size(job.part))
        _write_note(job, _Begun(job.address, https.tag_of(response), total))
        _receive(job, response, start, total)
    return total


def _open(job: _Job, have: int, tag: str) -> Any:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise Offline(_offline_message(job, "HF_HUB_OFFLINE is set"))
    try:
        return https.open_range(job.address, have, tag)
    except urllib.error.HTTPError as error:
        raise DownloadError(_refusal(job, error.code)) from error


def _receive(job: _Job, response: Any, start: int, total: int | None) -> None:
    done = start
    with writing(job.target):
        out = job.part.open("ab" if start else "wb")
    with out:
        job.report(done, total)
        while chunk := response.read1(CHUNK):
            if done == 0:
                _check_first_bytes(job, chunk)
            with writing(job.target):
                out.write(chunk)
            done += len(chunk)
            job.report(done, total)
            _check_cancelled(job)
        with writing(job.target):
            out.flush()
            os.fsync(out.fileno())
    if total is not None and done != total:
        raise http.client.IncompleteRead(b"", total - done)


def _finish(job: _Job, total: int | None) -> Path:
    digest = hash_file(job.part).hexdigest()
    if job.file.sha256 is None:
        _check_opens(job)
        log.warning("%s: the model card has no hash to compare with; its sha256 is %s", job.file.name, digest)
    elif digest != job.file.sha256:
        _drop(job)
        raise ChecksumMismatch(
            f"{job.file.name} from {job.host} has sha256 {digest}, its card says {job.file.sha256}. The download was "
            "deleted; try again, and if it happens again this server does not have the pinned file."
        )
    with writing(job.target):
        if job.file.sha256 is None:
            job.target.with_name(job.target.name + ".sha256").write_text(f"{digest}  {job.target.name}\n")
        job.part.replace(job.target)
        job.note.unlink(missing_ok=True)
    remember(job.target, digest)
    job.report(_size(job.target), total or _size(job.target))
    return job.target


def _after_416(job: _Job, begun: _Begun | None, have: int) -> int:
    if begun is not None and have == begun.total:
        return have
    _drop(job)
    raise http.client.HTTPException("the server no longer has the rest of this file; starting again")


def _check_response(job: _Job, response: Any, total: int | None) -> None:
    if (response.headers.get_content_type() or "").startswith("text/html"):
        raise DownloadError(
            f"{job.host} sent a web page instead of {job.file.name}: a login or error page, or a proxy between. "
            f"Open {job.address} in a browser to see it."
        )
    if total is not None and job.file.bytes is not None and total != job.file.bytes:
        raise DownloadError(
            f"{job.host} has a {job.file.name} of {total} bytes, its card says {job.file.bytes}. "
            "Nothing was downloaded: the server does not have the pinned file."
        )


def _check_first_bytes(job: _Job, chunk: bytes) -> None:
    start = chunk[:64].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"version https://git-lfs")):
        raise DownloadError(
            f"{job.host} sent text instead of {job.file.name} (it begins with "
            f"{chunk[:24].decode('ascii', 'replace')!r}). Open {job.address} in a browser to see it."
        )


def _check_opens(job: _Job) -> None:
    with job.part.open("rb") as stream:
        head = stream.read(16)
    if job.file.name.endswith(".safetensors"):
        good = len(head) == 16 and 2 <= int.from_bytes(head[:8], "little") <= _size(job.part) and head[8:9] == b"{"
    elif job.file.name.endswith(".json"):
        good = head.lstrip()[:1] in (b"[", b"{")
    else:
        good = zipfile.is_zipfile(job.part) or head[:1] == b"\x80"
    if not good:
        _drop(job)
        raise DownloadError(f"What {job.host} sent as {job.file.name} is not a checkpoint; it was deleted.")


def _begun(job: _Job) -> _Begun | None:
    try:
        data = json.loads(job.note.read_text(encoding="utf-8"))
        begun = _Begun(str(data["url"]), str(data["tag"]), data["total"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    usable = begun.url == job.address and begun.tag and job.part.is_file() and not job.part.is_symlink()
    return begun if usable and (begun.total is None or _size(job.part) <= int(begun.total)) else None


def _write_note(job: _Job, begun: _Begun) -> None:
    with writing(job.target):
        if job.part.is_symlink():
            job.part.unlink()
        job.note.write_text(json.dumps(asdict(begun)), encoding="utf-8")


def _drop(job: _Job) -> None:
    job.part.unlink(missing_ok=True)
    job.note.unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _check_space(job: _Job, needed: int) -> None:
    free = shutil.disk_usage(job.target.parent).free
    if needed + SPARE > free:
        raise OutputError(
            f"{job.file.name} needs {needed / 1e9:.2f} GB more, but {job.target.parent} has only {free / 1e9:.2f} GB "
            "free. Free some space or choose another folder; what has arrived is kept."
        )


def _wait(job: _Job) -> None:
    _check_cancelled(job)
    _pause(0.2)


def _check_cancelled(job: _Job) -> None:
    if job.cancelled():
        raise Cancelled(f"The download of {job.file.name} was stopped; what has arrived is kept for the next attempt.")


def _offset(progress: Progress | None, done: int, later: list[int | None]) -> Progress:
    rest = None if None in later else sum(size or 0 for size in later)

    def report(now: int, total: int | None) -> None:
        if progress is not None:
            progress(done + now, None if total is None or rest is None else done + total + rest)

    return report


def _offline_message(job: _Job, reason: object) -> str:
    return (
        f"{job.host} cannot be reached ({reason}). Try again later, which continues where this stopped, or save "
        f"{job.address} as {job.target} by other means."
    )


def _refusal(job: _Job, code: int) -> str:
    if code in {401, 403}:
        return f"{job.host} refuses {job.file.name} ({code}). Does it need an account? Set HF_TOKEN to your token."
    if code in {404, 410}:
        return f"{job.host} does not have {job.address} ({code}). Check HF_ENDPOINT, or get the file by other means."
    if code == 429:
        return f"{job.host} asks to slow down ({code}). Try again in some minutes, which continues where this stopped."
    return f"{job.host} answered {code} for {job.address}. Try again later."
