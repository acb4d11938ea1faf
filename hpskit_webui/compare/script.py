"""The selectable script of the web UI that compares settings: the same prompts and seeds for all, and a verdict."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import gradio as gr
from modules import scripts

from ...hpskit.errors import HpsError, StudyError
from ...hpskit.report.markup import tag, text
from .. import options
from ..bridge import host
from ..script import HpsScript
from ..xyz import axes as xyz
from . import axes as compare_axes
from . import notice, unfinished
from . import result as compare_result
from .notice import AS_PANEL
from .run import Plan, Runner, seeds_from

log = logging.getLogger("hps")

ARGS = ("x", "x_values", "y", "y_values", "z", "z_values", "prompts", "first_seed", "seeds", "scorer", "name")
"""Names of the script's arguments in their order; programs may give one dict with them instead."""
DEFAULTS: Mapping[str, Any] = {
    **dict.fromkeys(ARGS, ""),
    **dict.fromkeys(("x", "y", "z"), compare_axes.NOTHING),
    "first_seed": -1,
    "seeds": 4,
}
MOST_SEEDS = 1000
_HELP = (
    "Every combination of the values is tried on the same prompts and seeds; the first of them is what the others are "
    "compared with. Values are separated by commas; numbers may be ranges: 4-20 (+4) or 3-9 [4]. A stopped comparison "
    "goes on where it ended when it is run again as it is."
)


class HpsCompare(scripts.Script):  # type: ignore[misc, no-any-unimported]
    """HPS compare settings, in the list of scripts of both tabs."""

    def title(self) -> str:
        """Name in the list, and in `script_name` of the API."""
        return compare_result.TITLE

    def show(self, is_img2img: bool) -> bool:
        """Show it in both tabs."""
        return True

    def ui(self, is_img2img: bool) -> list[Any]:
        """Return the components in the order of ARGS."""
        axes = compare_axes.known(is_img2img)
        gr.HTML(tag("p", {}, text(_HELP)))
        made = []
        for letter, first in zip("xyz", ("Steps", compare_axes.NOTHING, compare_axes.NOTHING)):  # noqa: B905
            made += self._axis(letter, first if first in axes else compare_axes.NOTHING, axes)
        return [*made, *self._rest(is_img2img)]

    def _axis(self, letter: str, first: str, axes: Mapping[str, Any]) -> list[Any]:
        upper = letter.upper()
        with gr.Row():
            kind = gr.Dropdown(
                label=f"Compare {upper}",
                choices=[compare_axes.NOTHING, *axes],
                value=first,
                elem_id=self.elem_id(letter),
            )
            values = gr.Textbox(label=f"Values of {upper}", value="", lines=1, elem_id=self.elem_id(f"{letter}_values"))
            fill = gr.Button(value="All values", visible=False, elem_id=self.elem_id(f"{letter}_fill"))

        def changed(name: str) -> Any:
            return gr.update(visible=_choices(axes, name) is not None)

        def filled(name: str) -> Any:
            return gr.update(value=_csv(_choices(axes, name) or []))

        kind.change(fn=changed, inputs=[kind], outputs=[fill])
        fill.click(fn=filled, inputs=[kind], outputs=[values])
        return [kind, values]

    def _rest(self, is_img2img: bool) -> list[Any]:
        prompts = gr.Textbox(
            label="Prompts, one a line",
            info="Empty: the prompt above",
            value="",
            lines=3,
            elem_id=self.elem_id("prompts"),
        )
        with gr.Row():
            first = gr.Number(
                label="First seed",
                info="-1: the seed of the tab",
                value=-1,
                precision=0,
                elem_id=self.elem_id("first_seed"),
            )
            seeds = gr.Slider(
                label="Seeds for each prompt", value=4, minimum=1, maximum=64, step=1, elem_id=self.elem_id("seeds")
            )
        with gr.Row():
            scorer = gr.Dropdown(
                label="Scorer",
                choices=[AS_PANEL, *host.scorer_choices()],
                value=AS_PANEL,
                elem_id=self.elem_id("scorer"),
            )
            name = gr.Textbox(
                label="Name", info="Of the folder of the report; empty: date and time", value="", lines=1,
                elem_id=self.elem_id("name"),
            )  # fmt: skip
        notice.add(scorer, self.elem_id("missing"), is_img2img)
        return [prompts, first, seeds, scorer, name]

    def run(self, p: Any, *args: Any) -> Any:
        """Compare; mistakes are said before anything is made."""
        try:
            return compare(p, named(args), hasattr(p, "init_images"))
        except HpsError as error:
            log.warning("%s", error)
            raise RuntimeError(f"{compare_result.TITLE}: {error}") from None


def named(args: Sequence[Any]) -> dict[str, Any]:
    """Return the arguments by name: of one dict, or in the order of ARGS; StudyError for an unknown name."""
    given = dict(args[0]) if args and isinstance(args[0], Mapping) else dict(zip(ARGS, args))  # noqa: B905
    unknown = [str(name) for name in given if name not in ARGS]
    if unknown:
        raise StudyError(f"Unknown option {', '.join(unknown)}; known are {', '.join(ARGS)}.")
    return {**DEFAULTS, **{name: value for name, value in given.items() if value is not None}}


