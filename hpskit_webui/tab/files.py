"""Scores of files that are there already: a folder of the server or uploads, best first within each prompt."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gradio as gr

from ...hpskit.errors import OutputError
from ..bridge import access, host
from ..record import pictures
from . import scoring as tab_scoring
from .scoring import Outcome, Plan, Task, main_of
from .view import Lines, Picture, guarded, guarded_steps, said, table, trouble

MOST_ROWS, MOST_PICTURES, MOST_FILES = 300, 60, 200_000


def build(part: Any) -> None:
    """Build the part and wire it."""
    open_folders = not access.why_no_folders()
    with gr.Row():
        folder = gr.Textbox(
            "",
            label="Folder with images",
            placeholder="A folder on the machine that the server runs on",
            visible=open_folders,
            elem_id="hps_files_folder",
            scale=3,
        )
        below = gr.Checkbox(False, label="With subfolders", visible=open_folders, elem_id="hps_files_below")
    uploads = gr.File(
        label="Or upload images" if open_folders else "Upload images",
        file_count="multiple",
        elem_id="hps_files_uploads",
    )
    with gr.Row():
        scorer = gr.Dropdown(
            host.scorer_choices(), value=host.default_scorer(), label="Scorer", elem_id="hps_files_scorer"
        )
        prompt = gr.Textbox(
            "", label="Prompt", placeholder="Empty: each file's own", elem_id="hps_files_prompt", scale=3
        )
    with gr.Row(visible=open_folders):
        action = gr.Dropdown(
            list(tab_scoring.ACTIONS),
            value=tab_scoring.NOTHING,
            label="Afterwards",
            elem_id="hps_files_action",
            scale=2,
        )
        keep = gr.Number(
            1, precision=0, label="How many of each prompt are the best", visible=False, elem_id="hps_files_keep"
        )
        least = gr.Number(0, label="Threshold", visible=False, elem_id="hps_files_threshold")
        sub = gr.Textbox("best", label="Into this subfolder", visible=False, elem_id="hps_files_sub")
        stamp = gr.Checkbox(False, label="Write the score into the files", elem_id="hps_files_stamp")
    with gr.Row():
        run = gr.Button("Score", variant="primary", elem_id="hps_files_run")
        stop = gr.Button("Stop", elem_id="hps_files_stop")
        last = gr.Button("Show the last result", elem_id="hps_files_last")
    status = gr.HTML(elem_id="hps_files_status")
    with gr.Row(visible=False) as asking:
        really = gr.Button("Score and move", variant="stop", elem_id="hps_files_really")
        no = gr.Button("Leave them where they are", elem_id="hps_files_no")
    asked = gr.State("")
    reports = gr.File(label="Table and report", file_count="multiple", visible=False, elem_id="hps_files_reports")
    rows = gr.HTML(elem_id="hps_files_rows")

    def shown(task: Task) -> dict[Any, Any]:
        written, words = _write(task.outcome) if task.outcome.results else ([], "")
        remark = trouble(task.error) if task.error else ""
        more = said(_summary(task) + (f"\n{words}" if words else ""))
        return {
            status: gr.update(value=remark + more),
            rows: gr.update(value=_table(task.outcome)),
            reports: gr.update(value=[str(path) for path in written] or None, visible=bool(written)),
        }

    def scored(confirmed: Any, *values: Any) -> Any:
        plan = _plan(*values)
        question = _question(plan)
        if question and confirmed != question:  # not asked yet, or something else has been chosen since
            yield {status: gr.update(value=said(question)), asking: gr.update(visible=True), asked: question}
            return
        task = tab_scoring.begin(plan)
        begun = {status: gr.update(value=said("Reading the scorer.")), rows: gr.update(value="")}
        yield {**begun, asking: gr.update(visible=False), asked: ""}
        for line in task.watch():
            yield {status: gr.update(value=said(line))}
        yield shown(task)

    def stopped() -> dict[Any, Any]:
        task = tab_scoring.current()
        access.insist_private()
        if task is None or task.finished:
            return {status: gr.update(value=said("Nothing is being scored."))}
        task.cancel()
        return {status: gr.update(value=said("Stopping; what is scored is kept."))}

    def again() -> dict[Any, Any]:
        access.insist_private()
        task = tab_scoring.current()
        if task is None or not task.finished:
            return {status: gr.update(value=said("There is no result yet."))}
        return shown(task)

    def fits(wish: str) -> dict[Any, Any]:
        best = wish in (tab_scoring.COPY_BEST, tab_scoring.MOVE_BEST)
        low = wish in (tab_scoring.COPY_BELOW, tab_scoring.MOVE_BELOW)
        more = "..." if wish in tab_scoring.MOVES else ""
        return {
            keep: gr.update(visible=best),
            least: gr.update(visible=low),
            sub: gr.update(visible=best or low, value="low" if low else "best"),
            run: gr.update(value=f"Score, then {wish}{more}" if best or low else "Score"),
            asking: gr.update(visible=False),
            asked: "",
        }

    action.change(fits, inputs=[action], outputs=[keep, least, sub, run, asking, asked])
    inputs = [folder, below, uploads, scorer, prompt, action, keep, least, sub, stamp]
    outputs = [status, rows, reports, asking, asked]
    safely = guarded_steps(status)
    run.click(safely(lambda *values: scored("", *values)), inputs=inputs, outputs=outputs)
    really.click(safely(scored), inputs=[asked, *inputs], outputs=outputs)
    no.click(lambda: (gr.update(visible=False), "", ""), outputs=[asking, status, asked])
    stop.click(guarded(status)(stopped), outputs=[status])
    last.click(guarded(status)(again), outputs=[status, rows, reports])


def _plan(
    folder: Any,
    below: Any,
    uploads: Any,
    scorer: Any,
    prompt: Any,
    action: Any,
    keep: Any,
    least: Any,
    sub: Any,
    stamp: Any,
) -> Plan:
    """Return what the controls ask for; the values come from a browser, whatever is hidden there."""
    access.insist_private()
    named = str(folder or "").strip()
    common = {"scorer": str(scorer), "prompt": str(prompt or "").strip()}
    if not named:
        files = tuple(Path(str(getattr(one, "name", one))) for one in uploads or ())
        if not files:
            raise OutputError("Name a folder, or upload images.")
        if action not in (None, tab_scoring.NOTHING) or stamp:
            raise OutputError("Uploads are copies: name the folder instead to copy, move or write into its files.")
        return Plan(files, **common)
    if uploads:
        raise OutputError("There are a folder and uploads; take one of them away.")
    root = access.folder_of(named)
    target = root / access.subfolder(str(sub or "best"))
    threshold = float(least) if isinstance(least, (int, float)) and math.isfinite(least) else None
    count = int(keep) if isinstance(keep, (int, float)) and math.isfinite(keep) else 1
    files = _files(root, bool(below), target)
    return Plan(files, stamp=bool(stamp), action=str(action), keep=count, threshold=threshold, target=target, **common)


def _question(plan: Plan) -> str:
    """Return what a person is asked before files leave their place; empty when none will."""
    if plan.target is None or plan.action not in tab_scoring.MOVES:
        return ""
    which = plan.action.removeprefix("move ")
    if plan.action == tab_scoring.MOVE_BEST and plan.keep > 1:
        which = which.replace("the best", f"the {plan.keep} best")
    if plan.action == tab_scoring.MOVE_BELOW:
        which = which.replace("the threshold", f"{plan.threshold:g}")
    count = len(plan.files)
    return (
        f"Score {count:,} image{'' if count == 1 else 's'} of {plan.target.parent}, then move {which} into "
        f"{plan.target.name}? The files leave their folders; nothing is written over, and nothing moves back by itself."
    )


def _files(root: Path, below: bool, target: Path) -> tuple[Path, ...]:
    """Return the images of a folder, but for those that an earlier run has put aside."""
    from ...hpskit.commands.inputs import find_images

    found = [path for path in find_images([str(root)], below)[0] if target not in path.parents]
    if not found:
        raise OutputError(f"{root} holds no image file{'' if below else '; perhaps its subfolders do'}.")
    if len(found) > MOST_FILES:
        raise OutputError(f"{root} holds {len(found):,} images; score at most {MOST_FILES:,} at once.")
    return tuple(found)


def _summary(task: Task) -> str:
    outcome = task.outcome
    ended = " It was stopped; nothing was copied or moved." if task.cancelled else ""
    lines = [f"{len(outcome.results):,} of {len(task.plan.files):,} files are scored.{ended}"]
    if outcome.failures:
        names = "; ".join(f"{path.name}: {reason}" for path, reason in outcome.failures[:5])
        more = f", and {len(outcome.failures) - 5:,} more" if len(outcome.failures) > 5 else ""
        lines.append(f"Not scored: {names}{more}.")
    return "\n".join([*lines, *outcome.remarks[:8]])


def _table(outcome: Outcome) -> str:
    shown: list[list[Any]] = []
    parts: list[str] = []
    left = MOST_ROWS
    for prompt, pool in outcome.pools():
        if left <= 0:
            parts.append(said("The others are in the table and the report."))
            break
        rows = []
        for rank, one in enumerate(pool[:left], start=1):
            path = outcome.placed.get(one.path, one.path)
            small = pictures.small(path) if len(shown) + len(rows) < MOST_PICTURES else None
            rows.append(
                [str(rank), Picture(small, path.name), f"{main_of(one):.4f}", Lines(path.name, path.parent.name)]
            )
        shown += rows
        left -= len(rows)
        words = f"{prompt or 'No prompt'} ({len(pool):,} image{'' if len(pool) == 1 else 's'})"
        parts.append(said(words[:600]) + table(["", "Image", "Score", "File"], rows, numbers=(0, 2)))
    return "".join(parts)


def _write(outcome: Outcome) -> tuple[list[Path], str]:
    """Write table and report; return them and where they lie."""
    import csv

    from ...hpskit.ledger.export import cell

    path = access.new_file("hps-scores", ".csv")
    names = list(outcome.results[0].scores)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["rank", *names, "file", "now at", "prompt"])
        for prompt, pool in outcome.pools():
            for rank, one in enumerate(pool, start=1):
                now = str(outcome.placed.get(one.path, ""))
                scores = [one.scores.get(name, "") for name in names]
                writer.writerow([rank, *scores, cell(str(one.path)), cell(now), cell(prompt)])
    page = _report(outcome, path.with_suffix(".html"))
    return [path, page], f"Saved: {access.told(path)} and {page.name}."


def _report(outcome: Outcome, path: Path) -> Path:
    from ...hpskit.report import Column, Gallery, Note, Report, Table, write_report
    from ...hpskit.report import Picture as Shown

    best: list[Any] = []
    rows: list[list[Any]] = []
    for prompt, pool in outcome.pools():
        for rank, one in enumerate(pool, start=1):
            file = outcome.placed.get(one.path, one.path)
            rows.append([rank, main_of(one), file.name, prompt[:500]])
            data = pictures.small(file) if rank <= 4 and len(best) < MOST_PICTURES else None
            if data:
                best.append(Shown(data, f"{file.name}: {prompt[:120]}", rank, main_of(one)))
    columns = [Column("rank"), Column("score", 4), Column("file", mono=True), Column("prompt")]
    sections = (Note(), Gallery(best, "Best of each prompt"), Table(columns, rows[:5000], "All images"))
    return write_report(path, Report(f"Scores of {len(rows):,} files", tab_scoring.stamp_of_now(), sections))
