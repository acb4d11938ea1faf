"""The prompt that a picture was made from, read from it: infotext, ComfyUI graphs, InvokeAI, NovelAI and others.

Reads PNG text chunks, EXIF (JPEG, WebP) and this library's own record. No pixel is decoded. Pictures come from
strangers, so texts are bounded, nested JSON cannot overflow the stack, and anything unreadable counts as absent.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from . import containers, graphsettings, promptgraph, stamp
from .errors import ImageError

MAX_FILE: Final = 2**29
_PARAMETER: Final = re.compile(r"([A-Za-z][\w \-/]{0,60}):\s*(\"(?:\\.|[^\\\"])*\"|[^,]*)(?:,|$)")
_LORA: Final = re.compile(r"<(?:lora|lyco):([^:<>]{1,200})(?::([^:<>]{1,32}))?[^<>]{0,200}>", re.I)
_STEPS: Final = re.compile(r"^Steps: ?\d+", re.M)
_EXIF_POINTER, _USER_COMMENT, _MAKE, _MODEL = 0x8769, 0x9286, 0x010F, 0x0110


@dataclass(frozen=True)
class PromptInfo:
    """What a picture says about how it was made; None where it says nothing."""

    positive: str
    negative: str = ""
    seed: int | None = None
    steps: int | None = None
    cfg: float | None = None
    sampler: str | None = None
    model: str | None = None
    source: str = ""
    """"a1111" (every infotext writer), "comfyui", "invokeai", "novelai", "swarmui", "json" or "hps" (our record)."""
    scheduler: str | None = None
    loras: tuple[tuple[str, float], ...] = ()
    """Name and strength, in the order in which they are applied or written."""


def read_prompt(path: str | Path) -> PromptInfo | None:
    """Return the prompt and settings stored in a picture, or None when it holds none.

    ImageError when the file cannot be read or is a damaged PNG, JPEG or WebP.
    """
    source = Path(path)
    try:
        status = source.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise ImageError(f"{source}: is no regular file")
        if status.st_size > MAX_FILE:
            raise ImageError(f"{source}: the file is larger than {MAX_FILE >> 20} MB")
        data = source.read_bytes()
    except ImageError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise ImageError(f"{source} cannot be read ({getattr(error, 'strerror', None) or error})") from error
    try:
        return prompt_of(data)
    except ImageError as error:
        raise ImageError(f"{source}: {error}") from error


def prompt_of(data: bytes) -> PromptInfo | None:
    """Return the prompt stored in the bytes of a picture file, or None."""
    texts = dict(_texts(data))
    for key, reader in _READERS:
        found = reader(texts[key], texts) if key in texts else None
        if found is not None and found.positive:
            return found
    return None


def _texts(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield (key, text) of everything textual in a picture; keys of PNG chunks are lower case, of EXIF "exif:..."."""
    kind = containers.sniff(data)
    if kind == "png":
        for part in containers.png_parts(data):
            if part.kind in ("tEXt", "zTXt", "iTXt"):
                key, text = containers.png_text(data, part)
                yield key.lower(), text
            elif part.kind == "eXIf":
                yield from _exif_texts(data[part.body : part.stop])
    elif kind == "jpeg":
        for part in containers.jpeg_parts(data):
            if part.kind == "E1" and data.startswith(containers.EXIF_HEADER, part.body):
                yield from _exif_texts(data[part.body + 6 : part.stop])
            elif part.kind == "FE":
                yield "comment", containers.loose_text(data[part.body : part.stop])
    elif kind == "webp":
        for part in containers.webp_parts(data):
            if part.kind == "EXIF":
                yield from _exif_texts(data[part.body : part.stop])
    record = stamp.extract(data) if kind in ("jpeg", "webp") else None
    if record is not None:
        yield "hps", json.dumps(record)


