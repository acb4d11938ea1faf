"""Networks named in prompts (`<lora:name:1>`): taken out of the text, and switched on for the first prompt's list."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import torch
from modules import errors

extra_network_registry: dict[str, Any] = {}


class ExtraNetworkParams:
    def __init__(self, items: list[str] | None = None) -> None:
        self.items = items or []
        self.positional = [item for item in self.items if "=" not in item]
        self.named = dict(item.split("=", 1) for item in self.items if "=" in item)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExtraNetworkParams) and self.items == other.items

    __hash__ = None  # type: ignore[assignment]


class ExtraNetwork:
    def __init__(self, name: str) -> None:
        self.name = name

    def activate(self, p: Any, params_list: list[ExtraNetworkParams]) -> None:
        raise NotImplementedError

    def deactivate(self, p: Any) -> None:
        raise NotImplementedError


class _Lora(ExtraNetwork):
    """Turns the fake network's `lora` knob by name and weight."""

    def activate(self, p: Any, params_list: list[ExtraNetworkParams]) -> None:
        p.sd_model.lora.fill_(sum(len(each.items[0]) * float(each.items[1]) for each in params_list))

    def deactivate(self, p: Any) -> None:
        with torch.inference_mode():  # Forge has made it an inference tensor
            p.sd_model.lora.zero_()


def register_extra_network(extra_network: ExtraNetwork) -> None:
    extra_network_registry[extra_network.name] = extra_network


register_extra_network(_Lora("lora"))


def activate(p: Any, extra_network_data: dict[str, list[ExtraNetworkParams]]) -> None:
    for name, network in extra_network_registry.items():
        try:
            network.activate(p, (extra_network_data or {}).get(name, []))
        except Exception as error:
            errors.display(error, f"activating extra network {name}")
    if p.scripts is not None:
        p.scripts.after_extra_networks_activate(
            p,
            batch_number=p.iteration,
            prompts=p.prompts,
            seeds=p.seeds,
            subseeds=p.subseeds,
            extra_network_data=extra_network_data,
        )


def deactivate(p: Any, extra_network_data: dict[str, list[ExtraNetworkParams]]) -> None:
    for network in extra_network_registry.values():
        network.deactivate(p)


def parse_prompt(prompt: str) -> tuple[str, dict[str, list[ExtraNetworkParams]]]:
    found: dict[str, list[ExtraNetworkParams]] = defaultdict(list)

    def take(match: re.Match[str]) -> str:
        found[match[1]].append(ExtraNetworkParams(match[2].split(":")))
        return ""

    return re.sub(r"<(\w+):([^>]+)>", take, prompt), found


def parse_prompts(prompts: list[str]) -> tuple[list[str], Any]:
    """Return the texts without networks, and the networks of the FIRST prompt only."""
    parsed = [parse_prompt(prompt) for prompt in prompts]
    return [text for text, _ in parsed], parsed[0][1] if parsed else None
