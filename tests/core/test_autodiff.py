"""Gradients through code that was not written for them: twins, aliases, recomputation, measuring."""

from __future__ import annotations

import functools
import types
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

from hpskit.autodiff import randomstate  # noqa: E402 torch may be missing
from hpskit.autodiff.aliases import Aliases, alias, freeze, outside_inference  # noqa: E402
from hpskit.autodiff.blocks import checkpointed_blocks, protected_inputs, repeated_blocks  # noqa: E402
from hpskit.autodiff.measuring import SavedBytes, measured, traced  # noqa: E402
from hpskit.autodiff.recompute import Manner, recomputed  # noqa: E402
from hpskit.autodiff.twins import Twins, stops_gradients  # noqa: E402
from hpskit.errors import GradientError  # noqa: E402

CPU = torch.device("cpu")
Tensor = torch.Tensor


def point(*shape: int, seed: int = 0, **options: Any) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), **options)


def gradient(function: Callable[[Any], Any], x: Any) -> Any:
    start = x.clone().requires_grad_(True)
    return torch.autograd.grad(function(start).sum(), start)[0]


# --- twins -----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def helper(x: Any) -> Any:
    return x * 2


@torch.no_grad()
def sampler(model: Any, x: Any, draw: Any = helper) -> Any:
    def step(x: Any) -> Any:
        return helper(x) + model(x)

    for _ in range(2):
        x = step(x).detach() * 0.5 + draw(x)
    return x


def undecorated(model: Any, x: Any) -> Any:
    return sampler(model, x) + 1


def test_twins_let_gradients_through_and_compute_the_same() -> None:
    x = point(3)
    for function in (sampler, undecorated, functools.partial(sampler, draw=helper)):
        twin = Twins().of(function)
        assert torch.equal(twin(torch.sin, x), function(torch.sin, x))
        found = gradient(lambda x, twin=twin: twin(torch.sin, x), x)
        step = 1e-3
        slope = (function(torch.sin, x + step).sum() - function(torch.sin, x - step).sum()) / (2 * step)
        assert float(found.sum()) == pytest.approx(float(slope), rel=1e-3)
    assert stops_gradients(sampler) and not stops_gradients(undecorated)
    assert not sampler(torch.sin, x.requires_grad_(True)).requires_grad  # the host's own is what it was


def test_twins_leave_what_needs_none() -> None:
    for value in (torch.sin, len, 3, "text", types.SimpleNamespace(a=1), test_twins_leave_what_needs_none):
        assert Twins().of(value) is value


def test_a_host_can_tell_what_its_objects_carry() -> None:
    class Carrier:
        def __init__(self, function: Any) -> None:
            self.function = function

    class Known(Twins):
        def carried(self, value: Any) -> Any:
            return (value.function,) if isinstance(value, Carrier) else None

        def rebuilt(self, value: Any) -> Any:
            return Carrier(self.of(value.function))

    carrier = Carrier(sampler)
    twin = Known().of(carrier)
    assert gradient(lambda x: twin.function(torch.sin, x), point(3)).any() and carrier.function is sampler


# --- aliases ---------------------------------------------------------------------------------------------------------


def test_an_alias_shares_the_memory_and_can_be_stored() -> None:
    with torch.inference_mode():
        weight = point(4)[1:]
    other = alias(weight)
    assert not other.is_inference() and other.data_ptr() == weight.data_ptr() and torch.equal(other, weight)
    assert torch.equal(gradient(lambda x: x * other, point(3)), other)
    assert alias(other) is other


Pair = namedtuple("Pair", ["left", "right"])


class WithShape(dict):  # type: ignore[type-arg]
    shape = property(lambda self: self["c"].shape)


class Holder:
    def __init__(self, tensor: Any) -> None:
        self.tensor, self.name = tensor, "x"


def test_containers_are_copied_and_objects_put_back() -> None:
    with torch.inference_mode():
        weight = point(3)
    holder, aliases = Holder(weight), Aliases()
    given = {"a": [weight, 1], "b": Pair(weight, "text"), "c": WithShape(c=weight), "d": holder}
    found = aliases.of(given)
    tensors = [found["a"][0], found["b"].left, found["c"]["c"], found["d"].tensor]
    assert all(not each.is_inference() and each.data_ptr() == weight.data_ptr() for each in tensors)
    assert found["d"] is holder and isinstance(found["c"], WithShape) and found["c"].shape == weight.shape
    assert given["a"][0] is weight and found["b"].right == "text"
    aliases.undo()
    assert holder.tensor is weight


def test_weights_ask_for_nothing_until_undone() -> None:
    network, aliases = nn.Linear(2, 2), Aliases()
    aliases.of(network)
    assert not any(each.requires_grad for each in network.parameters())
    aliases.undo()
    assert all(each.requires_grad for each in network.parameters())
    with torch.inference_mode():
        loaded = nn.Linear(2, 2)
    freeze(loaded)
    assert not any(each.is_inference() or each.requires_grad for each in loaded.parameters())
    with torch.inference_mode(), outside_inference(), torch.enable_grad():
        assert gradient(loaded, point(1, 2)).any()


# --- recomputation ---------------------------------------------------------------------------------------------------


