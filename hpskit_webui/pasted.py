"""What a pasted infotext sets in the panel; its seed is the winner's already, so that nothing is searched anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from ..hpskit.report import markup
from . import infotext, options
from .bridge import host
from .options import LABELS, OFF, SCORE


def paragraph(text: str, kind: str) -> str:
    """Return a text as a paragraph of a class; whatever stands in it stays text."""
    return markup.tag("p", {"class": kind}, markup.text(text))


def mode(params: Mapping[str, Any]) -> Any:
    """Return the mode for a pasted text: its seed is the winner's already, so that nothing is searched anew."""
    known = options.mode_of(params.get(infotext.MODE, ""))
    if known not in LABELS:
        return gr.update()
    return gr.update(value=LABELS[known if known == OFF else SCORE])


def noise(params: Mapping[str, Any]) -> Any:
    """Return the file of the noise that the pasted text speaks of, without which its seed gives another image."""
    return gr.update(value=_noise_file(params)) if params.get(infotext.MODE) else gr.update()


def _noise_file(params: Mapping[str, Any]) -> str:
    from .noise import recent, report

    return recent.with_checksum(str(params.get(report.NOISE) or ""))


def _scorers(params: Mapping[str, Any]) -> list[str]:
    return [name.strip() for name in str(params.get(infotext.SCORER, "")).split(",") if name.strip()]


def _choice(name: str, choices: list[str]) -> str | None:
    """Return the choice of the list that means a scorer; Forge refuses to generate with any other."""
    return next((choice for choice in choices if name in (choice, host.plain_name(choice))), None)


def scorer(params: Mapping[str, Any], choices: list[str]) -> Any:
    """Return the main scorer, if it is here."""
    found = _choice(_scorers(params)[0], choices) if _scorers(params) else None
    return gr.update(value=found) if found else gr.update()


def guards(params: Mapping[str, Any], choices: list[str]) -> Any:
    """Return the further scorers, as far as they are here; none when the text names a main one only."""
    names = _scorers(params)
    if not names:
        return gr.update()
    return gr.update(value=[choice for name in names[1:] if (choice := _choice(name, choices))])


def score(params: Mapping[str, Any], choices: list[str]) -> Any:
    """Return the read-only line about the score in the pasted text; none when there is none."""
    value, names = params.get(infotext.SCORE), _scorers(params)
    if value is None:
        return gr.update(value="", visible=False)
    by = f" by {' and '.join(names)}" if names else ""
    rank = f", {params[infotext.RANK]}" if params.get(infotext.RANK) else ""
    unknown = [name for name in names if not _choice(name, choices)]
    more = f" Not among the scorers here: {', '.join(unknown)}." if unknown else ""
    text = f"Score in the pasted text: {value}{by}{rank}.{more}{_noise_words(params)}"
    return gr.update(value=paragraph(text, "hps-pasted"), visible=True)


def _noise_words(params: Mapping[str, Any]) -> str:
    from .noise import report

    if not params.get(report.NOISE):
        return ""
    where = "its file is chosen below" if _noise_file(params) else "choose its file below, or the image differs"
    return f" The image began with an optimised noise, which is in no seed; {where}."
