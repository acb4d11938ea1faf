"""The scorers on this machine: what is here, what can be downloaded, and what is in memory."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..bridge import access, downloads, host
from .view import Lines, guarded, guarded_steps, said, table, trouble


def build(part: Any) -> None:
    """Build the part and wire it; the list is made when the part is opened."""
    with gr.Row():
        name = gr.Dropdown([], label="Not on this machine", elem_id="hps_models_name", scale=2)
        get = gr.Button("Download", variant="primary", elem_id="hps_models_download")
        stop = gr.Button("Stop the download", visible=False, elem_id="hps_models_stop")
        unload = gr.Button("Unload all scorers from memory", elem_id="hps_models_unload")
        refresh = gr.Button("Refresh", elem_id="hps_models_refresh")
    status = gr.HTML(elem_id="hps_models_status")
    listing = gr.HTML(said("Press Refresh."), elem_id="hps_models_list")

    def listed() -> dict[Any, Any]:
        missing = [label for label, _ in sorted(downloads.choices(), key=lambda one: _place(one[1]))]
        return {
            listing: gr.update(value=_listing()),
            name: gr.update(choices=missing, value=missing[0] if missing else None),
            status: gr.update(value=_state()),
            stop: gr.update(visible=downloads.status().running),
        }

    def fetched(label: Any) -> Any:
        access.insist_private()
        known = dict(downloads.choices())
        if label not in known:
            yield {status: gr.update(value=said("Choose a scorer that is not on this machine."))}
            return
        for line in downloads.followed(known[label]):
            yield {status: gr.update(value=said(line)), stop: gr.update(visible=downloads.status().running)}
        yield listed()

    def stopped() -> dict[Any, Any]:
        access.insist_private()
        downloads.cancel()
        return {status: gr.update(value=said("Stopping. What has arrived is kept."))}

    def unloaded() -> dict[Any, Any]:
        from modules.call_queue import queue_lock

        with queue_lock:
            count = host.unload()
        words = "No scorer was in memory." if not count else f"Unloaded: {count}. The next score reads it again."
        return {status: gr.update(value=said(words)), listing: gr.update(value=_listing())}

    safely, shown = guarded(status), [listing, name, status, stop]
    refresh.click(safely(listed), outputs=shown)
    part.select(safely(listed), outputs=shown)
    get.click(guarded_steps(status)(fetched), inputs=[name], outputs=shown)
    stop.click(safely(stopped), outputs=[status])
    unload.click(safely(unloaded), outputs=[status, listing])


def _state() -> str:
    """Return how the download stands, and set off why it ended early."""
    now = downloads.status()
    return trouble(now.words()) if now.error and not now.stopped else said(now.words())


def _place(name: str) -> tuple[int, str]:
    """Order scorers as a person looks for them: the panel's own first, the miniatures last."""
    if name == host.plain_name(host.default_scorer()):
        return 0, name
    return (2 if name in host.MINIATURES.values() else 1), name


def _listing() -> str:
    from ...hpskit.cards import load_cards
    from ...hpskit.errors import HpsError

    rows = []
    for one in sorted(load_cards().values(), key=lambda each: _place(each.id)):
        size = sum(file.bytes or 0 for file in one.files) / 1e9
        try:
            files = host.locate(one.id)
            where = "here" if all(file.shipped for file in one.files) else _places(files)
        except HpsError:
            where = "not on this machine"
        shipped = all(file.shipped for file in one.files)
        rows.append(
            [Lines(one.name, one.id), one.domain, "shipped" if shipped else f"{size:.1f} GB", one.licence, where]
        )
    memory = len(host._recent)
    loaded = f"In memory now: {memory} scorer{'' if memory == 1 else 's'}." if memory else "No scorer is in memory now."
    where = access.told(host.models_folder())
    note = f"Put files into {where}, or name a further folder in the settings under HPS.\n{loaded}"
    return table(["Scorer", "Judges", "Size", "Licence", "Files"], rows, numbers=(2,)) + said(note)


def _places(files: Any) -> str:
    return ", ".join(dict.fromkeys(access.told(path) for path in files.values()))
