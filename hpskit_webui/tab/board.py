"""The leaderboard: rows of the ledger with filters, and what can be done with one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import gradio as gr

from ...hpskit.report.markup import tag
from ..bridge import access
from ..record import recording
from . import purge as tab_purge
from .view import Lines, Picture, guarded, said, table

if TYPE_CHECKING:
    from ...hpskit.ledger import Query, Row

PAGE = 20
ANY = "any"
SORT_LABELS = {
    "standing within the prompt": "standing",
    "newest": "time",
    "score": "score",
    "seed": "seed",
    "model": "model",
    "sampler": "sampler",
    "steps": "steps",
    "CFG scale": "cfg",
}
UNSEEN = ["hps-unseen"]
"""Class of what only the script of the page uses; gradio leaves what is not visible out of the page."""


def build(part: Any) -> None:
    """Build the part and wire it."""
    with gr.Row():
        search = gr.Textbox("", label="Prompt contains", elem_id="hps_board_search", scale=3)
        model, sampler, scorer, source = (
            gr.Dropdown([ANY], value=ANY, label=name, elem_id=f"hps_board_{name.lower()}", allow_custom_value=True)
            for name in ("Model", "Sampler", "Scorer", "Source")
        )
        sort = gr.Dropdown(list(SORT_LABELS), value="newest", label="Sort by", elem_id="hps_board_sort")
    with gr.Row():
        show = gr.Button("Show", variant="primary", elem_id="hps_board_show")
        back = gr.Button("Previous page", elem_id="hps_board_back")
        on = gr.Button("Next page", elem_id="hps_board_on")
        export = gr.Button("Export as CSV", elem_id="hps_board_export")
        purge = gr.Button("Delete rows...", elem_id="hps_board_purge")
    status = gr.HTML(elem_id="hps_board_status")
    with gr.Row(visible=False) as asking:
        days = gr.Number(
            tab_purge.DAYS, label="Only rows older than so many days (0: all rows)", elem_id="hps_board_days"
        )
        really = gr.Button("Delete them", variant="stop", elem_id="hps_board_really")
        no = gr.Button("Keep them", elem_id="hps_board_no")
    with gr.Row(visible=False) as asking_one:
        really_one = gr.Button("Delete the row", variant="stop", elem_id="hps_board_really_one")
        no_one = gr.Button("Keep it", elem_id="hps_board_no_one")
    file = gr.File(label="Exported rows", visible=False, elem_id="hps_board_file")
    with gr.Row():
        chosen = gr.Dropdown([], label="Chosen row", info="Or click one in the table", elem_id="hps_board_row", scale=2)
        send_txt = gr.Button("Send to txt2img", interactive=False, elem_id="hps_board_txt2img")
        send_img = gr.Button("Send to img2img", interactive=False, elem_id="hps_board_img2img")
        drop = gr.Button("Delete this row...", interactive=False, elem_id="hps_board_drop")
    infotext = gr.Textbox("", label="Text of the row", lines=4, visible=False, elem_id="hps_board_infotext")
    rows = gr.HTML(said("Press Show."), elem_id="hps_board_rows")
    page, ids, asked = gr.State(0), gr.State([]), gr.State(None)
    clicked = gr.Textbox("", label="Clicked row", elem_id="hps_board_clicked", elem_classes=UNSEEN)
    again = gr.Button("Show again", elem_id="hps_board_again", elem_classes=UNSEEN)

    filters = [search, model, sampler, scorer, source, sort]
    shown = [
        status,
        rows,
        chosen,
        page,
        ids,
        infotext,
        send_txt,
        send_img,
        drop,
        asking,
        asking_one,
        clicked,
        model,
        sampler,
        scorer,
        source,
    ]

    def listed(number: int, *values: Any) -> dict[Any, Any]:
        access.insist_private()
        found, total, at = _page(number, *values)
        some = dict.fromkeys((send_txt, send_img, drop), gr.update(interactive=False))
        return {
            status: gr.update(value=_summary(total, at, len(found))),
            rows: gr.update(value=_table(found, at)),
            chosen: gr.update(choices=[_label(row, at + k) for k, row in enumerate(found)], value=None),
            page: at // PAGE,
            ids: [row.id for row in found],
            infotext: gr.update(value="", visible=False),
            asking: gr.update(visible=False),
            asking_one: gr.update(visible=False),
            clicked: "",
            **some,
            **_choices((model, sampler, scorer, source)),
        }

    safely = guarded(status)
    show.click(safely(lambda *values: listed(0, *values)), inputs=filters, outputs=shown)
    search.submit(safely(lambda *values: listed(0, *values)), inputs=filters, outputs=shown)
    back.click(safely(lambda at, *values: listed(at - 1, *values)), inputs=[page, *filters], outputs=shown)
    on.click(safely(lambda at, *values: listed(at + 1, *values)), inputs=[page, *filters], outputs=shown)
    part.select(safely(listed), inputs=[page, *filters], outputs=shown)
    again.click(safely(listed), inputs=[page, *filters], outputs=shown)

    def choose(place: Any, known: list[int]) -> dict[Any, Any]:
        row = _row(place, known)
        ready = gr.update(interactive=True)
        told = {infotext: gr.update(value=infotext_of(row), visible=True), asking_one: gr.update(visible=False)}
        return {**told, send_txt: ready, send_img: ready, drop: ready}

    picked = [status, infotext, send_txt, send_img, drop, asking_one]
    chosen.change(
        safely(lambda label, known: choose(label, known) if label and known else {status: gr.update()}),
        inputs=[chosen, ids],
        outputs=picked,
    )
    clicked.change(
        safely(
            lambda place, known: (
                {chosen: _label(_row(place, known), int(place) - 1)} if place else {status: gr.update()}
            )
        ),
        inputs=[clicked, ids],
        outputs=[status, chosen],
    )
    _paste_buttons({"txt2img": send_txt, "img2img": send_img}, infotext)

    def delete(place: Any, known: list[int], number: int, *values: Any) -> dict[Any, Any]:
        access.insist_private()
        recording.opened().delete([_row(place, known).id])
        return listed(number, *values)

    really_one.click(safely(delete), inputs=[chosen, ids, page, *filters], outputs=shown)

    def ask_one(place: Any, known: list[int]) -> dict[Any, Any]:
        _row(place, known)
        words = f"Delete row {str(place).partition(':')[0]} of the ledger? {tab_purge.CONFIRM}"
        return {asking_one: gr.update(visible=True), asking: gr.update(visible=False), status: said(words)}

    drop.click(safely(ask_one), inputs=[chosen, ids], outputs=[asking_one, asking, status])
    no_one.click(lambda: (gr.update(visible=False), ""), outputs=[asking_one, status])

    def question(age: Any, *values: Any, before: str = "") -> dict[Any, Any]:
        access.insist_private()
        wish = tab_purge.ask(age)
        words = tab_purge.question(wish, _query(0, *values))
        return {asked: wish, status: said(f"{before}\n{words}"), really: gr.update(value=wish.button())}

    def ask(*values: Any) -> dict[Any, Any]:
        opened = {asking: gr.update(visible=True), asking_one: gr.update(visible=False), days: tab_purge.DAYS}
        return {**question(tab_purge.DAYS, *values), **opened}

    purge.click(safely(ask), inputs=filters, outputs=[asking, asking_one, status, days, asked, really])
    unasked = guarded(status, lambda: {asked: None, really: gr.update(value="Delete them")})
    days.change(unasked(question), inputs=[days, *filters], outputs=[status, asked, really])
    no.click(lambda: (gr.update(visible=False), "", None), outputs=[asking, status, asked])

    def clear(age: Any, wish: Any, *values: Any) -> dict[Any, Any]:
        """Delete what was asked; when the field says another thing by now, or the ledger holds others, ask anew."""
        access.insist_private()
        if wish is None or tab_purge.days_of(age) != wish.days:
            return question(age, *values)
        count = tab_purge.purge(wish)
        if count is None:
            return question(age, *values, before=tab_purge.CHANGED)
        gone = f"{tab_purge.rows(count)} {'is' if count == 1 else 'are'} deleted."
        return {**listed(0, *values), status: gr.update(value=said(gone)), asked: None}

    really.click(unasked(clear), inputs=[days, asked, *filters], outputs=[*shown, asked, really])

    def gone() -> dict[Any, Any]:
        return {file: gr.update(value=None, visible=False)}

    def write(*values: Any) -> dict[Any, Any]:
        access.insist_private()
        path = access.new_file("hps-ledger", ".csv")
        with path.open("w", encoding="utf-8", newline="") as stream:
            count = recording.opened().export(stream, "csv", _query(0, *values))
        where = said(f"{tab_purge.rows(count)} {'is' if count == 1 else 'are'} written to {access.told(path)}.")
        return {status: gr.update(value=where), file: gr.update(value=str(path), visible=True)}

    export.click(guarded(status, gone)(write), inputs=filters, outputs=[status, file])
    for choice in filters:  # the file holds other rows than what is asked for now
        choice.change(gone, outputs=[file], queue=False, show_progress=False)


def _paste_buttons(buttons: dict[str, Any], infotext: Any) -> None:
    """Have the host read the text of the row into its own fields, as its PNG Info does."""
    from modules import infotext_utils

    for name, button in buttons.items():
        binding = infotext_utils.ParamBinding(paste_button=button, tabname=name, source_text_component=infotext)
        infotext_utils.register_paste_params_button(binding)


# --- rows -------------------------------------------------------------------------------------------------------------


def _query(number: int, search: Any, model: Any, sampler: Any, scorer: Any, source: Any, sort: Any) -> Query:
    from ...hpskit.ledger import Query

    return Query(
        search=str(search or ""),
        model=chosen_value(model),
        sampler=chosen_value(sampler),
        scorer=chosen_value(scorer),
        source=chosen_value(source),
        sort=SORT_LABELS.get(str(sort), "time"),
        limit=PAGE,
        offset=max(number, 0) * PAGE,
    )


def chosen_value(value: Any) -> str | None:
    """Return what a filter asks for; None for any."""
    text = str(value or "").strip()
    return None if text in ("", ANY) else text


def _page(number: int, *values: Any) -> tuple[tuple[Row, ...], int, int]:
    """Return the rows of a page, how many there are in all, and the number of the first; the last page at most."""
    ledger = recording.opened()
    query = _query(number, *values)
    found = ledger.rows(query)
    if not found.rows and found.total:
        query = _query((found.total - 1) // PAGE, *values)
        found = ledger.rows(query)
    return found.rows, found.total, query.offset


def _row(label: Any, known: list[int]) -> Row:
    """Return the row of a choice such as "23: 21.4000, seed 7", of the page with these ids."""
    from ...hpskit.errors import LedgerError

    access.insist_private()
    number = str(label).partition(":")[0]
    place = (int(number) - 1) % PAGE if number.isdecimal() and len(number) < 12 else -1
    row = recording.opened().row(known[place]) if 0 <= place < len(known) else None
    if row is None:
        raise LedgerError("Choose a row first; if it is gone, press Show.")
    return row


def _choices(components: tuple[Any, ...]) -> dict[Any, Any]:
    facets = recording.opened().facets(limit=100, longest=200)
    known = (facets.models, facets.samplers, facets.scorers)
    found = {part: [ANY, *(one.value for one in values)] for part, values in zip(components, known)}  # noqa: B905
    found[components[-1]] = [ANY, "webui", "comfyui", "cli"]
    return {part: gr.update(choices=values) for part, values in found.items()}


def _summary(total: int, at: int, count: int) -> str:
    off = recording.why_off()
    where = f"Rows {at + 1} to {at + count} of {total:,}." if total else "No row fits. Scored images appear here."
    return said(f"{where}\n{off}" if off else where)


def _table(found: tuple[Row, ...], at: int) -> str:
    if not found:
        return ""
    ledger = recording.opened()
    heads = ["", "Image", "Score", "Standing", "Seed", "Prompt and settings", "When"]
    shown = [
        [
            str(at + k + 1),
            Picture(ledger.thumbnail(row.id), f"Image of row {at + k + 1}"),
            Lines(f"{row.score:.4f}", row.scorer),
            _standing(row),
            row.seed,
            Lines(_cut(row.prompt, 240), settings_words(row), row.file),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(row.time)),
        ]
        for k, row in enumerate(found)
    ]
    note = said("Standing: standard deviations above the mean of all images of the same prompt, by the same scorer.")
    rows = table(heads, shown, numbers=(0, 2, 3, 4), names=[row[0] for row in shown])
    # The page leaves markup that is the same as before as it is, and with it the mark of a row that is not chosen now.
    return tag("div", {"data-shown": time.monotonic_ns()}, rows) + note


def _standing(row: Row) -> Lines:
    known = "only one" if row.standing is None else f"{row.standing:+.2f}"
    return Lines(known, f"of {row.group_n}")


def settings_words(row: Row) -> str:
    """Return how a picture was made, in one line."""
    parts = [
        row.model,
        " ".join(part for part in (row.sampler, row.scheduler) if part),
        f"{row.steps} steps" if row.steps is not None else "",
        f"CFG {row.cfg:g}" if row.cfg is not None else "",
        f"denoise {row.denoise:g}" if row.denoise is not None else "",
        f"{row.width}x{row.height}" if row.width else "",
        *(f"{name} {strength:g}" for name, strength in row.loras),
        "img2img" if row.extra.get("img2img") else "",
        f"optimised noise ({row.extra['method']})" if row.extra.get("method") else "",
        "Extras" if row.extra.get("extras") else "",
    ]
    return ", ".join(part for part in parts if part)


def _label(row: Row, at: int) -> str:
    seed = f", seed {row.seed}" if row.seed is not None else ""
    return f"{at + 1}: {row.score:.4f}{seed}, {_cut(row.prompt, 50)}"


def _cut(words: str, most: int) -> str:
    line = " ".join(words.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def infotext_of(row: Row) -> str:
    """Return the host's own text of a picture, or one made of what the row knows."""
    kept = row.extra.get("infotext")
    if isinstance(kept, str) and kept:
        return kept
    known = {
        "Steps": row.steps,
        "Sampler": row.sampler,
        "Schedule type": row.scheduler,
        "CFG scale": None if row.cfg is None else f"{row.cfg:g}",
        "Seed": row.seed,
        "Size": f"{row.width}x{row.height}" if row.width else None,
        "Model": row.model,
    }
    settings = ", ".join(f"{name}: {value}" for name, value in known.items() if value not in (None, ""))
    negative = f"Negative prompt: {row.negative}" if row.negative else ""
    return "\n".join(part for part in (row.prompt, negative, settings) if part)
