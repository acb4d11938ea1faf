"""Models, VAEs and conditionings of a comparison's settings, made by the host's own functions and used again.

Models of one checkpoint are held at a time; what a setting adds to them (LoRA, shift) shares their weights.
"""

from __future__ import annotations

import gc
import inspect
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import comfy.model_management as mm
import comfy.sd
import comfy.utils
import folder_paths

from ..hpskit.errors import StudyError
from ..hpskit.study.design import Recipe

T = TypeVar("T")
Loras = tuple[tuple[str, float], ...]

MOST_PATCHED, MOST_TEXTS = 64, 128
"""Patched models and encoded texts that are held at a time."""
CHECKPOINTS, LORAS = "checkpoints", "loras"


@dataclass(frozen=True)
class Source:
    """What a checkpoint, or the wires of the node, give."""

    model: Any
    clip: Any
    vae: Any


@dataclass(frozen=True)
class Wired:
    """What is connected to the node."""

    source: Source
    latent: dict[str, Any]
    positive: Any = None
    negative: Any = None


class Models:
    """Gives every setting its model, its VAE and its conditionings."""

    def __init__(self, wired: Wired, warn: Callable[[str], None]) -> None:
        self._wired, self._warn = wired, warn
        self._checkpoint = ""
        self._source = wired.source
        self._failed: dict[str, str] = {}
        self._files: dict[str, tuple[Any, Any]] = {}
        self._patched: OrderedDict[Loras, tuple[Any, Any]] = OrderedDict()
        self._shifted: OrderedDict[Any, Any] = OrderedDict()
        self._texts: OrderedDict[Any, Any] = OrderedDict()
        self.encoded = self.loaded = 0
        """Texts encoded and files read so far."""

    def model(self, recipe: Recipe) -> Any:
        """Return the MODEL of a setting; raises StudyError where it has no shift to set."""
        model, _ = self._with_loras(recipe)
        if recipe.shift is None:
            return model
        shift = recipe.shift
        return _held(self._shifted, (_active(recipe), shift), MOST_PATCHED, lambda: shifted(model, shift))

    def vae(self, recipe: Recipe) -> Any:
        """Return the VAE of a setting: the checkpoint's own, where it has one."""
        return self._of(recipe).vae

    def conditioning(self, recipe: Recipe, prompt: str, negative: str) -> tuple[Any, Any]:
        """Return both conditionings of a setting: what is wired, else the texts by the setting's own CLIP."""
        wired = self._wired
        positive = self._text(recipe, recipe.text(prompt)) if wired.positive is None else wired.positive
        return positive, self._text(recipe, negative) if wired.negative is None else wired.negative

    def _text(self, recipe: Recipe, text: str) -> Any:
        _, clip = self._with_loras(recipe)
        if clip is None:
            raise StudyError(
                f"There is no text encoder for {recipe.checkpoint or 'the model'}: connect a CLIP, or conditionings."
            )
        key = (() if clip is self._source.clip else _active(recipe), text)
        return _held(self._texts, key, MOST_TEXTS, lambda: self._encoded(clip, text))

    def _encoded(self, clip: Any, text: str) -> Any:
        mm.throw_exception_if_processing_interrupted()
        self.encoded += 1
        return clip.encode_from_tokens_scheduled(clip.tokenize(text))

    def _with_loras(self, recipe: Recipe) -> tuple[Any, Any]:
        source, loras = self._of(recipe), _active(recipe)
        if not loras:
            return source.model, source.clip
        return _held(self._patched, loras, MOST_PATCHED, lambda: self._apply(source, loras))

    def _apply(self, source: Source, loras: Loras) -> tuple[Any, Any]:
        model, clip = source.model, source.clip
        for name, strength in loras:
            if name not in self._files:
                path = folder_paths.get_full_path_or_raise(LORAS, name)
                self._files[name] = comfy.utils.load_torch_file(path, safe_load=True, return_metadata=True)
                self.loaded += 1
            before = _patches(model, clip)
            model, clip = with_lora(model, clip, *self._files[name], strength)
            if _patches(model, clip) == before:
                self._warn(f"The LoRA {name} fits nothing in this model, so its strength changes nothing.")
        return model, clip

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def _of(self, recipe: Recipe) -> Source:
        if recipe.checkpoint != self._checkpoint:
            self.drop()
            self._source = self._load(recipe.checkpoint) if recipe.checkpoint else self._wired.source
            self._checkpoint = recipe.checkpoint
        return self._source

    def _load(self, name: str) -> Source:
        """Load a checkpoint as the host's own node does; one that failed is not tried again."""
        if name in self._failed:
            raise StudyError(self._failed[name])
        mm.throw_exception_if_processing_interrupted()
        self.loaded += 1
        try:
            path = folder_paths.get_full_path_or_raise(CHECKPOINTS, name)
            embeddings = folder_paths.get_folder_paths("embeddings")
            given = comfy.sd.load_checkpoint_guess_config(
                path, output_vae=True, output_clip=True, embedding_directory=embeddings
            )
        except Exception as error:
            if isinstance(error, mm.InterruptProcessingException):
                raise
            said = f"The checkpoint {name} cannot be loaded: {(str(error) or type(error).__name__).splitlines()[0]}"
            self._failed[name] = said
            raise StudyError(said) from error
        return self._completed(name, *given[:3])

    def _completed(self, name: str, model: Any, clip: Any, vae: Any) -> Source:
        """Take from the wires what the checkpoint has not."""
        clip = clip if _is_there(clip, "cond_stage_model") else None
        vae = vae if _is_there(vae, "first_stage_model") else None
        for part, what in ((clip, "text encoder"), (vae, "VAE")):
            if part is None:
                self._warn(f"The checkpoint {name} has no {what} of its own; the one that is wired was used.")
        wired = self._wired.source
        return Source(model, wired.clip if clip is None else clip, wired.vae if vae is None else vae)

    def drop(self) -> None:
        """Let go of everything that was made; the host frees what nobody else uses."""
        held = bool(self._checkpoint or self._patched)
        self._checkpoint, self._source = "", self._wired.source
        for store in (self._patched, self._shifted, self._texts, self._files):
            store.clear()
        if held:
            gc.collect()
            mm.soft_empty_cache()


