"""Optimised noise as a NOISE object, and the nodes that save and load it: a seed alone cannot make it again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import comfy.sample
import folder_paths
import torch
from comfy.cli_args import args
from comfy_api.latest import io

from ..hpskit.errors import NoiseError, OutputError
from ..hpskit.search import noise_file
from ..hpskit.search.noise_file import NoiseRecord
from . import host
from .save import as_result, text_chunks, write_new

FOLDER = "noise"
"""Folder of noise files below the host's output and input folders."""
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class OptimizedNoise:
    """NOISE object with stored noise. Frozen: another seed would name a noise that this is not."""

    seed: int
    """Seed of the sampler, which fixes the noise that stochastic samplers draw on their way."""
    noise: torch.Tensor
    """float32 on the CPU, [1, C, ...]"""
    record: NoiseRecord = field(default_factory=NoiseRecord)

    def generate_noise(self, input_latent: dict[str, Any]) -> torch.Tensor:
        """Return the noise for a latent, in float32; a batch gets the same noise for every item.

        Raises NoiseError when the latent has other channels or another size.
        """
        samples = input_latent["samples"]
        self._check(samples)
        # The host's own noise leaves torch's global generators in this state, from which some samplers draw.
        comfy.sample.prepare_noise(samples[:1], self.seed)
        return self.noise.repeat(len(samples), *(1,) * (self.noise.ndim - 1))

    def _check(self, samples: Any) -> None:
        if getattr(samples, "is_nested", False):
            raise NoiseError("This latent holds several streams (audio and video); a saved noise is for one image.")
        wanted, given = list(self.noise.shape[1:]), list(samples.shape[1:])
        if wanted == given:
            return
        if wanted[0] != given[0]:
            raise NoiseError(
                f"This noise has {wanted[0]} channels, and the latents of this model have {given[0]}: it was made for "
                "another kind of model. Use it with a model that shares the latent space, or optimise anew."
            )
        raise NoiseError(
            f"This noise is for latents of {_size(wanted)}, and the latent here has {_size(given)}. Use the image size "
            "that it was optimised at, or optimise anew at this size."
        )


def _size(shape: list[int]) -> str:
    return " x ".join(str(side) for side in shape)


class SaveNoise(io.ComfyNode):
    """Saves an optimised noise with its origin."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return host.Schema(
            node_id="HPS_SaveNoise",
            display_name="HPS Save Noise",
            category="HPS",
            description="Saves an optimised noise as a file: no seed can make it again. HPS Load Noise reads it.",
            search_aliases=["save noise", "export noise", "optimized noise"],
            is_output_node=True,
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            inputs=[
                io.Noise.Input("noise", tooltip="From HPS Optimize Noise."),
                io.String.Input(
                    "filename_prefix", default="HPS", tooltip="As in Save Image, below the folder output/noise."
                ),
            ],
            outputs=[
                io.Noise.Output(display_name="noise", tooltip="The noise, unchanged."),
                io.String.Output(display_name="path", tooltip="The file that was written."),
            ],
        )

    @classmethod
    def execute(cls, noise: Any, filename_prefix: str) -> io.NodeOutput:
        """Write the file."""
        path = save(noise, filename_prefix, text_chunks(cls.hidden.prompt, cls.hidden.extra_pnginfo))
        return io.NodeOutput(noise, str(path), ui={"text": [f"Saved {path}"], "hps_files": [as_result(path)]})


class LoadNoise(io.ComfyNode):
    """Loads a saved noise."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return host.Schema(
            node_id="HPS_LoadNoise",
            display_name="HPS Load Noise",
            category="HPS",
            description="Loads a noise that HPS Save Noise wrote, to make its image again or to vary it.",
            search_aliases=["load noise", "import noise", "optimized noise"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=choices(),
                    tooltip="A file below output/noise or input/noise, the newest first. Press R after saving one.",
                ),
            ],
            outputs=[
                io.Noise.Output(display_name="noise", tooltip="For SamplerCustomAdvanced, at the size it was made at."),
                io.Int.Output(display_name="seed", tooltip="Seed of the sampler, which the noise brings along."),
                io.String.Output(display_name="prompt", tooltip="The prompt that it was optimised for."),
                io.String.Output(display_name="report", tooltip="Size, method, scorer and scores."),
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str) -> bool:
        """Accept files that are not in the list yet: running the node then tells what is missing."""
        return True

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        """Identify the file, so that a replaced one is loaded anew."""
        try:
            path = locate(file)
            return repr((str(path), path.stat().st_mtime_ns, path.stat().st_size))
        except (NoiseError, OSError):
            return "missing"

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        """Read the file."""
        stored = noise_file.read(locate(file))
        noise = OptimizedNoise(stored.record.seed, stored.noise, stored.record)
        text = describe(noise)
        return io.NodeOutput(noise, noise.seed, stored.record.prompt, text, ui={"text": [text]})


