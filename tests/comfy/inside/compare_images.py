"""Checks of HPS_CompareImages."""

from __future__ import annotations

import math
from typing import Any

import torch
from comfy_inside import Graph, Run, images, pack

DEFAULTS = {
    "columns": "a\nb",
    "rows": "",
    "rows_are": "seeds",
    "order": "row by row",
    "batches": "auto",
    "reference": "",
    "prompt": "a red fox",
    "clean_prompt": True,
    "match_saved_file": True,
    "cell_size": 64,
}


class ByBrightness:
    """Scorer whose score is the mean brightness times 100; it keeps what it was asked."""

    def __init__(self, name: str = "bright", sign: float = 1.0) -> None:
        types = pack("hpskit.types")
        self.types, self.sign, self.asked = types, sign, list[Any]()
        self.info = types.ScorerInfo(name, name.title(), "fake", "1", "none", "float32")

    def score(self, given: Any, prompts: Any) -> Any:
        pictures = list(given)
        self.asked.append((len(pictures), prompts))
        texts = (prompts,) * len(pictures) if isinstance(prompts, str) else tuple(prompts)
        values = torch.stack([self.sign * picture.mean() * 100 for picture in pictures])
        return self.types.Scores(values, self.info, texts)


def grey(levels: list[float], side: int = 32, height: int | None = None) -> Any:
    """Return a batch of plain images of these levels."""
    shape = (len(levels), height or side, side, 3)
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(shape).clone()


def compare(given: list[Any], scorer: Any = None, **inputs: Any) -> Run:
    graph = Graph()
    links = {**DEFAULTS}
    if given:
        links["images"] = graph.give(given[0]) if len(given) == 1 else graph.give_list(given)
    if "score_table" not in inputs:
        links["scorer"] = graph.give(scorer or ByBrightness())
    for name, value in inputs.items():
        links[name] = graph.give_list(value) if isinstance(value, list) else value
    if "score_table" in inputs:
        links["score_table"] = graph.give(inputs["score_table"])
    node = graph.node("HPS_CompareImages", **links)
    run = graph.run(*(node[slot] for slot in range(5)))
    run.node = node.id
    return run


def study(run: Run) -> Any:
    assert run.ok, run.error
    return run[0][0].study


def levels(found: Any) -> dict[tuple[str, str, str], float]:
    """Return the scores of a study by setting, prompt and seed."""
    return {
        (found.settings[cell.setting].label, found.prompts[cell.prompt], found.seeds[cell.seed]): round(cell.score)
        for cell in found.cells
    }


def error_of(run: Run, name: str = "StudyError") -> str:
    assert not run.ok and run.error_type.endswith(f"errors.{name}"), (run.ok, run.error_type, run.error)
    return run.error


def check_one_batch_row_by_row_with_seeds() -> None:
    batch = grey([0.1, 0.6, 0.2, 0.7, 0.3, 0.8])
    before = batch.clone()
    run = compare([batch], rows="11\n12\n13")
    found = study(run)
    want = {("a", "11"): 10, ("b", "11"): 60, ("a", "12"): 20, ("b", "12"): 70, ("a", "13"): 30, ("b", "13"): 80}
    assert levels(found) == {(s, "a red fox", k): value for (s, k), value in want.items()}, levels(found)
    assert torch.equal(batch, before)
    result = run[0][0]
    assert result.analysis.order == (1, 0) and abs(result.analysis.comparisons[0].difference - 50) < 0.5
    assert run[4][0] == "b" and run[3][0] == result.analysis.headline and run[3][0] in " ".join(run[2][0].split())
    assert run[1][0].shape[0] == 1 and run[1][0].shape[-1] == 3 and run[1][0].shape[1] > 3 * 64


def check_columns_first_and_lists_of_single_images_give_the_same() -> None:
    whole = levels(study(compare([grey([0.1, 0.6, 0.2, 0.7])])))
    by_column = levels(
        study(compare([grey([0.1, 0.2]), grey([0.6, 0.7])], order="column by column", batches="whole grids"))
    )
    single = levels(study(compare([grey([level]) for level in (0.1, 0.6, 0.2, 0.7)])))
    assert whole == by_column == single