def _is_there(part: Any, network: str) -> bool:
    return part is not None and getattr(part, network, None) is not None


def _active(recipe: Recipe) -> Loras:
    """Return the LoRAs that do something: the host leaves one of strength 0 out, too."""
    return tuple((name, strength) for name, strength in recipe.loras if strength)


def _held(store: OrderedDict[Any, T], key: Any, most: int, make: Callable[[], T]) -> T:
    """Return what is stored under a key, made when missing; the one that was not used longest goes."""
    if key not in store:
        store[key] = make()
    store.move_to_end(key)
    while len(store) > most:
        store.popitem(last=False)
    return store[key]


def with_lora(model: Any, clip: Any, lora: Any, metadata: Any, strength: float) -> tuple[Any, Any]:
    """Return model and CLIP with a LoRA, as the host's loader applies it; a CLIP that is no network stays as it is."""
    network = clip if _is_there(clip, "cond_stage_model") else None
    options = {"lora_metadata": metadata} if "lora_metadata" in _parameters(comfy.sd.load_lora_for_models) else {}
    patched, patched_clip = comfy.sd.load_lora_for_models(model, network, lora, strength, strength, **options)
    return patched, clip if patched_clip is None else patched_clip


def _parameters(function: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(function).parameters)


def _patches(model: Any, clip: Any) -> int:
    patchers = (model, getattr(clip, "patcher", None))
    return sum(len(entries) for one in patchers for entries in getattr(one, "patches", {}).values())


def shifted(model: Any, shift: float) -> Any:
    """Return a model with another shift, as the host's ModelSampling nodes set it for its kind; raises StudyError."""
    own = model.get_model_object("model_sampling")
    if not (hasattr(own, "shift") and "shift" in _parameters(own.set_parameters)):
        raise StudyError("This model's noise schedule has no shift; leave the shifts empty.")
    # Of the model's own class, so that what other nodes have chosen (LCM, its prediction type) stays.
    made = type(own)(model.model.model_config)
    made.set_parameters(shift=shift, **({"multiplier": own.multiplier} if hasattr(own, "multiplier") else {}))
    if hasattr(own, "noise_scale"):
        made.set_noise_scale(own.noise_scale)
    patched = model.clone()
    patched.add_object_patch("model_sampling", made)
    return patched
