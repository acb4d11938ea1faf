"""How much memory noise optimisation needs, by network, size and saving, measured without a GPU.

    COMFYUI_PATH=~/comfy/ComfyUI python benchmarks/gradient_memory.py          # tables of docs/gradient_memory.md
    COMFYUI_PATH=~/comfy/ComfyUI python benchmarks/gradient_memory.py stages   # or steps, sums, equal, resident

The host's own networks run forward and backward on the meta device, with the pack's own checkpointing, while every
storage is followed from its making to its end. `equal` and `resident` compare with real tensors on the CPU. Starts
itself again in the host's Python. `resident` holds a UNet's weights in float32 (3.4 GB); the others need little memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import memory_host  # noqa: F401  (first: it starts this program again in the host's Python)

# isort: split
import memory_counting as counting
import memory_networks as networks
import torch
from memory_counting import Use
from memory_networks import Network, checkpointing

GIB, MIB = 2**30, 2**20


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print one Markdown table, row by row."""
    print("\n| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def gib(size: float) -> str:
    """Return bytes in GiB."""
    return f"{size / GIB:.2f}"


def blocks(network: Network, checkpointed: bool) -> AbstractContextManager[int]:
    """Checkpoint the network's blocks as the pack does, or do nothing."""
    return checkpointing.checkpointed_blocks([network.module]) if checkpointed else nullcontext(0)


def use(network: Network, pixels: int, checkpointed: bool, batch: int = 1) -> Use:
    """Return what one call of a network needs."""
    with blocks(network, checkpointed), networks.additions_out_of_place():
        return counting.live_bytes(network.call, network.start(pixels, batch), network.excluded)


# --- one network at a time -------------------------------------------------------------------------------------------

STAGES: tuple[tuple[str, Callable[[], Network], tuple[int, ...]], ...] = (
    ("SD 1.5 UNet", networks.sd15, (512, 1024)),
    ("SDXL UNet", networks.sdxl, (512, 1024)),
    ("SD3-medium", networks.sd3, (512, 1024)),
    ("Flux-schnell [1]", networks.flux, (512, 1024)),
    ("Flux-schnell [1], fp8 weights", networks.flux_fp8, (512,)),
    ("VAE decoder (SD, SDXL)", networks.vae, (512, 1024)),
    ("TAESD decoder", networks.taesd, (512, 1024)),
    ("HPS v2 ViT-H/14 [2]", networks.scorer, (224,)),
)


def stage_rows() -> Iterator[list[str]]:
    """Yield a row a network and size."""
    for name, make, sizes in STAGES:
        network = make()
        for pixels in sizes:
            with networks.additions_out_of_place():
                saved = counting.saved_bytes(network.call, network.start(pixels), network.excluded)
            plain, thrifty = use(network, pixels, False), use(network, pixels, True)
            figures = (network.weights, saved, plain.peak, thrifty.kept, thrifty.peak)
            yield [name, str(pixels), *map(gib, figures)]


def stages() -> None:
    """Print what each network needs."""
    head = ("network", "pixels", "weights", "saved for backward", "peak", "kept, blocks", "peak, blocks")
    table(head, stage_rows())


# --- steps -----------------------------------------------------------------------------------------------------------


def sampling(network: Network, pixels: int, steps: int, level: str) -> Use:
    """Return what a sampling run needs at one of the pack's levels of checkpointing."""
    sample = networks.sampled(network, steps, level in ("steps", "full"))
    with blocks(network, level in ("blocks", "full")):
        return counting.live_bytes(sample, network.start(pixels).float(), network.excluded)


def step_rows() -> Iterator[list[str]]:
    """Yield a row a level."""
    network = networks.sd15()
    for level in checkpointing.LEVELS:
        one, two = (sampling(network, 512, steps, level) for steps in (1, 2))
        yield [level, gib(one.peak), gib(two.peak), *(f"{found.kept / MIB:.1f}" for found in (one, two))]


def steps() -> None:
    """Print how the levels of checkpointing and the number of steps count."""
    head = ("checkpoint", "peak, 1 step", "peak, 2 steps", "kept, 1 step, MiB", "kept, 2 steps, MiB")
    table(head, step_rows())


# --- sums ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """Networks that are loaded together; blocks and steps are checkpointed, the scorer is not."""

    name: str
    denoiser: Callable[[], Network]
    decoder: Callable[[], Network]
    pixels: int
    batch: int = 1


RUNS = (
    Run("SD-Turbo 512, VAE", networks.sd21, networks.vae, 512),
    Run("SD-Turbo 512, TAESD", networks.sd21, networks.taesd, 512),
    Run("SDXL-Turbo 512, VAE", networks.sdxl, networks.vae, 512),
    Run("SDXL-Turbo 512, TAESD", networks.sdxl, networks.taesd, 512),
    Run("SDXL 1024, CFG, VAE", networks.sdxl, networks.vae, 1024, 2),
    Run("SDXL 1024, CFG, TAESD", networks.sdxl, networks.taesd, 1024, 2),
    Run("Flux-schnell 512 [1], fp8, VAE", networks.flux_fp8, networks.flux_vae, 512),
)


def sum_rows() -> Iterator[list[str]]:
    """Yield a row a run: weights, each stage's peak with what the stages before it keep, and their sum."""
    known: dict[tuple[object, ...], tuple[int, Use]] = {}

    def stage(make: Callable[[], Network], pixels: int, checkpointed: bool, batch: int = 1) -> tuple[int, Use]:
        key = (make, pixels, checkpointed, batch)
        if key not in known:
            network = make()
            known[key] = network.weights, use(network, pixels, checkpointed, batch)
        return known[key]

    for run in RUNS:
        made = (
            stage(run.denoiser, run.pixels, True, run.batch),
            stage(run.decoder, run.pixels, True),
            stage(networks.scorer, 224, False),
        )
        weights = sum(weight for weight, _ in made)
        # With step checkpoints the denoiser keeps latents only; the decoder keeps its part while the score is made.
        peaks = (made[0][1].peak, made[1][1].peak, made[1][1].kept + made[2][1].peak)
        yield [run.name, gib(weights), *map(gib, peaks), f"**{(weights + max(peaks)) / GIB:.1f}**"]


def whole_rows() -> Iterator[list[str]]:
    """Yield one run from noise to score, followed as a whole, for comparison."""
    denoiser, decoder, judge = networks.sd21(), networks.taesd(), networks.scorer()
    modules = (denoiser.module, decoder.module, judge.module)
    run = networks.whole(networks.sampled(denoiser, 1, True), decoder, judge)
    with blocks(denoiser, True), blocks(decoder, True):
        found = counting.live_bytes(run, denoiser.start(512).float(), counting.storages_of(*modules))
    yield ["SD-Turbo 512, TAESD, as one run", "", "", "", "", f"peak beside the weights {gib(found.peak)}"]


def sums() -> None:
    """Print what whole runs need."""
    head = ("run", "weights", "denoiser", "decoder", "kept by the decoder + scorer", "weights + largest")
    table(head, [*sum_rows(), *whole_rows()])


# --- the same figures on real tensors --------------------------------------------------------------------------------

SMALL: tuple[tuple[str, Callable[[str, torch.dtype], Network], int], ...] = (
    ("SD 1.5 UNet, 64 channels", lambda device, dtype: networks.sd15(device, dtype, 64), 128),
    ("SDXL UNet, 64 channels", lambda device, dtype: networks.sdxl(device, dtype, 64), 128),
    ("SD3, 4 blocks", lambda device, dtype: networks.sd3(device, dtype, 4), 128),
    ("Flux, 2 + 2 blocks, 2 heads [1]", lambda device, dtype: networks.flux(device, dtype, 2, (2, 2)), 128),
    ("VAE decoder", networks.vae, 64),
    ("TAESD decoder", networks.taesd, 128),
    ("ViT-H/14, 2 layers", lambda device, dtype: networks.scorer(device, dtype, 2), 224),
)


def figures(network: Network, pixels: int) -> tuple[int, ...]:
    """Return what is saved, and what is kept and the peak without and with checkpointed blocks."""
    with networks.additions_out_of_place():
        saved = counting.saved_bytes(network.call, network.start(pixels), network.excluded)
    plain, thrifty = use(network, pixels, False), use(network, pixels, True)
    return saved, plain.kept, plain.peak, thrifty.kept, thrifty.peak


def equal_rows() -> Iterator[list[str]]:
    """Yield a row a network: the largest difference between the meta device and real tensors."""
    for name, make, pixels in SMALL:
        pairs = [figures(make(device, torch.float32), pixels) for device in ("meta", "cpu")]
        gaps = [abs(meta - real) / real for meta, real in zip(*pairs, strict=True)]
        saved, _, peak, _, thrifty = (f"{size / MIB:.2f}" for size in pairs[1])
        yield [name, str(pixels), saved, peak, thrifty, *(f"{gap:.3%}" for gap in (gaps[0], max(gaps)))]


def equal() -> None:
    """Print how far the meta figures are from the same counters on real tensors."""
    head = ("network, float32", "pixels", "saved, MiB", "peak", "peak, blocks", "meta: saved", "meta: any figure")
    table(head, equal_rows())


def line(areas: Sequence[float], sizes: Sequence[float], at: float) -> float:
    """Return the least-squares line through sizes over areas, at another area."""
    x, y = sum(areas) / len(areas), sum(sizes) / len(sizes)
    slope = sum((a - x) * (s - y) for a, s in zip(areas, sizes, strict=True)) / sum((a - x) ** 2 for a in areas)
    return y + slope * (at - x)


REAL = (("VAE decoder", networks.vae, (64, 96, 128)), ("SD 1.5 UNet", networks.sd15, (128, 192, 256)))


def resident_rows() -> Iterator[list[str]]:
    """Yield a row a network and saving: resident memory at small sizes, and its line at 512 pixels."""
    for name, make, sizes in REAL:
        real, meta = make("cpu", torch.float32), make("meta", torch.float32)
        with torch.no_grad():
            real.call(real.start(sizes[0]))
        for label, checkpointed in (("", False), (", blocks", True)):
            with blocks(real, checkpointed):
                seen = [counting.resident_bytes(real.call, real.start(pixels)) for pixels in sizes]
            told = [use(meta, pixels, checkpointed).peak for pixels in (*sizes, 512)]
            far = line([pixels**2 for pixels in sizes], seen, 512**2)
            cells = [f"{a / GIB:.2f} / {b / GIB:.2f}" for a, b in zip(seen, told, strict=False)]
            end = [f"{gib(far)} / {gib(told[-1])}", f"{far / told[-1] - 1:+.0%}"]
            yield [name + label, ", ".join(map(str, sizes)), *cells, *end]


def resident() -> None:
    """Print the resident memory of real runs beside the meta figures."""
    if not counting.can_measure_resident():
        print("\nThis system does not let a process set its own peak of resident memory back; left out.")
        return
    head = ("network, float32", "pixels", "first: real / meta", "second", "third", "512 by a line / meta", "difference")
    table(head, resident_rows())


def main() -> None:
    """Print the tables that are asked for, or all."""
    torch.set_num_threads(1)
    parts = {part.__name__: part for part in (stages, steps, sums, equal, resident)}
    for name in sys.argv[1:] or parts:
        parts[name]()


if __name__ == "__main__":
    main()
