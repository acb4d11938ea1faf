"""The host's sampling run again inside a batch: what it gives, and that nothing of the job is changed by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image

if TYPE_CHECKING:
    from fakes.web import Web


def inside(web: Web, work: Callable[[Any, Any], Any], tab: str = "txt2img", **fields: Any) -> Any:
    """Run a job in which `work(p, call)` stands for p.sample before the host's own; return what work returned."""
    sampling, found = web.module("first_pass.sampling"), []

    def stand(call: Any, p: Any) -> Any:
        found.append(work(p, call))
        sampling.arm(p, call.seeds, call.subseeds)
        return sampling.finish(p, call)

    web.add_script(
        "Inside",
        process_batch=lambda p, *args, **more: sampling.take_over(p, lambda call: stand(call, p)),
        process_before_every_sampling=lambda p, *args, **more: sampling.before_every_sampling(p),
    )
    image = fields.pop("image", None)
    done = web.img2img(image, **fields) if image is not None else web.txt2img(**fields)
    return found[0], done


def plain(web: Web, **fields: Any) -> Any:
    """Return the latents that the host decodes in a job without us, as its own extensions see them."""
    seen: list[torch.Tensor] = []
    web._extra.clear()
    web.add_script("Seen", post_sample=lambda p, ps, *args: seen.append(ps.samples.detach().clone()))
    web.txt2img(**fields)
    return seen[0]


@pytest.mark.parametrize("sampler", ["Euler", "Euler a", "DPM++ SDE"])
def test_a_chunk_gives_what_each_seed_gives_alone(web: Web, sampler: str) -> None:
    sampling = web.module("first_pass.sampling")
    work = lambda p, call: sampling.first_pass(p, call, [7, 8, 9], [0, 0, 0]).clone()  # noqa: E731
    made, _ = inside(web, work, sampler_name=sampler)
    for k, seed in enumerate((7, 8, 9)):
        alone = plain(web, sampler_name=sampler, seed=seed)
        torch.testing.assert_close(made[k : k + 1], alone, rtol=0, atol=1e-6)


def state(p: Any) -> dict[str, Any]:
    """Return everything that hangs on a job, lists and dicts by value."""
    return {k: (list(v) if isinstance(v, list) else dict(v) if isinstance(v, dict) else v) for k, v in vars(p).items()}


@pytest.mark.parametrize("hires", [False, True])
def test_a_pass_changes_nothing_of_the_job(web: Web, hires: bool) -> None:
    sampling = web.module("first_pass.sampling")

    def work(p: Any, call: Any) -> Any:
        before = state(p)
        sampling.first_pass(p, call, [5, 6, 7], [1, 2, 3])
        after = state(p)
        added = set(after) - set(before) - {"_hps_watch"}
        return added, [name for name in before if not same(before[name], after[name])]

    more = {"enable_hr": True, "hr_scale": 2.0} if hires else {}
    (added, changed), _ = inside(web, work, sampler_name="Euler a", batch_size=2, **more)
    assert not added and not changed


def same(a: Any, b: Any) -> bool:
    """Compare values of a job; tensors by identity."""
    return a is b or (not isinstance(a, torch.Tensor) and type(a) is type(b) and a == b)


def test_what_the_sampler_says_reaches_the_infotext(web: Web) -> None:
    sampling = web.module("first_pass.sampling")
    _, plain_done = None, web.txt2img(sampler_name="Euler a")
    _, done = inside(web, lambda p, call: sampling.first_pass(p, call, [5], [0]), sampler_name="Euler a")
    assert web.texts(done) == web.texts(plain_done)


def test_the_given_noise_comes_first_and_the_seeds_own_numbers_follow(web: Web) -> None:
    sampling = web.module("first_pass.sampling")

    def work(p: Any, call: Any) -> Any:
        own = sampling.random_numbers(p, [3], [0])
        first, second = own.next(), own.next()
        fixed = sampling.FixedNoise(sampling.random_numbers(p, [3], [0]), first + 1)
        given = fixed.next()
        given *= 2  # as img2img does; the next pass must not see it
        return first, second, given / 2, fixed.next(), fixed.shape, fixed.seeds, torch.get_rng_state()

    (first, second, given, later, shape, seeds, _), _ = inside(web, work)
    assert torch.allclose(given, first + 1) and torch.equal(later, second)
    assert tuple(shape) == tuple(first.shape[1:]) and list(seeds) == [3]


