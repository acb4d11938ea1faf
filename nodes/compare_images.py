"""Node that compares the images of a plot that other nodes made: labels in, statistics out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io

from ..hpskit import prompts as texts
from ..hpskit.errors import StudyError
from ..hpskit.study import Study
from ..hpskit.study.plot_layout import BATCHES, ORDERS, ROWS_ARE, Layout, PlotDesign, arrange, parse_labels
from ..hpskit.study.plot_meaning import read_plot
from . import compare_results, host, shown_study
from .notices import shown_at_end
from .plot_cells import Plot, from_table, scored
from .recording import Origin, Recorder
from .report_facts import settings_of
from .types import HPS_SCORER, HPS_SCORES, HPS_STUDY, ScoreTable

_LABELS = "One a line, or a list."


class CompareImages(io.ComfyNode):
    """Compares the columns of a grid of images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return host.Schema(
            node_id="HPS_CompareImages",
            display_name="HPS Compare Images",
            category="HPS",
            description="Compares the images of an XY plot, or of any nodes, and tells which column is better.",
            search_aliases=["xy plot", "xyz plot", "grid", "compare images", "statistics", "a/b test", "hps"],
            is_input_list=True,
            is_output_node=True,
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            inputs=[*_images(), *_labels(), *_scoring()],
            outputs=[
                HPS_STUDY.Output(display_name="study", tooltip="All scores with what they show, for HPS Report."),
                io.Image.Output(display_name="grid", tooltip="All images with their scores, one picture."),
                io.String.Output(display_name="table", tooltip="The whole result in words and numbers."),
                io.String.Output(display_name="verdict", tooltip="The result in one or two sentences."),
                io.String.Output(display_name="best", tooltip="Label of the column with the highest mean."),
            ],
        )

    @classmethod
    def execute(cls, **lists: list[Any]) -> io.NodeOutput:
        """Place, score, analyse."""
        origin = Origin.of(cls.hidden)
        images, table = lists.get("images") or [], (lists.get("score_table") or [None])[0]
        layout, design = read(lists, [len(batch) for batch in images] if images else [len(table or ())], table)
        reference, recorder = reference_of(design, lists["reference"][0]), Recorder(origin)
        if table is not None:
            plot = from_table(table, layout, design)
        else:
            plot = scored(images, design, lists["scorer"][0], recorder, lists["match_saved_file"][0])
        study = study_of(plot, layout, design, reference, origin)
        result, text, verdict = compare_results.analysed(study)
        drawn = compare_results.grid(study, result.analysis, plot.pictures, lists["cell_size"][0])
        data = shown_study.at_end(result, plot.pictures, run=recorder.run, table=text)
        ui = {"hps": [shown_at_end(origin.node, origin.graph, data)], "text": [text]}
        return io.NodeOutput(result, drawn, text, verdict, compare_results.best_label(study, result.analysis), ui=ui)


def _images() -> list[Any]:
    return [
        io.Image.Input("images", optional=True, tooltip="The images of the grid: one batch, or a list in its order."),
        HPS_SCORER.Input("scorer", optional=True, tooltip="From HPS Load Scorer or HPS Combine Scorers."),
        HPS_SCORES.Input(
            "score_table", optional=True, tooltip="Instead of images and scorer: what HPS Score made of them."
        ),
    ]


def _labels() -> list[Any]:
    return [
        io.String.Input("columns", multiline=True, tooltip=f"Labels of the columns, which are compared. {_LABELS}"),
        io.String.Input(
            "rows", multiline=True, default="", tooltip=f"Labels of the rows. {_LABELS} Empty: they are numbered."
        ),
        io.Combo.Input(
            "rows_are",
            options=list(ROWS_ARE),
            default="seeds",
            tooltip="seeds: every row is another seed of the prompt. prompts: every row has its own prompt. settings: "
            "every combination of column and row is compared.",
        ),
        io.Combo.Input(
            "order",
            options=list(ORDERS),
            default=ORDERS[0],
            tooltip="How the images come: row by row, as plots give them, or all of the first column first.",
        ),
        io.Combo.Input(
            "batches",
            options=list(BATCHES),
            default=BATCHES[0],
            tooltip="What a list of batches is: grids one after the other, or the seeds of one place each. auto: by "
            "their numbers.",
        ),
        io.String.Input(
            "reference", default="", tooltip="Label that the others are compared with; empty: the first column."
        ),
    ]


def _scoring() -> list[Any]:
    return [
        io.String.Input(
            "prompt",
            multiline=True,
            default="",
            tooltip="The prompt of all images; for rows that are prompts one each (a list, or one a line), or empty "
            "where the labels are the prompts.",
        ),
        io.Boolean.Input("clean_prompt", default=True, tooltip="Score without weights, LoRA tags and separators."),
        io.Boolean.Input(
            "match_saved_file", default=True, tooltip="Round to 8 bit first, as Save Image does, before scoring."
        ),
        io.Int.Input("cell_size", default=256, min=64, max=1024, step=8, tooltip="Longest side of a picture in grid."),
    ]


