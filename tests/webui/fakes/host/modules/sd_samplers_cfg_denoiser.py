"""One step: conditionings weighed, masks blended, callbacks told, previews stored; an interrupt ends it."""

from __future__ import annotations

from typing import Any

import torch
from modules import FORGE, prompt_parser, script_callbacks, sd_samplers_common
from modules.shared import state


def catenate_conds(conds: Any) -> Any:
    if not isinstance(conds[0], dict):
        return torch.cat(conds)
    return {key: torch.cat([x[key] for x in conds]) for key in conds[0]}


class CFGDenoiser(torch.nn.Module):
    def __init__(self, sampler: Any) -> None:
        super().__init__()
        self.sampler, self.model_wrap = sampler, None
        self.mask = self.nmask = self.init_latent = self.steps = self.total_steps = self.p = None  # type: Any
        self.step, self.image_cfg_scale = 0, None
        self.padded_cond_uncond = self.padded_cond_uncond_v0 = self.mask_before_denoising = False
        self.need_last_noise_uncond, self.last_noise_uncond = False, None
        self.cond_scale_miltiplier = 1.0

    @property
    def inner_model(self) -> Any:
        raise NotImplementedError

    def forward(
        self, x: Any, sigma: Any, uncond: Any, cond: Any, cond_scale: float, s_min_uncond: Any, image_cond: Any
    ) -> Any:
        if state.interrupted or state.skipped:
            raise sd_samplers_common.InterruptedException
        places, tensor = prompt_parser.reconstruct_multicond_batch(cond, self.step)
        uncond = None if uncond is None else prompt_parser.reconstruct_cond_batch(uncond, self.step)
        step = self._forge if FORGE else self._a1111
        denoised = step(x, sigma, uncond, tensor, places, cond_scale, image_cond)
        after = script_callbacks.AfterCFGCallbackParams(denoised, state.sampling_step, state.sampling_steps)
        script_callbacks.cfg_after_cfg_callback(after)
        self.step += 1
        return after.x

    def _a1111(
        self, x: Any, sigma: Any, uncond: Any, tensor: Any, places: Any, cond_scale: float, image_cond: Any
    ) -> Any:
        repeats = torch.tensor([k for k, parts in enumerate(places) for _ in parts])
        told = script_callbacks.CFGDenoiserParams(
            torch.cat([x[repeats], x]), torch.cat([image_cond[repeats], image_cond]),
            torch.cat([sigma[repeats], sigma]),
            state.sampling_step, state.sampling_steps, tensor, uncond, self,
        )  # fmt: skip
        script_callbacks.cfg_denoiser_callback(told)
        context = catenate_conds([told.text_cond, told.text_uncond])
        context = context if isinstance(context, dict) else {"c_crossattn": [context]}
        out = self.inner_model(told.x, told.sigma, cond={**context, "c_concat": [told.image_cond]})
        done = script_callbacks.CFGDenoisedParams(out, state.sampling_step, state.sampling_steps, self.inner_model)
        script_callbacks.cfg_denoised_callback(done)
        denoised = _combine(out[: len(repeats)], out[len(repeats) :], places, cond_scale)
        denoised = self._blend(denoised, sigma)
        self.sampler.last_latent = torch.cat([out[parts[0][0]][None] for parts in places])
        sd_samplers_common.store_latent(denoised)
        return denoised

    def _forge(
        self, x: Any, sigma: Any, uncond: Any, tensor: Any, places: Any, cond_scale: float, image_cond: Any
    ) -> Any:
        linker = self.inner_model
        if self.mask is not None:
            fresh = torch.randn_like(self.init_latent)
            noisy = linker.predictor.noise_scaling(sigma[:, None, None, None], fresh, self.init_latent)
            x = x * self.nmask + noisy * self.mask
        told = script_callbacks.CFGDenoiserParams(
            x, image_cond, sigma, state.sampling_step, state.sampling_steps, tensor, uncond, self
        )
        script_callbacks.cfg_denoiser_callback(told)
        scale = self.p.hr_cfg if self.p.is_hr_pass else cond_scale
        repeats = torch.tensor([k for k, parts in enumerate(places) for _ in parts])
        apply = linker.inner_model.apply_model
        good = apply(told.x[repeats], told.sigma[repeats], told.text_cond)
        if scale == 1 or told.text_uncond is None:
            bad, scale = torch.zeros_like(x), 1.0
        else:
            bad = apply(told.x, told.sigma, told.text_uncond)
        denoised = self._blend(_combine(good, bad, places, scale), sigma)
        self.sampler.last_latent = denoised
        sd_samplers_common.store_latent(denoised)
        return denoised

    def _blend(self, denoised: Any, sigma: Any) -> Any:
        if self.mask is None:
            return denoised
        blended = denoised * self.nmask + self.init_latent * self.mask
        if self.p.scripts is None:
            return blended
        from modules import scripts

        args = scripts.MaskBlendArgs(denoised, self.nmask, self.init_latent, self.mask, blended, self, sigma)
        self.p.scripts.on_mask_blend(self.p, args)
        return args.blended_latent


def _combine(good: Any, bad: Any, places: Any, scale: float) -> Any:
    rows = []
    for k, parts in enumerate(places):
        row = bad[k]
        for place, weight in parts:
            row = row + (good[place] - bad[k]) * (weight * scale)
        rows.append(row)
    return torch.stack(rows)
