"""Infotexts into fields of the interface and back."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from modules import shared

sys.modules["modules.generation_parameters_copypaste"] = sys.modules[__name__]
paste_fields: dict[str, Any] = {}
registered_param_bindings: list[Any] = []
infotext_to_setting_name_mapping: list[Any] = []


class ParamBinding:
    def __init__(
        self, paste_button: Any, tabname: str, source_text_component: Any = None, source_image_component: Any = None,
        source_tabname: Any = None, override_settings_component: Any = None, paste_field_names: Any = None,
    ) -> None:  # fmt: skip
        self.paste_button, self.tabname, self.source_tabname = paste_button, tabname, source_tabname
        self.source_text_component, self.source_image_component = source_text_component, source_image_component
        self.override_settings_component = override_settings_component
        self.paste_field_names = paste_field_names or []


class PasteField(tuple):  # type: ignore[type-arg]
    def __new__(cls, component: Any, target: Any, *, api: Any = None) -> PasteField:
        return super().__new__(cls, (component, target))

    def __init__(self, component: Any, target: Any, *, api: Any = None) -> None:
        self.api, self.component = api, component
        self.label = target if isinstance(target, str) else None
        self.function = target if callable(target) else None


def register_paste_params_button(binding: ParamBinding) -> None:
    registered_param_bindings.append(binding)


def quote(text: Any) -> Any:
    return json.dumps(text, ensure_ascii=False) if any(sign in str(text) for sign in ",\n:") else text


def unquote(text: str) -> Any:
    if len(text) == 0 or text[0] != '"' or text[-1] != '"':
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def parse_generation_parameters(x: str, skip_fields: list[str] | None = None) -> dict[str, Any]:
    """Return prompt, negative prompt and the fields of the last line; a size becomes two fields."""
    pattern = r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)'
    *lines, last = x.strip().split("\n")
    if len(re.findall(pattern, last)) < 3:
        lines, last = [*lines, last], ""
    text = "\n".join(line.strip() for line in lines)
    prompt, _, negative = text.partition("Negative prompt:")
    found: dict[str, Any] = {}
    for name, value in re.findall(pattern, last):
        size = re.fullmatch(r"(\d+)x(\d+)", value)
        if size:
            found[f"{name}-1"], found[f"{name}-2"] = size.groups()
        else:
            found[name] = unquote(value)
    found |= {"Prompt": prompt.strip(), "Negative prompt": negative.strip()}
    for name in shared.opts.infotext_skip_pasting if skip_fields is None else skip_fields:
        found.pop(name, None)
    return found
