"""A sampling run of the host as a differentiable function of its starting noise.

The host's own code samples: schedule, guidance, LoRA, masks and what other extensions hook in stay as they are. What
stands in the way of gradients is put aside for the time of a `with` block: inference mode and inference tensors,
torch.no_grad on samplers, residuals that are added in place, weights that ask for gradients, previews that would hold
the graph. Every call of the denoiser, and every block inside it, is computed again in the backward pass instead of
being stored, so that memory does not grow with the steps. Aliases of inference tensors share their memory.
"""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ...hpskit.autodiff.aliases import Aliases, alias, outside_inference
from ...hpskit.autodiff.blocks import checkpointed_blocks
from ...hpskit.autodiff.randomstate import RandomState, preserved_random_state
from ...hpskit.autodiff.recompute import Manner, recomputed
from ...hpskit.autodiff.twins import Twins
from ...hpskit.errors import Cancelled, GradientError
from .common import INSTEAD, ask, kept, put, refusals, side, without_no_grad, without_switches
from .inplace import out_of_place

NO_GRADIENT = f"An extension or a patch cuts the gradient off inside the model: switch extensions off. {INSTEAD}"
HALF_PEAK = 64.0
"""Size of gradients that enter networks in half precision: far from where they vanish and from where they overflow."""
UNIPC = "modules.models.diffusion.uni_pc.uni_pc"


@dataclass
class Differentiable:
    """Render and decoder of one picture; usable until the end of the `with` block, backward passes included."""

    p: Any
    call: Any
    seeds: Sequence[int]
    subseeds: Sequence[int]
    recompute: bool
    random: RandomState
    device: torch.device
    manner: Manner
    decoder_manner: Manner
    aliases: Aliases = field(default_factory=Aliases)
    """Of what the last render used."""
    open: bool = True
    calls: int = 0
    """Calls of the denoiser by the sampler, without those that only compute again."""

    def render(self, noise: torch.Tensor) -> torch.Tensor:
        """Sample noise [1, C, h, w] to a latent, as the host does with the same seeds; the same each time.

        Differentiable where gradients are enabled. Raises GradientError when the gradient gets lost on the way, and
        Cancelled when the person stops the generation.
        """
        from modules import sd_samplers

        from ..first_pass import sampling

        self._check_open()
        self.aliases.undo()
        with outside_inference(), preserved_random_state(self.device):
            self.random.restore(self.device)
            start = alias(noise).to(self.device, torch.float32).clone()  # hosts may work in place on what they get
            if getattr(self.p, "init_latent", None) is not None:  # img2img makes one sampler, for the whole job
                self.p.sampler = sd_samplers.create_sampler(self.p.sampler_name, self.p.sd_model)
            latent = sampling.first_pass(self.p, self.call, self.seeds, self.subseeds, noise=start)
        ask()
        if torch.is_grad_enabled() and noise.requires_grad and not latent.requires_grad:
            raise GradientError(
                f"The sampler {self.p.sampler_name}, or an extension around it, gives no gradient: "
                f"choose another sampler, such as Euler, or switch extensions off. {INSTEAD}"
            )
        return alias(latent)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Decode a latent [1, C, h, w] to an image [1, 3, H, W] in 0..1, fp32, differentiable; raises as render.

        NaN where the decoder gives values that are no numbers: one such image must not end a search.
        """
        self._check_open()
        ask()

        def image(latent: torch.Tensor) -> torch.Tensor:
            with out_of_place():
                return side().pixels(self.p, latent).float()  # type: ignore[no-any-return]

        with outside_inference():
            latent = alias(latent)
            if self.recompute and torch.is_grad_enabled() and latent.requires_grad:
                made = recomputed(image, latent, manner=self.decoder_manner)
            else:
                made = image(latent)
            decoded = ((made + 1.0) / 2.0).clamp(0.0, 1.0)
            return decoded if bool(torch.isfinite(made).all()) else decoded + math.nan

    # --- what the host's sampler sees ---

    def adopt(self, sampler: Any) -> None:
        """Make a sampler that the host has just created let gradients through."""
        denoiser = getattr(sampler, "model_wrap_cfg", None)
        if not callable(getattr(sampler, "func", None)) or denoiser is None:
            raise GradientError(
                f"The sampler {self.p.sampler_name} comes from an extension in a way that gives no gradient: "
                f"choose another sampler, such as Euler. {INSTEAD}"
            )
        sampler.func = self._function(sampler.func)
        vars(denoiser)["forward"] = _Denoiser(self, sampler, denoiser)

    def _function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the sampler's function without no_grad; a twin is made when it is called, with the names of then."""

        @functools.wraps(function)  # hosts read its signature
        def twin(*args: Any, **kwargs: Any) -> Any:
            self.aliases.of(side().network(self.p))
            side().settle(self.p, self.aliases)
            if "extra_args" in kwargs:
                kwargs["extra_args"] = self.aliases.of(kwargs["extra_args"])
            if "disable" in kwargs:
                kwargs["disable"] = True  # a bar for each of many renders tells nothing
            with without_no_grad(UNIPC):
                return Twins().of(function)(*args, **kwargs)

        return twin

    def _check_open(self) -> None:
        if not self.open:
            raise GradientError("This belongs to a differentiable() block that has ended.")


