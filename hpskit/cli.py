"""The `hps` command: options, dispatch, and errors as one clean line. Imports no torch, so that `--help` is instant."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any, Final

from . import __version__
from .commands import benchmark_options, compare_options, console, ledger_options, noise_options
from .commands.numbers import positive
from .errors import Cancelled, HpsError
from .types import MODES

OK, SOME_FAILED, FAILED, INTERRUPTED = 0, 1, 2, 130
RULES: Final = ("single", "zsum", "rank", "gate", "worst", "pareto")
_PACKAGES: Final = ("torch", "torchvision", "open_clip", "safetensors", "PIL", "numpy", "scipy")
_EPILOG: Final = (
    "Exit codes: 0 all done, 1 some files failed (the rest is done), 2 wrong use or an error, 130 interrupted. "
    "Scores of different prompts, scorers or preprocessings do not compare."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    console.open_streams()
    try:
        code = _run(argv)
        console.flush()
    except (KeyboardInterrupt, Cancelled):
        console.note("Interrupted.")
        return INTERRUPTED
    except BrokenPipeError:  # the reader (head, less) has seen enough
        console.silence(sys.stdout)
        return OK
    except Exception as error:
        return _report(error, "--debug" in (sys.argv[1:] if argv is None else argv))
    return code


def _run(argv: Sequence[str] | None) -> int:
    try:
        args = parser().parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else FAILED
    logging.basicConfig(level=logging.INFO if args.debug else logging.WARNING, format="%(name)s: %(message)s")
    if not args.debug:
        warnings.simplefilter("ignore")
    code: int = importlib.import_module(f".commands.{args.module}", __package__).run(args)
    return code


def _report(error: Exception, debug: bool) -> int:
    """Write an error as one message; with --debug its traceback too."""
    if debug:
        console.note(traceback.format_exc().rstrip())
    if isinstance(error, HpsError):
        console.note(f"hps: error: {error}")
    elif isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in _PACKAGES:
        console.note(f'hps: error: {error.name} is not installed. Run: pip install "hps-nodes[standalone]"')
    else:
        console.note(
            f"hps: internal error: {type(error).__name__}: {error}. Run it again with --debug and report that."
        )
    return FAILED


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; the documentation is generated from it."""
    top = argparse.ArgumentParser(
        prog="hps",
        description="Score generated images with Human Preference Score v2, rank them, keep the best.",
        epilog=_EPILOG,
    )
    top.add_argument("--version", action="version", version=f"hps {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_score(commands)
    _add_rank(commands)
    _add_pick(commands)
    _add_compare(commands)
    _add_best_of(commands)
    _add_optimize(commands)
    _add_demo(commands)
    _add_models(commands)
    _add_ledger(commands)
    benchmark_options.add(commands, _command, _add_scorer)
    return top


def _command(commands: Any, name: str, module: str, summary: str, details: str = "") -> argparse.ArgumentParser:
    text = f"{summary} {details}".strip()
    made: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=text, epilog=_EPILOG)
    made.set_defaults(module=module)
    _add_debug(made)
    return made


def _add_debug(command: argparse.ArgumentParser) -> None:
    command.add_argument("--debug", action="store_true", help="show log messages, and the traceback of an error")


def _add_images(command: argparse.ArgumentParser) -> None:
    images = command.add_argument_group("images and prompts")
    images.add_argument("paths", nargs="*", metavar="PATH", help="image files, folders or globs")
    images.add_argument("-r", "--recursive", action="store_true", help="take the folders inside folders too")
    given = images.add_mutually_exclusive_group()
    given.add_argument(
        "-p", "--prompt", metavar="TEXT", help="the prompt of all images; default: each image's own metadata"
    )
    given.add_argument(
        "--prompts", metavar="FILE", help="CSV, JSON lines or JSON with a path and a prompt for each image"
    )
    images.add_argument("--raw-prompt", action="store_true", help="keep weights, LoRA tags and BREAK in the prompt")


