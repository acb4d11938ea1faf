"""Bridge to the host: everything that knows ComfyUI's memory management, folders, progress and node schema.

Facts it relies on (true from ComfyUI 0.3.64 on): the whole graph runs under torch.inference_mode, which is
thread-local; `load_models_gpu(force_full_load=True)` puts a plain torch module completely on its device, but a later
load of something else may move it away again, in part or whole; the host keeps weak references only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import comfy.model_management as mm
import comfy.model_patcher
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..hpskit import scorers, weights
from ..hpskit.cards import Card, by_filename, card, load_cards
from ..hpskit.errors import Cancelled, CheckpointMissing
from ..hpskit.types import Scorer

log = logging.getLogger("hps")

FOLDER = "reward_models"
EXTENSIONS = {".safetensors", ".pt", ".pth", ".bin", ".ckpt"}
TINY = "hps-tiny-shapes"
TINY_CHOICE = "hps-tiny-shapes (miniature for trials: judges coloured shapes only)"
JUDGE_CHOICE = "hps-tiny-judge (second miniature for trials: to hold out)"
MINIATURES = {JUDGE_CHOICE: "hps-tiny-judge", TINY_CHOICE: TINY}
"""What a loader calls the scorers that know coloured shapes only, with their ids."""
SMALL = 50_000_000
"""Networks with fewer parameters gain nothing from half precision."""
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def Schema(**fields: Any) -> io.Schema:
    """Return an io.Schema, without the fields that the running host does not know yet.

    Spelled like the class: tools that list the nodes of a pack look for a literal node_id inside a call of that name.
    """
    known = io.Schema.__dataclass_fields__
    return io.Schema(**{name: value for name, value in fields.items() if name in known})


def blocked(message: str | None = None) -> ExecutionBlocker:
    """Return an output that stops whatever hangs on it: silently, or with `message` shown as an error."""
    return ExecutionBlocker(message)


# --- model folders -------------------------------------------------------------------------------------------------


def register_folder() -> None:
    """Make models/reward_models a model folder of the host; those from extra_model_paths.yaml stay, and stay first."""
    default = str(Path(folder_paths.models_dir) / FOLDER)
    paths, extensions = folder_paths.folder_names_and_paths.get(FOLDER, ([], set()))
    paths = [*paths, *([] if default in paths else [default])]
    folder_paths.folder_names_and_paths[FOLDER] = (paths, set(extensions) | EXTENSIONS)


def reward_folders() -> list[Path]:
    """Return every folder that may hold reward models, the default one last."""
    return [Path(path) for path in folder_paths.get_folder_paths(FOLDER)]


def reward_files() -> list[str]:
    """Return the files in these folders, relative to their folder, sorted."""
    return list(folder_paths.get_filename_list(FOLDER))


def scorer_choices() -> list[str]:
    """Return what a loader offers: the known scorers, files that belong to none of them, and last the miniatures."""
    known = [name for name in scorers.available_scorers() if name not in MINIATURES.values()]
    other = [name for name in reward_files() if by_filename(Path(name).name) is None]
    return [*known, *other, *MINIATURES]


# --- loading ---------------------------------------------------------------------------------------------------------


def locate(choice: str, backbone: str | None = None) -> dict[str, Any]:
    """Return {"card", "path", "backbone"} of a choice; raises CheckpointMissing with what to do."""
    name = MINIATURES.get(choice, choice)
    explicit = _file(backbone) if backbone else None
    if name in load_cards():
        try:
            found = weights.find(name, reward_folders())
        except CheckpointMissing as error:
            raise CheckpointMissing(_missing(card(name), error)) from error
        path = found.get("head") or found["weights"]
        return {"card": card(name), "path": path, "backbone": explicit or found.get("backbone")}
    path = _file(name)
    return {"card": by_filename(path.name), "path": path, "backbone": explicit}


def _missing(chosen: Card, error: CheckpointMissing) -> str:
    """Return what to do, the nearest first: the switch on the node."""
    if all(file.shipped for file in chosen.files):
        return str(error)
    size = sum(file.bytes or 0 for file in chosen.files) / 1e9
    lead = f"{chosen.name} is not on this machine yet. Switch download on in HPS Load Scorer and run again "
    return f"{lead}({size:.1f} GB, once). Or by hand: {error}"


def _file(name: str) -> Path:
    found = folder_paths.get_full_path(FOLDER, name)
    if found is None:
        where = " or ".join(str(folder) for folder in reward_folders())
        raise CheckpointMissing(f'There is no reward model "{name}". Put it into {where}, or choose another scorer.')
    return Path(found)


def fingerprint(choice: str, backbone: str | None) -> tuple[Any, ...]:
    """Return what identifies the files behind a choice: paths, times and sizes; ("missing",) when there are none."""
    try:
        place = locate(choice, backbone)
        return tuple(_identity(path) for path in (place["path"], place["backbone"]) if path)
    except (CheckpointMissing, OSError):
        return ("missing",)


def _identity(path: Path) -> tuple[str, int, int]:
    stat = path.stat()
    return str(path), stat.st_mtime_ns, stat.st_size


def pick_dtype(choice: str, device: torch.device, parameters: int) -> torch.dtype:
    """Return the compute type: as asked, else fp32 on a CPU and for miniatures, else what the host would pick."""
    if choice != "auto":
        return DTYPES[choice]
    if mm.is_device_cpu(device) or parameters < SMALL:
        return torch.float32
    if mm.should_use_fp16(device, model_params=parameters):
        return torch.float16
    return torch.bfloat16 if mm.should_use_bf16(device, model_params=parameters) else torch.float32


class HostResidency:
    """Keeps one network under the host's memory management and makes it ready before every forward."""

    def __init__(self, loaded: Any) -> None:
        self.loaded = loaded
        with torch.inference_mode(False):
            self.patcher = comfy.model_patcher.ModelPatcher(
                loaded.module, load_device=mm.get_torch_device(), offload_device=mm.unet_offload_device()
            )

    def acquire(self, memory: int) -> torch.device:
        """Load the network completely, with room for `memory` bytes; raises the host's interrupt when it is pending.

        Runs outside inference mode: parameters that were moved inside it could never be differentiated through.
        """
        mm.throw_exception_if_processing_interrupted()
        load_fully([self.patcher], memory)
        with torch.inference_mode(False):
            settle(self.loaded.module, self.patcher.load_device)
        return self.patcher.load_device


