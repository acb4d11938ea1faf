"""The host's X/Y/Z plot with scores: axes, options, tables beside the grid; run by test_plots.py."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from webui_inside import Made, data, digest, in_thread, kind, script, stop_at, txt2img, values

SCORE = {"mode": "score", "scorer": "hps-tiny-shapes"}
BEST = {"mode": "best-of-n", "scorer": "hps-tiny-shapes", "candidates": 3}


def plot(
    axes: dict[str, tuple[str, str]], panel: Any = SCORE, changed: dict[str, Any] | None = None, **job: Any
) -> Made:
    """Make a plot; `axes` names kind and values by letter."""
    labels = [option.label for option in script("X/Y/Z plot").current_axis_options]
    chosen: dict[str, Any] = {}
    for letter in "XYZ":
        name, text = axes.get(letter, ("Nothing", ""))
        chosen |= {f"{letter} type": labels.index(name), f"{letter} values": text}
    panel_values = values("X/Y/Z plot", {**chosen, "Use text inputs instead of dropdowns": True, **(changed or {})})
    return txt2img(panel, script="X/Y/Z plot", script_args=panel_values, **job)


def rows(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_text("utf-8"))))


@contextmanager
def tables() -> Iterator[list[Path]]:
    """Give the tables that were written meanwhile, sorted by time."""
    folder = data / "outputs" / "grids"
    before, found = set(folder.rglob("*.hps.csv")), []
    yield found
    found += sorted(set(folder.rglob("*.hps.csv")) - before, key=lambda file: file.stat().st_mtime)


def sound(made: Made) -> None:
    assert not made.errors, made.log


def check_a_plot_of_three_axes_has_a_row_for_every_cell() -> dict[str, Any]:
    axes = {"X": ("Seed", "1, 2"), "Y": ("Steps", "1, 2"), "Z": ("CFG Scale", "3, 5")}
    with tables() as found:
        made = plot(axes, save=True)
    sound(made)
    [table] = found
    made_rows = rows(table)
    assert [(row["Seed"], row["Steps"], row["CFG Scale"]) for row in made_rows] == [
        (x, y, z) for z in ("3.0", "5.0") for y in ("1", "2") for x in ("1", "2")
    ], made_rows
    for row in (made_rows[0], made_rows[-1]):
        alone = txt2img(SCORE, seed=int(row["seed"]), steps=int(row["Steps"]), cfg_scale=float(row["CFG Scale"]))
        assert alone.scores[0] is not None and abs(alone.scores[0] - float(row["score"])) < 1e-3, (row, alone.scores)
    page = table.with_name(table.name.replace(".csv", ".html")).read_text("utf-8")
    assert page.count("<img") >= 8, page[:500]
    grid = table.with_name(table.name.replace(".hps.csv", ".png"))
    assert grid.is_file(), sorted(table.parent.iterdir())
    return {"rows": len(made_rows), "said": made.processed.comments}


def check_sub_images_and_sub_grids_are_those_of_the_plot_alone() -> dict[str, Any]:
    axes = {"X": ("Seed", "1, 2"), "Z": ("Steps", "1, 2")}
    counts = {}
    for images in (False, True):
        for grids in (False, True):
            changed = {"Include Sub Images": images, "Include Sub Grids": grids}
            with tables() as found:
                plain, made = (plot(axes, panel, changed, save=True) for panel in (None, SCORE))
            sound(made)
            [table] = found
            shown = [one.processed for one in (plain, made)]
            assert len(shown[0].images) == len(shown[1].images) == len(shown[1].infotexts) if images else True
            assert len(shown[0].images) == len(shown[1].images), (images, grids)
            assert len(rows(table)) == 4
            if images:  # cells without scores on them, whose pixels are the plot's own
                cells = [[digest(one) for one in each.images[-4:]] for each in shown]
                assert cells[0] == cells[1], (images, grids)
            counts[f"images {images}, grids {grids}"] = len(shown[1].images)
    return counts


def check_scores_stand_on_the_grid_and_not_on_the_images() -> None:
    axes = {"X": ("Seed", "1, 2")}
    plain, made = (plot(axes, panel, {"Include Sub Images": True}) for panel in (None, SCORE))
    assert digest(plain.processed.images[0]) != digest(made.processed.images[0])
    assert [digest(one) for one in plain.processed.images[1:]] == [digest(one) for one in made.processed.images[1:]]


def check_seeds_that_are_kept_at_minus_one_differ_between_cells() -> dict[str, Any]:
    found = {}
    for panel in (SCORE, BEST):
        with tables() as files:
            made = plot({"X": ("Steps", "1, 2, 3")}, panel, {"Keep -1 for seeds": True}, seed=-1, save=True)
        sound(made)
        seeds = [row["seed"] for row in rows(files[0])]
        assert len(set(seeds)) == 3 and "-1" not in seeds, seeds
        found[str(panel["mode"])] = [seeds, made.processed.comments]
    return found


def check_two_plots_one_after_the_other_do_not_mix() -> None:
    with tables() as found:
        first = plot({"X": ("Seed", "1, 2, 3")}, save=True)
        second = in_thread(lambda: plot({"X": ("Seed", "7, 8")}, save=True))  # the API has a thread for every request
    sound(first)
    sound(second)
    assert [[row["seed"] for row in rows(file)] for file in found] == [["1", "2", "3"], ["7", "8"]]
    assert "2 of" not in first.processed.comments and str(found[0].with_suffix(".html")) in first.processed.comments
    assert str(found[1].with_suffix(".html")) in second.processed.comments


def check_an_interrupted_plot_leaves_a_table_of_what_exists() -> dict[str, Any]:
    with tables() as found, stop_at(8):  # two calls a picture: in the middle of the fourth
        made = plot({"X": ("Seed", "1, 2, 3"), "Y": ("CFG Scale", "3, 5")}, save=True, steps=2)
    sound(made)
    [table] = found
    made_rows = rows(table)
    assert len(made_rows) == 3, made_rows
    assert table.with_suffix(".html").is_file()
    assert "3 of 6 cells have no score" in made.processed.comments, made.processed.comments
    return {"said": made.processed.comments}


def check_our_axes_do_what_they_say() -> dict[str, Any]:
    known = {row.seeds[0]: row.scores[0] for row in (txt2img(SCORE, seed=seed) for seed in range(1, 6))}
    axes = {"X": ("[HPS] Candidates", "2, 5"), "Y": ("[HPS] Mode", "best-of-n, best-of-n-first-pass")}
    with tables() as found:
        made = plot(axes, BEST, save=True)
    sound(made)
    best = {count: max(range(1, count + 1), key=lambda seed: known[seed]) for count in (2, 5)}
    assert [int(row["seed"]) for row in rows(found[0])] == [best[2], best[5]] * 2, (rows(found[0]), known)
    made = plot({"X": ("[HPS] Mode", "off, score, best-of-n")}, BEST, {"Include Sub Images": True})
    sound(made)
    texts = made.processed.infotexts[-3:]
    assert ["HPS score" in text for text in texts] == [False, True, True], texts
    return {"known": known, "said": made.processed.comments}


def check_an_axis_of_the_scorer_is_not_compared() -> dict[str, Any]:
    with tables() as found:
        made = plot({"X": ("[HPS] Scorer", "hps-tiny-shapes, hps-tiny-judge")}, save=True)
    sound(made)
    assert [row["scorer"] for row in rows(found[0])] == ["hps-tiny-shapes", "hps-tiny-judge"]
    assert "best cell" not in made.processed.comments, made.processed.comments
    return {"said": made.processed.comments}


def check_checkpoints_are_an_axis() -> dict[str, Any]:
    names = ["small15", second_checkpoint()]
    with tables() as found:
        made = plot({"X": ("Checkpoint name", ", ".join(names)), "Y": ("Seed", "1, 2")}, save=True)
    sound(made)
    made_rows = rows(found[0])
    assert len(made_rows) == 4, made_rows
    scores = {(row["Checkpoint name"], row["seed"]): float(row["score"]) for row in made_rows}
    by_seed = [[value for (_, seed), value in scores.items() if seed == wanted] for wanted in ("1", "2")]
    assert all(abs(one - other) > 1e-3 for one, other in by_seed), scores
    known = [txt2img(SCORE, seed=seed).scores[0] for seed in (1, 2)]  # the host is back at its own checkpoint
    own = [float(row["score"]) for row in made_rows if names[0] in row["Checkpoint name"]]
    assert all(abs(one - other) < 1e-3 for one, other in zip(own, known, strict=True)), (own, known)
    ledger = models_of_last(4)
    assert len(set(ledger)) == 2, ledger
    return {"scores": [*map(str, scores.items())], "ledger": ledger, "said": made.processed.comments}


def models_of_last(count: int) -> list[str]:
    from webui_inside import pack

    ledger = pack("hpskit_webui.record.recording").opened()
    page = ledger.rows(pack("hpskit.ledger").Query(sort="time", limit=count + 2))
    return [row.model for row in page.rows][:count]


def second_checkpoint() -> str:
    """Write another checkpoint, whose pictures differ, and return its name."""
    from modules import sd_models
    from safetensors.torch import load_file, save_file

    folder = data / "models" / "Stable-diffusion"
    target = folder / "other15.safetensors"
    if not target.exists():
        weights = load_file(str(folder / "small15.safetensors"))
        name = next(name for name in weights if name.endswith("out.2.bias"))
        weights[name] = weights[name] + 0.5
        save_file(weights, str(target))
        if kind == "a1111":
            shutil.copy(folder / "small15.yaml", folder / "other15.yaml")
    sd_models.list_models()
    return "other15"


def check_comparing_checkpoints_leaves_the_host_with_its_own() -> dict[str, Any]:
    names = ["small15", second_checkpoint()]
    known = txt2img(SCORE, seed=60)
    given = {"x": "Checkpoint name", "x_values": ", ".join(names), "seeds": 1, "first_seed": 60}
    said = []
    for _ in range(2):  # made, and then only found
        made = txt2img(None, script="HPS compare settings", script_args=[{**given, "scorer": "hps-tiny-shapes"}])
        sound(made)
        said.append(made.processed.comments)
        after = txt2img(SCORE, seed=60)
        assert "Model: small15" in after.infotexts[0], after.infotexts
        assert digest(after.images[0]) == digest(known.images[0])
    assert len(made.images) == 1 and known.scores[0] is not None
    return {"said": said, "score": known.scores}