def _add_scorer(command: argparse.ArgumentParser, *, rule: bool = True) -> None:
    group = command.add_argument_group("scorer")
    group.add_argument(
        "-s",
        "--scorer",
        action="append",
        metavar="ID|FILE",
        help="scorer by id (see `hps models list`) or checkpoint file; repeat for several; default: hps-v2.1",
    )
    group.add_argument("--mode", choices=MODES, help="preprocessing; default: the scorer's own")
    group.add_argument("--device", metavar="NAME", help="torch device; default: an accelerator where there is one")
    group.add_argument(
        "--dtype", choices=("auto", "float32", "float16", "bfloat16"), default="auto", help="default: auto"
    )
    _add_models_folder(group)
    if rule:
        several = "how several scorers order the images; default: single for one scorer, gate for several"
        group.add_argument("--rule", choices=RULES, help=several)


def _add_models_folder(command: Any) -> None:
    command.add_argument(
        "--models", action="append", metavar="DIR", help="look for weights here first; may be repeated"
    )


def _add_output(command: argparse.ArgumentParser) -> None:
    output = command.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="write one JSON document instead of a table")
    output.add_argument("--csv", metavar="FILE", help="also write a CSV file")
    output.add_argument(
        "--write-metadata", action="store_true", help="write each score into its PNG, JPEG or WebP file"
    )
    run = command.add_argument_group("long runs")
    run.add_argument(
        "--resume", metavar="FILE", help="remember results in this file and skip unchanged images next time"
    )
    run.add_argument("--batch", type=positive, default=8, metavar="N", help="images scored at once; default: 8")
    run.add_argument("--threads", type=positive, metavar="N", help="decode threads; default: one per core, at most 8")
    ledger_options.add_recording(command)


def _add_score(commands: Any) -> None:
    made = _command(commands, "score", "score", "Score images against their prompts.")
    _add_images(made)
    _add_scorer(made, rule=False)
    _add_output(made)


def _add_rank(commands: Any) -> None:
    details = (
        "Prints rank, score, the margin to the next one and the probability that people prefer it to the next one."
    )
    made = _command(commands, "rank", "rank", "Rank the images of each prompt.", details)
    _add_images(made)
    _add_scorer(made)
    _add_output(made)


def _add_pick(commands: Any) -> None:
    details = "Nothing is ever overwritten or deleted."
    made = _command(commands, "pick", "pick", "Pick the best images of each prompt: list, copy or move them.", details)
    _add_images(made)
    _add_scorer(made)
    choice = made.add_argument_group("choice")
    choice.add_argument(
        "-k", "--keep", type=int, metavar="K", help="at most K of each prompt; default: 1 without a threshold"
    )
    choice.add_argument("--min-score", type=float, metavar="S", help="at least this score")
    choice.add_argument(
        "--min-z", type=float, metavar="Z", help="at least Z standard deviations above the prompt's mean"
    )
    choice.add_argument("--top-percent", type=float, metavar="P", help="among the best P percent of the prompt")
    choice.add_argument(
        "--empty", choices=("best", "all", "none", "error"), default="none", help="when none passes; default: none"
    )
    place = made.add_argument_group("what to do with them").add_mutually_exclusive_group()
    place.add_argument("--copy-to", metavar="DIR", help="copy the picked images there")
    place.add_argument("--move-to", metavar="DIR", help="move the picked images there")
    made.add_argument("--list", action="store_true", help="print only the paths of the picked images, one a line")
    _add_output(made)


def _add_compare(commands: Any) -> None:
    details = (
        "Several folders: each is a setting. One folder with --by: settings are what the images' metadata say. "
        "Images of the same prompt and seed are compared with each other."
    )
    summary = "Compare samplers, models or other settings, with a verdict and how sure it is."
    made = _command(commands, "compare", "compare", summary, details)
    _add_images(made)
    _add_scorer(made, rule=False)
    compare_options.add(made)


