"""A stand-in for the interface library: components remember what they were given, and take what both versions take."""

from __future__ import annotations

from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

__version__ = "0.fake"
_inside: ContextVar[tuple[Any, ...]] = ContextVar("_inside", default=())
made: list[Any] = []
"""Every block made since the fixture began."""


def update(**kwargs: Any) -> dict[str, Any]:
    return {"__type__": "update", **kwargs}


class Block:
    """Anything on a page: `given` are its arguments, `events` what was connected, `children` what stands inside."""

    known: tuple[str, ...] = ()
    events_known: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        names = dict(zip(self.known, args, strict=False))
        self.given = {**names, **kwargs}
        unknown = [name for name in self.given if name not in (*self.known, *_COMMON)]
        if unknown:
            raise TypeError(f"{type(self).__name__}() got an unexpected keyword argument {unknown[0]!r}")
        self.value, self.label = self.given.get("value"), self.given.get("label")
        self.choices, self.elem_id = self.given.get("choices"), self.given.get("elem_id")
        self.visible, self.interactive = self.given.get("visible", True), self.given.get("interactive")
        self.minimum, self.maximum = self.given.get("minimum"), self.given.get("maximum")
        self.step = self.given.get("step")
        self.elem_classes = self.given.get("elem_classes", [])
        self.events: list[SimpleNamespace] = []
        self.children: list[Any] = []
        made.append(self)
        if _inside.get():
            _inside.get()[-1].children.append(self)

    def __getattr__(self, name: str) -> Any:
        if name in type(self).events_known:
            return lambda fn=None, inputs=None, outputs=None, **more: self._connect(name, fn, inputs, outputs, more)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _connect(self, name: str, fn: Any, inputs: Any, outputs: Any, more: Any) -> Any:
        event = SimpleNamespace(name=name, fn=fn, inputs=inputs, outputs=outputs, more=more, source=self)
        event.then = event.success = lambda fn=None, inputs=None, outputs=None, **rest: self._connect(
            "then", fn, inputs, outputs, rest
        )
        self.events.append(event)
        return event

    def fire(self, name: str, *values: Any) -> Any:
        """Call what is connected to an event, and return what the last one gave."""
        result = None
        for event in self.events:
            if event.name == name and event.fn is not None:
                result = event.fn(*values)
        return result


_COMMON = (
    "elem_id", "elem_classes", "visible", "render", "scale", "min_width", "interactive", "show_label", "label", "value",
    "info", "container", "every",
)  # fmt: skip


class _Layout(Block):
    def __enter__(self) -> Any:
        self._before = _inside.set((*_inside.get(), self))
        return self

    def __exit__(self, *about: Any) -> None:
        _inside.reset(self._before)


class Blocks(_Layout):
    known = ("theme", "analytics_enabled", "mode", "title", "css")
    events_known = ("load",)


class Row(_Layout):
    known = ("variant", "equal_height")


class Column(_Layout):
    known = ("scale", "min_width", "variant")


class Group(_Layout):
    pass


class Accordion(_Layout):
    known = ("label", "open")


class Tabs(_Layout):
    known = ("selected",)
    events_known = ("change", "select")


class Tab(_Layout):
    known = ("label", "id")
    events_known = ("select",)


TabItem = Tab


class _Input(Block):
    events_known = ("change", "input", "release", "select", "submit", "blur", "upload", "clear", "focus")


class Textbox(_Input):
    known = ("value", "lines", "max_lines", "placeholder", "type", "show_copy_button", "autofocus")


class Number(_Input):
    known = ("value", "precision", "minimum", "maximum", "step")


class Slider(_Input):
    known = ("minimum", "maximum", "value", "step", "randomize")


class Checkbox(_Input):
    known = ("value",)


class CheckboxGroup(_Input):
    known = ("choices", "value", "type")


class Dropdown(_Input):
    known = ("choices", "value", "type", "multiselect", "max_choices", "allow_custom_value")


class Radio(_Input):
    known = ("choices", "value", "type")


class State(_Input):
    known = ("value",)


class File(_Input):
    known = ("value", "file_count", "file_types", "type")


class Gallery(_Input):
    known = ("value", "columns", "rows", "height", "preview", "object_fit", "allow_preview", "show_download_button")


class Image(_Input):
    known = ("value", "type", "height", "width", "image_mode")


class HTML(_Input):
    known = ("value",)


class Markdown(_Input):
    known = ("value",)


class Button(Block):
    known = ("value", "variant", "size", "icon", "link")
    events_known = ("click",)


class Request:
    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)
        self.headers: dict[str, str] = fields.get("headers", {})


class Error(Exception):
    pass


def Warning(message: str = "") -> None:
    made.append(message)


def Info(message: str = "") -> None:
    made.append(message)


components = SimpleNamespace(Component=Block, Form=Group)
blocks = SimpleNamespace(Block=Block)
