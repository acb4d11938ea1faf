"""Scores in the Extras tab: of the result, after all other steps, for one image, a batch or a folder."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import gradio as gr
from modules import scripts_postprocessing
from PIL import Image, PngImagePlugin

from ...hpskit.errors import HpsError, PromptError
from ..bridge import host
from ..infotext import ERROR, public
from ..judge import TAG, Judge, Judged
from ..options import Options
from ..panel import missing as missing_scorer
from ..pasted import paragraph
from ..record import recording
from . import summary
from . import table as extras_table

log = logging.getLogger("hps")

KEEP, ASIDE, DROP = BELOW = ("keep it", "move its file to the subfolder hps-below", "do not save it")
"""What becomes of an image of a batch that scores below the threshold."""


class Fresh(Image.Image):
    """A result whose record stays its own: the host hangs all texts of the input file onto it afterwards."""

    record: str = ""
    """The record of the result; empty without a score, when no record is to be left."""
    aside: bool = False
    """Whether its file is to be moved, since its score is below the threshold."""
    row: extras_table.Row | None = None
    line: summary.Line | None = None
    _texts: dict[Any, Any]

    @property
    def info(self) -> dict[Any, Any]:
        """The texts of the picture."""
        return self._texts

    @info.setter
    def info(self, value: Any) -> None:
        """Take new texts; the record of the result replaces any that is in them."""
        self._texts = {key: text for key, text in dict(value or {}).items() if key != TAG}
        if self.record:
            self._texts[TAG] = self.record


def fresh(picture: Image.Image, record: str = "") -> Fresh:
    """Return a copy of a picture that carries this record, or none."""
    made = picture.copy()
    texts = dict(made.info)
    made.__class__ = Fresh
    made.record = record
    made.info = texts
    return made  # type: ignore[return-value]


class HpsExtras(scripts_postprocessing.ScriptPostprocessing):  # type: ignore[misc, no-any-unimported]
    """The step "HPS score" of the Extras tab."""

    name = "HPS score"
    order = 100_000
    """After everything that changes the picture."""

    def ui(self) -> dict[str, Any]:
        """Build the controls; the API's fixed arguments leave all of them at None, which is off."""
        with _switch() as enable:
            with gr.Row():
                scorer = gr.Dropdown(
                    host.scorer_choices(), value=host.default_scorer(), label="Scorer", elem_id="extras_hps_scorer"
                )
                prompt = gr.Textbox(
                    "", label="Prompt", placeholder="Empty: the one in the file itself", elem_id="extras_hps_prompt"
                )
            missing = gr.HTML("", visible=False, elem_id="extras_hps_missing")
            table = gr.Checkbox(
                True,
                label="In a batch, save the scores as a table (CSV and HTML) beside the images",
                elem_id="extras_hps_table",
            )
            with gr.Row():
                below = gr.Dropdown(
                    list(BELOW),
                    value=KEEP,
                    label="In a batch, an image that scores below a threshold",
                    elem_id="extras_hps_below",
                )
                threshold = gr.Number(0, label="Threshold", visible=False, elem_id="extras_hps_least")
        below.change(lambda wish: gr.update(visible=wish != KEEP), [below], [threshold], show_progress=False)
        for part in (enable, scorer):
            part.change(_needed, [enable, scorer], [missing], show_progress=False)
        return {
            "enable": enable,
            "scorer": scorer,
            "prompt": prompt,
            "table": table,
            "threshold": threshold,
            "below": below,
        }

    def process_firstpass(self, pp: Any, **args: Any) -> None:
        """Remember the input: its texts are the prompt, and an image that no step changes keeps its record."""
        pp.shared.hps = Input(pp.image)

    def process(self, pp: Any, **args: Any) -> None:
        """Score the result; whatever goes wrong is told in its text, and the image stays."""
        given = getattr(pp.shared, "hps", None)
        try:
            if not args.get("enable"):
                drop_stale(pp, given)
                return
            score(pp, given, args)
        except HpsError as error:
            _tell(pp, given, str(error))
        except Exception as error:
            log.exception("The Extras step of HPS failed; the image stays as it is.")
            _tell(pp, given, f"{type(error).__name__}: {error}")


def _switch() -> Any:
    """Return the accordion of the step with its checkbox in the title, as the host's own steps have it."""
    from modules.ui_components import InputAccordion

    return InputAccordion(False, label="HPS score", elem_id="extras_hps")


def _needed(enable: Any, scorer: Any) -> Any:
    """Say what to do to get a scorer that is not on this machine."""
    words = missing_scorer(str(scorer)) if enable else ""
    return gr.update(value=paragraph(words, "hps-missing") if words else "", visible=bool(words))


class Input:
    """What went in, shared by all images that come out of it."""

    def __init__(self, picture: Image.Image) -> None:
        self.picture = picture
        self.skipped_by_us = False


