"""Settings against each other: from the rows of the ledger, or from a saved comparison; verdict, report and file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from ...hpskit.errors import StudyError
from ..bridge import access
from ..compare.result import FOLDER, TITLE
from ..record import recording
from .board import ANY, chosen_value
from .view import framed, guarded, said, table

if TYPE_CHECKING:
    from ...hpskit.study import Analysis, Study

LEDGER, SAVED = ORIGINS = ("the images in the ledger", "a saved comparison")
MOST = 50
"""Saved comparisons that are offered."""
_GRIDS = ("outdir_grids", "outdir_txt2img_grids", "outdir_img2img_grids")
FIELDS = ("model", "lora", "sampler", "scheduler", "steps", "cfg", "size")
LARGEST = 2**26
"""Bytes of a saved comparison that is opened here."""


def build(part: Any) -> None:
    """Build the part and wire it."""
    gr.HTML(
        said("Compares settings on the same prompts and seeds, from images that have scores; nothing is scored again.")
    )
    origin = gr.Radio(list(ORIGINS), value=LEDGER, label="From", elem_id="hps_compare_origin")
    with gr.Row() as filters:
        by = gr.Dropdown(
            list(FIELDS),
            value=[],
            multiselect=True,
            label="Settings (empty: whatever varies)",
            elem_id="hps_compare_by",
        )
        search = gr.Textbox("", label="Prompt contains", elem_id="hps_compare_search")
        scorer, model = (
            gr.Dropdown([ANY], value=ANY, label=name, elem_id=f"hps_compare_{name.lower()}", allow_custom_value=True)
            for name in ("Scorer", "Model")
        )
        paired = gr.Checkbox(True, label="Same seed only (recommended)", elem_id="hps_compare_paired")
    with gr.Row(visible=False) as studies:
        made = gr.Dropdown(
            [], label=f"Made by the script {TITLE}, newest first", elem_id="hps_compare_made", visible=not why_folders()
        )
        saved = gr.File(label="Or upload one (study.json)", file_types=[".json"], elem_id="hps_compare_study")
    with gr.Row():
        run = gr.Button("Compare", variant="primary", elem_id="hps_compare_run")
        report = gr.Button("Make report", elem_id="hps_compare_report")
    status = gr.HTML(elem_id="hps_compare_status")
    verdict = gr.HTML(elem_id="hps_compare_verdict")
    file = gr.File(label="Report", visible=False, elem_id="hps_compare_file")
    inputs = [origin, by, search, scorer, model, paired, made, saved]

    def gone() -> dict[Any, Any]:
        """Take away what an older press has found: it must not stand beside other choices, or under an error."""
        return {verdict: "", file: gr.update(value=None, visible=False)}

    safely, anew = guarded(status), guarded(status, gone)

    def compared(*values: Any) -> dict[Any, Any]:
        study, analysis = _study(*values)
        return {**gone(), status: gr.update(value=""), verdict: gr.update(value=_verdict(study, analysis))}

    def reported(*values: Any) -> dict[Any, Any]:
        from ...hpskit.report import render
        from ...hpskit.study import study_report

        study, analysis = _study(*values)
        page = render(study_report(study, analysis))
        path = access.new_file("hps-comparison", ".html")
        path.write_text(page, encoding="utf-8", newline="")
        return {
            status: gr.update(value=said(f"The report is saved as {access.told(path)}.")),
            verdict: gr.update(value=framed(page)),
            file: gr.update(value=str(path), visible=True),
        }

    def refresh() -> dict[Any, Any]:
        access.insist_private()
        facets = recording.opened().facets(limit=100, longest=200)
        names = list(found())
        return {
            made: gr.update(choices=names, value=names[0] if names else None),
            scorer: gr.update(choices=[ANY, *(one.value for one in facets.scorers)]),
            model: gr.update(choices=[ANY, *(one.value for one in facets.models)]),
        }

    run.click(anew(compared), inputs=inputs, outputs=[status, verdict, file])
    report.click(anew(reported), inputs=inputs, outputs=[status, verdict, file])
    part.select(safely(refresh), outputs=[status, scorer, model, made])
    origin.change(
        lambda chosen: {filters: gr.update(visible=chosen == LEDGER), studies: gr.update(visible=chosen != LEDGER)},
        inputs=[origin],
        outputs=[filters, studies],
    )
    for choice in inputs:
        choice.change(lambda: {**gone(), status: ""}, outputs=[status, verdict, file], queue=False, show_progress=False)


def why_folders() -> str:
    """Return why comparisons in the output folders are out of reach; empty when they are not."""
    return access.why_no_folders()


def found() -> dict[str, Path]:
    """Return the newest comparisons that the script has left in the folders of grids, by what a list calls them."""
    from modules import shared

    if why_folders():
        return {}
    roots = [str(getattr(shared.opts, name, "") or "") for name in _GRIDS]
    files = {path for root in roots if root for path in (Path(root).absolute() / FOLDER).glob("*/study.json")}
    newest = sorted(files, key=lambda path: -path.stat().st_mtime)[:MOST]
    return {f"{path.parent.name} ({path.parent.parent.parent.name})": path for path in newest}


def _study(
    origin: Any, by: Any, search: Any, scorer: Any, model: Any, paired: Any, made: Any, saved: Any
) -> tuple[Study, Analysis]:
    from ...hpskit.study import analyse

    study = _from_ledger(by, search, scorer, model, paired) if origin == LEDGER else _saved(made, saved)
    return study, analyse(study)


def _saved(made: Any, upload: Any) -> Study:
    access.insist_private()
    path = upload or found().get(str(made or ""))
    if not path:
        raise StudyError(f"Choose a comparison, or upload the study.json of one; the script {TITLE} makes them.")
    return opened(str(path) if isinstance(path, Path) else path)


def _from_ledger(by: Any, search: Any, scorer: Any, model: Any, paired: Any) -> Study:
    from ...hpskit.ledger import Query
    from ...hpskit.study.ledger_rows import from_ledger

    access.insist_private()
    query = Query(search=str(search or ""), scorer=chosen_value(scorer), model=chosen_value(model))
    try:
        return from_ledger(recording.opened(), query, [str(name) for name in by or ()], paired=bool(paired)).study
    except StudyError as error:
        words = str(error)
        for option, here in (("--pair-by none", 'Switching "Same seed only" off'), ("--by", "Compare")):
            words = words.replace(option, here)
        raise StudyError(words) from error


def opened(upload: Any) -> Study:
    """Return the comparison in an uploaded file; StudyError when it is none."""
    from ...hpskit.study import from_json

    path = Path(str(getattr(upload, "name", upload)))
    try:
        if path.stat().st_size > LARGEST:
            raise StudyError(f"The file is larger than {LARGEST >> 20} MB; no saved comparison is.")
        data = json.loads(path.read_text(encoding="utf-8"))
    except StudyError:
        raise
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise StudyError(f"The file cannot be read as a saved comparison ({type(error).__name__}).") from error
    return from_json(data)


def _verdict(study: Study, analysis: Analysis) -> str:
    from ...hpskit.study.shown import between, chance, number, shorten, signed, verdict_words

    rows = []
    for rank, place in enumerate(analysis.order, start=1):
        one, label = analysis.standings[place], study.settings[place].label
        found = analysis.comparison(label)
        more = (
            ["reference", "", "", ""]
            if found is None
            else [
                verdict_words(found),
                f"{signed(found.difference)} ({between(found.adjusted)})" if found.pairs else "-",
                chance(found.p_adjusted),
                str(found.pairs),
            ]
        )
        rows.append([str(rank), shorten(label, 120), str(one.cells), signed(one.relative), number(one.elo, 0), *more])
    marked = {at for at, place in enumerate(analysis.order) if place in analysis.contenders}
    heads = ["", "Setting", "Images", "vs mean", "Elo", "Verdict", "Difference (interval)", "p adjusted", "Pairs"]
    remarks = "\n".join(dict.fromkeys([*analysis.warnings, *study.notes]))
    shade = "Set off: those that may be the best. Differences and verdicts are against the reference, in points."
    return (
        said(analysis.headline)
        + table(heads, rows, numbers=(0, 2, 3, 4, 7, 8), marked=marked)
        + said(f"{shade}\n{remarks}")
    )
