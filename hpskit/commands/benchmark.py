"""`hps benchmark`: what image generators reach on the HPS v2 benchmark or DrawBench, with how far it can be trusted."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from ..benchmark import data, folders, protocol, published, styles
from ..benchmark.folders import ModelFolder
from ..benchmark.styles import Layout, PromptSet
from ..errors import BenchmarkError
from . import benchmark_output as output
from . import benchmark_run, console, session
from .benchmark_output import Result
from .benchmark_run import Found
from .inputs import Job

_MODELS_NAMED: Final = 10


def run(args: argparse.Namespace) -> int:
    """Get prompts where asked to, score the images, and write tables, JSON, CSV and a report; return the exit code."""
    if args.get_prompts:
        _get_prompts(args)
    if not args.paths:
        if args.get_prompts:
            return 0
        raise BenchmarkError("There is nothing to score. Give the folder of a model's images, or --get-prompts.")
    benchmark_run.check_outputs(args)
    prompts, models = _opened(args)
    _insist_on_whole(models, args.partial)
    reference = _reference(args.reference, [model.name for model in models])
    found = benchmark_run.score(args, _jobs(prompts, models), session.load(args))
    code = _unreadable(prompts, models, found, args.partial)
    if code is None:
        results = [_result(prompts, models, found, name, reference) for name in found.infos]
        output.write(args, found, results)
        code = 1 if found.failures else 0
    benchmark_run.closing_notes(found)
    return code


def _get_prompts(args: argparse.Namespace) -> None:
    folder = Path(args.prompts) if args.prompts else data.prompts_dir()
    if folder.suffix.lower() == ".json" or folder.is_file():
        raise BenchmarkError(f"--get-prompts needs a folder for its lists; {folder} is a file.")
    layout: Layout = "drawbench" if args.layout == "drawbench" else "hpsv2"
    bar = console.Progress("Prompts", None, as_bytes=True)
    try:
        got = data.download_prompts(folder, layout, progress=bar.update)
    finally:
        bar.close()
    console.note(f"{', '.join(path.name for path in got)} are in {folder}.")
    console.note(
        f"They come from {data.REPOSITORY} at commit {data.REVISION[:12]}. No checksum of them is published: "
        "what was checked is that each is a list of texts, and of 800 for each style."
    )


def _opened(args: argparse.Namespace) -> tuple[PromptSet, list[ModelFolder]]:
    """Return the prompts and the models' folders; the layout is told from the folders unless given."""
    roots = [Path(path) for path in args.paths]
    layout = _layout(args.layout, roots)
    prompts = styles.read_prompts(_prompts_place(args.prompts), layout)
    if args.style:
        if layout != "hpsv2":
            raise BenchmarkError("DrawBench has no styles; leave --style out.")
        prompts = prompts.only(args.style)
    paths = [model for root in roots for model in folders.models_in(root, layout)]
    paths = list({path.resolve(): path for path in paths}.values())
    models = [folders.open_model(n, path, prompts) for n, path in zip(folders.names_of(paths), paths, strict=True)]
    for model in models:
        if model.extra:
            many = console.count(model.extra, "numbered image")
            console.note(f"{model.path}: {many} beyond the last prompt, left out.")
    return prompts, models


def _layout(asked: str, roots: Sequence[Path]) -> Layout:
    if asked != "auto":
        return "drawbench" if asked == "drawbench" else "hpsv2"
    found = {root: folders.detect(root) for root in roots}
    for root, layout in found.items():
        if not root.is_dir():
            raise BenchmarkError(f"{root} is no folder.")
        if layout is None:
            raise BenchmarkError(
                f"{root} has neither a folder such as {styles.STYLES[0]} nor images 00000.jpg, 00001.jpg, ... "
                "and no folders that do. Say with --layout which benchmark it is."
            )
    kinds = {layout for layout in found.values() if layout is not None}
    if len(kinds) > 1:
        raise BenchmarkError("Some of the folders have styles and some have not. Score them one benchmark at a time.")
    return kinds.pop()


def _prompts_place(given: str | None) -> Path:
    place = Path(given) if given else data.prompts_dir()
    if place.exists():
        return place
    if given:
        raise BenchmarkError(f"There is no {place}. --prompts takes a folder of {{style}}.json lists, or one list.")
    raise BenchmarkError(
        f"The benchmark's prompts are not in {place}. Get them with: hps benchmark --get-prompts   "
        "(add --layout drawbench for DrawBench), or name your own lists with --prompts."
    )


def _insist_on_whole(models: Sequence[ModelFolder], partial: bool) -> None:
    """Raise BenchmarkError when images are missing, unless partial figures are wanted; say what is missing."""
    lacking = [model for model in models if model.missing]
    lines = [_missing_line(model) for model in lacking[:_MODELS_NAMED]]
    if len(lacking) > _MODELS_NAMED:
        lines.append(f"... and images of {len(lacking) - _MODELS_NAMED} more models.")
    if lacking and not partial:
        raise BenchmarkError(
            "\n".join([*lines, "A figure over the rest would not be the benchmark's. Make the missing images, or use "])
            + "--partial, or --style for the styles that are whole."
        )
    for line in lines:
        console.note(line)
    empty = next((model for model in lacking if model.lost == model.expected), None)
    if empty is not None:
        raise BenchmarkError(f"{empty.path} has no image of any of these prompts.")


def _missing_line(model: ModelFolder) -> str:
    return f"{model.name}: {model.lost} of {model.expected} images are missing: {folders.missing_text(model)}."


def _reference(asked: str | None, names: Sequence[str]) -> int:
    if asked is None:
        return 0
    if asked not in names:
        raise BenchmarkError(f'There is no model "{asked}" to compare with. The models are {", ".join(names)}.')
    return names.index(asked)


def _jobs(prompts: PromptSet, models: Sequence[ModelFolder]) -> list[Job]:
    return [
        Job(path, text)
        for model in models
        for style, texts in prompts.prompts.items()
        for path, text in zip(model.images[style], texts, strict=True)
        if path is not None
    ]


def _unreadable(prompts: PromptSet, models: Sequence[ModelFolder], found: Found, partial: bool) -> int | None:
    """Say whose images could not be scored; return an exit code when that leaves no figure."""
    if not found.failures:
        return None
    failed = {failure.path for failure in found.failures}
    for model in models:
        lost = {style: [k for k, path in enumerate(paths) if path in failed] for style, paths in model.images.items()}
        if any(lost.values()):
            console.note(f"{model.name}: could not be scored: {folders.missing_text(model, lost)}.")
    if partial and found.scores:
        return None
    console.note("There is no figure: it would not be the benchmark's. Replace these images, or use --partial.")
    return 1


def _result(prompts: PromptSet, models: Sequence[ModelFolder], found: Found, scorer: str, reference: int) -> Result:
    """Return everything one scorer says: scores and figures of each model."""
    scores = {model.name: _scores(prompts, model, found, scorer) for model in models}
    info = found.infos[scorer]
    fit = published.is_benchmark_scorer(info)
    figures = tuple(protocol.model_figure(name, prompts, own, as_published=fit) for name, own in scores.items())
    return Result(info, prompts, tuple(models), scores, figures, reference)


def _scores(prompts: PromptSet, model: ModelFolder, found: Found, scorer: str) -> Mapping[str, Sequence[float]]:
    return {
        style: [
            math.nan if path is None else found.score(Job(path, text), scorer)
            for path, text in zip(model.images[style], texts, strict=True)
        ]
        for style, texts in prompts.prompts.items()
    }
