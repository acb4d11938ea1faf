"""The VAE's name in infotexts."""

from __future__ import annotations

vae_dict: dict[str, str] = {}
loaded_vae_file = None


def get_loaded_vae_name() -> str | None:
    return None


def get_loaded_vae_hash() -> str | None:
    return None
