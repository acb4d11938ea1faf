"""The host's sampler inside one run of its guider, as functions of the noise alone: in lockstep, alone, and decoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_management as mm
import torch

from ..hpskit.types import Decoder
from . import sampling
from .differentiable import patchers
from .gradient_decode import differentiable_decoder
from .lockstep import Stats, StepReport
from .noise_plan import Beginning
from .noise_watch import NoiseWatch
from .sampling import Draw, LockstepSampler


class Remembering:
    """Judge that does not decode a latent again that has just been decoded for its gradient."""

    def __init__(self, with_gradients: Decoder, without: Decoder) -> None:
        self._decode, self._without = with_gradients, without
        self._last: tuple[torch.Tensor, torch.Tensor] | None = None

    def with_gradients(self, latent: torch.Tensor) -> torch.Tensor:
        """Return the image of a latent, differentiable."""
        image = self._decode(latent)
        self._last = (latent.detach(), image.detach())
        return image

    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the images of latents."""
        last, self._last = self._last, None
        if last is not None and last[0].shape == latents.shape and torch.equal(last[0], latents):
            return last[1]
        return self._without(latents)


class HostRun:
    """One run of the host's sampler with everything the guider has prepared."""

    def __init__(
        self,
        inner: Any,
        guider: Any,
        sigmas: torch.Tensor,
        extra_args: dict[str, Any],
        noise: torch.Tensor,
        latent_image: torch.Tensor | None,
        denoise_mask: torch.Tensor | None,
        begin: Beginning,
    ) -> None:
        self.inner, self.guider, self.sigmas, self.extra_args, self.like = inner, guider, sigmas, extra_args, noise
        self.latent_image, self.denoise_mask, self.begin = latent_image, denoise_mask, begin

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What `differentiable` takes."""
        return self.guider, self.inner, self.sigmas, self.extra_args, self.latent_image, self.denoise_mask

    def alone(self, noise: torch.Tensor) -> torch.Tensor:
        """Sample one noise [1, ...] as the host's own node does."""
        self.begin.random.restore(self.like.device)
        self.load(1)
        own = noise.to(self.like, copy=True)
        rest = (self.latent_image, self.denoise_mask, True)
        samples: torch.Tensor = self.inner.sample(
            self.guider, self.sigmas, dict(self.extra_args), _check_interrupt, own, *rest
        )
        return samples

    def together(self, noises: torch.Tensor, on_step: Callable[[int, StepReport], None], stats: Stats) -> torch.Tensor:
        """Sample noises [n, ...] side by side; each draws the same numbers on its way."""
        self.load(len(noises))
        draws = [Draw(self.begin.seed, noise[None], self.begin.random) for noise in noises]
        sampler = LockstepSampler(self.inner, draws, len(draws), on_step, stats)
        rest = (None, self.like, self.latent_image, self.denoise_mask, True)
        return sampler.sample(self.guider, self.sigmas, dict(self.extra_args), *rest)

    def load(self, count: int) -> None:
        """Bring back models that decoding or scoring has pushed out of the device."""
        loaded = [entry.model for entry in mm.current_loaded_models]
        missing = [patcher for patcher in patchers(self.guider) if not any(patcher is other for other in loaded)]
        if not missing:
            return
        hooks = [(patcher, patcher.current_hooks) for patcher in missing]
        shape = [2 * count, *self.like.shape[1:]]  # twice: a guided step runs both sides as one batch
        mm.load_models_gpu(missing, memory_required=self.guider.model_patcher.memory_required(shape))
        for patcher, current in hooks:
            if patcher.current_hooks is not current:  # loading takes the weights of a hook out
                patcher.apply_hooks(hooks=current)

    def _out(self, latents: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.guider.inner_model.process_latent_out(latents.to(torch.float32))
        return out

    def decoder(self, vae: Any) -> Decoder:
        """Return the decoder of samples that VAE Decode is."""
        decode = sampling.decoder(vae)

        def plain(samples: torch.Tensor) -> torch.Tensor:
            with torch.inference_mode():
                return decode(self._out(samples))

        return plain

    def gradient_decoder(self, vae: Any, checkpointed: bool) -> Decoder:
        """Return a differentiable decoder of samples."""
        decode = differentiable_decoder(vae, checkpoint=checkpointed)
        return lambda samples: decode(self._out(samples))

    @property
    def evaluations(self) -> int:
        """Denoiser evaluations of one image: steps times conditionings."""
        groups = [group for group in getattr(self.guider, "conds", {}).values() if group]
        unguided = getattr(self.guider, "cfg", None) == 1.0
        return max(1, len(self.sigmas) - 1) * (1 if unguided else max(1, len(groups)))

    @property
    def is_half(self) -> bool:
        """Whether the diffusion model computes in float16."""
        return bool(self.guider.model_patcher.model_dtype() == torch.float16)


def _check_interrupt(*_: Any) -> None:
    mm.throw_exception_if_processing_interrupted()


class LockstepRender:
    """Noises [n, ...] to samples [n, ...] without gradients, in the host's own inference mode."""

    def __init__(self, run: HostRun, watch: NoiseWatch) -> None:
        self.run, self.watch, self.stats = run, watch, Stats()

    def __call__(self, noises: torch.Tensor) -> torch.Tensor:
        """Sample."""
        self.watch.begin_images()
        with torch.inference_mode():
            return self.run.together(noises, self.watch.on_step, self.stats)
