"""Scorers that live in the host's memory: they come for a call, make room when there is none, and fall back to the CPU.

A network is shared by all scorers of its files; calls to it wait for each other, so that it never leaves the device in
the middle of somebody's forward pass.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from ...hpskit import scorers
from ...hpskit.cards import Card
from ...hpskit.types import ScorerInfo, Scores
from . import host, residency
from .moving import plain_layers

if TYPE_CHECKING:
    from ...hpskit.scorers import LoadedNetwork
    from ...hpskit.types import Images

log = logging.getLogger("hps")

Answer = TypeVar("Answer")


class Network:
    """One copy of a scorer's weights, and where it lives; the residency of all scorers on it."""

    def __init__(self, files: Mapping[str, Path], card: Card | None, device: torch.device) -> None:
        self.files, self.card = dict(files), card
        self.lock = threading.RLock()
        self._uses = 0
        self.used = time.monotonic()
        """When it was last used."""
        self.loaded = self._load(device)
        self.place = _place(self.loaded.module, device)
        self.scorer = scorers.make_scorer(self.loaded, self)

    def _load(self, device: torch.device) -> LoadedNetwork:
        path = self.files.get("weights") or self.files["head"]
        return scorers.load_network(
            path,
            card=self.card,
            dtype=lambda parameters: host.pick_dtype(device, parameters),
            backbone=self.files.get("backbone"),
        )

    def acquire(self, memory: int) -> torch.device:
        """Put the network on its device, with room for `memory` bytes."""
        return self.place.acquire(memory)

    @contextmanager
    def using(self) -> Iterator[None]:
        """Keep the network where it is until the end of the block; blocks may be nested."""
        with self.lock:
            self._uses += 1
            try:
                yield
            finally:
                self._uses -= 1
                self.used = time.monotonic()
                if not self._uses:
                    self.place.release()

    def rest(self, for_good: bool = False) -> None:
        """Leave the device, unless somebody is using the network right now."""
        if not self.lock.acquire(blocking=False):
            return
        try:
            if not self._uses and (for_good or isinstance(self.place, residency.Guest)):
                self.place.forget()
        finally:
            self.lock.release()

    def run(self, work: Callable[[Any], Answer]) -> Answer:
        """Return work(scorer); when the card has no memory left it is tried with more room, and then on the CPU."""
        with self.using(), plain_layers():
            try:
                return work(self.scorer)
            except Exception as error:
                if self.place.device.type == "cpu" or not host.is_out_of_memory(error):
                    raise
            # Outside of the handler: the traceback would hold the tensors that filled the card.
            if self.place.make_room():
                try:
                    return work(self.scorer)
                except Exception as error:
                    if not host.is_out_of_memory(error):
                        raise
            self._move_to_cpu()
            return work(self.scorer)

    def _move_to_cpu(self) -> None:
        """Load the weights anew for the CPU, in a precision that it can compute in."""
        log.warning(
            "The graphics card has no room for %s: it runs on the CPU from now on, which is slow. Settings, HPS say "
            "where scorers run; a restart tries the card again.",
            self.scorer.info.name,
        )
        self.place.forget()
        cpu = torch.device("cpu")
        self.loaded = self._load(cpu)
        self.place = residency.OnCpu(self.loaded.module)
        self.scorer = scorers.make_scorer(self.loaded, self)


def _place(module: torch.nn.Module, device: torch.device) -> residency.Place:
    if host.FORGE and not _on_cpu_by_choice(device):
        found = residency.managed(module)
        if found is not None:
            return found
    return residency.OnCpu(module) if device.type == "cpu" else residency.Guest(module, device)


def _on_cpu_by_choice(device: torch.device) -> bool:
    """Tell whether scorers run on the CPU while the host has a card."""
    from modules import devices

    return device.type == "cpu" and torch.device(devices.get_optimal_device()).type != "cpu"


class HostedScorer:
    """A scorer of image and text in the host's memory; satisfies the Scorer protocol."""

    def __init__(self, network: Network) -> None:
        self._network = network

    @property
    def info(self) -> ScorerInfo:
        """Identity of the scorer; the precision changes when the card has no room and the CPU steps in."""
        return self._network.scorer.info

    def score(self, images: Images, prompts: str | Sequence[str] = "") -> Scores:
        """Score n images; as hpskit's scorers, with gradients when they are enabled and an image wants them."""
        if torch.is_grad_enabled() and _wants_gradients(images):
            with self.holding(), plain_layers():
                return self._network.scorer.score(images, prompts)
        return self._network.run(lambda scorer: scorer.score(images, prompts))

    def embed_images(self, images: Images) -> torch.Tensor:
        """Return unit-norm image features, float32 [n, D]."""
        return self._network.run(lambda scorer: scorer.embed_images(images))

    def holding(self) -> Any:
        """Keep the weights on the device until the end of the block."""
        return self._network.using()


class HostedTextScorer(HostedScorer):
    """A hosted scorer that embeds texts, too; satisfies the EmbeddingScorer protocol."""

    def embed_texts(self, prompts: Sequence[str]) -> torch.Tensor:
        """Return unit-norm text features, float32 [m, D]."""
        return self._network.run(lambda scorer: scorer.embed_texts(prompts))


def hosted(network: Network) -> HostedScorer:
    """Return a scorer on a network."""
    kind: Any = network.scorer
    return HostedTextScorer(network) if hasattr(kind, "embed_texts") else HostedScorer(network)


def _wants_gradients(images: Images) -> bool:
    if isinstance(images, torch.Tensor):
        return images.requires_grad
    return any(isinstance(one, torch.Tensor) and one.requires_grad for one in images)
