"""Scorers in the memory of the host: Forge evicts and brings back; in A1111 they come, make room, and leave again.

Facts it relies on. Forge runs the callbacks in inference mode, and weights moved in it can never be differentiated
through; its memory management keeps a strong reference to what it has loaded, and forgets what nobody else holds at its
next load. A1111 has no memory management: with --lowvram and --medvram one part of the model is on the card, and hooks
bring every part when it is needed; else the whole model stays there, and nobody but us would bring it back.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import torch

from .. import settings
from .moving import Swap, settle

log = logging.getLogger("hps")

CPU = torch.device("cpu")
SPARE = 512 << 20
"""Bytes of a card that are left alone when a scorer decides whether it may stay."""

_kept: ContextVar[tuple[Any, ...]] = ContextVar("hps_kept", default=())


@contextmanager
def keep_loaded(models: Iterable[Any]) -> Iterator[None]:
    """Leave the host's models where they are until the end of the block, whatever scorers need.

    A backward pass needs the weights of its forward pass. `models` are Forge's patchers, which scorers are then loaded
    together with; for A1111, which has none, any value that stands for the model.
    """
    token = _kept.set((*_kept.get(), *models))
    try:
        yield
    finally:
        _kept.reset(token)


class Place(Protocol):
    """Who owns the memory that a network lives in."""

    @property
    def device(self) -> torch.device:
        """Where the network computes."""

    def acquire(self, memory: int) -> torch.device:
        """Put the whole network on the device, with room for `memory` bytes; return the device."""

    def release(self) -> None:
        """The use is over; the network may leave the device."""

    def make_room(self) -> bool:
        """Send everything else away after the device had no memory left; False when there is nothing to send."""

    def forget(self) -> None:
        """The network is dropped for good."""


# --- the CPU ---------------------------------------------------------------------------------------------------------


class OnCpu:
    """A network that stays in main memory."""

    device = CPU

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module

    def acquire(self, memory: int) -> torch.device:
        """Return the CPU."""
        settle(self.module, CPU)
        return CPU

    def release(self) -> None:
        """Nothing to do."""

    def make_room(self) -> bool:
        """Nothing is to be sent away."""
        return False

    def forget(self) -> None:
        """Nothing is held elsewhere."""


# --- Forge -----------------------------------------------------------------------------------------------------------


class Managed:
    """A network in the memory management of Forge, or of one of its relatives that keep ComfyUI's names."""

    def __init__(self, module: torch.nn.Module, management: Any, patcher: type) -> None:
        self.module, self.management = module, management
        self.device: torch.device = management.get_torch_device()
        offload = getattr(management, "text_encoder_offload_device", lambda: CPU)()
        with torch.inference_mode(False):
            self.patcher = patcher(module, load_device=self.device, offload_device=offload)

    def acquire(self, memory: int) -> torch.device:
        """Load the network with room for `memory` bytes; what it displaces, and whether, is the host's decision."""
        if _kept.get() or not self._is_there(memory):
            load = self.management.load_models_gpu
            with torch.inference_mode(False):
                load([*_kept.get(), self.patcher], **_accepted(load, memory_required=memory, force_full_load=True))
        settle(self.module, self.device)
        return self.device

    def _is_there(self, memory: int) -> bool:
        """Tell whether the network is loaded and there is room: then the host need not tidy up once more."""
        loaded = any(getattr(one, "model", None) is self.patcher for one in self.management.current_loaded_models)
        if not loaded or any(weight.device.type != self.device.type for weight in self.module.parameters()):
            return False
        return self.device.type == "cpu" or self.management.get_free_memory(self.device) > memory + SPARE

    def release(self) -> None:
        """Stay: the host evicts when something else needs the room."""

    def make_room(self) -> bool:
        """Have the host unload everything it can."""
        if self.device.type == "cpu" or _kept.get():
            return False
        with torch.inference_mode(False):
            self.management.free_memory(1e30, self.device)
        return True

    def forget(self) -> None:
        """Leave the host's list, which would hold the network until its next load."""
        loaded = self.management.current_loaded_models
        for index in reversed(range(len(loaded))):
            if getattr(loaded[index], "model", None) is self.patcher:
                loaded.pop(index)
        getattr(self.management, "soft_empty_cache", lambda: None)()


def _accepted(function: Callable[..., Any], **wanted: Any) -> dict[str, Any]:
    """Return the arguments that a host's function has; names came and went between forks."""
    names = inspect.signature(function).parameters
    return {name: value for name, value in wanted.items() if name in names}


def managed(module: torch.nn.Module) -> Managed | None:
    """Return the place in the memory management of this host; None when it has none that is known."""
    try:
        found = management()
        if found.__name__.startswith("backend"):
            from backend.patcher.base import ModelPatcher
        else:
            from ldm_patched.modules.model_patcher import ModelPatcher
    except ImportError:
        return None
    return Managed(module, found, ModelPatcher)


