"""The panel of the script: components in the order of `options.Options`, and what of them shows in which mode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from ..hpskit.errors import HpsError
from . import infotext, options, pasted
from .bridge import host
from .options import BEST, BEST_FIRST, GRADIENT, LABELS, OFF, SCORE, SEARCH, Options
from .pasted import paragraph

POOLS = (BEST, BEST_FIRST)
NOISE = (SEARCH, GRADIENT)
TITLE = "HPS"
_POOL_WORDS = "Batch count is how many times over: each time N candidates are made and the best are kept. "
_COMPARE = "Scores compare only within one prompt."
HELP: Mapping[str, str] = {
    OFF: "Nothing is scored.",
    SCORE: f"Every image gets a score, written under it, into its file and into the ledger. {_COMPARE}",
    BEST: "Every candidate is finished (hires fix, face restoration, other extensions) and then judged, so what is "
    f"judged is what you get. Costs N whole images; only the kept ones are saved. {_POOL_WORDS}{_COMPARE}",
    BEST_FIRST: "Candidates are judged after the first pass; only the winners go on to hires fix and other finishing. "
    "Much cheaper with hires fix, but finishing may change which one is best. " + _POOL_WORDS + _COMPARE,
    SEARCH: "Tries seeds, then changes the starting noise of the best one step by step, without gradients. Works with "
    f"every model. {_COMPARE}",
    GRADIENT: "Follows the score's gradient through the sampler to a better starting noise. Needs much memory and few "
    "steps; where it cannot work, the line under the gallery says why.",
}
"""What the panel says about a mode."""


def build(script: Any) -> list[Any]:
    """Return the components of the panel, one for each field of the options; builds them and has no other effect."""
    made = _Panel(script)
    made.wire()
    script.infotext_fields = made.paste_fields()
    script.paste_field_names = [infotext.SCORER, infotext.RULE, infotext.CANDIDATES, infotext.KEEP, infotext.PROMPT]
    return [made.fields[name] for name in options.NAMES]


class _Panel:
    """The components by the name of their option, and the groups that come and go with the mode."""

    def __init__(self, script: Any) -> None:
        self.script, self.default = script, Options()
        self.choices = host.scorer_choices()
        self.fields: dict[str, Any] = {}
        self.groups: dict[str, tuple[Any, tuple[str, ...]]] = {}
        """Component or group, and the modes in which it shows."""
        with gr.Accordion(TITLE, open=False, elem_id=self._id("panel")) as self.whole:
            self._head()
            self._best()
            self._noise()
            self._noise_file()
            self._scoring()

    def _id(self, name: str) -> str:
        return str(self.script.elem_id(name))

    # --- components ---

    def _add(self, name: str, kind: Any, label: str, info: str | None, **more: Any) -> Any:
        value = more.pop("value") if "value" in more else getattr(self.default, name)
        made = kind(label=label, info=info, value=value, elem_id=self._id(name), **more)
        self.fields[name] = made
        return made

    def _slider(self, name: str, label: str, info: str, least: float, most: float, step: float = 1) -> None:
        self._add(name, gr.Slider, label, info, minimum=least, maximum=most, step=step)

    def _shows(self, name: str, component: Any, modes: tuple[str, ...]) -> Any:
        self.groups[name] = (component, modes)
        return component

    def _head(self) -> None:
        with gr.Row():
            self._add(
                "mode",
                gr.Dropdown,
                "Mode",
                "What the score is for",
                choices=list(LABELS.values()),
                value=LABELS[OFF],
            )
            self._add(
                "scorer",
                gr.Dropdown,
                "Scorer",
                "The model that judges the images",
                choices=self.choices,
                value=host.default_scorer(),
            )
        self.help = gr.HTML(paragraph(HELP[OFF], "hps-help"), elem_id=self._id("help"))
        self.missing = gr.HTML("", visible=False, elem_id=self._id("missing"))
        self.pasted = gr.HTML("", visible=False, elem_id=self._id("pasted"))

    def _best(self) -> None:
        with gr.Group(visible=False, elem_id=self._id("best")) as group:
            with gr.Row():
                self._slider("candidates", "Candidates", "How many images are made to choose from", 1, 64)
                self._slider("keep", "Keep", "How many of the best you get", 1, 16)
            with gr.Row():
                self._add(
                    "stop",
                    gr.Dropdown,
                    "Stop early",
                    "When little gain is expected",
                    choices=list(options.STOPS),
                )
                self._add("target", gr.Number, "Stop at score", "When one reaches it; 0 is off")
                self._add("seconds", gr.Number, "Stop after seconds", "0 is off")
        self._shows("best", group, POOLS)

    def _noise(self) -> None:
        with gr.Group(visible=False, elem_id=self._id("noise")) as group:
            with gr.Row():
                method = self._add(
                    "method",
                    gr.Dropdown,
                    "Search method",
                    "How the noise is changed",
                    choices=list(options.SEARCH_METHODS),
                )
                gradient = self._add(
                    "gradient_method",
                    gr.Dropdown,
                    "Gradient method",
                    "geodesic stays on the sphere of likely noises",
                    choices=list(options.GRADIENT_METHODS),
                    visible=False,
                )
                self._slider("iterations", "Iterations", "Rounds of the search", 1, 100)
            with gr.Row(elem_id=self._id("search_row")) as search:
                self._slider("population", "Population", "Noises tried in each iteration", 1, 32)
                self._slider("screen", "Screen", "Seeds tried first; the best is improved", 1, 64)
            with gr.Row(visible=False, elem_id=self._id("gradient_row")) as drift:
                self._slider("max_drift", "Largest turn", "Degrees the noise may turn; 0 is no limit", 0, 180)
            with gr.Row():
                self._add(
                    "held_out",
                    gr.Dropdown,
                    "Held-out scorer",
                    "Only watched: shows whether a gain is real",
                    choices=[options.NONE, *self.choices],
                    value=options.NONE,
                )
                # Both hosts draw a checkbox's info above it, away from what it explains.
                self._add("save_noise", gr.Checkbox, "Save the noise (no seed gives it again)", None)
        for name, component, modes in (
            ("noise", group, NOISE),
            ("method", method, (SEARCH,)),
            ("search", search, (SEARCH,)),
            ("gradient_method", gradient, (GRADIENT,)),
            ("drift", drift, (GRADIENT,)),
        ):
            self._shows(name, component, modes)

    def _noise_file(self) -> None:
        made = self._add(
            "noise_file",
            gr.Dropdown,
            "Begin with a noise file",
            "Makes the image of an optimised noise again: choose the file, or write its path or that of its image",
            choices=[],
            allow_custom_value=True,
            visible=False,
        )
        self._shows("noise_file", made, (SCORE, *NOISE))

    def _scoring(self) -> None:
        everywhere = tuple(mode for mode in LABELS if mode != OFF)
        with gr.Accordion("Prompt and further scorers", open=False, visible=False, elem_id=self._id("more")) as more:
            self._add(
                "prompt",
                gr.Textbox,
                "Score against",
                "Empty: each image's own prompt",
                lines=1,
            )
            self._add(
                "clean_prompt",
                gr.Checkbox,
                "Leave weights, brackets, LoRA tags, BREAK and AND out of the prompt",
                None,
            )
            with gr.Row():
                self._add(
                    "guards",
                    gr.Dropdown,
                    "Further scorers",
                    "They judge too, so that no single scorer is overdone",
                    choices=self.choices,
                    multiselect=True,
                    value=[],
                )
                self._add(
                    "rule",
                    gr.Dropdown,
                    "Rule",
                    "How their scores are put together; auto suits most",
                    choices=list(options.RULES),
                    visible=False,
                )
        self._shows("more", more, everywhere)

    # --- what happens ---

    def wire(self) -> None:
        """Show and hide with the mode, and say what is missing of a scorer."""
        mode, scorer = self.fields["mode"], self.fields["scorer"]
        groups = [component for component, _ in self.groups.values()]
        shown = [self.whole, self.help, self.missing, self.pasted, *groups]
        mode.change(self._on_mode, [mode, scorer], shown, show_progress=False)
        scorer.change(self._on_scorer, [mode, scorer], [self.missing], show_progress=False)
        mode.init_field = self._begin_with  # the host calls this with the value from its ui-config.json
        guards, rule, noise = self.fields["guards"], self.fields["rule"], self.fields["noise_file"]
        guards.change(lambda chosen: gr.update(visible=bool(chosen)), [guards], [rule], show_progress=False)
        guards.init_field = lambda chosen: setattr(rule, "visible", bool(chosen))
        noise.focus(lambda: gr.update(choices=[options.NONE, *noise_files()]), [], [noise], show_progress=False)

    def _on_mode(self, label: str, scorer: str) -> list[Any]:
        mode = options.mode_of(label)
        whole = gr.update(label=heading(mode))
        help_text = gr.update(value=paragraph(HELP.get(mode, ""), "hps-help"))
        shown = [gr.update(visible=mode in modes) for _, modes in self.groups.values()]
        # Left behind where nobody sees it, a noise file would refuse best of N.
        place = list(self.groups).index("noise_file")
        if shown[place]["visible"]:
            shown[place] = gr.update(visible=True, choices=[options.NONE, *noise_files()])
        else:
            shown[place] = gr.update(visible=False, value="")
        # A paste sets the mode "score"; in another one what it said is over.
        said = gr.update() if mode == SCORE else gr.update(visible=False)
        return [whole, help_text, self._on_scorer(label, scorer), said, *shown]

    def _on_scorer(self, label: str, scorer: str) -> Any:
        text = "" if options.mode_of(label) == OFF else missing(scorer)
        return gr.update(value=paragraph(text, "hps-missing") if text else "", visible=bool(text))

    def _begin_with(self, label: str) -> None:
        mode = options.mode_of(label)
        for component, modes in self.groups.values():
            component.visible = mode in modes
        self.help.value = paragraph(HELP.get(mode, ""), "hps-help")
        self.whole.label = heading(mode)

    # --- paste ---

    def paste_fields(self) -> list[tuple[Any, Any]]:
        """Return what a pasted infotext sets, for the host."""
        fields, choices = self.fields, self.choices
        return [
            (fields["mode"], pasted.mode),
            (fields["scorer"], lambda params: pasted.scorer(params, choices)),
            (fields["guards"], lambda params: pasted.guards(params, choices)),
            (fields["rule"], infotext.RULE),
            (fields["candidates"], infotext.CANDIDATES),
            (fields["keep"], infotext.KEEP),
            (fields["prompt"], infotext.PROMPT),
            (fields["noise_file"], pasted.noise),
            (self.pasted, lambda params: pasted.score(params, choices)),
        ]


def heading(mode: str) -> str:
    """Return the panel's title, which tells what is switched on while the panel is closed."""
    return TITLE if mode == OFF else f"{TITLE}: {LABELS.get(mode, mode)}"


def noise_files() -> list[str]:
    """Return the newest noise files to choose from; none where several people share the server."""
    from .bridge import access
    from .noise import recent

    return [] if access.why_no_folders() else recent.names()


def missing(scorer: str) -> str:
    """Return what to do to get a scorer's weights; empty where they are."""
    try:
        host.locate(scorer)
    except HpsError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
