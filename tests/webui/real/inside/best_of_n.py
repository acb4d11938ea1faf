"""Best of N, both ways, with the host's own pipeline around it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from PIL import Image
from webui_inside import Made, data, digest, img2img, mask, pack, runner, scene, stop_at, txt2img

SCORE = {"mode": "score", "scorer": "hps-tiny-shapes"}
WAYS = ("best-of-n", "best-of-n-first-pass")
HIRES = {
    "enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "denoising_strength": 0.6, "hr_second_pass_steps": 1,
}  # fmt: skip


def best(way: str, candidates: int = 4, keep: int = 1, **more: Any) -> dict[str, Any]:
    return {"mode": way, "scorer": "hps-tiny-shapes", "candidates": candidates, "keep": keep, **more}


def all_scores(seeds: range, **settings: Any) -> dict[int, float]:
    made = txt2img(SCORE, seed=seeds.start, n_iter=len(seeds), **settings)
    assert not made.errors and None not in made.scores, made.log
    return dict(zip(made.seeds, made.scores, strict=True))


def near(one: float | None, other: float | None, by: float = 1e-3) -> bool:
    return one is not None and other is not None and abs(one - other) <= by


def sound(made: Made, count: int) -> None:
    assert not made.errors, made.log
    assert len(made.images) == len(made.infotexts) == count, (len(made.images), made.infotexts)
    assert [text for text in made.infotexts if "HPS error" in text] == []


def check_the_winners_are_the_best_of_their_seeds() -> dict[str, Any]:
    known = all_scores(range(1, 7))
    expected = sorted(known, key=lambda seed: -known[seed])[:2]
    for way in WAYS:
        made = txt2img(best(way, 6, 2))
        sound(made, 2)
        assert made.seeds == expected, (way, made.seeds, known)
        assert all(near(score, known[seed]) for score, seed in zip(made.scores, made.seeds, strict=True)), made.scores
        assert made.processed.all_seeds == expected, made.processed.all_seeds
    return {"known": known}


def check_the_winners_seed_alone_gives_the_same_score() -> dict[str, Any]:
    differences = {}
    for way in WAYS:
        for sampler in ("Euler", "Euler a", "DPM++ SDE", "DPM++ 2M"):
            made = txt2img(best(way, 4), sampler_name=sampler, batch_size=2)
            sound(made, 1)
            again = txt2img(SCORE, sampler_name=sampler, seed=made.seeds[0])
            assert near(made.scores[0], again.scores[0]), (way, sampler, made.scores, again.scores)
            differences[f"{way} {sampler}"] = abs(made.scores[0] - again.scores[0])
    return differences


def check_pools_stand_one_after_the_other() -> None:
    known = all_scores(range(1, 9))
    halves = [range(1, 5), range(5, 9)]
    expected = [seed for half in halves for seed in sorted(half, key=lambda seed: -known[seed])[:2]]
    for way in WAYS:
        made = txt2img(best(way, 4, 2), n_iter=2)
        sound(made, 4)
        assert made.seeds == expected, (way, made.seeds, expected)


def check_only_the_kept_are_saved() -> None:
    folder = data / "outputs" / "samples"
    for way in WAYS:
        before = set(folder.rglob("*.png"))
        made = txt2img(best(way, 4, 2), save=True)
        sound(made, 2)
        saved = set(folder.rglob("*.png")) - before
        assert len(saved) == 2 and {file.resolve() for file in made.files} == {file.resolve() for file in saved}, saved


def check_the_score_is_in_the_file() -> None:
    from PIL import Image

    for way in ("score", *WAYS):
        panel = SCORE if way == "score" else best(way)
        made = txt2img(panel, save=True)
        sound(made, 1)
        with Image.open(made.files[0]) as picture:
            assert f"HPS score: {made.scores[0]:.4f}" in picture.info["parameters"], picture.info
            assert '"value"' in picture.info["hps"], picture.info


def check_with_hires_fix_the_finished_image_is_judged_or_the_first_pass() -> dict[str, Any]:
    finished = all_scores(range(1, 5), **HIRES)
    first = all_scores(range(1, 5))
    after, before = (txt2img(best(way), **HIRES) for way in WAYS)
    sound(after, 1)
    sound(before, 1)
    assert after.images[0].size == before.images[0].size == (96, 96)
    assert after.seeds == [max(finished, key=lambda seed: finished[seed])], (after.seeds, finished)
    assert near(after.scores[0], max(finished.values())), (after.scores, finished)
    assert before.seeds == [max(first, key=lambda seed: first[seed])], (before.seeds, first)
    assert near(before.scores[0], finished[before.seeds[0]]), (before.scores, finished)
    return {"finished": finished, "first": first}


def check_inpainting_judges_the_whole_picture() -> None:
    for more in ({}, {"inpaint_full_res": True}):
        made = [img2img(scene(), SCORE, mask=mask(), seed=seed, **more) for seed in range(1, 5)]
        known = {one.seeds[0]: one.scores[0] for one in made}
        for way in WAYS:
            winner = img2img(scene(), best(way), mask=mask(), **more)
            sound(winner, 1)
            assert winner.seeds == [max(known, key=lambda seed: known[seed])], (way, more, winner.seeds, known)
            assert near(winner.scores[0], max(known.values())), (way, winner.scores, known)


def check_an_interrupt_keeps_the_best_so_far() -> dict[str, Any]:
    known, found = all_scores(range(1, 7), steps=3), {}
    for way in WAYS:
        with stop_at(8) as calls:  # in the middle of the third candidate
            made = txt2img(best(way, 6), steps=3)
        sound(made, 1)
        assert len(calls) < 12, calls
        assert made.seeds[0] in (1, 2) and near(made.scores[0], max(known[1], known[2])), (way, made.seeds, known)
        found[way] = [made.processed.comments, len(calls)]
    return found


def check_a_skip_does_not_lose_the_rest() -> None:
    for way in WAYS:
        with stop_at(5, how="skip"):
            made = txt2img(best(way, 4), steps=3)
        sound(made, 1)
        known = all_scores(range(1, 5), steps=3)
        assert made.scores[0] is not None and near(made.scores[0], known[made.seeds[0]]), (way, made.scores, known)


def check_a_scorer_that_breaks_loses_no_picture() -> None:
    judge = pack("hpskit_webui.judge").Judge
    original, calls = judge.score, []

    def breaks(self: Any, pictures: Any, *args: Any, **more: Any) -> Any:
        calls.append(len(pictures))
        if len(calls) >= 3:
            raise RuntimeError("on purpose")
        return original(self, pictures, *args, **more)

    judge.score = breaks
    try:
        made = txt2img(best("best-of-n", 4), save=True)
    finally:
        judge.score = original
    assert len(made.images) >= 2 and "on purpose" in made.processed.comments, made.processed.comments
    assert len(made.files) == len(made.images), made.files


def check_the_order_of_all_images_is_left_alone_when_scoring() -> None:
    plain, scored = (txt2img(panel, batch_size=2, n_iter=2) for panel in (None, SCORE))
    assert [digest(image) for image in plain.images] == [digest(image) for image in scored.images]
    assert scored.seeds == [1, 2, 3, 4]


@contextlib.contextmanager
def replacing(first: bool) -> Iterator[None]:
    """Have another extension show pictures of its own in the result, before the pack's turn or after it."""
    from modules import scripts

    class Painter(scripts.Script):  # type: ignore[misc, name-defined, no-any-unimported]
        filename, args_from, args_to, alwayson = "painter.py", 0, 0, True

        def title(self) -> str:
            return "Painter"

        def postprocess(self, p: Any, processed: Any, *args: Any) -> None:
            for k in range(processed.index_of_first_image, len(processed.images)):
                number = k - processed.index_of_first_image + 1
                processed.images[k] = Image.new("RGB", processed.images[k].size, (0, 0, number))

    known = runner().alwayson_scripts
    painter = Painter()
    known.insert(0 if first else len(known), painter)
    runner().callback_map.clear()
    try:
        yield
    finally:
        known.remove(painter)
        runner().callback_map.clear()