def test_what_is_computed_again_is_not_stored() -> None:
    x, calls = point(8).requires_grad_(True), []

    def compute(x: Any) -> Any:
        calls.append(1)
        return (x.sin().exp() * x.cos()).tanh()

    with SavedBytes() as saved:
        made = recomputed(compute, x)
    assert saved.bytes == x.nbytes and calls == [1]
    (found,) = torch.autograd.grad(made.sum(), x)
    assert torch.allclose(found, gradient(compute, x.detach())) and len(calls) == 3


def test_random_numbers_come_again_and_are_left_alone() -> None:
    x = torch.ones(5, requires_grad=True)
    torch.manual_seed(4)
    made = recomputed(lambda x: x * torch.rand(5), x, keep_random=True)
    state = torch.get_rng_state()
    (found,) = torch.autograd.grad(made.sum(), x)
    assert torch.equal(found, made.detach()) and torch.equal(torch.get_rng_state(), state)


def test_tensors_that_are_changed_in_place_give_right_gradients() -> None:
    def compute(x: Any) -> Any:
        y = x.exp()
        z = y.sin()
        y.add_(x)
        return z * y

    manner, x = Manner(), point(5)
    found = gradient(lambda x: recomputed(compute, x, manner=manner), x)
    assert torch.allclose(found, gradient(lambda x: x.exp().sin() * (x.exp() + x), x)) and manner.tolerant


def test_a_result_without_a_gradient_is_told() -> None:
    made = recomputed(lambda x: x.detach() * 2, torch.ones(2, requires_grad=True), lost="It stops here.")
    with pytest.raises(GradientError, match=r"It stops here\."):
        made.sum().backward()


def test_several_results_and_other_things_pass() -> None:
    x = point(3).requires_grad_(True)
    first, word, second = recomputed(lambda x: (x * 2, "word", x.sin()), x)
    (found,) = torch.autograd.grad((first + second).sum(), x)
    assert word == "word" and torch.allclose(found, 2 + x.detach().cos())


def half_network(x: Any) -> Any:
    return (x.half() * 3e-3 * 2e-3).float() * 1e6


def test_small_gradients_do_not_vanish_in_half_precision() -> None:
    x = torch.ones(3)
    plain = gradient(lambda x: recomputed(half_network, x) * 1e-9, x)
    scaled = gradient(lambda x: recomputed(half_network, x, manner=Manner(peak=64.0)) * 1e-9, x)
    assert scaled.tolist() == pytest.approx([6e-9] * 3, rel=1e-2)
    assert plain.tolist() != pytest.approx([6e-9] * 3, rel=1e-2)


def test_large_gradients_lower_the_peak() -> None:
    manner, x = Manner(peak=64.0), torch.ones(3)
    found = gradient(lambda x: recomputed(lambda x: (x.half() * 2e2 * 2e2).float(), x, manner=manner), x)
    assert found.tolist() == pytest.approx([4e4] * 3, rel=1e-2) and manner.peak is not None and manner.peak < 64


def test_automatic_casts_come_again() -> None:
    seen: list[Any] = []

    def compute(x: Any) -> Any:
        made = x @ torch.ones(3, 3)
        seen.append(made.dtype)
        return made.float()

    x = point(2, 3).requires_grad_(True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = recomputed(compute, x)
    made.sum().backward()
    assert seen == [torch.bfloat16] * 2


# --- blocks and measuring --------------------------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)

    def forward(self, x: Any, options: dict[str, int]) -> Any:
        options["index"] += 1
        return x + self.inner(x).sin().tanh().cos() * options["index"]


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(4))

    def forward(self, x: Any) -> Any:
        options = {"index": 0}
        for block in self.blocks:
            x = block(x, options)
        return x


@pytest.fixture
def network() -> Any:
    torch.manual_seed(0)
    return Network().requires_grad_(False)


def test_blocks_are_found_computed_again_and_put_back(network: Any) -> None:
    x = point(16, 8)
    plain = gradient(network, x)
    assert repeated_blocks(network) == list(network.blocks)
    stored = {}
    for name, inside in (("plain", []), ("blocks", [network])):
        with checkpointed_blocks(inside) as count, protected_inputs(inside):
            start = x.clone().requires_grad_(True)
            with SavedBytes(network.parameters()) as saved:
                made = network(start)
            stored[name] = saved.bytes
            assert torch.allclose(torch.autograd.grad(made.sum(), start)[0], plain) and count == 4 * bool(inside)
    assert stored["blocks"] < stored["plain"]
    assert not any("forward" in vars(module) or module._forward_pre_hooks for module in network.modules())


def test_what_is_stored_is_measured(network: Any) -> None:
    with measured([network]) as found:
        network(point(16, 8).requires_grad_(True))
    assert len(found.inside) == 4 and found.inputs == 4 * 16 * 8 * 4
    assert found.needed(blocks=True) < found.needed(blocks=False) == found.total


def test_the_layer_that_loses_the_gradient_is_named(network: Any) -> None:
    class Deaf(nn.Linear):
        def forward(self, x: Any) -> Any:
            return super().forward(x).detach()

    network.blocks[2].inner = Deaf(8, 8)
    with traced([("net", network)]) as trace:
        network(point(1, 8).requires_grad_(True))
    assert trace.lost == "net.blocks.2.inner (Deaf)" and trace.running == []


def test_the_state_of_random_numbers_is_put_back() -> None:
    before = torch.get_rng_state()
    with randomstate.preserved_random_state(CPU):
        torch.rand(3)
        randomstate.RandomState.capture(CPU).restore(CPU)
    assert torch.equal(torch.get_rng_state(), before)