class _Denoiser:
    """Stands for the forward of the host's denoiser with guidance: computed again in the backward pass."""

    def __init__(self, run: Differentiable, sampler: Any, denoiser: Any) -> None:
        self.run, self.sampler, self.denoiser, self.plain = run, sampler, denoiser, denoiser.forward

    def __call__(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Return the denoised latent, or whatever else this denoiser predicts."""
        run = self.run
        run._check_open()
        ask()
        run.calls += 1
        if not (run.recompute and torch.is_grad_enabled() and x.requires_grad):
            made = self._asked(x, args, kwargs)
            if torch.is_grad_enabled() and x.requires_grad and not made.requires_grad:
                raise GradientError(NO_GRADIENT)  # samplers add x to it: a gradient would come out, and be wrong
            return made
        compute = _Again(self, args, kwargs)
        made = recomputed(compute, x, keep_random=True, lost=NO_GRADIENT, manner=run.manner)
        if not isinstance(made, tuple):
            return made
        self.denoiser.last_noise_uncond = made[1]  # DDIM CFG++ takes it from there
        return made[0]

    def _asked(self, x: torch.Tensor, args: Any, kwargs: Any) -> Any:
        from modules import sd_samplers_common

        ask()
        try:
            return self.plain(x, *args, **kwargs)
        except sd_samplers_common.InterruptedException:
            raise Cancelled("The generation was stopped.") from None


class _Again:
    """One call of the denoiser: first as the sampler made it, then as often as needed with everything as it was."""

    def __init__(self, owner: _Denoiser, args: Any, kwargs: Any) -> None:
        from modules import shared

        self.owner, self.args, self.kwargs, self.first = owner, args, kwargs, True
        self.places = [(owner.denoiser, "step"), (shared.state, "sampling_step")]
        model = owner.run.p.sd_model
        if hasattr(model, "forge_objects"):
            self.places.append((model, "forge_objects"))
        self.values = [getattr(place, name, None) for place, name in self.places]

    def __call__(self, x: torch.Tensor) -> Any:
        if self.first:
            self.first = False
            return self._results(x)
        self.owner.run._check_open()
        ask()
        with self._as_it_was(), out_of_place(), side().loads(self.owner.run.p, x):
            return self._results(x)

    def _results(self, x: torch.Tensor) -> Any:
        denoiser = self.owner.denoiser
        made = self.owner._asked(x, self.args, self.kwargs)
        return (made, denoiser.last_noise_uncond) if getattr(denoiser, "need_last_noise_uncond", False) else made

    @contextlib.contextmanager
    def _as_it_was(self) -> Iterator[None]:
        kept = [(self.owner.sampler, "last_latent"), (self.owner.denoiser, "last_noise_uncond"), *self.places]
        with contextlib.ExitStack() as stack:
            for place, name in kept:
                if hasattr(place, name):
                    stack.callback(setattr, place, name, getattr(place, name))
            for (place, name), value in zip(self.places, self.values, strict=True):
                setattr(place, name, value)
            yield


@contextlib.contextmanager
def differentiable(
    p: Any, call: Any, seeds: Sequence[int], subseeds: Sequence[int], *, recompute: bool = True
) -> Iterator[Differentiable]:
    """Give a differentiable render and decoder for one picture of a job; backward passes belong inside the block.

    `call` is a sampling.Call, `seeds` and `subseeds` have one element. Inside, gradients are enabled; use
    torch.no_grad() for renders without. Without `recompute` everything is stored: quicker, for tiny models only.
    Everything of the host is put back at the end, also after exceptions. Raises GradientError with one sentence per
    reason when there is no gradient.
    """
    problems = refusals(p)
    if problems:
        raise GradientError(" ".join(problems))
    from modules import devices

    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        aliases = Aliases()
        stack.callback(aliases.undo)
        networks = [side().network(p), side().decoder(p)]
        for module in networks:
            aliases.of(module)
        stack.enter_context(side().prepared(p))
        stack.enter_context(without_switches(networks))
        if recompute:
            stack.enter_context(checkpointed_blocks(networks, caches_unused=False))
        stack.enter_context(out_of_place())
        stack.enter_context(kept(p, aliases))
        manners = [Manner(peak=HALF_PEAK if side().half(p) else None) for _ in range(2)]
        device = torch.device(devices.device)
        own = replace(call, **{name: aliases.of(getattr(call, name)) for name in ("conditioning", "unconditional")})
        run = Differentiable(p, own, seeds, subseeds, recompute, RandomState.capture(device), device, *manners)
        stack.callback(run.aliases.undo)
        stack.callback(setattr, run, "open", False)
        stack.enter_context(_adopted(run))
        yield run


@contextlib.contextmanager
def _adopted(run: Differentiable) -> Iterator[None]:
    """Have every sampler that this thread creates let gradients through."""
    from modules import sd_samplers

    original, owner = sd_samplers.create_sampler, threading.get_ident()

    @functools.wraps(original)
    def create_sampler(*args: Any, **kwargs: Any) -> Any:
        sampler = original(*args, **kwargs)
        if threading.get_ident() == owner:
            run.adopt(sampler)
        return sampler

    with contextlib.ExitStack() as stack:
        put(stack, sd_samplers, "create_sampler", create_sampler)
        yield