_kept: ContextVar[tuple[Any, ...]] = ContextVar("hps_kept", default=())
"""Models that must stay loaded whatever else is loaded, see keep_loaded."""


@contextmanager
def keep_loaded(patchers: Iterable[Any]) -> Iterator[None]:
    """Keep models completely on their device until the end of the block, whatever load_fully loads meanwhile.

    A backward pass needs the weights of its forward pass; without this, loading the scorer may push them out.
    """
    token = _kept.set(tuple(dict.fromkeys((*_kept.get(), *patchers))))
    try:
        yield
    finally:
        _kept.reset(token)


def load_fully(patchers: Iterable[Any], memory: int = 0) -> None:
    """Put models completely on their devices, with those of keep_loaded, and leave room for `memory` bytes."""
    wanted = list(dict.fromkeys((*patchers, *_kept.get())))
    hooks = [(patcher, patcher.current_hooks) for patcher in wanted]
    with torch.inference_mode(False):
        mm.load_models_gpu(wanted, memory_required=memory, force_full_load=True)
        for patcher, current in hooks:
            if patcher.current_hooks is not current:  # loading takes the weights of a hook out of a loaded model
                patcher.apply_hooks(hooks=current)


def settle(module: torch.nn.Module, device: torch.device) -> None:
    """Repair what the host's loading may leave behind: tensors on another device (--novram) or inference tensors."""
    for child in module.modules():
        for store in (child._parameters, child._buffers):
            for name, tensor in store.items():
                if tensor is not None and (tensor.is_inference() or tensor.device.type != device.type):
                    store[name] = _renewed(tensor, device)


def _renewed(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    normal = tensor.detach().to(device, copy=True)
    return torch.nn.Parameter(normal, requires_grad=False) if isinstance(tensor, torch.nn.Parameter) else normal


_shared: WeakValueDictionary[tuple[Any, ...], HostResidency] = WeakValueDictionary()
"""Networks in use by (files, compute type). Weak, so that the host's caches alone decide how long a network lives."""


def load_scorer(choice: str, mode: str | None, dtype: str, backbone: str | None = None) -> Scorer:
    """Return a scorer in the host's care; loaders of the same files and type share one copy of the weights.

    Raises the errors of hpskit unchanged: CheckpointMissing, CheckpointCorrupt, CheckpointUnsafe, CheckpointUnknown.
    """
    residency = _network(choice, dtype, backbone)
    return scorers.make_scorer(residency.loaded, residency, mode=mode)


def _network(choice: str, dtype: str, backbone: str | None) -> HostResidency:
    place, device = locate(choice, backbone), mm.get_torch_device()
    files = tuple(_identity(path) for path in (place["path"], place["backbone"]) if path)
    known = _shared.get((files, dtype))
    if known is not None:
        return known
    with torch.inference_mode(False):
        loaded = scorers.load_network(
            place["path"],
            card=place["card"],
            dtype=lambda parameters: pick_dtype(dtype, device, parameters),
            backbone=place["backbone"],
        )
    residency = _shared.get((files, loaded.dtype)) or HostResidency(loaded)  # "auto" and "fp32" may be the same
    _shared[files, dtype] = _shared[files, loaded.dtype] = residency
    return residency


def download(chosen: Card) -> None:
    """Fetch the files of a card into models/reward_models, with the node's progress bar; an interrupt stops it."""
    progress = Progress(1)
    folder = Path(folder_paths.models_dir) / FOLDER
    try:
        weights.download(chosen, folder, progress=progress.bytes, cancelled=mm.processing_interrupted)
    except Cancelled:
        mm.throw_exception_if_processing_interrupted()
        raise


# --- images ----------------------------------------------------------------------------------------------------------


def decode(vae: Any, latent: dict[str, Any]) -> torch.Tensor:
    """Return the IMAGE batch of a latent, as the VAE Decode node gives it (video frames become a batch)."""
    samples = latent["samples"]
    images = vae.decode(samples.unbind()[0] if getattr(samples, "is_nested", False) else samples)
    return images.reshape(-1, *images.shape[-3:]) if images.ndim == 5 else images


# --- progress --------------------------------------------------------------------------------------------------------


class Progress:
    """The node's progress bar; every step also checks for an interrupt."""

    def __init__(self, total: int) -> None:
        self._bar = comfy.utils.ProgressBar(total)

    def step(self, done: int, total: int | None = None) -> None:
        """Show `done` of `total`; raises the host's interrupt when one is pending."""
        mm.throw_exception_if_processing_interrupted()
        self._bar.update_absolute(done, total)

    def bytes(self, done: int, total: int | None) -> None:
        """Show a download in MiB; leaves the interrupt to the caller, who keeps what has arrived."""
        if total:
            self._bar.update_absolute(done >> 20, max(total >> 20, 1))


def each(items: Iterable[Any], total: int, work: Callable[[Any], Any]) -> list[Any]:
    """Return [work(item) ...] with a progress bar and an interrupt check before every item."""
    progress, results = Progress(total), []
    for done, item in enumerate(items):
        progress.step(done)
        results.append(work(item))
    progress.step(total)
    return results
