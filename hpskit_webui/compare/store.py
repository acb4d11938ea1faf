"""Cells of earlier comparisons: found again in the ledger, or in this process while recording is off."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from ...hpskit.errors import HpsError
from .. import options
from ..bridge import host
from ..record import pictures, recording
from .networks import Networks, identity, with_styles

log = logging.getLogger("hps")

KEY_VERSION = 2
"""Goes up whenever this pack makes another picture, or another score, of the same inputs."""
MOST = 4000
"""Cells that are kept in this process."""
_SECTIONS = frozenset({
    "sd", "sdxl", "sd3", "vae", "img2img", "optimizations", "compatibility", "sampler-params",
    "extra_networks", "face-restoration", "postprocessing", "upscaling", "svd", "interrogate_off",
})  # fmt: skip
"""Pages of the host's settings whose values can change a picture."""
_OWN = frozenset({
    "seed", "subseed", "n_iter", "batch_size", "prompt", "negative_prompt", "styles", "override_settings",
    "outpath_samples", "outpath_grids", "do_not_save_samples", "do_not_save_grid", "script_args",
    "scripts_value", "script_args_value", "prompt_for_display", "user", "extra_generation_params", "comments",
    "sd_model", "do_not_reload_embeddings", "override_settings_restore_afterwards", "is_api",
    "token_merging_ratio_value",
})  # fmt: skip
"""Fields of a job that make no other picture, or that stand in the key by themselves."""


@dataclass(frozen=True)
class Known:
    """What is kept of a cell."""

    score: float
    parts: Mapping[str, float] = field(default_factory=dict)
    width: int = 0
    height: int = 0
    thumbnail: bytes | None = None
    file: str = ""
    image_hash: str = ""
    entry: int | None = None
    scorer: tuple[str, ...] = ()
    """Id, version, preprocessing, compute type, checkpoint."""


_private: OrderedDict[str, Known] = OrderedDict()


def recall(keys: Iterable[str]) -> dict[str, Known]:
    """Return the cells that are known under these keys; trouble with the ledger means that there are none."""
    wanted = list(keys)
    found = {key: _private[key] for key in wanted if key in _private}
    try:
        ledger = recording.the_ledger()
        rows = {} if ledger is None else ledger.recall(wanted)
        for key, row in rows.items():
            found[key] = Known(
                row.score,
                dict(row.parts) if len(row.parts) > 1 else {},
                row.width,
                row.height,
                ledger.thumbnail(row.id) if ledger is not None and row.has_thumbnail else None,
                row.file,
                row.image_hash,
                row.id,
                (row.scorer, row.scorer_version, row.preprocess, row.dtype, row.checkpoint),
            )
    except HpsError as error:
        log.warning("Cells of earlier comparisons cannot be looked up: %s", error)
    return found


def remember(key: str, cell: Known, text: str) -> Known:
    """Keep a cell under its key, and return it with its row of the ledger, which the panel has just written."""
    from dataclasses import replace

    try:
        entry = _row_of(cell, text)
        if entry is not None:
            ledger = recording.the_ledger()
            if ledger is not None:
                ledger.remember([(key, entry)])
                return replace(cell, entry=entry)
    except HpsError as error:
        log.warning("A cell cannot be kept in the ledger: %s", error)
    _private[key] = cell
    while len(_private) > MOST:
        _private.popitem(last=False)
    return cell


def _row_of(cell: Known, text: str) -> int | None:
    from ...hpskit.ledger import Query

    ledger = recording.the_ledger()
    if ledger is None or not cell.image_hash:
        return None
    rows = ledger.rows(Query(prompt=text, scorer=cell.scorer[0], limit=60)).rows
    found = [row for row in rows if row.image_hash == cell.image_hash and abs(row.score - cell.score) < 1e-6]
    return found[0].id if found else None


def infotext(cell: Known) -> str:
    """Return the host's text of a cell as the ledger has it; "" where it has none."""
    try:
        ledger = recording.the_ledger()
        row = ledger.row(cell.entry) if ledger is not None and cell.entry is not None else None
    except HpsError:
        return ""
    return str(row.extra.get("infotext") or "") if row is not None else ""