def check_a_batch_of_seeds_for_every_setting() -> None:
    found = study(compare([grey([0.1, 0.2, 0.3]), grey([0.6, 0.7, 0.8])]))
    assert levels(found)["b", "a red fox", "2"] == 70 and len(found.seeds) == 3
    assert any("Every batch of 3" in note for note in found.notes), found.notes


def check_labels_come_as_lists_and_name_the_axis() -> None:
    found = study(compare([grey([0.1, 0.6, 0.2, 0.7])], columns=["cfg: 4", "cfg: 7"], rows=["x", "y"]))
    assert [axis.name for axis in found.axes] == ["cfg"] and found.seeds == ("x", "y")
    assert found.settings[1].values == {"cfg": "7"}


def check_rows_of_prompts() -> None:
    scorer = ByBrightness()
    batch = grey([0.1, 0.6, 0.2, 0.7])
    for given in (
        {"prompt": ["a (fox:1.2)", "a dog"]},
        {"prompt": "a fox\na dog"},
        {"prompt": "", "rows": "a fox\na dog"},
    ):
        found = study(compare([batch], scorer, **{"rows": "one\ntwo", **given}, rows_are="prompts"))
        assert found.prompts == ("a fox", "a dog"), found.prompts
        assert levels(found)["b", "a dog", "1"] == 70
    assert scorer.asked[0] == (4, ["a fox", "a fox", "a dog", "a dog"]), scorer.asked


def check_rows_of_settings() -> None:
    run = compare([grey([0.1, 0.6, 0.2, 0.7])], columns="euler, heun", rows="cfg: 4\ncfg: 7", rows_are="settings")
    found = study(run)
    assert [setting.label for setting in found.settings][2] == "euler, cfg: 7" and len(found.axes) == 2
    assert any("one image of every setting" in note.lower() for note in found.notes), found.notes
    assert "shows nothing" in " ".join(run[2][0].split())
    several = study(compare([grey([0.1, 0.6, 0.2, 0.7])] * 3, columns="euler, heun", rows="4, 7", rows_are="settings"))
    assert len(several.seeds) == 3 and not any("shows nothing" in note for note in several.notes)


def check_images_of_different_sizes() -> None:
    found = study(compare([grey([0.1]), grey([0.6], 48, 24), grey([0.2]), grey([0.7], 16)]))
    assert {(cell.width, cell.height) for cell in found.cells} == {(32, 32), (48, 24), (16, 16)}


def check_counts_that_do_not_fit_are_explained_before_anything_is_scored() -> None:
    scorer = ByBrightness()
    assert "3 columns x 2 rows make 6 places, but there are 5 images" in error_of(
        compare([grey([0.1] * 5)], scorer, columns="a\nb\nc", rows="x\ny")
    )
    assert "no column labels" in error_of(compare([grey([0.1] * 4)], scorer, columns=""))
    assert "share one" in error_of(compare([grey([0.1] * 4)], scorer, prompt=["a", "b"]))
    assert "one column only" in error_of(compare([grey([0.1] * 4)], scorer, columns="a"))
    assert 'No column is called "c"' in error_of(compare([grey([0.1] * 4)], scorer, reference="c"))
    assert "no images" in error_of(compare([], scorer))
    assert not scorer.asked


def check_a_scorer_is_asked_for() -> None:
    graph = Graph()
    node = graph.node("HPS_CompareImages", **DEFAULTS, images=graph.give(grey([0.1] * 4)))
    assert "Connect a scorer" in error_of(graph.run(node[0]))


def check_the_reference_is_found_by_its_label_or_value() -> None:
    batch = grey([0.1, 0.6, 0.2, 0.7])
    for label in ("cfg: 7", "CFG: 7", "7"):
        assert study(compare([batch], columns="cfg: 4\ncfg: 7", reference=label)).reference == 1


def check_it_is_scored_in_small_parts() -> None:
    scorer = ByBrightness()
    found = study(compare([grey([k / 100 for k in range(50)])], scorer))
    assert len(found.cells) == 50 and max(count for count, _ in scorer.asked) <= 8
    assert sum(count for count, _ in scorer.asked) == 50
    assert levels(found)["b", "a red fox", "25"] == 49


def check_images_with_nan_get_no_score() -> None:
    batch = grey([0.1, 0.6, 0.2, 0.7, 0.3, 0.8])
    batch[2, 0, 0, 0] = math.nan
    run = compare([batch])
    found = study(run)
    missing = [cell for cell in found.cells if math.isnan(cell.score)]
    assert len(missing) == 1 and (missing[0].setting, missing[0].seed) == (0, 1)
    assert "image 3 (a)" in " ".join(run[2][0].split()), run[2][0]


