"""Files that stand behind names in prompts and settings: LoRAs and their like, embeddings, VAEs.

A name is no identity: a file that was replaced under its name makes other pictures. So the key of a cell names the
files themselves, with size and time, as far as they can be found.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

_TAG = re.compile(r"<(\w+):([^:>]+)")
"""The host's way to name a network in a prompt: <lora:name:strength>."""
_FILES = (".safetensors", ".pt", ".ckpt", ".bin", ".pth")
_FORGE = ("forge_additional_modules", "forge_unet_storage_dtype")
"""Settings of Forge that change pictures and stand on none of its pages."""


def identity(path: Any) -> list[Any]:
    """Return what tells a file from another one under its name: path, size and time of the last change."""
    try:
        stat = Path(path).stat()
    except (OSError, TypeError, ValueError):
        return [str(path)]
    return [str(path), stat.st_size, stat.st_mtime_ns]


class Networks:
    """The files that the host knows by names, looked up once for all cells of a comparison."""

    def __init__(self) -> None:
        from modules import shared

        options = getattr(shared, "cmd_opts", None)
        lora = _in_folder(getattr(options, "lora_dir", None))
        hypernetworks = {str(k).lower(): v for k, v in (getattr(shared, "hypernetworks", None) or {}).items()}
        self._tagged = {**lora, **hypernetworks, **dict(_of_the_host())}
        self._words = _in_folder(getattr(options, "embeddings_dir", None))
        self._seen: dict[tuple[str, str], list[Any]] = {}

    def of(self, texts: Iterable[str], changed: Mapping[str, Any]) -> list[Any]:
        """Return the identities of all files that prompts name, and of those that every picture is made with.

        `changed` are the settings that a job has of its own.
        """
        from modules import shared

        whole, vae = "\n".join(texts), str(changed.get("sd_vae") or getattr(shared.opts, "sd_vae", "") or "")
        if (whole, vae) not in self._seen:
            self._seen[whole, vae] = [*self._named(whole), *_of_settings(vae)]
        return self._seen[whole, vae]

    def _named(self, text: str) -> list[Any]:
        plain = text.lower()
        names = sorted({name.strip().lower() for _, name in _TAG.findall(text)} | {_always()} - {""})
        tagged = [[name, *identity(self._tagged[name])] for name in names if name in self._tagged]
        return tagged + [[name, *identity(path)] for name, path in sorted(self._words.items()) if name in plain]


def with_styles(p: Any, prompt: str) -> list[str]:
    """Return all texts that a cell's prompts are made of: a style is only a name, and its text may name networks."""
    from modules import shared

    known = getattr(getattr(shared, "prompt_styles", None), "styles", None) or {}
    negative = p.negative_prompt if isinstance(p.negative_prompt, str) else "\n".join(map(str, p.negative_prompt))
    hires = [str(getattr(p, name, "") or "") for name in ("hr_prompt", "hr_negative_prompt")]
    styles = [known[name] for name in p.styles or [] if name in known]
    return [prompt, negative, *hires, *(str(getattr(one, "prompt", one)) for one in styles), *_negatives(styles)]


def _negatives(styles: Iterable[Any]) -> list[str]:
    return [str(getattr(style, "negative_prompt", "")) for style in styles]


def _always() -> str:
    """Return the LoRA that the host's settings add to every prompt."""
    from modules import shared

    name = str(getattr(shared.opts, "sd_lora", "None") or "None")
    return "" if name == "None" else name.lower()


def _in_folder(folder: Any) -> dict[str, Path]:
    if not folder or not Path(folder).is_dir():
        return {}
    files = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in _FILES)
    return {path.stem.lower(): path for path in files}


def _of_the_host() -> Iterator[tuple[str, Any]]:
    """Yield names and aliases of the LoRAs that the host's own extension has found."""
    from modules import extra_networks

    network = (getattr(extra_networks, "extra_network_registry", None) or {}).get("lora")
    found = getattr(sys.modules.get(type(network).__module__), "networks", None)
    for known in ("available_network_aliases", "available_networks"):
        for name, file in dict(getattr(found, known, None) or {}).items():
            yield str(name).lower(), getattr(file, "filename", None)


def _of_settings(vae: str) -> list[Any]:
    """Return the identities of the VAE and of Forge's further modules."""
    from modules import sd_vae, shared

    files: Mapping[str, Any] = getattr(sd_vae, "vae_dict", None) or {}
    found: list[Any] = [["vae", *identity(files[vae])]] if vae in files else []
    for name in _FORGE:
        value = getattr(shared.opts, name, None)
        found.append([name, [identity(one) for one in value] if isinstance(value, list) else str(value)])
    return found
