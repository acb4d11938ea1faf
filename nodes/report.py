"""Node that writes a report: one HTML file that opens anywhere, with the numbers beside it where wished."""

from __future__ import annotations

import io as bytesio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_api.latest import io
from PIL import Image

from ..hpskit.errors import StudyError
from ..hpskit.images import from_nhwc
from ..hpskit.report import render
from ..hpskit.study import Study
from ..hpskit.study.export import csv_text, to_json
from ..hpskit.study.grid import grid_picture
from ..hpskit.study.page import study_report
from ..hpskit.study.search_files import search_csv, search_json, search_sheet
from ..hpskit.study.search_page import headline, search_report
from ..hpskit.study.table import table_text
from . import batches, host, report_pictures, tables
from .notices import shown_at_end
from .recording import Origin
from .report_facts import settings_of
from .report_files import write_all
from .report_search import pool_of
from .save import as_result
from .shown import VERSION
from .types import HPS_SCORES, HPS_STUDY, ScoreTable, StudyResult

KIND = "report"


class MakeReport(io.ComfyNode):
    """Writes a report of a comparison or of a search."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return host.Schema(
            node_id="HPS_Report",
            display_name="HPS Report",
            category="HPS",
            description="Writes one HTML file with pictures, curves and numbers of a comparison or a search.",
            search_aliases=["html", "export", "csv", "json", "statistics", "save report", "hps"],
            is_input_list=True,
            is_output_node=True,
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
            inputs=[*_subjects(), *_options()],
            outputs=[
                io.String.Output(display_name="path", is_output_list=True, tooltip="The HTML files that were written."),
                io.String.Output(display_name="table", is_output_list=True, tooltip="The result as text."),
            ],
        )

    @classmethod
    def execute(cls, **lists: list[Any]) -> io.NodeOutput:
        """Write a report of everything that is connected."""
        origin = Origin.of(cls.hidden)
        options = {name: lists[name][0] for name in ("title", "csv", "json", "grid")}
        written, texts, shown, drawn = list[Path](), list[str](), list[dict[str, Any]](), list[dict[str, str]]()
        for made in subjects(lists, options["title"], origin):
            paths = write_all(lists["filename_prefix"][0], made.files(options))
            written, texts = [*written, paths[0]], [*texts, made.table]
            drawn += [as_result(path) for path in paths if path.suffix == ".png"]
            data = {"v": VERSION, "kind": KIND, "files": [as_result(path) for path in paths]}
            data |= {"headline": made.headline, "table": made.table}
            shown.append(shown_at_end(origin.node, origin.graph, data))
        ui = {"hps": shown, "text": texts, **({"images": drawn} if drawn else {})}
        return io.NodeOutput([str(path) for path in written], texts, ui=ui)


def _subjects() -> list[Any]:
    return [
        HPS_STUDY.Input("study", optional=True, tooltip="From HPS Compare Settings or HPS Compare Images."),
        HPS_SCORES.Input(
            "score_table", optional=True, tooltip="From HPS Best of N, HPS Optimize Noise, HPS Score or HPS Select."
        ),
        io.Image.Input(
            "images", optional=True, tooltip="Images of the score_table, in its order; else those it was made of."
        ),
    ]


def _options() -> list[Any]:
    return [
        io.String.Input("title", default="", tooltip="Heading of the report; empty: what it is about."),
        io.String.Input(
            "filename_prefix", default="HPS/report", tooltip="Below the output folder, as in Save Image; numbered."
        ),
        io.Boolean.Input("csv", default=False, tooltip="Also write one row an image, for spreadsheets."),
        io.Boolean.Input("json", default=False, tooltip="Also write everything as JSON, for programs."),
        io.Boolean.Input("grid", default=False, tooltip="Also write all images with their scores as one PNG."),
    ]


@dataclass(frozen=True)
class Made:
    """One report on its way to its files: what is not asked for is not made."""

    headline: str
    table: str
    html: Any
    csv: Any
    json: Any
    grid: Any
    """Functions without arguments; `grid` gives a PIL image."""

    def files(self, options: Mapping[str, Any]) -> dict[str, bytes]:
        """Return the files that are wanted by suffix, HTML first."""
        found = {".html": self.html().encode("utf-8", "replace")}
        for name in ("csv", "json"):
            if options[name]:
                found[f".{name}"] = getattr(self, name)().encode("utf-8", "replace")
        return {**found, **({".png": _png(self.grid())} if options["grid"] else {})}


def _png(picture: Image.Image) -> bytes:
    buffer = bytesio.BytesIO()
    picture.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def subjects(lists: Mapping[str, list[Any]], title: str, origin: Origin) -> list[Made]:
    """Return a report of every study and table; raises StudyError where there is none, or images belong to none."""
    studies, score_tables = lists.get("study") or [], lists.get("score_table") or []
    images = lists.get("images") or []
    if not studies and not score_tables:
        raise StudyError(
            "There is nothing to report. Connect study from HPS Compare Settings or HPS Compare Images, or score_table "
            "from HPS Best of N, HPS Optimize Noise or HPS Score."
        )
    if images and len(score_tables) != 1:
        raise StudyError(
            f"Images belong to one score_table, but {len(score_tables) or 'none'} came. Connect one, or no images: a "
            "report finds the pictures of a study by itself."
        )
    reports = [of_study(result, title) for result in studies]
    return [*reports, *(of_table(table, images, title, origin) for table in score_tables)]


def of_study(result: StudyResult, title: str) -> Made:
    """Return the report of a comparison; StudyError where nothing was measured."""
    study, analysis = result.study, result.analysis
    if analysis is None:
        raise StudyError(f"{study.title} has nothing to report: {_why(study)} Its node says what was missing.")
    return Made(
        analysis.headline,
        table_text(study, analysis),
        lambda: render(study_report(study, analysis, pictures=report_pictures.of_cell, title=title)),
        lambda: csv_text(study),
        lambda: json.dumps(to_json(study, analysis), allow_nan=False, separators=(",", ":")) + "\n",
        lambda: grid_picture(study, analysis, pictures=report_pictures.of_cell),
    )


def _why(study: Study) -> str:
    return f"{len(study.settings)} settings and {len(study.cells)} images cannot be compared."


def of_table(table: ScoreTable, images: Sequence[Any], title: str, origin: Origin) -> Made:
    """Return the report of a search or of scored images; SelectionError when the images are not those of the table."""
    if images:
        batches.expect("images", batches.count(images), len(table))
    flat = [image for batch in images for image in from_nhwc(batch)]
    facts = (*settings_of(origin), ("Date", time.strftime("%Y-%m-%d %H:%M")))
    pool = pool_of(table, flat, title, facts)
    return Made(
        headline(pool),
        f"{headline(pool)}\n\n{tables.describe(table)}",
        lambda: render(search_report(pool)),
        lambda: search_csv(pool),
        lambda: search_json(pool),
        lambda: search_sheet(pool),
    )


NODES = (MakeReport,)
