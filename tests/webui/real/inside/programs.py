"""What programs ask of the host: its own routes with our arguments, our script by its name; see test_programs.py."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from webui_inside import BASE, client, kind, mask, pack, scene, txt2img

TINY = "hps-tiny-shapes"
SCORE = {"mode": "score", "scorer": TINY}
TITLE = "HPS compare settings"
HIRES = {
    "enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.6, "hr_second_pass_steps": 1,
}  # fmt: skip
if kind == "forge":
    HIRES["hr_additional_modules"] = ["Use same choices"]


class Answer:
    """What a route of the host gave."""

    def __init__(self, answer: dict[str, Any]) -> None:
        from PIL import Image

        self.images = [Image.open(io.BytesIO(base64.b64decode(text))) for text in answer["images"]]
        self.info = json.loads(answer["info"])
        self.texts: list[str] = self.info["infotexts"]

    def field(self, name: str) -> list[str]:
        """Return a field of every infotext as the host reads it."""
        from modules.infotext_utils import parse_generation_parameters

        return [parse_generation_parameters(text).get(name, "") for text in self.texts]


def ask(route: str, panel: Any = None, **body: Any) -> Answer:
    scripts = {"alwayson_scripts": {"HPS": {"args": [panel]}}} if panel is not None else {}
    answer = client().post(f"/sdapi/v1/{route}", json={**BASE, **scripts, **body})
    assert answer.status_code == 200, answer.text
    return Answer(answer.json())


def coded(image: Any) -> str:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def near(one: Any, other: Any) -> bool:
    return abs(float(one) - float(other)) < 1e-3


def check_named_values_reach_the_panel() -> dict[str, Any]:
    known = {seed: float(ask("txt2img", SCORE, seed=seed).field("HPS score")[0]) for seed in range(1, 5)}
    order = sorted(known, key=lambda seed: -known[seed])
    for mode in ("best-of-n", "best-of-n-first-pass"):
        made = ask("txt2img", {"mode": mode, "scorer": TINY, "candidates": 4, "keep": 2})
        assert made.info["all_seeds"][-2:] == order[:2], (mode, made.info["all_seeds"], known)
        scores = [float(value) for value in made.field("HPS score") if value]
        assert all(near(score, known[seed]) for score, seed in zip(scores, order, strict=False)) and len(scores) == 2
        given = made.info["extra_generation_params"]
        assert given["HPS mode"] == mode and len([one for one in given["HPS score"] if one]) == 2, given
        assert all('"value"' in image.info["hps"] for image in made.images[-2:]), [image.info for image in made.images]
    return {"known": known}


def check_further_scorers_are_read_back() -> dict[str, Any]:
    made = ask("txt2img", {**SCORE, "guards": ["hps-tiny-judge"]})
    [further], record = made.field("HPS further scores"), json.loads(made.images[0].info["hps"])
    assert further == f"hps-tiny-judge {record['parts']['hps-tiny-judge']:.4f}", made.texts
    assert made.field("HPS scorer") == [f"{TINY}, hps-tiny-judge"] and made.field("Version") != [""]
    answer = client().post("/sdapi/v1/png-info", json={"image": coded_with_text(made.images[0])}).json()
    assert answer["parameters"]["HPS further scores"] == further, answer
    return {"text": made.texts[0]}


def coded_with_text(image: Any) -> str:
    from PIL.PngImagePlugin import PngInfo

    stream, texts = io.BytesIO(), PngInfo()
    texts.add_text("parameters", image.info["parameters"])
    image.save(stream, "PNG", pnginfo=texts)
    return base64.b64encode(stream.getvalue()).decode()


def check_hires_fix_through_the_api() -> dict[str, Any]:
    known = {seed: float(ask("txt2img", SCORE, seed=seed, **HIRES).field("HPS score")[0]) for seed in (1, 2, 3)}
    first = {seed: float(ask("txt2img", SCORE, seed=seed).field("HPS score")[0]) for seed in (1, 2, 3)}
    for mode, expected in (("best-of-n", known), ("best-of-n-first-pass", first)):
        made = ask("txt2img", {"mode": mode, "scorer": TINY, "candidates": 3}, **HIRES)
        [seed] = made.info["all_seeds"]
        assert seed == max(expected, key=lambda one: expected[one]), (mode, seed, known, first)
        assert made.images[0].size == (96, 96) and near(made.field("HPS score")[0], known[seed])
    return {"finished": known, "first": first}


def check_img2img_and_inpainting_through_the_api() -> dict[str, Any]:
    base = {"init_images": [coded(scene())], "denoising_strength": 0.6, "inpainting_fill": 1, "inpaint_full_res": False}
    found = {}
    for name, more in (("whole", {}), ("masked", {"mask": coded(mask())})):
        known = {
            seed: float(ask("img2img", SCORE, seed=seed, **base, **more).field("HPS score")[0]) for seed in (1, 2, 3)
        }
        for mode in ("best-of-n", "best-of-n-first-pass"):
            made = ask("img2img", {"mode": mode, "scorer": TINY, "candidates": 3}, **base, **more)
            assert made.field("HPS score")[0] and len(made.images) == 1, made.texts
            # A picture to begin from is encoded with random numbers that no seed decides, so that only nearly the same.
            found[f"{name}, {mode}"] = [made.info["all_seeds"], made.field("HPS score"), known]
    return found


def check_nonsense_gives_a_plain_image_and_says_so() -> None:
    for panel in ({"mode": "best"}, {"modes": "score"}, {"mode": "score", "candidates": "many"}):
        made = ask("txt2img", panel)
        assert len(made.images) == 1 and "HPS error" in made.texts[0], made.texts
        assert made.info["extra_generation_params"]["HPS error"], made.info


# --- the script by its name -------------------------------------------------------------------------------------------


@contextmanager
def folders() -> Iterator[list[Path]]:
    """Give the folders that comparisons have written meanwhile."""
    from modules import shared

    root = Path(shared.opts.outdir_txt2img_grids or shared.opts.outdir_grids).absolute() / "hps-compare"
    before, found = set(root.glob("*")), []
    yield found
    found += sorted(set(root.glob("*")) - before)


def compare(given: dict[str, Any], **body: Any) -> tuple[Answer, Path]:
    named = {"seeds": 2, "first_seed": 5, "scorer": TINY, **given}
    with folders() as found:
        made = ask("txt2img", None, script_name=TITLE, script_args=[named], **body)
    [folder] = found
    return made, folder


def cells(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / "cells.csv").read_text("utf-8"))))


def check_a_comparison_by_name() -> dict[str, Any]:
    made, folder = compare({"x": "Steps", "x_values": "1-3 (+1)", "prompts": "a red circle\na blue square"})
    assert sorted(file.name for file in folder.iterdir()) == ["cells.csv", "grid.png", "report.html", "study.json"]
    rows = cells(folder)
    assert len(rows) == 12, rows
    study = json.loads((folder / "study.json").read_text("utf-8"))
    alone = txt2img(SCORE, seed=5, steps=2)
    found = [
        cell["score"] for cell in study["cells"]
        if (cell["setting"], cell["prompt"], cell["seed"]) == (1, 0, 0)
    ]  # fmt: skip
    assert near(found[0], alone.scores[0]), (found, alone.scores)
    assert len(made.images) == len(made.texts) > 1, (len(made.images), made.texts)
    return {"said": made.texts[0], "columns": list(rows[0])}


def check_a_second_comparison_makes_nothing_and_shows_the_pictures() -> dict[str, Any]:
    from modules import script_callbacks

    given = {"x": "CFG Scale", "x_values": "3, 5", "first_seed": 40}
    first, one = compare(given)
    calls: list[int] = []

    def count(params: Any) -> None:
        calls.append(params.sampling_step)

    script_callbacks.on_cfg_denoiser(count)
    try:
        second, other = compare(given)
    finally:
        script_callbacks.remove_callbacks_for_function(count)
    assert not calls and one != other
    assert cells(one) and cells(one) == cells(other)
    assert len(second.images) == len(first.images) > 1, (len(first.images), len(second.images))
    assert all(first.info["all_seeds"][k] == second.info["all_seeds"][k] for k in range(2)), second.info["all_seeds"]
    return {"images": len(second.images), "texts": second.texts[1:]}


def check_mistakes_in_a_comparison_are_said() -> dict[str, Any]:
    found = {}
    for given, words in (
        ({"x": "Steps", "x_values": "4"}, "nothing to compare"),
        ({"x": "Nonsense", "x_values": "1,2"}, "no axis"),
        ({"unknown": 1}, "Unknown option"),
    ):
        body = {**BASE, "script_name": TITLE, "script_args": [{"scorer": TINY, **given}]}
        try:
            answer = client().post("/sdapi/v1/txt2img", json=body)
            text = f"{answer.status_code} {answer.text}"
        except RuntimeError as error:  # the client of the tests hands on what the server would turn into a 500
            text = str(error)
        assert words in text, text
        found[words] = text[:200]
    return found


def check_samplers_are_compared() -> dict[str, Any]:
    made, folder = compare({"x": "Sampler", "x_values": "Euler, DPM++ 2M"}, steps=3)
    assert len(cells(folder)) == 4
    return {"said": re.sub(r"\s+", " ", made.texts[0])[:300]}


def check_ledger_rows_name_their_settings() -> None:
    ledger = pack("hpskit_webui.record.recording").opened()
    rows = ledger.rows(pack("hpskit.ledger").Query(sort="time", limit=4)).rows
    assert {row.sampler for row in rows} >= {"DPM++ 2M"} and all(row.image_hash for row in rows), rows


def check_a_lora_that_was_replaced_under_its_name_is_noticed() -> dict[str, Any]:
    import torch
    from modules import shared
    from safetensors.torch import save_file

    folder = Path(shared.cmd_opts.lora_dir)
    folder.mkdir(parents=True, exist_ok=True)
    name = "lora_te_text_model_encoder_layers_0_mlp_fc1"

    def write(value: float, rank: int) -> None:
        down, up = torch.full((rank, 768), value), torch.full((3072, rank), value)
        down[:, ::2] *= -1
        save_file({f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}, str(folder / "mine.safetensors"))

    write(0.1, 4)
    given = {"x": "CFG Scale", "x_values": "3, 5", "prompts": "a red circle <lora:mine:1>", "first_seed": 70}
    scores = []
    for rank in (4, 4, 8):
        if rank == 8:
            write(0.3, rank)
            ask("txt2img", prompt="a cat")  # the host holds on to the old one until it makes a picture without it
        _, folder_of_report = compare(given)
        study = json.loads((folder_of_report / "study.json").read_text("utf-8"))
        scores.append([dict(study["facts"])["images"], [cell["score"] for cell in study["cells"]]])
    assert [words.split(" made")[0] for words, _ in scores] == ["4", "0", "4"], scores
    assert scores[0][1] == scores[1][1] != scores[2][1], scores
    return {"scores": scores}
