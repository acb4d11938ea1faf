"""Saving with callbacks and text, grids, file name patterns."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from modules import FORGE, errors, script_callbacks
from modules.shared import opts
from PIL import Image, ImageColor, PngImagePlugin

NOTHING_AND_SKIP_PREVIOUS_TEXT = object()
LANCZOS = Image.Resampling.LANCZOS
saved: list[SimpleNamespace] = []
"""Every file written: image, info, pnginfo, path, p, seed, prompt, grid, suffix."""


def resize_image(resize_mode: int, im: Any, width: int, height: int, upscaler_name: str | None = None) -> Any:
    """Resize to the size asked for; modes 1 and 2 are not told apart from 0, sizes are what the tests look at."""
    return im.resize((width, height), LANCZOS)


def flatten(img: Any, bgcolor: str) -> Any:
    if img.mode != "RGBA":
        return img.convert("RGB")
    ground = Image.new("RGBA", img.size, bgcolor)
    return Image.alpha_composite(ground, img).convert("RGB")


def image_grid(imgs: Any, batch_size: int = 1, rows: int | None = None) -> Any:
    if rows is None:
        rows = opts.n_rows if opts.n_rows > 0 else batch_size if opts.n_rows == 0 else round(math.sqrt(len(imgs)))
    rows = min(rows, len(imgs))
    params = script_callbacks.ImageGridLoopParams(imgs, math.ceil(len(imgs) / rows), rows)
    script_callbacks.image_grid_callback(params)
    wide, high = max(img.width for img in imgs), max(img.height for img in imgs)
    mode = "RGBA" if FORGE else "RGB"
    ground = ImageColor.getcolor(opts.grid_background_color, mode)
    grid = Image.new(mode, (params.cols * wide, params.rows * high), ground)
    for k, img in enumerate(params.imgs):
        place = (k % params.cols * wide + (wide - img.width) // 2, k // params.cols * high + (high - img.height) // 2)
        grid.paste(img, place)
    return grid


def sanitize_filename_part(text: str | None, replace_spaces: bool = True) -> str | None:
    if text is None:
        return None
    text = text.replace(" ", "_") if replace_spaces else text
    return text.translate({ord(sign): "_" for sign in '#<>:"/\\|?*\n\r\t'}).lstrip(" ")[:128].rstrip(" .")


def _number(self: Any) -> Any:
    alone = self.p.n_iter == 1 and self.p.batch_size == 1
    return NOTHING_AND_SKIP_PREVIOUS_TEXT if alone else self.p.iteration * self.p.batch_size + self.p.batch_index + 1


class FilenameGenerator:
    replacements: dict[str, Callable[..., Any]] = {  # noqa: RUF012 extensions add to it
        "seed": lambda self: self.seed if self.seed is not None else "",
        "steps": lambda self: self.p and self.p.steps,
        "cfg": lambda self: self.p and self.p.cfg_scale,
        "width": lambda self: self.image.width,
        "height": lambda self: self.image.height,
        "sampler": lambda self: self.p and sanitize_filename_part(self.p.sampler_name, replace_spaces=False),
        "date": lambda self: datetime.datetime.now().strftime("%Y-%m-%d"),
        "prompt": lambda self: sanitize_filename_part(self.prompt),
        "prompt_spaces": lambda self: sanitize_filename_part(self.prompt, replace_spaces=False),
        "prompt_words": lambda self: sanitize_filename_part(self.prompt or "empty", replace_spaces=False),
        "batch_number": lambda self: self.p.batch_index + 1,
        "generation_number": _number,
        "none": lambda self: "",
    }

    def __init__(self, p: Any, seed: Any, prompt: Any, image: Any, zip: bool = False, basename: str = "") -> None:
        self.p, self.seed, self.prompt, self.image, self.zip, self.basename = p, seed, prompt, image, zip, basename

    def apply(self, x: str) -> str:
        made = ""
        for text, pattern in re.findall(r"(.*?)(?:\[([^\[\]]+)\]|$)", x):
            made += self._part(text, pattern) if pattern else text
        return made

    def _part(self, text: str, pattern: str) -> str:
        name, *args = re.split(r"[<>]+", pattern.rstrip(">"))
        found = self.replacements.get(name.lower())
        if found is not None:
            try:
                value = found(self, *args)
            except Exception:
                value = None
                errors.report(f"Error adding [{pattern}] to filename", exc_info=True)
            if value is NOTHING_AND_SKIP_PREVIOUS_TEXT:
                return ""
            if value is not None:
                return text + str(value)
        return f"{text}[{pattern}]"


def get_next_sequence_number(path: str, basename: str) -> int:
    start = f"{basename}-" if basename else ""
    names = [each.name[len(start) :] for each in Path(path).iterdir() if each.name.startswith(start)]
    found = [int(part) for name in names if (part := name.split(".")[0].split("-")[0]).isdigit()]
    return max(found, default=-1) + 1


def save_image_with_geninfo(
    image: Any, geninfo: str | None, filename: str, extension: str | None = None, existing_pnginfo: Any = None,
    pnginfo_section_name: str = "parameters",
) -> None:  # fmt: skip
    extension = extension or Path(filename).suffix
    kind = Image.registered_extensions()[extension]
    if extension == ".png":
        texts = PngImagePlugin.PngInfo()
        for name, value in {**(existing_pnginfo or {}), pnginfo_section_name: geninfo}.items():
            texts.add_text(name, str(value))
        image.save(filename, format=kind, pnginfo=texts if opts.enable_pnginfo else None)
        return
    exif = Image.Exif()
    if opts.enable_pnginfo and geninfo is not None:
        exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + geninfo.encode("utf-16-be")
    lossless = {"lossless": opts.webp_lossless} if extension == ".webp" else {}
    image.convert("RGB").save(filename, format=kind, quality=opts.jpeg_quality, exif=exif, **lossless)


def _file(image: Any, path: str, basename: str, seed: Any, prompt: Any, short: bool, p: Any, suffix: str) -> str:
    names = FilenameGenerator(p, seed, prompt, image, basename=basename)
    pattern = opts.samples_filename_pattern or ("[seed]" if opts.save_to_dirs else "[seed]-[prompt_spaces]")
    decoration = ("" if short or seed is None else names.apply(pattern)) + suffix
    if not (opts.save_images_add_number or decoration == ""):
        return decoration
    number = get_next_sequence_number(path, basename)
    start = f"{basename}-{number:04}" if basename else f"{number:05}"
    return f"{start}-{decoration}" if decoration else start


def save_image(
    image: Any, path: str, basename: str, seed: Any = None, prompt: Any = None, extension: str = "png",
    info: Any = None, short_filename: bool = False, no_prompt: bool = False, grid: bool = False,
    pnginfo_section_name: str = "parameters", p: Any = None, existing_info: Any = None, forced_filename: Any = None,
    suffix: str = "", save_to_dirs: Any = None,
) -> tuple[str, str | None]:  # fmt: skip
    if save_to_dirs is None:
        save_to_dirs = opts.grid_save_to_dirs if grid else opts.save_to_dirs and not no_prompt
    if save_to_dirs:
        path = str(Path(path) / FilenameGenerator(p, seed, prompt, image).apply(opts.directories_filename_pattern))
    Path(path).mkdir(parents=True, exist_ok=True)
    name = forced_filename or _file(image, path, basename, seed, prompt, short_filename, p, suffix)
    pnginfo = existing_info or {}
    if info is not None:
        pnginfo[pnginfo_section_name] = info
    params = script_callbacks.ImageSaveParams(image, p, str(Path(path) / f"{name}.{extension}"), pnginfo)
    if FORGE and opts.enable_pnginfo:
        _hide_in_alpha(params)
    script_callbacks.before_image_saved_callback(params)
    image, file = params.image, Path(params.filename)
    stem = (str(file.with_suffix("")), file.suffix)
    save_image_with_geninfo(
        image, params.pnginfo.get(pnginfo_section_name), stem[0] + ".tmp", stem[1], params.pnginfo, pnginfo_section_name
    )
    Path(stem[0] + ".tmp").replace(file)
    image.already_saved_as = params.filename
    text = None
    if opts.save_txt and info is not None:
        text = stem[0] + ".txt"
        Path(text).write_text(f"{info}\n", "utf-8")
    script_callbacks.image_saved_callback(params)
    saved.append(
        SimpleNamespace(
            image=image, info=params.pnginfo.get(pnginfo_section_name), pnginfo=dict(params.pnginfo), suffix=suffix,
            path=Path(params.filename), p=p, seed=seed, prompt=prompt, grid=grid,
        )
    )  # fmt: skip
    return params.filename, text


def _hide_in_alpha(params: Any) -> None:
    """Make the very object RGBA with an alpha of 254 and 255, as Forge's hidden text does."""
    if opts.stealth_pnginfo_option != "Alpha" or not params.filename.endswith(".png"):
        return
    if "parameters" in params.pnginfo:
        params.image.putalpha(255)
        bits = [int(sign) for sign in "".join(f"{byte:08b}" for byte in params.pnginfo["parameters"].encode())]
        pixels = params.image.load()
        for k, bit in enumerate(bits[: min(params.image.height, 64)]):
            pixels[0, k] = (*pixels[0, k][:3], 254 + bit)


def read_info_from_image(image: Any) -> tuple[str | None, dict[str, Any]]:
    items = dict(image.info or {})
    text = items.pop("parameters", None)
    comment = image.getexif().get_ifd(0x8769).get(0x9286) if "exif" in items else None
    if comment:
        text = comment[8:].decode("utf-16-be")
    return text, {name: value for name, value in items.items() if name not in ("exif", "dpi", "icc_profile")}


def read(fp: Any, **kwargs: Any) -> Any:
    return Image.open(fp, **kwargs)


def image_data(data: bytes) -> tuple[Any, None]:
    import io

    return read_info_from_image(read(io.BytesIO(data)))[0], None
