"""Moving a network between devices as normal tensors, and computing with it past a host's casts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

Swap = tuple[dict[str, Any], str, torch.Tensor]
"""Where a tensor of a module lies (its store and name there), and the tensor that lay there."""


def settle(module: torch.nn.Module, device: torch.device) -> list[Swap]:
    """Put all of a network on a device as normal tensors; return what was replaced.

    A host that loads a model in part moves whole layers only, and not the weights that belong to no layer; and what it
    moves in inference mode could never be differentiated through. The tensors that lay there are not changed, so that
    a backward pass that is still to come finds them.
    """
    swapped: list[Swap] = []
    with torch.inference_mode(False):
        for child in module.modules():
            for store in (child._parameters, child._buffers):
                for name, tensor in store.items():
                    if tensor is not None and (tensor.is_inference() or tensor.device.type != device.type):
                        store[name] = _renewed(tensor, device)
                        swapped.append((store, name, tensor))
    return swapped


def _renewed(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    normal = tensor.detach().to(device, copy=True)
    return torch.nn.Parameter(normal, requires_grad=False) if isinstance(tensor, torch.nn.Parameter) else normal


_layers = threading.RLock()


@contextmanager
def plain_layers() -> Iterator[None]:
    """Take back the casts that A1111 puts into all layers while it samples on cards without autocast (MPS, GTX 16).

    They would round the scorer's weights to half precision for good.
    """
    from modules import devices

    with _layers:
        patched = [kind for kind in getattr(devices, "patch_module_list", ()) if hasattr(kind, "org_forward")]
        current = {kind: kind.forward for kind in patched}
        try:
            for kind in patched:
                kind.forward = kind.org_forward
            yield
        finally:
            for kind, forward in current.items():
                kind.forward = forward