def read(lists: dict[str, list[Any]], sizes: Sequence[int], table: ScoreTable | None) -> tuple[Layout, PlotDesign]:
    """Return where every image stands and what that means; raises StudyError, before anything is scored."""
    if not lists.get("images") and table is None:
        raise StudyError("There are no images to compare. Connect images with a scorer, or a score_table.")
    if table is None and not lists.get("scorer"):
        raise StudyError("There is nothing to score the images with. Connect a scorer, or a score_table instead.")
    if table is not None and sum(sizes) != len(table):
        raise StudyError(
            f"There are {sum(sizes)} images but {len(table)} scores. Connect the images that were scored, or only the "
            "score_table."
        )
    rows_are, prompts_given = lists["rows_are"][0], lists.get("prompt") or [""]
    columns = parse_labels(lists["columns"])
    rows = parse_labels(lists["rows"], commas=rows_are != "prompts")
    if rows_are == "settings" and not rows:
        rows = ("1",)  # more images than columns are then more seeds
    if rows_are == "prompts" and not rows:
        rows = _as_labels(prompts_of(prompts_given) if table is None else _prompts_in(table))
    layout = arrange(columns, rows, sizes, lists["order"][0], lists["batches"][0])
    if table is not None:
        prompts = _prompts_by_row(table, layout, rows_are)
    else:
        prompts = _wanted(prompts_given, lists["rows"], layout, rows_are)
        prompts = [texts.clean(prompt) for prompt in prompts] if lists["clean_prompt"][0] else prompts
    return layout, read_plot(layout, rows_are, prompts)


def prompts_of(given: Sequence[str]) -> list[str]:
    """Return prompts from a list, or from the lines of one text."""
    return (
        [str(text) for text in given]
        if len(given) > 1
        else [line.strip() for line in given[0].splitlines() if line.strip()]
    )


def _as_labels(prompts: Sequence[str]) -> tuple[str, ...]:
    return tuple(" ".join(prompt.split()) for prompt in prompts)


def _wanted(given: Sequence[str], labels: Sequence[str], layout: Layout, rows_are: str) -> list[str]:
    """Return the prompts of a design: one, or one for each row; without a prompt the labels of the rows are prompts."""
    if rows_are != "prompts":
        return list(given)
    if not any(prompt.strip() for prompt in given):
        return prompts_of(labels)
    return list(given) if len(given) == len(layout.rows) else prompts_of(given)


def _prompts_in(table: ScoreTable) -> tuple[str, ...]:
    return tuple(dict.fromkeys(table.scores.prompts))


def _prompts_by_row(table: ScoreTable, layout: Layout, rows_are: str) -> list[str]:
    """Return the prompts that a table's images were scored against; StudyError where they do not fit the rows."""
    known = _prompts_in(table) or ("",)
    if rows_are != "prompts" or len(known) == 1:
        return list(known)
    by_row: dict[int, set[str]] = {}
    for (_, row, _), prompt in zip(layout.places, table.scores.prompts, strict=True):
        by_row.setdefault(row, set()).add(prompt)
    mixed = next((layout.rows[row] for row, found in by_row.items() if len(found) > 1), None)
    if mixed is not None:
        raise StudyError(
            f'The images of row "{mixed}" were scored against different prompts, so they do not compare. Check `order` '
            "and the row labels."
        )
    return [by_row[row].pop() for row in range(len(layout.rows))]


def reference_of(design: PlotDesign, label: str) -> int:
    """Return the position of the setting that the others are compared with; StudyError for an unknown label."""
    wanted = " ".join(label.split())
    names = [setting.label for setting in design.settings]
    if not wanted:
        return 0
    matches = [k for k, name in enumerate(names) if wanted.casefold() in (name.casefold(), *_values(design, k))]
    if not matches:
        raise StudyError(f'No column is called "{wanted}". There are: {"; ".join(names[:12])}.')
    return matches[0]


def _values(design: PlotDesign, index: int) -> tuple[str, ...]:
    """Return what else a setting may be called: the value of its one axis."""
    values = tuple(design.settings[index].values.values())
    return (values[0].casefold(),) if len(values) == 1 else ()


def study_of(plot: Plot, layout: Layout, design: PlotDesign, reference: int, origin: Origin) -> Study:
    """Return the study of the images."""
    notes = [layout.note, *plot.notes, _one_image(design)]
    return Study(
        title="Comparison of images",
        axes=design.axes,
        settings=design.settings,
        prompts=design.prompts,
        seeds=design.seeds,
        cells=plot.cells,
        scorer=plot.scorer,
        reference=reference,
        part_names=plot.part_names,
        notes=tuple(note for note in notes if note),
        facts=settings_of(origin),
    )


def _one_image(design: PlotDesign) -> str:
    if len(design.seeds) * len(design.prompts) > 1:
        return ""
    return (
        "There is one image of every setting. That shows nothing about the settings: another seed may turn the order "
        "around. Make the plot with several seeds: as rows, or as several batches."
    )


NODES = (CompareImages,)
