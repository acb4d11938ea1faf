"""Scorers in the host's memory: shared, evicted and back, beside lowvram, out of memory, dropped after a while."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image

if TYPE_CHECKING:
    from fakes.web import Web

TINY = "hps-tiny-shapes"
LABEL = "hps-tiny-shapes (miniature for trials: judges coloured shapes only)"
META = torch.device("meta")
"""Stands for a graphics card: another device, on which nothing can be computed."""


def network(host: Any, name: str = TINY) -> Any:
    return host.load_scorer(name)._network


def scores(scorer: Any, colour: str = "red") -> list[float]:
    from PIL import ImageDraw

    picture = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(picture).ellipse((12, 12, 52, 52), fill=colour)
    return scorer.score([picture], "a red circle").tolist()


def test_the_flavour_is_known(web: Web, host: Any) -> None:
    assert web.forge == host.FORGE


def test_one_copy_of_the_weights_under_all_names(host: Any) -> None:
    first, second = host.load_scorer(TINY), host.load_scorer(LABEL)
    assert first._network is second._network
    assert network(host, "hps-tiny-judge") is not first._network


def test_another_precision_is_another_copy_and_the_first_one_stays(web: Web, host: Any) -> None:
    first = network(host)
    web.opts.data["hps_dtype"] = "bf16"
    second = network(host)
    assert (first.loaded.dtype, second.loaded.dtype) == (torch.float32, torch.bfloat16)
    assert network(host) is second


def test_scorers_judge(host: Any) -> None:
    scorer = host.load_scorer(TINY)
    assert scores(scorer, "red") > scores(scorer, "blue")
    assert scorer.embed_texts(["a red circle"]).shape[0] == 1


@pytest.mark.parametrize("inside", ["grad", "no_grad", "inference"])
def test_weights_are_normal_tensors_whatever_the_mode_of_the_callback(host: Any, inside: str) -> None:
    modes = {"grad": torch.enable_grad, "no_grad": torch.no_grad, "inference": torch.inference_mode}
    with modes[inside]():
        scorer = host.load_scorer(TINY)
        scores(scorer)
    assert not any(weight.is_inference() for weight in scorer._network.loaded.module.parameters())
    picture = torch.rand(1, 3, 64, 64, requires_grad=True)
    with host.holding(scorer):
        scorer.score(picture, "a red circle").values.sum().backward()
    assert float(picture.grad.abs().sum()) > 0


def test_weights_that_the_host_moved_in_inference_mode_come_back_normal(web: Web, host: Any) -> None:
    moving, scorer = web.module("bridge.moving"), host.load_scorer(TINY)
    before, module = scores(scorer), scorer._network.loaded.module
    with torch.inference_mode():
        for child in module.modules():
            for name, weight in child._parameters.items():
                if weight is not None:
                    child._parameters[name] = torch.nn.Parameter(weight.clone(), requires_grad=False)
    assert any(weight.is_inference() for weight in module.parameters())
    moving.settle(module, torch.device("cpu"))
    assert not any(weight.is_inference() for weight in module.parameters())
    assert scores(scorer) == before


def test_forge_manages_the_network(web: Web, host: Any) -> None:
    if not web.forge:
        pytest.skip("only Forge has a memory management")
    from backend import memory_management

    scorer = host.load_scorer(TINY)
    place = scorer._network.place
    assert type(place).__name__ == "Managed"
    memory_management.current_loaded_models.clear()
    scores(scorer)
    assert memory_management.asked[-1] is place.patcher


def test_nobody_but_forge_is_asked_to_manage(web: Web, host: Any) -> None:
    if web.forge:
        pytest.skip("Forge manages")
    assert type(network(host).place).__name__ == "OnCpu"


# --- A1111 beside a card ---------------------------------------------------------------------------------------------


def guest(web: Web) -> Any:
    residency = web.module("bridge.residency")
    made = residency.Guest(torch.nn.Linear(3, 3), META)
    made.module.register_buffer("index", torch.arange(3))
    return made


def places(module: torch.nn.Module) -> set[str]:
    return {tensor.device.type for tensor in (*module.parameters(), *module.buffers())}


def test_a_guest_comes_and_leaves_without_copying_back(web: Web) -> None:
    made = guest(web)
    weight = made.module.weight
    assert made.acquire(1) == META and places(made.module) == {"meta"}
    made.release()
    assert places(made.module) == {"cpu"} and made.module.weight is weight


def test_a_guest_that_is_to_stay_stays(web: Web) -> None:
    web.boot()
    web.opts.data["hps_keep_on_device"] = "always"
    made = guest(web)
    made.acquire(1)
    made.release()
    assert places(made.module) == {"meta"} and not made._home


@pytest.mark.parametrize("flag", ["lowvram", "medvram"])
def test_with_little_memory_the_parts_of_the_model_leave_first_and_the_guest_after(web: Web, flag: str) -> None:
    web.boot()
    web.opts.data["hps_keep_on_device"] = "always"
    lowvram, flags = web.host("lowvram"), web.host("shared").cmd_opts
    lowvram.sent.clear()
    setattr(flags, flag, True)
    try:
        made = guest(web)
        made.acquire(1)
        assert lowvram.sent == ["cpu"]
        made.acquire(1)
        assert lowvram.sent == ["cpu"], "it is there already"
        made.release()
        assert places(made.module) == {"cpu"}
    finally:
        setattr(flags, flag, False)


def test_a_backward_pass_is_not_robbed_of_its_weights(web: Web) -> None:
    residency, lowvram, flags = web.module("bridge.residency"), web.host("lowvram"), web.host("shared").cmd_opts
    flags.medvram = True
    try:
        made = guest(web)
        with residency.keep_loaded([object()]):
            made.acquire(1)
            assert not made.make_room()
        assert lowvram.sent == []
    finally:
        flags.medvram = False


def test_what_was_sent_away_comes_back(web: Web) -> None:
    models = web.host("sd_models")
    models.model_data.get_sd_model()
    models.moved.clear()
    made = guest(web)
    made.acquire(1)
    assert made.make_room() and models.moved == ["cpu"]
    assert not made.make_room(), "there is nothing left to send away"
    made.release()
    assert models.moved == ["cpu", "device"] and places(made.module) == {"cpu"}


# --- no memory left --------------------------------------------------------------------------------------------------


class Card:
    """A place whose device has no memory for so many calls."""

    device = META

    def __init__(self, failures: int, room: bool = True) -> None:
        self.failures, self.room, self.log = failures, room, []

    def acquire(self, memory: int) -> torch.device:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return torch.device("cpu")

    def release(self) -> None:
        self.log.append("release")

    def make_room(self) -> bool:
        self.log.append("room")
        return self.room

    def forget(self) -> None:
        self.log.append("forget")


def test_room_is_made_once_and_the_score_is_right(host: Any) -> None:
    want = scores(host.load_scorer(TINY))
    host.unload()
    scorer = host.load_scorer(TINY)
    scorer._network.place = card = Card(1)
    assert scores(scorer) == want and card.log == ["room", "release"]


@pytest.mark.parametrize("room", [True, False])
def test_the_cpu_steps_in_with_one_warning(host: Any, caplog: pytest.LogCaptureFixture, room: bool) -> None:
    want = scores(host.load_scorer(TINY))
    host.unload()
    scorer = host.load_scorer(TINY)
    scorer._network.place = card = Card(99, room)
    assert scores(scorer) == want and "forget" in card.log
    assert scores(scorer, "blue") < want
    assert [record.levelname for record in caplog.records if "no room" in record.message] == ["WARNING"]


def test_other_errors_pass(host: Any) -> None:
    scorer = host.load_scorer(TINY)
    scorer._network.place = Card(0)
    with pytest.raises(Exception, match="no images"):
        scorer.score([], "x")


@pytest.mark.parametrize(("error", "known"), [(RuntimeError("CUDA out of memory"), True), (ValueError("x"), False)])
def test_out_of_memory_is_told_from_other_trouble(host: Any, error: Exception, known: bool) -> None:
    assert host.is_out_of_memory(error) == known


# --- lifetime --------------------------------------------------------------------------------------------------------


def test_nothing_is_loaded_before_the_first_use(web: Web) -> None:
    web.boot()
    assert not web.module("bridge.host")._recent and not len(web.module("bridge.host")._shared)


def test_weights_are_gone_after_unloading(host: Any) -> None:
    reference = weakref.ref(network(host))
    assert host.unload() == 1
    gc.collect()
    assert reference() is None and not len(host._shared)


def test_young_weights_stay(host: Any) -> None:
    kept = network(host)
    assert host.unload(older=60) == 0 and host._recent == [kept]


def test_old_weights_are_dropped_only_when_the_host_is_idle(web: Web, host: Any) -> None:
    web.opts.data["hps_keep_minutes"] = 0
    network(host)
    lock = web.host("call_queue").queue_lock
    with lock:
        host._expire()
        assert len(host._recent) == 1
    host._expire()
    assert not host._recent and lock.acquire(blocking=False)
    lock.release()


def test_one_timer_waits_for_all(host: Any) -> None:
    before = threading.active_count()
    for _ in range(5):
        network(host)
    assert threading.active_count() <= before + 1
    assert all(timer.daemon for timer in host._timers)


def test_a_scorer_in_use_does_not_leave(host: Any) -> None:
    scorer = host.load_scorer(TINY)
    scorer._network.place = card = Card(0)
    with host.holding(scorer), host.holding(scorer):
        scores(scorer)
        thread = threading.Thread(target=host.unload)
        thread.start()
        thread.join(10)
        assert card.log == []
    assert card.log == ["release"]


def test_the_time_of_the_last_use_counts(host: Any) -> None:
    scorer = host.load_scorer(TINY)
    begin = time.monotonic()
    scores(scorer)
    assert scorer._network.used >= begin


# --- casts of A1111 --------------------------------------------------------------------------------------------------


def test_casts_in_all_layers_do_not_reach_the_scorer(web: Web, host: Any) -> None:
    """A1111 replaces forward of layers on cards without autocast; weights would be rounded to half and back."""
    devices, plain = web.host("devices"), torch.nn.Linear.forward
    scorer, seen = host.load_scorer(TINY), []

    def cast(self: Any, x: torch.Tensor) -> torch.Tensor:
        seen.append(self)
        return plain(self, x.half().float())

    want = scores(scorer)
    host.unload()
    scorer = host.load_scorer(TINY)
    devices.patch_module_list = [torch.nn.Linear]
    torch.nn.Linear.org_forward, torch.nn.Linear.forward = plain, cast
    try:
        assert scores(scorer) == want and not seen
        assert torch.nn.Linear.forward is cast, "the host's own layers keep its casts"
    finally:
        torch.nn.Linear.forward = plain
        del torch.nn.Linear.org_forward, devices.patch_module_list