def _add_best_of(commands: Any) -> None:
    details = (
        "Runs on the embedded miniature models, which know coloured shapes only; writes pictures and an HTML report."
    )
    made = _command(commands, "best-of", "best_of", "Make N images from one prompt and keep the best.", details)
    made.add_argument("prompt", metavar="PROMPT", help='such as "a red heart above a blue star, cartoon"')
    made.add_argument("-n", type=positive, default=16, metavar="N", help="candidates; default: 16")
    made.add_argument("-k", "--keep", type=positive, default=1, metavar="K", help="images to keep; default: 1")
    made.add_argument("--seed", type=int, default=0, help="seed of the first candidate; default: 0")
    made.add_argument("--stop-gain", type=float, metavar="G", help="stop when one more image is expected to gain less")
    made.add_argument("--target", type=float, metavar="S", help="stop at the first image with this score")
    made.add_argument("--size", type=positive, default=256, metavar="PX", help="side of the pictures; default: 256")
    made.add_argument("--out", metavar="DIR", default="hps-best-of", help="folder, made new; default: hps-best-of")
    ledger_options.add_recording(made)


def _add_optimize(commands: Any) -> None:
    details = (
        "Runs on the embedded miniature models, which know coloured shapes only; writes pictures, the noise and an "
        "HTML report that also shows best of N at the same cost."
    )
    summary = "Change the starting noise of a picture so that its score rises."
    made = _command(commands, "optimize", "optimize", summary, details)
    noise_options.add(made)
    ledger_options.add_recording(made)


def _add_demo(commands: Any) -> None:
    details = "Runs on the embedded miniature models, which know coloured shapes only; no download, under a minute."
    made = _command(commands, "demo", "demo", "Show best of N and optimised noises in an HTML report.", details)
    made.add_argument("-n", type=positive, default=16, metavar="N", help="candidates a prompt; default: 16")
    made.add_argument("--seed", type=int, default=0, help="seed of the first candidate; default: 0")
    made.add_argument("--out", metavar="DIR", default="hps-demo", help="folder, made new; default: hps-demo")
    made.add_argument("--open", action="store_true", help="open the report in the browser")


def _add_models(commands: Any) -> None:
    summary = "List, get, check and convert the weights of scorers."
    made = commands.add_parser("models", help=summary, description=summary, epilog=_EPILOG)
    made.set_defaults(module="models")
    actions = made.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = _action(
        actions, "list", "List scorers: size, licence, what they can judge, and whether they are installed."
    )
    getting = _action(actions, "get", "Download the weights of a scorer; goes on where an earlier download stopped.")
    getting.add_argument("id", metavar="ID", help="scorer id, such as hps-v2.1")
    checking = _action(actions, "check", "Compare weights on disk with their model cards.")
    checking.add_argument("target", nargs="?", metavar="ID|FILE", help="default: everything that is installed")
    for action in (listing, getting, checking):
        _add_models_folder(action)
    converting = _action(
        actions, "convert", "Save a checkpoint as safetensors, which opens faster and cannot carry code."
    )
    converting.add_argument("source", metavar="FILE", help="an official .pt, .bin or .safetensors file")
    converting.add_argument("out", nargs="?", metavar="OUT", help="default: beside FILE, named .safetensors")
    converting.add_argument(
        "--dtype", choices=("keep", "float16", "bfloat16", "float32"), default="keep", help="default: keep"
    )


def _add_ledger(commands: Any) -> None:
    details = (
        "The ledger is one file on this machine; `hps score`, `rank`, `pick`, `best-of` and `optimize` write into it "
        "unless told not to, and so do the ComfyUI nodes into one of their own."
    )
    summary = "Find, compare, export and delete the scored pictures of the past."
    made = commands.add_parser("ledger", help=summary, description=f"{summary} {details}", epilog=_EPILOG)
    made.set_defaults(module="ledger")
    ledger_options.add(made.add_subparsers(title="actions", metavar="ACTION", required=True), _action)


def _action(actions: Any, name: str, summary: str) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = actions.add_parser(name, help=summary, description=summary)
    made.set_defaults(action=name)
    _add_debug(made)
    return made