def compare(p: Any, given: Mapping[str, Any], is_img2img: bool) -> Any:
    """Make the missing cells of a comparison and return the host's result with what they show."""
    with _settings_kept():
        runner, mark = _begun(p, given, is_img2img)
        if mark:
            unfinished.begun(mark, (runner.plan.seeds[0], runner.p.subseed))
        runner.run()
        if mark and not runner.stopped:
            unfinished.finished(mark)
    runner.check()
    return compare_result.result(runner)


def _begun(p: Any, given: Mapping[str, Any], is_img2img: bool) -> tuple[Runner, str]:
    """Return what is to be run, with what is known of it, and its mark where its seeds are left to chance.

    Such a one goes on with the seeds that it was begun with, if it was stopped and something is still missing.
    """
    from modules import processing

    chance = [_by_chance(getattr(p, name)) for name in ("seed", "subseed")]
    processing.fix_seed(p)
    runner = Runner(p, plan_of(p, given, is_img2img))
    if not chance[0] or _whole("first_seed", given["first_seed"], -1, 2**32 - 1) >= 0:
        runner.find()
        return runner, ""
    own = p.subseed
    p.subseed = -1 if chance[1] else own
    mark = runner.mark()
    p.subseed = own
    seeds = unfinished.seeds_of(mark)
    if seeds is not None:
        p.subseed = seeds[1] if chance[1] else own
        earlier = Runner(p, replace(runner.plan, seeds=seeds_from(seeds[0], len(runner.plan.seeds))), continued=True)
        if not earlier.find() and earlier.cells:
            return earlier, mark
        p.subseed = own
    runner.find()
    return runner, mark


def _by_chance(seed: Any) -> bool:
    """Tell whether the host would draw a seed."""
    return seed is None or str(seed).strip() in ("", "-1", "-1.0")


@contextmanager
def _settings_kept() -> Iterator[None]:
    """Leave the host as it was: its axes change settings, and in Forge the model that is loaded next."""
    found = xyz.module()
    with getattr(found, "SharedSettingsStackHelper", nullcontext)():
        try:
            yield
        finally:
            getattr(found, "refresh_loading_params_for_xyz_grid", lambda: None)()


def plan_of(p: Any, given: Mapping[str, Any], is_img2img: bool) -> Plan:
    """Return what is to be done; StudyError on what makes no sense."""
    scorer = _scorer(p, str(given["scorer"] or "").strip())
    host.locate(scorer)
    axes = compare_axes.varied(p, [(str(given[a] or ""), str(given[f"{a}_values"] or "")) for a in "xyz"], is_img2img)
    settings = compare_axes.settings_of(axes)
    prompts, scored = _prompts(p, str(given["prompts"] or ""))
    count, first = (
        _whole("seeds", given["seeds"], 1, MOST_SEEDS),
        _whole("first_seed", given["first_seed"], -1, 2**32 - 1),
    )
    cells = len(settings) * len(prompts) * count
    if cells > compare_axes.MOST_CELLS:
        raise StudyError(
            f"These settings, prompts and seeds make {cells} images; the most is {compare_axes.MOST_CELLS}."
        )
    seed = p.seed[0] if isinstance(p.seed, list) else p.seed
    seeds = seeds_from(int(seed) if first < 0 else first, count)
    return Plan(axes, settings, prompts, scored, seeds, scorer, str(given["name"] or "").strip())


def _scorer(p: Any, chosen: str) -> str:
    """Return the scorer of a comparison: the one that is chosen, else the panel's of the same tab."""
    if chosen not in ("", AS_PANEL):
        return chosen
    panel = next((each for each in p.scripts.alwayson_scripts if isinstance(each, HpsScript)), None)
    if panel is None:
        return host.default_scorer()
    return options.read(list(p.script_args or ())[panel.args_from : panel.args_to]).scorer


def _prompts(p: Any, text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the prompts and what the scorer reads of each; StudyError where it reads two of them alike."""
    from ...hpskit.prompts import clean
    from ...hpskit.study import axes

    own = p.prompt[0] if isinstance(p.prompt, list) and p.prompt else p.prompt
    prompts = axes.prompt_lines(text) or ((str(own),) if str(own or "").strip() else ())
    if not prompts:
        raise StudyError("There is no prompt: write one above, or some in the script, one a line.")
    scored = tuple(clean(prompt) for prompt in prompts)
    if not all(text.strip() for text in scored):
        raise StudyError("A prompt has no words that a scorer could read.")
    for later in axes.same_prompts(scored):
        raise StudyError(
            f'The scorer reads the prompt "{prompts[later][:80]}" like an earlier one. Leave one of them out.'
        )
    return prompts, scored


def _whole(name: str, value: Any, least: int, most: int) -> int:
    try:
        number = float(value)
        if number == int(number) and least <= number <= most:
            return int(number)
    except (TypeError, ValueError, OverflowError):
        pass
    raise StudyError(f"{name} is {value!r}; it must be a whole number from {least} to {most}.")


def _choices(axes: Mapping[str, Any], name: str) -> list[str] | None:
    option = axes.get(name)
    return None if option is None or option.choices is None else [str(each) for each in option.choices()]


def _csv(values: Sequence[str]) -> str:
    import csv
    import io

    out = io.StringIO()
    csv.writer(out).writerow(values)
    return out.getvalue().strip()