def _exif_texts(block: bytes) -> Iterator[tuple[str, str]]:
    from PIL import Image

    exif = Image.Exif()
    try:
        exif.load(block.removeprefix(containers.EXIF_HEADER))
        comment = exif.get_ifd(_EXIF_POINTER).get(_USER_COMMENT)
        tags = {tag: exif.get(tag) for tag in (_MAKE, _MODEL)}
    except Exception:  # Pillow's parser raises half a dozen kinds on damaged EXIF; a damaged block holds no prompt
        return
    if isinstance(comment, (bytes, str)):
        raw = comment if isinstance(comment, bytes) else comment.encode("latin-1", "replace")
        yield "exif:comment", decode_user_comment(raw)
    # ComfyUI's WebP saver hides its two JSON texts in the camera's make and model, with the name in front.
    for tag in (_MAKE, _MODEL):
        key, _, text = str(tags[tag] or "").partition(":")
        if key.lower() in ("prompt", "workflow"):
            yield key.lower(), text.rstrip("\x00")


def decode_user_comment(raw: bytes) -> str:
    """Decode EXIF's UserComment: eight bytes naming the code, then the text in UTF-16 of either order or UTF-8."""
    code, body = raw[:8], raw[8:]
    if code.rstrip(b"\x00 ") == b"UNICODE":
        return _decode_utf16(body).strip("\x00")
    if code.rstrip(b"\x00 ") in (b"ASCII", b"JIS", b""):
        return containers.loose_text(body).strip("\x00")
    return containers.loose_text(raw).strip("\x00")


def _decode_utf16(body: bytes) -> str:
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return body.decode("utf-16", "replace")
    if b"\x00" not in body:  # some writers say UNICODE and mean UTF-8
        return containers.loose_text(body)
    little = body[1::2].count(0) > body[::2].count(0)
    return body.decode("utf-16-le" if little else "utf-16-be", "replace")


def parse_infotext(text: str) -> PromptInfo | None:
    """Return the prompt of a web UI's infotext: prompt, "Negative prompt:", and a last line of settings.

    Source: the format of AUTOMATIC1111/stable-diffusion-webui, which most writers follow.
    """
    text = text.replace("\r\n", "\n").strip("\n\x00 ")
    starts = [match.start() for match in _STEPS.finditer(text)]
    body, settings = (text[: starts[-1]], text[starts[-1] :].partition("\n")[0]) if starts else (text, "")
    positive, _, negative = f"\n{body}".partition("\nNegative prompt:")
    values = {key.strip().lower(): value.strip().strip('"') for key, value in _PARAMETER.findall(settings[:20_000])}
    return PromptInfo(
        positive=positive.strip(),
        negative=negative.strip(),
        seed=_integer(values.get("seed")),
        steps=_integer(values.get("steps")),
        cfg=_number(values.get("cfg scale", values.get("guidance scale"))),
        sampler=values.get("sampler") or None,
        model=values.get("model") or None,
        source="a1111",
        scheduler=values.get("schedule type") or None,
        loras=_lora_tags(positive),
    )


def _lora_tags(prompt: str) -> tuple[tuple[str, float], ...]:
    """Return the LoRAs that a web UI's prompt names: `<lora:name:0.8>`, with a strength of 1 where it gives none."""
    found = ((name.strip(), _number(weight or 1)) for name, weight in _LORA.findall(prompt[: promptgraph.MAX_TEXT]))
    return tuple((name, weight) for name, weight in found if weight is not None)


def _read_parameters(text: str, texts: Mapping[str, str]) -> PromptInfo | None:
    """Read a "parameters" text or user comment: JSON of one of several programs, else infotext."""
    value = _json(text) if text.lstrip().startswith("{") else None
    if value is None:
        return parse_infotext(text)
    if isinstance(value.get("sui_image_params"), dict):
        return _from_keys(value["sui_image_params"], "swarmui")
    graph = value.get("prompt") if isinstance(value.get("prompt"), dict) else value
    return _from_graph(graph) or _from_keys(value, "json")


def _read_comment(text: str, texts: Mapping[str, str]) -> PromptInfo | None:
    """Read a user comment: cameras and phones write there too, so plain words without settings are no prompt."""
    return _read_parameters(text, texts) if text.lstrip().startswith("{") or _STEPS.search(text) else None


def _read_graph(text: str, texts: Mapping[str, str]) -> PromptInfo | None:
    value = _json(text)
    return _from_graph(value) if value is not None else None