# --- files -----------------------------------------------------------------------------------------------------------


def save(noise: Any, prefix: str, texts: dict[str, str]) -> Path:
    """Write a noise below output/noise and return its path; raises NoiseError on one that needs no file."""
    if not isinstance(noise, OptimizedNoise):
        raise NoiseError(
            f"This NOISE ({type(noise).__name__}) holds no stored noise; its seed makes it again. Connect the noise "
            "output of HPS Optimize Noise or HPS Load Noise."
        )
    # With --disable-metadata the file says only what using the noise needs.
    record = NoiseRecord(seed=noise.seed) if args.disable_metadata else noise.record
    return write(folder_paths.get_output_directory(), prefix, noise_file.encode(noise.noise, record, texts))


def write(base: str, prefix: str, data: bytes) -> Path:
    """Write a file under the first free number below `base`/noise; nothing is overwritten."""
    root = Path(base) / FOLDER
    try:
        root.mkdir(parents=True, exist_ok=True)
        folder, name, counter, _, _ = folder_paths.get_save_image_path(prefix, str(root))
        return write_new(Path(folder), name, counter, SUFFIX, data)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f'Cannot save "{prefix}" below {root}: {reason}. '
            "Make the folder writable, free some space, or choose another filename_prefix."
        ) from error


def _roots() -> dict[str, Path]:
    folders = {"output": folder_paths.get_output_directory(), "input": folder_paths.get_input_directory()}
    return {kind: Path(folder) / FOLDER for kind, folder in folders.items()}


def choices() -> list[str]:
    """Return the noise files that can be loaded, newest first, named like "portrait_00001_.safetensors [output]"."""
    found = []
    for kind, root in _roots().items():
        for path in root.rglob(f"*{SUFFIX}"):
            if path.is_file():
                found.append((path.stat().st_mtime, f"{path.relative_to(root).as_posix()} [{kind}]"))
    return [name for _, name in sorted(found, reverse=True)]


def locate(choice: str) -> Path:
    """Return the path behind a choice; raises NoiseError on files that do not exist or lie elsewhere."""
    name, _, kind = choice.rpartition(" [")
    root = _roots().get(kind.removesuffix("]"))
    try:
        path = (root / name).resolve() if root is not None else None
        inside = root is not None and path is not None and path.is_relative_to(root.resolve())
        if path is not None and inside and path.suffix == SUFFIX and path.is_file():
            return path
    except (OSError, ValueError):  # a name with a NUL, or longer than any
        pass
    where = " or ".join(str(folder) for folder in _roots().values())
    raise NoiseError(f'There is no noise file "{choice[:200]}". Save one with HPS Save Noise, or put it into {where}.')


def describe(noise: OptimizedNoise) -> str:
    """Return in words what a noise is and where it comes from."""
    record = noise.record
    lines = [f"Noise for latents of {_size(list(noise.noise.shape[1:]))}, sampler seed {noise.seed}"]
    if record.method:
        turned = f", {record.degrees:.1f} degrees from its start" if record.degrees else ""
        lines.append(f"Method: {record.method}, {record.iterations} iterations{turned}")
    for name, score in record.best.items():
        before = f"{record.start[name]:.3f} -> " if name in record.start else ""
        lines.append(f"{name}: {before}{score:.3f}")
    named = {"Prompt": record.prompt, "Model": record.model, "VAE": record.vae, "Made by": record.made_by}
    return "\n".join([*lines, *(f"{label}: {text}" for label, text in named.items() if text)])


NODES = (SaveNoise, LoadNoise)
