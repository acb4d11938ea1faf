"""Complete tiny checkpoints and LoRAs for the comparison of settings, and the graphs that use them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import comfy.sd
import torch
from comfy_inside import Graph, Run, base, pack, sibling
from safetensors.torch import save_file

tiny = sibling("best_of_n_tiny")
TEXT = {"num_hidden_layers": 3, "hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 128}
POOLED = 64 + 1280
STUDY, GRID, TABLE, VERDICT, BEST = range(5)
DEFAULTS = {
    "prompts": "a red circle\na blue square",
    "negative_text": "blurry",
    "samplers": "euler",
    "schedulers": "normal",
    "steps": "2",
    "cfgs": "2",
    "shifts": "",
    "loras": "",
    "checkpoints": "",
    "prompt_variants": "",
    "reference": "",
    "first_seed": 7,
    "seeds_per_prompt": 2,
    "denoise": 1.0,
    "clean_prompt": True,
    "match_saved_file": False,
    "chunk": 0,
    "exact": True,
    "cell_size": 64,
    "max_seconds": 0.0,
}


@contextlib.contextmanager
def small_text_encoder() -> Iterator[None]:
    """Let the host's loader read checkpoints whose text encoder is 64 wide: a parameter that no node sets."""
    original = comfy.sd.load_checkpoint_guess_config

    @functools.wraps(original)
    def load(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs, te_model_options={"clip_l_model_config": dict(TEXT)})

    comfy.sd.load_checkpoint_guess_config = load
    try:
        yield
    finally:
        comfy.sd.load_checkpoint_guess_config = original


def checkpoint(name: str, seed: int = 1) -> str:
    """Write a complete tiny checkpoint of the SD3 kind and return its file name."""
    from comfy.clip_model import CLIPTextModel
    from comfy.ldm.modules.diffusionmodules.mmdit import OpenAISignatureMMDITWrapper

    path = base / "models" / "checkpoints" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    context = {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 64}}
    network = OpenAISignatureMMDITWrapper(
        in_channels=16, out_channels=16, patch_size=2, depth=1, input_size=None, adm_in_channels=POOLED,
        num_patches=576, context_embedder_config=context, pos_embed_max_size=24, pos_embed_scaling_factor=None,
        qk_norm="rms", dtype=torch.float32, device="cpu", operations=tiny.OPS,
    )  # fmt: skip
    tiny._filled(network, seed)
    with torch.no_grad():
        shape = network.pos_embed.shape
        network.pos_embed.copy_(torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.2)
    config = {**TEXT, "hidden_act": "quick_gelu", "max_position_embeddings": 77, "eos_token_id": 49407}
    text = tiny._filled(CLIPTextModel(config, torch.float32, "cpu", tiny.OPS), seed + 1)
    parts = {"model.diffusion_model.": network, "first_stage_model.": tiny._taesd(16)}
    parts["text_encoders.clip_l.transformer."] = text
    written: dict[str, torch.Tensor] = {}
    for prefix, module in parts.items():
        written |= tiny._prefixed(prefix, module)
    save_file(written, path)
    return name


def lora(name: str, seed: int = 5, *, fits: bool = True) -> str:
    """Write a LoRA for network and text encoder and return its file name."""
    path = base / "models" / "loras" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    layers = {
        "diffusion_model.joint_blocks.0.x_block.attn.qkv": (192, 64),
        "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1": (128, 64),
    }
    generator = torch.Generator().manual_seed(seed)
    written = {}
    for layer, (out, into) in layers.items():
        place = layer if fits else f"elsewhere.{layer}"
        written[f"{place}.lora_up.weight"] = torch.randn(out, 4, generator=generator)
        written[f"{place}.lora_down.weight"] = torch.randn(4, into, generator=generator) * 0.3
    save_file(written, path)
    return name


class Keep:
    """Scorer that keeps the images and gives each its number as the score."""

    def __init__(self, version: str = "1") -> None:
        types = pack("hpskit.types")
        self.info = types.ScorerInfo("keep", "Keep", "fake", version, "none", "float32")
        self._scores = types.Scores
        self.images: list[torch.Tensor] = []
        self.prompts: list[str] = []

    def score(self, images: Any, prompts: Any) -> Any:
        first = len(self.images)
        self.images += [image.clone() for image in images]
        self.prompts += [prompts] * len(images)
        values = torch.arange(first, first + len(images)).float()
        return self._scores(values, self.info, (prompts,) * len(images))


def forget() -> None:
    """Empty the ledger: keys of other checks may be the same."""
    ledger = pack("nodes.recording").the_ledger()
    assert ledger is not None
    ledger.purge()


def graph_of(scorer: Any, checkpoint_name: str, latent: Any = None, **changed: Any) -> tuple[Graph, Any, Any]:
    """Return a graph with the node, the node, and the stock loader that it hangs on."""
    graph = Graph()
    loader = graph.node("CheckpointLoaderSimple", ckpt_name=checkpoint_name)
    sized = latent or graph.node("EmptySD3LatentImage", width=64, height=64, batch_size=1)[0]
    links = {"model": loader[0], "clip": loader[1], "vae": loader[2], "latent_image": sized}
    node = graph.node("HPS_CompareSettings", scorer=graph.give(scorer), **{**links, **DEFAULTS, **changed})
    return graph, node, loader


def run(graph: Graph, node: Any) -> Run:
    """Run the node and catch all its outputs."""
    done = graph.run(*(node[k] for k in range(5)))
    assert done.ok, done.error
    return done


def result_of(done: Run) -> Any:
    """Return the StudyResult of a run."""
    return done[STUDY][0]


def plain(graph: Graph, loader: Any, prompt: str, seed: int, **made: Any) -> list[Any]:
    """Return the link of the image that the host's own nodes make of a setting."""
    model, clip = loader[0], loader[1]
    for name, strength in made.get("loras", ()):
        patched = graph.node(
            "LoraLoader", model=model, clip=clip, lora_name=name, strength_model=strength, strength_clip=strength
        )
        model, clip = patched[0], patched[1]
    if made.get("shift") is not None:
        model = graph.node("ModelSamplingSD3", model=model, shift=made["shift"])[0]
    conds = {
        side: graph.node("CLIPTextEncode", clip=clip, text=text)[0]
        for side, text in (("positive", prompt), ("negative", "blurry"))
    }
    latent = graph.node("EmptySD3LatentImage", width=64, height=64, batch_size=1)
    sampled = graph.node(
        "KSampler",
        model=model,
        seed=seed,
        steps=made.get("steps", 2),
        cfg=made.get("cfg", 2.0),
        sampler_name=made.get("sampler", "euler"),
        scheduler=made.get("scheduler", "normal"),
        latent_image=latent[0],
        denoise=made.get("denoise", 1.0),
        **conds,
    )
    return graph.node("VAEDecode", samples=sampled[0], vae=loader[2])[0]