def drop_stale(pp: Any, given: Input | None) -> None:
    """Take an old record off an image that is not the one that was scored any more."""
    unchanged = given is not None and pp.image is given.picture
    if not unchanged and given is not None and TAG in given.picture.info:
        pp.image = fresh(pp.image)


def score(pp: Any, given: Input | None, args: dict[str, Any]) -> None:
    """Score the result and write the score wherever the host shows it."""
    options = Options(mode="score", scorer=host.plain_name(str(args.get("scorer") or host.default_scorer())))
    prompt = str(args.get("prompt") or "").strip() or prompt_in(given.picture if given else pp.image)
    judge = Judge(options)
    if not prompt and judge.info.needs_text:
        raise PromptError("The image holds no prompt; write one under HPS score.")
    [judged] = judge.score([pp.image], prompt)
    pp.image = fresh(pp.image, judged.tag())
    pp.info["HPS score"] = judged.words()
    pp.info["HPS scorer"] = options.scorer
    recording.add_picture(pp.image, judged, extra={"extras": True})
    pp.image.line = summary.add(_name(), judged)
    _in_batch(pp, given, judged, args)


def _name() -> str | None:
    """Return the name of the image of a batch in work, which may be empty; None for a single image, which has none."""
    from modules import shared

    return shared.state.textinfo if isinstance(shared.state.textinfo, str) else None


def _in_batch(pp: Any, given: Input | None, judged: Judged, args: dict[str, Any]) -> None:
    """Put the image into the table and heed the threshold; both make sense for several images only."""
    from modules import shared

    name = _name()
    if name is None:
        return
    if args.get("table") or args.get("table") is None:
        pp.image.row = extras_table.Row(shared.state.job_timestamp, name, judged)
    least = args.get("threshold")
    if not isinstance(least, (int, float)) or isinstance(least, bool) or not judged.known:
        return
    low, wish = judged.main < least, args.get("below")
    pp.image.aside = low and wish in (ASIDE, DROP)
    if wish == DROP and given is not None:
        _skip(given, low)


def _skip(given: Input, low: bool) -> None:
    """Have the host pass an image over, as its Skip button does; parts of one input are dropped together or kept.

    A part below the threshold that stays for the sake of a better one goes to the subfolder.
    """
    from modules import shared

    if low and not shared.state.skipped and not hasattr(given, "kept"):
        shared.state.skipped = given.skipped_by_us = True
    elif not low:
        given.kept = True  # type: ignore[attr-defined]
        if given.skipped_by_us:
            shared.state.skipped = given.skipped_by_us = False


def _tell(pp: Any, given: Input | None, words: str) -> None:
    """Write what went wrong into the text of the picture, which is shared with it: without this machine's folders."""
    log.warning("%s", words)
    pp.info[ERROR] = public(words) or "unknown"
    summary.add(_name(), trouble=pp.info[ERROR])
    drop_stale(pp, given)


def prompt_in(picture: Image.Image) -> str:
    """Return the prompt in the texts of an open picture, whoever wrote them; "" when there is none."""
    from ...hpskit.metadata import prompt_of

    texts = PngImagePlugin.PngInfo()
    for key, value in picture.info.items():
        if isinstance(key, str) and isinstance(value, str) and 0 < len(key) < 80:
            texts.add_itxt(key, value)
    exif = picture.info.get("exif")
    more = {"exif": exif} if isinstance(exif, bytes) else {}
    stream = io.BytesIO()
    try:
        Image.new("L", (1, 1)).save(stream, "PNG", pnginfo=texts, **more)
        found = prompt_of(stream.getvalue())
    except Exception:  # texts of strangers
        log.debug("The texts of an image could not be read", exc_info=True)
        return ""
    return found.positive if found is not None else ""


def register() -> None:
    """Have the host tell when it saves a result."""
    from modules import script_callbacks

    script_callbacks.on_before_image_saved(before_saved)
    script_callbacks.on_image_saved(after_saved)
    script_callbacks.on_before_ui(summary.watch)


def before_saved(params: Any) -> None:
    """Write the record of a result into its file, and no older one."""
    if isinstance(params.image, Fresh):
        params.pnginfo.pop(TAG, None)
        if params.image.record and _is_object(params.image.record):
            params.pnginfo[TAG] = params.image.record


def after_saved(params: Any) -> None:
    """Put the file of a result into its table, and aside when its score is low."""
    if not isinstance(params.image, Fresh):
        return
    try:
        path = extras_table.saved(params.image, getattr(params.image, "already_saved_as", None) or params.filename)
        if params.image.line is not None:
            params.image.line.file = path.name
    except Exception:
        log.warning("The table of scores could not be written; the image is saved.", exc_info=True)


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