# --- keys -------------------------------------------------------------------------------------------------------------


def key(p: Any, panel: options.Options, prompt: str, base: str, seed: int, networks: Networks) -> str:
    """Return the key of a cell, 64 hex digits: a hash of all that is known to make its picture and its score.

    `p` is the cell's own job with its axes applied, `prompt` what the model is told, `base` what is scored, `networks`
    knows the files that prompts name.
    """
    from modules import processing

    texts = with_styles(p, prompt)
    parts = [
        [KEY_VERSION, processing.program_version(), _checkpoint(p), _opts()],
        [texts, networks.of(texts, p.override_settings)],
        [list(p.styles or []), dict(p.override_settings), _fields(p), _inputs(p), _others(p)],
        [options.as_dict(panel), [_file(name) for name in panel.scorers], base, seed],
        [p.subseed if p.subseed_strength else 0],
    ]
    return mark(parts)


def mark(parts: Any) -> str:
    """Return 64 hex digits that stand for a whole comparison."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=_mark).encode()).hexdigest()


def _checkpoint(p: Any) -> Any:
    from modules import sd_models, shared

    name = p.override_settings.get("sd_model_checkpoint") or shared.opts.sd_model_checkpoint
    info = sd_models.get_closet_checkpoint_match(name) if name else None
    return [str(name)] if info is None else [info.name, *identity(info.filename)]


def _opts() -> Any:
    from modules import shared

    labels = getattr(shared.opts, "data_labels", {})
    names = [name for name, info in labels.items() if (getattr(info, "section", None) or ("",))[0] in _SECTIONS]
    left = ("sd_model_checkpoint", "sd_checkpoint_hash", "sd_checkpoints_limit", "sd_checkpoint_cache")
    return {name: getattr(shared.opts, name, None) for name in sorted(names) if name not in left}


def _fields(p: Any) -> dict[str, Any]:
    """Return the plain fields of a job; what the host fills in while it works begins with other values."""
    names = [one.name for one in fields(p)] if is_dataclass(p) else [name for name in vars(p) if name[0] != "_"]
    plain = (str, int, float, bool, type(None))
    found = {name: getattr(p, name, None) for name in names if name not in _OWN and name[0] != "_"}
    return {name: value for name, value in found.items() if isinstance(value, plain)}


def _inputs(p: Any) -> list[Any]:
    """Return what stands for the pictures that a job begins with."""
    images = list(getattr(p, "init_images", None) or [])
    masks = [getattr(p, name, None) for name in ("image_mask", "mask", "latent_mask")]
    return [_mark(one) for one in (*images, *masks) if one is not None]


def _others(p: Any) -> list[Any]:
    """Return the arguments of the other always visible scripts: they may change the picture.

    The host's own script of seeds has put its arguments into the job: what is left in them says nothing more.
    """
    found = []
    args = list(p.script_args or ())
    for script in getattr(p.scripts, "alwayson_scripts", None) or []:
        if script.title() != "HPS" and getattr(script, "section", None) != "seed" and script.args_from is not None:
            found.append([script.title(), args[script.args_from : script.args_to]])
    return found


def _file(name: str) -> Any:
    return [[name, role, *identity(path)] for role, path in sorted(host.locate(name).items())]


def _mark(value: Any) -> Any:
    """Return what stands for a value that is no JSON."""
    if hasattr(value, "tobytes") and hasattr(value, "size"):
        return hashlib.sha256(value.tobytes()).hexdigest()
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in fields(value)}
    if isinstance(value, (set, tuple, frozenset)):
        return sorted(map(str, value))
    return type(value).__name__


def kept(picture: Any, shot: Any) -> Known:
    """Return what is kept of a picture that was just scored."""
    parts = shot.parts if len(shot.parts) > 1 else {}
    file = str(getattr(picture, "already_saved_as", "") or "")
    return Known(
        shot.score, parts, shot.width, shot.height, shot.thumbnail, file, pictures.hash_of(picture), None, shot.scorer
    )