def _from_graph(value: Any) -> PromptInfo | None:
    if not isinstance(value, dict):
        return None
    found = promptgraph.read(value)
    if found is None:
        return None
    return PromptInfo(
        positive=found["positive"],
        negative=found["negative"],
        seed=_integer(found["seed"]),
        steps=_integer(found["steps"]),
        cfg=_number(found["cfg"]),
        sampler=_word(found["sampler"]),
        model=_word(found["model"]),
        source="comfyui",
        scheduler=_word(found["scheduler"]),
        loras=graphsettings.loras_at(value, found["sampler_node"]),
    )


def _read_invoke(text: str, texts: Mapping[str, str]) -> PromptInfo | None:
    value = _json(text)
    if value is None:
        return None
    inner = value.get("image")
    return _from_keys({**value, **inner} if isinstance(inner, dict) else value, "invokeai")


def _read_novelai(text: str, texts: Mapping[str, str]) -> PromptInfo | None:
    """Read NovelAI's Description, with the settings beside it in Comment; other programs' descriptions do not count."""
    value = _json(texts.get("comment", ""))
    if value is None or "novelai" not in texts.get("software", "novelai").lower() or "uc" not in value:
        return None
    found = _from_keys({**value, "prompt": text}, "novelai")
    return replace(found, model=texts.get("source") or None) if found is not None else None


def _read_record(text: str, texts: Mapping[str, str]) -> PromptInfo | None:
    value = _json(text)
    return _from_keys(value, "hps") if value is not None else None


_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "positive": ("positive_prompt", "prompt", "Prompt"),
    "negative": ("negative_prompt", "negativeprompt", "uc", "negativePrompt"),
    "seed": ("seed", "Seed"),
    "steps": ("steps", "num_inference_steps"),
    "cfg": ("cfg_scale", "cfgscale", "guidance_scale", "scale", "cfg"),
    "sampler": ("sampler", "scheduler", "sampler_name"),
    "model": ("model", "base_model", "model_weights", "Model"),
}


def _from_keys(value: Mapping[str, Any], source: str) -> PromptInfo | None:
    """Read a flat JSON object whose keys name prompt and settings."""
    found = {kind: next((value[name] for name in names if name in value), None) for kind, names in _NAMES.items()}
    positive = _prompt_text(found["positive"])
    if not positive:
        return None
    named = any(name in value for name in ("sampler", "sampler_name"))  # else "scheduler" is what names the sampler
    model = found["model"]
    if isinstance(model, dict):
        model = model.get("name", model.get("model_name"))
    return PromptInfo(
        positive=positive,
        negative=_prompt_text(found["negative"]),
        seed=_integer(found["seed"]),
        steps=_integer(found["steps"]),
        cfg=_number(found["cfg"]),
        sampler=_word(found["sampler"]),
        model=_word(model),
        source=source,
        scheduler=_word(value.get("scheduler")) if named else None,
    )


def _prompt_text(value: Any) -> str:
    """Return a prompt that is a text, or a list of weighted parts as old InvokeAI wrote it."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = value[0].get("prompt")
    return value.strip()[: promptgraph.MAX_TEXT] if isinstance(value, str) else ""


def _json(text: str) -> dict[str, Any] | None:
    if len(text) > containers.MAX_TEXT:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _integer(value: Any) -> int | None:
    try:
        return int(value) if isinstance(value, (int, float, str)) and len(str(value)) < 40 else None
    except (ValueError, OverflowError):
        return None


def _number(value: Any) -> float | None:
    try:
        return float(value) if isinstance(value, (int, float, str)) else None
    except (ValueError, OverflowError):
        return None


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


_Reader = Callable[[str, Mapping[str, str]], "PromptInfo | None"]
_READERS: Final[tuple[tuple[str, _Reader], ...]] = (
    ("parameters", _read_parameters),
    ("exif:comment", _read_comment),
    ("prompt", _read_graph),
    ("invokeai_metadata", _read_invoke),
    ("sd-metadata", _read_invoke),
    ("description", _read_novelai),
    ("hps", _read_record),
)
