"""HPS_CompareSettings on the shipped miniature: outputs, events, rows, what is refused and what is said."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import comfy.model_management as mm
import torch
from comfy_inside import Graph, Run, pack, server

STUDY, GRID, TABLE, VERDICT, BEST = range(5)
DEFAULTS = {
    "prompts": "a red circle\na blue square",
    "negative_text": "",
    "samplers": "euler, heun",
    "schedulers": "simple",
    "steps": "2, 4",
    "cfgs": "2",
    "shifts": "",
    "loras": "",
    "checkpoints": "",
    "prompt_variants": "",
    "reference": "",
    "first_seed": 7,
    "seeds_per_prompt": 3,
    "denoise": 1.0,
    "clean_prompt": True,
    "match_saved_file": True,
    "chunk": 0,
    "exact": False,
    "cell_size": 64,
    "max_seconds": 0.0,
}


def embedded(**changed: Any) -> tuple[Graph, Any]:
    """Return a graph that compares on the shipped miniature."""
    graph = Graph()
    loader = graph.node("HPS_LoadEmbedded", prompt=pack("hpskit.embedded").EXAMPLE_PROMPTS[0])
    judge = {"mode": "auto", "dtype": "auto", "download": False, "backbone": "auto"}
    scorer = graph.node("HPS_LoadScorer", scorer=pack("nodes.host").TINY_CHOICE, **judge)
    latent = graph.node("EmptySD3LatentImage", width=128, height=128, batch_size=1)
    links = {"model": loader[0], "vae": loader[2], "scorer": scorer[0], "latent_image": latent[0], "clip": loader[1]}
    return graph, graph.node("HPS_CompareSettings", **{**links, **DEFAULTS, **changed})


def ledger() -> Any:
    found = pack("nodes.recording").the_ledger()
    assert found is not None
    return found


def run(graph: Graph, node: Any) -> Run:
    done = graph.run(*(node[k] for k in range(5)))
    assert done.ok, done.error
    return done


def study_of(done: Run) -> Any:
    return done[STUDY][0].study


@contextlib.contextmanager
def stopping(after: int) -> Iterator[None]:
    """Interrupt the run once so many cells are told; every chunk is told at once."""
    watch = pack("nodes.compare_watch")
    seconds, watch.SECONDS = watch.SECONDS, 0.0

    def stop(name: str, data: Any) -> None:
        if name == "hps.compare" and data["done"] >= after:
            mm.interrupt_current_processing()

    server.listener = stop
    try:
        yield
    finally:
        server.listener, watch.SECONDS = None, seconds


class Calls:
    """Counts the images that are sampled, and may make some of them fail."""

    def __init__(self, spoil: Any = None) -> None:
        self.seeds: list[int] = []
        self._sampling, self._spoil = pack("nodes.sampling").Sampling, spoil

    def __enter__(self) -> Calls:
        self._original = original = self._sampling.__call__

        def counted(job: Any, seeds: Any) -> Any:
            if self._spoil is not None:
                self._spoil(job, seeds)
            made = original(job, seeds)
            self.seeds += seeds
            return made

        self._sampling.__call__ = counted
        return self

    def __exit__(self, *_: object) -> None:
        self._sampling.__call__ = self._original


def check_a_comparison_hands_on_study_grid_table_and_verdict() -> None:
    ledger().purge()
    done = run(*embedded())
    result = done[STUDY][0]
    study, analysis = result.study, result.analysis
    assert [axis.name for axis in study.axes] == ["sampler", "steps"] and len(study.settings) == 4
    assert len(study.cells) == study.size == 4 * 2 * 3 and study.seeds == ("7", "8", "9")
    assert all(math.isfinite(cell.score) and cell.thumbnail and cell.entry for cell in study.cells)
    assert all(cell.width == cell.height == 256 and cell.contrast and cell.saturation for cell in study.cells)
    grid = done[GRID][0]
    assert grid.ndim == 4 and grid.shape[0] == 1 and grid.shape[3] == 3 and grid.min() >= 0 and grid.max() <= 1
    assert done[VERDICT] == [analysis.headline] and study.settings[analysis.order[0]].label == done[BEST][0]
    assert analysis.headline.split(".")[0] in " ".join(done[TABLE][0].split())


def check_cost_is_counted() -> None:
    """euler asks once a step, heun twice but for the last; guidance asks both sides."""
    ledger().purge()
    for exact in (False, True):
        study = study_of(run(*embedded(exact=exact, first_seed=100 + exact)))
        said = dict(study.facts)
        asked = [int(said[f"cost of {setting.label}"].split()[0]) for setting in study.settings]
        assert asked == [4, 8, 6, 14], asked
        assert any("4 to 14 model evaluations" in note for note in study.notes)


def check_rows_tell_the_true_settings() -> None:
    ledger().purge()
    study = study_of(run(*embedded(cfgs="1, 2", denoise=0.9, negative_text="green")))
    for cell in study.cells:
        row, values = ledger().row(cell.entry), study.settings[cell.setting].values
        assert (row.sampler, str(row.steps), f"{row.cfg:g}") == (values["sampler"], values["steps"], values["cfg"])
        assert row.scheduler == "simple" and row.denoise == 0.9 and row.negative == "green"
        assert row.prompt == study.prompts[cell.prompt] and str(row.seed) == study.seeds[cell.seed]
        assert row.image_hash == cell.image_hash and row.score == cell.score and row.has_workflow
    assert len({row.extra["study"] for row in ledger().rows().rows}) == 1
    assert any("CFG differs" in note for note in study.notes)


def check_events_and_end_carry_every_cell() -> None:
    ledger().purge()
    graph, node = embedded()
    done = run(graph, node)
    sent = [data for name, data in done.events if name == "hps.compare"]
    cells = {(cell["s"], cell["p"], cell["k"]): cell for data in sent for cell in data["cells"]}
    assert len(cells) == 24 and sent[0]["done"] == 0 and sent[-1]["done"] == sent[-1]["total"] == 24
    assert sent[0]["settings"][1] == "euler, 4 steps" and sent[0]["seeds"] == ["7", "8", "9"]
    assert all(cell["thumb"]["type"] == "temp" and cell["entry"] and cell["score"] for cell in cells.values())
    assert sent[-1]["eta"] == 0 and sent[-1]["node"] == node.id and len({data["run"] for data in sent}) == 1
    (end,) = done.ui[node.id]["hps"]
    assert end["kind"] == "study" and len(end["cells"]) == 24 and end["run"] == sent[0]["run"]
    assert end["headline"] == done[VERDICT][0] and end["table"] == done[TABLE][0] == done.ui[node.id]["text"][0]
    assert len(end["comparisons"]) == 3 and len(end["standings"]) == 4 and end["units"] in ("prompts", "seeds")
    bars = [data for name, data in done.events if name == "progress"]
    assert bars[-1]["value"] == bars[-1]["max"] == 2 * 3 * (2 + 4 + 2 + 4)
    assert [bar["value"] for bar in bars] == sorted(bar["value"] for bar in bars)
    assert any(name == "preview" for name, _ in done.events)


# --- found again -----------------------------------------------------------------------------------------------------


def check_what_is_known_is_not_sampled_again() -> None:
    ledger().purge()
    with Calls() as first:
        one = run(*embedded())
    with Calls() as second:
        two = run(*embedded(cell_size=96))
    assert len(first.seeds) == 24 and second.seeds == []
    assert [cell.score for cell in study_of(one).cells] == [cell.score for cell in study_of(two).cells]
    assert one[VERDICT] == two[VERDICT] and one[BEST] == two[BEST]
    assert [cell.thumbnail for cell in study_of(one).cells] == [cell.thumbnail for cell in study_of(two).cells]
    assert dict(study_of(two).facts)["images"].startswith("0 sampled now, 24 found")
    asked = [value for name, value in study_of(two).facts if name.startswith("cost of")]
    assert len(asked) == 4 and "evaluations" in asked[0]
    with Calls() as third:
        run(*embedded(samplers="euler, heun, dpmpp_2m", seeds_per_prompt=4))
    assert len(third.seeds) == 3 * 2 * 2 * 4 - 24


def check_an_interrupt_loses_nothing() -> None:
    """Stopped in the middle, run again: only what is missing is sampled, and the result is the same."""
    ledger().purge()
    whole = run(*embedded(first_seed=50))
    ledger().purge()
    graph, node = embedded(first_seed=50, cell_size=72)  # another graph: the host would hand on what it has
    with stopping(9), Calls() as first:
        stopped = graph.run(node[STUDY])
    assert stopped.interrupted and not stopped.ok and 9 <= len(first.seeds) < 24
    with Calls() as second:
        resumed = run(*embedded(first_seed=50, cell_size=72))
    assert len(first.seeds) + len(second.seeds) == 24
    a, b = study_of(whole), study_of(resumed)
    assert [cell.image_hash for cell in a.cells] == [cell.image_hash for cell in b.cells]
    assert [cell.score for cell in a.cells] == [cell.score for cell in b.cells] and whole[VERDICT] == resumed[VERDICT]


def check_an_interrupt_stops_within_a_step() -> None:
    """Counted in steps of images: bars of newer hosts leave out most of what they are told."""
    ledger().purge()
    graph, node = embedded(steps="200", samplers="euler", seeds_per_prompt=8, first_seed=60)
    watch = pack("nodes.compare_watch").CompareWatch
    original, asked = watch.on_step, list[int]()

    def on_step(self: Any, position: int, report: Any) -> None:
        asked.append(position)
        if len(asked) == 20:
            mm.interrupt_current_processing()
        original(self, position, report)

    watch.on_step = on_step
    try:
        stopped = graph.run(node[STUDY])
    finally:
        watch.on_step = original
    assert stopped.interrupted and not stopped.ok and len(asked) == 20, len(asked)
    assert not ledger().rows().rows, "no image was finished"


def check_while_recording_is_off_a_stopped_run_goes_on() -> None:
    settings = pack("nodes.settings")
    original = settings._why_off
    settings._why_off = lambda stored: "off for this check"
    try:
        graph, node = embedded(first_seed=70)
        with stopping(6), Calls() as first:
            assert graph.run(node[STUDY]).interrupted
        with Calls() as second:
            done = run(*embedded(first_seed=70))
    finally:
        settings._why_off = original
    assert len(first.seeds) + len(second.seeds) == 24 and len(second.seeds) < 24
    study = study_of(done)
    assert all(cell.entry is None and cell.thumbnail for cell in study.cells)
    assert any("Recording is off" in note for note in study.notes)
    assert not [row for row in ledger().rows().rows if row.seed in (70, 71, 72)], "the real ledger got nothing"


def check_a_time_limit_ends_with_what_is_there() -> None:
    ledger().purge()
    study = study_of(run(*embedded(max_seconds=0.001, first_seed=80)))
    assert study.cells == () or len(study.cells) < 24
    assert any("run again" in note for note in study.notes)
    assert len(study_of(run(*embedded(first_seed=80))).cells) == 24


def check_prompts_that_the_scorer_reads_alike_are_refused() -> None:
    """One image must not pass for the agreement of many prompts."""
    for other in ("a (red:1.0) circle", "A  red circle", "(a red circle)"):
        graph, node = embedded(prompts=f"a red circle\na blue square\n{other}", first_seed=110)
        done = graph.run(node[STUDY])
        assert not done.ok and f'"{other}" like an earlier line' in done.error, (other, done.error)
    apart = study_of(run(*embedded(prompts="a red circle\na (red:1.1) circle", clean_prompt=False, first_seed=110)))
    assert apart.prompts == ("a red circle", "a (red:1.1) circle")


def check_the_panel_shows_every_note() -> None:
    graph, node = embedded(steps="1, 2", first_seed=115)
    done = run(graph, node)
    study, shown = study_of(done), done.ui[node.id]["hps"][0]
    assert any("miniature" in note for note in study.notes) and set(study.notes) <= set(shown["warnings"])
    assert len(shown["warnings"]) == len(set(shown["warnings"]))


def check_one_box_of_several_lines_and_the_rare_inputs_last() -> None:
    inputs = pack("nodes.compare").CompareSettings.define_schema().inputs
    assert [one.id for one in inputs if getattr(one, "multiline", None)] == ["prompts"]
    rare = [bool(getattr(one, "advanced", None)) for one in inputs]
    assert rare == sorted(rare) and any(rare) == hasattr(inputs[0], "advanced")
    assert {one.id for one in inputs} >= DEFAULTS.keys()


# --- failures --------------------------------------------------------------------------------------------------------


def check_nonsense_is_refused_before_anything_runs() -> None:
    cases = {
        "samplers": ("euler, dpmpp2m", "Did you mean dpmpp_2m"),
        "schedulers": ("simpel", "Did you mean simple"),
        "steps": ("0", "outside"),
        "cfgs": ("x", "no number"),
        "loras": ("nothing.safetensors: 1", "There is no LoRA"),
        "checkpoints": ("nothing", "There is no checkpoint"),
        "prompt_variants": ("oil", "{prompt}"),
        "prompts": (" \n", "no prompt"),
        "reference": ("hoin", "No setting is called"),
        "seeds_per_prompt": (1000, "the most is 100000"),
    }
    for name, (value, words) in cases.items():
        more = {"steps": "1-100"} if name == "seeds_per_prompt" else {}
        with Calls() as calls:
            graph, node = embedded(**{**more, name: value})
            done = graph.run(node[STUDY])
        assert not done.ok and words in done.error, (name, done.error)
        assert calls.seeds == []


def check_a_setting_that_fails_leaves_the_others() -> None:
    ledger().purge()

    def spoil(job: Any, seeds: Any) -> None:
        if len(job.sigmas) == 5 and "heun" in job.sampler.sampler_function.__name__:
            raise RuntimeError("this solver is broken\nand more lines")

    with Calls(spoil) as calls:
        done = run(*embedded(first_seed=90))
    study = study_of(done)
    assert len(calls.seeds) == len(study.cells) == 18 and {cell.setting for cell in study.cells} == {0, 1, 2}
    assert any("heun, 4 steps" in note and "this solver is broken" in note for note in study.notes)
    assert done[STUDY][0].analysis.missing == 6
    assert len(study_of(run(*embedded(first_seed=90))).cells) == 24


def check_when_all_fail_the_error_is_raised() -> None:
    ledger().purge()

    def spoil(job: Any, seeds: Any) -> None:
        raise RuntimeError("nothing works today")

    with Calls(spoil):
        graph, node = embedded(first_seed=91)
        done = graph.run(node[STUDY])
    assert not done.ok and "nothing works today" in done.error


def check_out_of_memory_halves_the_chunk() -> None:
    ledger().purge()
    sizes: list[int] = []

    def tight(job: Any, seeds: Any) -> None:
        sizes.append(len(seeds))
        if len(seeds) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory (simulated)")

    with Calls(tight):
        study = study_of(run(*embedded(first_seed=92, seeds_per_prompt=5, chunk=5, samplers="euler")))
    assert len(study.cells) == 20 and sizes[0] == 5 and set(sizes[1:]) <= {1, 2}
    assert any("memory ran out" in note for note in study.notes)


def check_images_that_are_not_finite_are_told() -> None:
    ledger().purge()
    vae = pack("nodes.embedded").ShapesVae
    original = vae.decode
    seen: list[int] = []

    def broken(self: Any, samples: Any, **options: Any) -> Any:
        seen.append(1)
        made = original(self, samples, **options)
        return made * math.nan if len(seen) == 2 else made

    vae.decode = broken
    try:
        study = study_of(run(*embedded(first_seed=93)))
    finally:
        vae.decode = original
    assert len(study.cells) == 24 and sum(math.isnan(cell.score) for cell in study.cells) == 1
    assert any("could not be scored" in note for note in study.notes)


def check_settings_without_effect_are_told() -> None:
    ledger().purge()
    study = study_of(run(*embedded(schedulers="simple, sgm_uniform", steps="2", samplers="euler", first_seed=94)))
    same = any("bit for bit" in note for note in study.notes)
    hashes = [[cell.image_hash for cell in study.cells if cell.setting == k] for k in (0, 1)]
    assert same == (hashes[0] == hashes[1])
    study = study_of(run(*embedded(prompt_variants="{prompt}\n{prompt} {prompt}\n {prompt}", steps="2", first_seed=95)))
    assert len(study.settings) == 4


def check_one_setting_is_no_comparison() -> None:
    ledger().purge()
    done = run(*embedded(samplers="euler", steps="2", first_seed=96))
    assert done[STUDY][0].analysis is None and done[BEST] == ["euler, simple, 2 steps, cfg 2"]
    assert len(study_of(done).cells) == 6 and "two" in done[VERDICT][0]
    assert done.ui and done[GRID][0].shape[3] == 3


def check_conditionings_instead_of_a_clip() -> None:
    """The same images come out as with the CLIP; what does not fit together is refused."""
    ledger().purge()
    texts = study_of(run(*embedded(prompts="a red circle", first_seed=97, exact=True)))
    graph, node = embedded(prompts="a red circle", first_seed=97, exact=True)
    inputs = graph.nodes[node.id]["inputs"]
    clip = inputs.pop("clip")
    refused = graph.run(node[STUDY])
    assert not refused.ok and "Connect a CLIP" in refused.error
    for side, text in (("positive", "a red circle"), ("negative", "")):
        inputs[side] = graph.node("CLIPTextEncode", clip=clip, text=text)[0]
    wired = study_of(run(graph, node))
    assert [cell.image_hash for cell in wired.cells] == [cell.image_hash for cell in texts.cells]
    inputs["prompts"] = "a red circle\na blue square"
    assert "stands for one prompt" in graph.run(node[STUDY]).error
    inputs |= {"prompts": "a red circle", "prompt_variants": "{prompt}, big"}
    assert "need a CLIP" in graph.run(node[STUDY]).error


def check_a_video_latent_is_refused() -> None:
    graph, node = embedded()
    graph.nodes[node.id]["inputs"]["latent_image"] = graph.give({"samples": torch.zeros(1, 16, 3, 8, 8)})
    done = graph.run(node[STUDY])
    assert not done.ok and "video" in done.error