def check_pictures_that_replace_the_result_stand_for_their_candidates() -> None:
    plain = {way: txt2img(best(way, 4, 2), save=True) for way in WAYS}
    for way in WAYS:
        for first in (True, False):
            with replacing(first):
                made = txt2img(best(way, 4, 2), save=True)
            sound(made, 2)
            assert made.seeds == plain[way].seeds == made.processed.all_seeds, (way, first, made.seeds)
            numbers = [image.convert("RGB").getpixel((0, 0))[2] for image in made.images]
            all_seen = first and way == "best-of-n"
            assert numbers == (made.seeds if all_seen else [1, 2]), (way, first, numbers, made.seeds)
            files = sorted((data / "outputs" / "samples").rglob("*.png"), key=lambda file: file.stat().st_mtime_ns)[-2:]
            shown = [digest(Image.open(file)) for file in files]
            assert shown == [digest(image) for image in plain[way].images], (way, first, files)


def check_copies_before_the_finish_are_written_for_the_kept() -> dict[str, Any]:
    hires = {"save_images_before_highres_fix": True}
    colours = {"save_images_before_color_correction": True, "img2img_color_correction": True}
    found: dict[str, Any] = {}
    for way in WAYS:
        before = set((data / "outputs" / "samples").rglob("*.png"))
        made = [txt2img(best(way, 3), save=True, override_settings=dict(hires), **HIRES)]
        made.append(img2img(scene(), best(way, 3), save=True, override_settings=dict(colours)))
        for one in made:
            sound(one, 1)
        files = sorted(
            {*(data / "outputs" / "samples").rglob("*.png")} - before, key=lambda file: file.stat().st_mtime_ns
        )
        found[way] = [file.name for file in files]
        assert len(files) == 4, found
        first, whole, uncorrected, corrected = files
        assert first.stem.endswith("-before-highres-fix") and uncorrected.stem.endswith("-before-color-correction")
        assert Image.open(first).size == (64, 64) and Image.open(whole).size == (96, 96)
        seeds = [re.search(r"Seed: (\d+)", Image.open(file).info["parameters"]) for file in files]
        assert [int(one[1]) for one in seeds if one] == [made[0].seeds[0]] * 2 + [made[1].seeds[0]] * 2, seeds
        assert digest(Image.open(uncorrected)) != digest(Image.open(corrected))
    return found


