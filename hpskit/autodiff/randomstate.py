"""State of torch's global random generators, to take and to put back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch


def _device_module(device: torch.device) -> Any:
    module = getattr(torch, device.type, None)
    return module if device.type != "cpu" and hasattr(module, "get_rng_state") else None


def _arguments(device: torch.device) -> tuple[torch.device, ...]:
    return () if device.type == "mps" else (device,)


@dataclass(frozen=True)
class RandomState:
    """State of torch's global generators: the CPU's, and the compute device's if it has one."""

    cpu: torch.Tensor
    accelerator: torch.Tensor | None = None

    @classmethod
    def capture(cls, device: torch.device) -> RandomState:
        """Copy the present state."""
        module = _device_module(device)
        return cls(torch.get_rng_state(), module.get_rng_state(*_arguments(device)) if module else None)

    def restore(self, device: torch.device) -> None:
        """Make this the present state."""
        torch.set_rng_state(self.cpu)
        module = _device_module(device)
        if module is not None and self.accelerator is not None:
            module.set_rng_state(self.accelerator, *_arguments(device))


@contextlib.contextmanager
def preserved_random_state(device: torch.device) -> Iterator[None]:
    """Leave torch's global generators afterwards as they were before."""
    state = RandomState.capture(device)
    try:
        yield
    finally:
        state.restore(device)