def test_noise_of_another_shape_is_refused(web: Web) -> None:
    sampling, errors = web.module("first_pass.sampling"), web.pack("hpskit.errors")

    def work(p: Any, call: Any) -> Any:
        with pytest.raises(errors.NoiseError, match="needs"):
            sampling.first_pass(p, call, [3], [0], torch.zeros(1, 4, 3, 3))
        return state(p)["seeds"]

    assert inside(web, work)[0] == [1]


def test_the_seeds_own_noise_given_gives_the_same(web: Web) -> None:
    sampling = web.module("first_pass.sampling")

    def work(p: Any, call: Any) -> Any:
        noise = sampling.noise_of(p, [4, 5], [0, 0])
        given = sampling.first_pass(p, call, [4, 5], [0, 0], noise)
        return torch.equal(given, sampling.first_pass(p, call, [4, 5], [0, 0])), noise.is_inference()

    equal, inference = inside(web, work, sampler_name="Euler a")[0]
    assert equal and not inference


def test_wrappers_of_other_extensions_see_every_pass(web: Web) -> None:
    sampling, seen = web.module("first_pass.sampling"), []

    def wrap(p: Any, *args: Any, **more: Any) -> None:
        inner = p.sample

        def sample(**given: Any) -> Any:
            seen.append(list(given["seeds"]))
            return inner(**given)

        p.sample = sample

    web.add_script("Older", process=wrap)
    inside(web, lambda p, call: sampling.first_pass(p, call, [5, 6], [0, 0]))
    assert seen == [[5, 6], [1]]


def test_a_younger_wrapper_stays_and_the_work_is_done_once_a_batch(web: Web) -> None:
    sampling, passes, worked = web.module("first_pass.sampling"), [], []

    def younger(p: Any, *args: Any, **more: Any) -> None:
        inner = p.sample

        def sample(**given: Any) -> Any:
            passes.append(1)
            return inner(**given)

        p.sample = sample

    def work(p: Any, call: Any) -> Any:
        worked.append(p.iteration)

    sampling_done = None
    web.boot()

    def both(p: Any, *args: Any, **more: Any) -> None:
        sampling.take_over(p, lambda call: (work(p, call), sampling.finish(p, call))[1])
        if p.iteration == 0:
            younger(p)

    web.add_script("Both", process_batch=both)
    sampling_done = web.txt2img(n_iter=3)
    assert worked == [0, 1, 2] and len(web.pictures(sampling_done)) == 3
    assert web.texts(sampling_done)[2] == web.texts(web.txt2img({"mode": "off"}, seed=3))[0]