def check_scores_of_a_table_are_taken_as_they_are() -> None:
    graph = Graph()
    ensemble = pack("hpskit.scorers").EnsembleScorer(
        {"bright": ByBrightness(), "dark": ByBrightness("dark", -1.0)}, {"bright": 1.0, "dark": 1.0}, "zsum"
    )
    score = graph.node(
        "HPS_Score",
        scorer=graph.give(ensemble),
        images=graph.give(grey([0.1, 0.6, 0.2, 0.7])),
        prompt="a red fox",
        clean_prompt=True,
        match_saved_file=True,
    )
    node = graph.node("HPS_CompareImages", **DEFAULTS, score_table=score[2])
    run = graph.run(node[0], score[2])
    found = run[0][0].study
    assert run.ok and levels(found)["b", "a red fox", "2"] == 70
    assert found.scorer.id == "bright" and found.part_names == {"bright": "Bright", "dark": "Dark"}
    assert all(abs(cell.parts["dark"] + cell.parts["bright"]) < 1e-4 for cell in found.cells)
    assert all(cell.thumbnail and cell.image_hash for cell in found.cells)
    table = run[1][0]
    assert "5 images but 4 scores" in error_of(compare([grey([0.1] * 5)], score_table=table))
    assert "6 places" in error_of(compare([], score_table=table, columns="a\nb\nc", rows="1\n2"))
    assert "1 prompts" in error_of(compare([], score_table=table, rows="1\n2", rows_are="prompts"))


def check_a_table_of_several_prompts_needs_rows_that_are_prompts() -> None:
    graph = Graph()
    score = graph.node(
        "HPS_Score",
        scorer=graph.give(ByBrightness()),
        images=graph.give(grey([0.1, 0.6, 0.2, 0.7])),
        prompt=graph.give_list(["a fox", "a fox", "a dog", "a dog"]),
        clean_prompt=True,
        match_saved_file=True,
    )
    table = graph.run(score[2])[0][0]
    found = study(compare([], score_table=table, rows_are="prompts", rows=""))
    assert found.prompts == ("a fox", "a dog") and levels(found)["b", "a dog", "1"] == 70
    assert "2 prompts" in error_of(compare([], score_table=table))
    mixed = error_of(compare([], score_table=table, rows_are="prompts", rows="x\ny", order="column by column"))
    assert "different prompts" in mixed and '"x"' in mixed


def check_the_interface_gets_the_study_with_pictures() -> None:
    run = compare([grey([0.1, 0.6, 0.2, 0.7])], rows="11\n12")
    (data,) = run.ui[run.node]["hps"]
    assert (data["v"], data["kind"], data["settings"], data["seeds"]) == (1, "study", ["a", "b"], ["11", "12"])
    assert [(cell["s"], cell["k"]) for cell in data["cells"]] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert all(cell["thumb"]["type"] == "temp" and cell["entry"] for cell in data["cells"])
    assert data["headline"] == run[3][0] and run.ui[run.node]["text"] == run[2]


def check_every_image_is_recorded_with_its_setting() -> None:
    ledger = pack("nodes.recording").the_ledger()
    ledger.purge()
    found = study(compare([images(4)], prompt="a (red:1.3) fox"))
    rows = {row.id: row for row in ledger.rows().rows}
    assert len(rows) == 4 and {row.prompt for row in rows.values()} == {"a red fox"}
    for cell in found.cells:
        row = rows[cell.entry]
        assert abs(row.score - cell.score) < 1e-6 and row.image_hash == cell.image_hash
        assert row.extra["setting"] == found.settings[cell.setting].label and row.seed is None


def check_an_interrupt_keeps_what_was_scored() -> None:
    import comfy.model_management as mm

    ledger = pack("nodes.recording").the_ledger()
    ledger.purge()

    class Stopping(ByBrightness):
        def score(self, given: Any, prompts: Any) -> Any:
            scores = super().score(given, prompts)
            if len(self.asked) == 2:
                mm.interrupt_current_processing()
            return scores

    run = compare([grey([k / 100 for k in range(40)])], Stopping())
    assert run.interrupted and ledger.rows().total == 16
