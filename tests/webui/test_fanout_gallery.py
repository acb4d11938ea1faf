"""A result taken apart and put together: masks, copies, strangers, and ranks in the infotext; no host needed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from webui.test_fanout_pools import module

gallery = module("hpskit_webui.best_of_n.gallery")


def picture(text: str = "") -> Image.Image:
    made = Image.new("RGB", (4, 4))
    if text:
        made.info.update(hps=f"record {text}", parameters=text)
    return made


def job(count: int, masks: int) -> tuple[list[Any], Any]:
    made, images = [], []
    for k in range(count):
        own = picture(f"text {k}")
        made.append(gallery.Made(k, 0, k, 10 + k, 50 + k, f"p{k}", f"n{k}", own, True, True, at=(k, 0)))
        images += [own, *(picture() for _ in range(masks))]
    texts = [f"text {k}" for k in range(count)]
    return made, SimpleNamespace(images=images, infotexts=texts, index_of_first_image=0)


@given(st.integers(1, 6), st.integers(0, 2), st.integers(0, 3))
def test_masks_stay_with_their_picture_and_strangers_at_the_tail(count: int, masks: int, strangers: int) -> None:
    made, processed = job(count, masks)
    foreign = [picture() for _ in range(strangers)]
    processed.images = [*processed.images, *foreign]
    result = gallery.split(processed, made, masks)
    assert [len(group.masks) for group in result.groups] == [masks] * count
    assert [id(image) for image in result.tail] == [id(image) for image in foreign]
    flat = [image for group in result.groups for image in (group.picture, *group.masks)]
    assert [id(image) for image in flat] == [id(image) for image in processed.images[: len(flat)]]


def test_a_copy_by_another_extension_is_known_by_its_record_or_text() -> None:
    made, processed = job(3, 0)
    copy = processed.images[1].copy()
    fresh = picture()
    fresh.info["parameters"] = "text 2"
    processed.images[1:] = [copy, fresh]
    result = gallery.split(processed, made, 0)
    assert [group.picture for group in result.groups][1:] == [copy, fresh]
    assert [id(group.to_save) for group in result.groups] == [id(one.picture) for one in made]
    assert result.tail == []


def test_what_was_changed_after_it_was_judged_is_what_the_host_would_have_saved() -> None:
    made, processed = job(2, 0)
    judged = made[1].picture
    judged.info["parameters"] = made[1].text_before = "of another generation"  # the host has not written its own
    later = picture("text 1")
    processed.images[1] = later
    result = gallery.split(processed, made, 0)
    assert [id(group.to_save) for group in result.groups] == [id(made[0].picture), id(later)]
    untold = gallery.split(processed, made, 0, texted=False)
    assert [id(group.to_save) for group in untold.groups] == [id(one.picture) for one in made]


def added(*places: tuple[int, int, int]) -> list[Any]:
    """Return pictures in batches; each place is batch, place in the batch, seed."""
    found = []
    for batch, place, seed in places:
        made = gallery.Made(0, -1, -1, seed, 5, "", "", picture(), True, True, at=(batch, place))
        found.append(gallery.Group(made, made.picture, ""))
    return found


def test_an_added_picture_goes_with_its_candidate_or_with_its_batch() -> None:
    groups = added((0, 0, 10), (0, 1, 11), (1, 0, 12), (1, 1, 13))
    each = added((0, 2, 10), (0, 3, 11), (1, 2, 12), (1, 3, 13))
    for k in range(4):
        assert gallery.companions(each, groups, [groups[k]]) == [each[k]]
    twice = added((0, 2, 10), (0, 3, 11), (0, 4, 10), (0, 5, 11))
    assert gallery.companions(twice, groups, [groups[1]]) == [twice[1], twice[3]]
    whole = added((0, 2, 10), (1, 2, 77), (1, 3, 77))
    assert gallery.companions(whole, groups, [groups[1]]) == whole[:1]
    assert gallery.companions(whole, groups, [groups[3]]) == whole[1:]
    assert gallery.companions(whole, groups, groups) == whole


@pytest.mark.parametrize("masks", [0, 1, 2])
def test_a_picture_in_the_place_of_a_candidate_stands_for_it(masks: int) -> None:
    made, processed = job(3, masks)
    step = masks + 1
    processed.images[step] = stranger = picture()
    result = gallery.split(processed, made, masks)
    shown = [group.picture for group in result.groups]
    assert [id(image) for image in shown] == [id(made[0].picture), id(stranger), id(made[2].picture)]
    assert [id(group.to_save) for group in result.groups] == [id(one.picture) for one in made]
    assert [len(group.masks) for group in result.groups] == [masks] * 3
    assert result.tail == []


@pytest.mark.parametrize("masks", [0, 1])
def test_all_pictures_may_be_replaced(masks: int) -> None:
    made, processed = job(4, masks)
    processed.images = [picture() for _ in processed.images]
    result = gallery.split(processed, made, masks)
    assert [id(group.picture) for group in result.groups] == [id(image) for image in processed.images[:: masks + 1]]
    assert result.tail == []


def test_where_places_are_wrong_nobody_stands_for_anybody() -> None:
    made, processed = job(3, 0)
    first, second, third = processed.images
    stranger = picture()
    for images in ([first, third, stranger], [stranger, second, third, first], [stranger], [stranger] * 4):
        processed.images = list(images)
        result = gallery.split(processed, made, 0)
        assert [id(group.picture) for group in result.groups] == [id(first), id(second), id(third)]
        assert [id(image) for image in result.tail] == [id(image) for image in images if image is stranger]


def test_grids_of_others_stay_in_front() -> None:
    made, processed = job(2, 0)
    grid = picture()
    processed.images.insert(0, grid)
    processed.infotexts.insert(0, "grid")
    processed.index_of_first_image = 1
    result = gallery.split(processed, made, 0)
    assert (result.head, result.head_texts) == ([grid], ["grid"])
    assert [group.text for group in result.groups] == ["text 0", "text 1"]


@given(st.permutations(range(4)), st.integers(1, 4))
def test_all_lists_of_a_rewritten_result_are_in_step(order: list[int], keep: int) -> None:
    made, processed = job(4, 1)
    p = SimpleNamespace(all_hr_prompts=[f"h{k}" for k in range(4)], pixels_after_sampling=list("abcd"))
    result = gallery.split(processed, made, 1)
    gallery.rewrite(p, processed, result, [result.groups[k] for k in order[:keep]], shown=(0,))
    kept = order[:keep]
    assert processed.all_seeds == p.all_seeds == [10 + k for k in kept]
    assert processed.all_subseeds == p.all_subseeds == [50 + k for k in kept]
    assert processed.all_prompts == p.all_prompts == [f"p{k}" for k in kept]
    assert processed.all_negative_prompts == [f"n{k}" for k in kept]
    assert processed.infotexts == [f"text {k}" for k in kept]
    assert [image.info.get("parameters") for image in processed.images[::2]] == processed.infotexts
    assert len(processed.images) == 2 * keep
    assert p.all_hr_prompts == [f"h{k}" for k in kept]
    assert p.pixels_after_sampling == ["abcd"[k] for k in kept]
    assert (processed.seed, processed.info) == (10 + kept[0], f"text {kept[0]}")


def test_a_rank_goes_behind_the_score_and_never_into_the_prompt() -> None:
    infotext = module("hpskit_webui.infotext")
    text = "HPS score: 9.9, a prompt\nSteps: 2, HPS score: -1.2500, Version: 1"
    ranked = infotext.with_rank(text, 2, 8)
    assert ranked == "HPS score: 9.9, a prompt\nSteps: 2, HPS score: -1.2500, HPS rank: 2 of 8, Version: 1"
    assert infotext.rank_of(ranked) == 2
    assert infotext.with_rank(ranked, 3, 9).count("HPS rank") == 1
    assert infotext.rank_of(text) is None
    assert infotext.with_rank("a prompt\nSteps: 2", 1, 4).endswith("Steps: 2, HPS rank: 1 of 4")