def test_a_sampler_with_common_numbers_is_run_one_by_one(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    sampling, common = web.module("first_pass.sampling"), web.host("sd_samplers_kdiffusion").KDiffusionSampler
    real = common.sample

    def draws(self: Any, p: Any, x: torch.Tensor, *args: Any, **more: Any) -> Any:
        return real(self, p, x, *args, **more) + 0.1 * torch.randn_like(x)

    monkeypatch.setattr(common, "sample", draws)
    made, _ = inside(web, lambda p, call: sampling.first_pass(p, call, [7, 8], [0, 0]).clone())
    for k, seed in enumerate((7, 8)):
        torch.testing.assert_close(made[k : k + 1], plain(web, seed=seed), rtol=0, atol=1e-6)


def test_what_is_made_is_not_sampled_again(web: Web) -> None:
    sampling = web.module("first_pass.sampling")
    web.boot()

    def stand(p: Any, call: Any) -> Any:
        made = sampling.make(p, call, [5], [0])
        before = len(web.calls)
        sampling.arm(p, [5], [0])
        done = sampling.finish(p, call, made.raw)
        counted.append(len(web.calls) - before)
        return done

    counted: list[int] = []
    web.add_script(
        "Replay",
        process_batch=lambda p, *args, **more: sampling.take_over(p, lambda call: stand(p, call)),
        process_before_every_sampling=lambda p, *args, **more: sampling.before_every_sampling(p),
    )
    done = web.txt2img(sampler_name="Euler a")
    picture = web.pictures(done)[0].convert("RGB").tobytes()
    hires = web.txt2img(sampler_name="Euler a", enable_hr=True, hr_scale=2.0, steps=3)
    assert counted == [0, 3]  # only the steps of the hires pass
    web._extra.clear()
    web.reload()
    assert picture == web.pictures(web.txt2img(sampler_name="Euler a", seed=5))[0].convert("RGB").tobytes()
    alone = web.txt2img(sampler_name="Euler a", seed=5, enable_hr=True, hr_scale=2.0, steps=3)
    assert web.pictures(hires)[0].convert("RGB").tobytes() == web.pictures(alone)[0].convert("RGB").tobytes()


def test_hires_is_on_while_the_first_pass_is_sampled(web: Web) -> None:
    sampling, seen = web.module("first_pass.sampling"), []
    web.add_script(
        "Asks", process_before_every_sampling=lambda p, *args, **more: seen.append((p.enable_hr, len(p.seeds)))
    )
    inside(web, lambda p, call: sampling.first_pass(p, call, [5, 6], [0, 0]), enable_hr=True, hr_scale=2.0)
    assert seen[0] == (True, 2) and all(on for on, _ in seen)


def test_lists_of_forge_do_not_get_candidates(web: Web) -> None:
    sampling = web.module("first_pass.sampling")

    def note(p: Any, *args: Any, **more: Any) -> None:
        if hasattr(p, "extra_result_images"):
            p.extra_result_images.append(Image.new("RGB", (8, 8)))

    web.add_script("Maps", process_before_every_sampling=note)

    def work(p: Any, call: Any) -> Any:
        sampling.first_pass(p, call, [5, 6], [0, 0])
        return [len(getattr(p, name, ())) for name in ("latents_after_sampling", "extra_result_images")]

    assert inside(web, work)[0] == [0, 0]
    assert not web.forge or len(web.p.extra_result_images) == 1


def test_conditionings_are_cut_in_the_hosts_own_forms(web: Web) -> None:
    taken = web.module("first_pass.sampling").taken

    class Conditioning:
        shape, batch = (2,), ["a", "b"]

    assert taken(None, [0]) is None and taken(["a", "b"], [1, 1, 0]) == ["b", "b", "a"]
    made = taken(Conditioning(), [1, 1, 1])
    assert (made.batch, made.shape, Conditioning.batch) == (["b"] * 3, (3,), ["a", "b"])
    assert torch.equal(taken({"crossattn": torch.arange(2)}, [1, 1])["crossattn"], torch.tensor([1, 1]))


def test_each_row_has_its_own_prompt(web: Web) -> None:
    sampling = web.module("first_pass.sampling")
    work = lambda p, call: sampling.first_pass(p, call.row(1), [9], [0]).clone()  # noqa: E731
    made, _ = inside(web, work, prompt=["a red circle", "a blue square"], batch_size=2)
    torch.testing.assert_close(made, plain(web, prompt="a blue square", seed=9), rtol=0, atol=1e-6)


def test_the_judged_picture_is_the_finished_one(web: Web) -> None:
    sampling = web.module("first_pass.sampling")
    mask = Image.new("L", (64, 64))
    mask.paste(255, (16, 16, 48, 40))
    image = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    for more in ({}, {"inpaint_full_res": True, "inpaint_full_res_padding": 4}):
        web._extra.clear()

        def work(p: Any, call: Any) -> Any:
            latents = sampling.first_pass(p, call, call.seeds, call.subseeds)
            return sampling.finished(p, sampling.decode(p, latents)[0])

        judged, done = inside(web, work, image=image, mask=mask, **more)
        assert judged.convert("RGB").tobytes() == web.pictures(done)[0].convert("RGB").tobytes()


@pytest.mark.parametrize("tone", [255, 140])
def test_latent_noise_is_that_of_each_seed(web: Web, tone: int) -> None:
    sampling = web.module("first_pass.sampling")
    mask = Image.new("L", (64, 64))
    mask.paste(tone, (16, 16, 48, 40))
    starts: list[torch.Tensor] = []
    seen = lambda p, *args, **more: starts.append(more["x"].detach().clone())  # noqa: E731
    web.add_script("Starts", process_before_every_sampling=seen)
    image = Image.new("RGB", (64, 64), "teal")
    inpaint = {"mask": mask, "inpainting_fill": 2, "mask_round": tone == 255}
    inside(web, lambda p, call: sampling.first_pass(p, call, [5], [0]), image=image, **inpaint)
    web.img2img(image, seed=5, **inpaint)
    torch.testing.assert_close(starts[0], starts[-1], rtol=0, atol=1e-6)
    assert not torch.allclose(starts[0], starts[1])
