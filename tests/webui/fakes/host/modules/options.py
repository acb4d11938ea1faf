"""Settings: descriptions with defaults, and the values that a person has changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modules import errors

_OWN = ("data_labels", "data", "restricted_opts")


class OptionInfo:
    def __init__(
        self,
        default: Any = None,
        label: str = "",
        component: Any = None,
        component_args: Any = None,
        onchange: Callable[[], None] | None = None,
        section: Any = None,
        refresh: Any = None,
        comment_before: str = "",
        comment_after: str = "",
        infotext: str | None = None,
        restrict_api: bool = False,
        category_id: str | None = None,
    ) -> None:
        self.default, self.label, self.component, self.component_args = default, label, component, component_args
        self.onchange, self.section, self.refresh, self.category_id = onchange, section, refresh, category_id
        self.comment_before, self.comment_after = comment_before, comment_after
        self.infotext, self.restrict_api, self.do_not_save = infotext, restrict_api, False

    def link(self, label: str, url: str) -> OptionInfo:
        self.comment_before += f"[{label}: {url}]"
        return self

    def info(self, info: str) -> OptionInfo:
        self.comment_after += f"({info})"
        return self

    def html(self, html: str) -> OptionInfo:
        self.comment_after += html
        return self

    def needs_restart(self) -> OptionInfo:
        return self.info("requires restart")

    def needs_reload_ui(self) -> OptionInfo:
        return self.info("requires Reload UI")


class OptionHTML(OptionInfo):
    def __init__(self, text: str) -> None:
        super().__init__(str(text).strip())
        self.do_not_save = True


def options_section(section_identifier: tuple[str, ...], options_dict: dict[str, OptionInfo]) -> dict[str, OptionInfo]:
    for info in options_dict.values():
        info.section = section_identifier[:2]
        info.category_id = section_identifier[2] if len(section_identifier) > 2 else None
    return options_dict


class Options:
    """Reads `opts.name`: the changed value, else the default; an unknown name raises AttributeError."""

    def __init__(self, data_labels: dict[str, OptionInfo], restricted_opts: set[str]) -> None:
        self.data_labels, self.restricted_opts = data_labels, restricted_opts
        self.data = {name: info.default for name, info in data_labels.items() if not info.do_not_save}

    def __setattr__(self, key: str, value: Any) -> None:
        if key not in _OWN and (key in self.data or key in self.data_labels):
            self.data[key] = value
        else:
            super().__setattr__(key, value)

    def __getattr__(self, item: str) -> Any:
        if item not in _OWN:
            if item in self.data:
                return self.data[item]
            if item in self.data_labels:
                return self.data_labels[item].default
        raise AttributeError(f"'Options' object has no attribute '{item}'")

    def set(self, key: str, value: Any, is_api: bool = False, run_callbacks: bool = True) -> bool:
        info = self.data_labels[key]
        if self.data.get(key) == value or info.do_not_save or (is_api and info.restrict_api):
            return False
        setattr(self, key, value)
        if run_callbacks and info.onchange is not None:
            try:
                info.onchange()
            except Exception as error:
                errors.display(error, f"changing setting {key}")
        return True

    def get_default(self, key: str) -> Any:
        info = self.data_labels.get(key)
        return None if info is None else info.default

    def onchange(self, key: str, func: Callable[[], None], call: bool = True) -> None:
        self.data_labels[key].onchange = func
        if call:
            func()

    def add_option(self, key: str, info: OptionInfo) -> None:
        self.data_labels[key] = info
        if key not in self.data and not info.do_not_save:
            self.data[key] = info.default

    def cast_value(self, key: str, value: Any) -> Any:
        default = self.data_labels[key].default
        if value is None or default is None:
            return None
        return False if isinstance(default, bool) and value == "False" else type(default)(value)