def management() -> Any:
    """Return the module that moves models in Forge, or in a relative with ComfyUI's names; raises ImportError."""
    try:
        from backend import memory_management as found
    except ImportError:
        from ldm_patched.modules import model_management as found
    return found


def forge_dtype(device: torch.device, parameters: int) -> torch.dtype:
    """Return the compute type that the host would choose for a network of this size."""
    try:
        host = management()
    except ImportError:
        return torch.float16
    if host.should_use_fp16(device, model_params=parameters):
        return torch.float16
    return torch.bfloat16 if host.should_use_bf16(device, model_params=parameters) else torch.float32


# --- A1111 -----------------------------------------------------------------------------------------------------------


class Guest:
    """A network beside a host without memory management: comes when it is used, and leaves when room is short."""

    def __init__(self, module: torch.nn.Module, device: torch.device) -> None:
        self.module, self.device = module, device
        self._home: list[Swap] = []
        """The tensors in main memory while copies of them are on the card: leaving then costs nothing."""
        self._displaced: list[Any] = []

    def acquire(self, memory: int) -> torch.device:
        """Come to the device; with --lowvram and --medvram the parts of the model that are there leave first."""
        if self.device != CPU and self._is_away() and crowded() and not _kept.get():
            _send_parts_away()
        self._home += settle(self.module, self.device)
        return self.device

    def _is_away(self) -> bool:
        return any(weight.device.type != self.device.type for weight in self.module.parameters())

    def release(self) -> None:
        """Leave the device where the settings or the memory ask for it, and bring back what was sent away."""
        if self.device == CPU:
            return
        if self._displaced or self._should_leave():
            self.leave()
        elif settings.get("hps_keep_on_device") == settings.KEEP_ALWAYS:
            self._home.clear()

    def _should_leave(self) -> bool:
        wanted = settings.get("hps_keep_on_device")
        if crowded() or wanted == settings.KEEP_NEVER:
            return True
        return wanted == settings.KEEP_AUTO and not _roomy(self.device)

    def leave(self) -> None:
        """Go back to main memory, and let the host's model return to its place."""
        for store, name, tensor in reversed(self._home):
            store[name] = tensor
        self._home.clear()
        settle(self.module, CPU)
        torch_gc()
        displaced, self._displaced = self._displaced, []
        for model in displaced:
            _bring_back(model)

    def make_room(self) -> bool:
        """Send the host's model to main memory; `release` brings it back."""
        if self.device == CPU or _kept.get() or self._displaced:
            return False
        model = _send_model_away()
        if model is not None:
            self._displaced.append(model)
        return model is not None

    def forget(self) -> None:
        """Free the card and bring back what was sent away."""
        if self.device != CPU:
            self.leave()


def crowded() -> bool:
    """Tell whether the host keeps only one part of its model on the card (--lowvram, --medvram, --medvram-sdxl)."""
    try:
        from modules import sd_models, shared

        model = getattr(getattr(sd_models, "model_data", None), "sd_model", None)
    except ImportError:
        return False
    flags = getattr(shared, "cmd_opts", None)
    asked = any(getattr(flags, name, False) for name in ("lowvram", "medvram"))
    return bool(asked or getattr(model, "lowvram", False))


def _send_parts_away() -> None:
    from modules import lowvram

    lowvram.send_everything_to_cpu()
    torch_gc()


def _send_model_away() -> Any:
    """Move the host's model to main memory as the host does it; return it, None when there is nothing to move."""
    from modules import sd_models

    model = getattr(getattr(sd_models, "model_data", None), "sd_model", None)
    if model is None or not hasattr(sd_models, "send_model_to_cpu"):
        return None
    with torch.inference_mode(False):
        sd_models.send_model_to_cpu(model)
    return model


def _bring_back(model: Any) -> None:
    from modules import sd_models

    if model is getattr(sd_models.model_data, "sd_model", None) and hasattr(sd_models, "send_model_to_device"):
        with torch.inference_mode(False):
            sd_models.send_model_to_device(model)


def _roomy(device: torch.device) -> bool:
    """Tell whether a generation as large as the largest one so far fits beside what is on the card now."""
    if device.type != "cuda":
        return False
    try:
        free, _ = torch.cuda.mem_get_info(device)
        held, used = torch.cuda.memory_reserved(device), torch.cuda.memory_allocated(device)
        most = torch.cuda.max_memory_allocated(device)
    except (RuntimeError, AssertionError):
        return False
    return free + (held - used) > (most - used) + SPARE


def torch_gc() -> None:
    """Give cached memory back, the host's way."""
    from modules import devices

    devices.torch_gc()