def check_all_candidates_are_in_the_ledger() -> dict[str, Any]:
    from modules.infotext_utils import parse_generation_parameters

    ledger = pack("hpskit_webui.record.recording").opened()
    query = pack("hpskit.ledger").Query
    found: dict[str, Any] = {}
    for way in WAYS:
        for name, more in (("plain", {}), ("hires", HIRES)):
            seed = 1000 + 10 * len(found)
            made = txt2img(best(way, 3), seed=seed, save=True, **more)
            sound(made, 1)
            page = ledger.rows(query(sort="time", limit=20)).rows
            mine = [row for row in page if row.seed in range(seed, seed + 3)]
            first = [row for row in mine if row.extra.get("first pass")]
            judged_before = way == "best-of-n-first-pass"
            expected = 0 if not judged_before else 3 if more else 2
            assert (len(mine), len(first)) == (4 if judged_before and more else 3, expected), (way, name, mine)
            assert len({row.run for row in mine}) == 1 and sum(bool(row.file) for row in mine) == 1, mine
            for row in mine:
                fields = parse_generation_parameters(row.extra["infotext"])
                assert (fields["Seed"], fields["HPS score"]) == (str(row.seed), f"{row.score:.4f}"), fields
            row = first[0] if first else mine[0]
            alone = txt2img(SCORE, seed=row.seed, **({} if judged_before else more))
            assert near(alone.scores[0], row.score), (way, name, alone.scores, row.score)
            found[f"{way} {name}"] = [(row.seed, round(row.score, 4), row.width, row.extra.get("held")) for row in mine]
    return found
