"""Augmented assignment out of place: right gradients, only in one thread, and nothing is left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import pytest
import torch

if TYPE_CHECKING:
    from fakes.web import Web

NAMES = ("__iadd__", "__isub__", "__imul__", "__itruediv__")


@pytest.fixture
def inplace(web: Web) -> Iterator[Any]:
    before = [vars(torch.Tensor).get(name) for name in NAMES]
    yield web.module("gradients.inplace")
    assert [vars(torch.Tensor).get(name) for name in NAMES] == before


def residuals(x: torch.Tensor) -> torch.Tensor:
    """A network that changes what layers before it have stored, as Forge's does."""
    norm = torch.nn.functional.layer_norm
    x = x * 1.0
    x += norm(x, (4,))
    kept = norm(x, (4,)).exp()
    kept *= x
    kept -= 0.3 * x.sin()
    kept /= 2 + x.square()
    out = torch.zeros_like(x)
    out[:, :2] += kept[:, :2]
    return (out.square() + kept).sum()


def gradient(x: torch.Tensor) -> torch.Tensor:
    start = x.clone().requires_grad_(True)
    return torch.autograd.grad(residuals(start), start)[0]


def test_gradients_are_those_of_finite_differences(inplace: Any) -> None:
    x = torch.randn((2, 4), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    with pytest.raises(RuntimeError, match="inplace operation"):
        gradient(x)
    with inplace.out_of_place():
        found = gradient(x)
    for place in range(8):
        step = torch.zeros(8, dtype=torch.float64)
        step[place] = 1e-6
        slope = (residuals(x + step.view(2, 4)) - residuals(x - step.view(2, 4))) / 2e-6
        assert float(found.view(-1)[place]) == pytest.approx(float(slope), rel=1e-5, abs=1e-7)


def test_values_and_types_are_those_in_place(inplace: Any) -> None:
    x = torch.randn((2, 4), generator=torch.Generator().manual_seed(3))
    with inplace.out_of_place():
        assert torch.equal(residuals(x.clone().requires_grad_(True)), residuals(x))
        half = torch.ones(3, dtype=torch.float16, requires_grad=True) * 1
        half += torch.ones(3)
        assert half.dtype == torch.float16
        small = torch.ones(1, requires_grad=True) * 1
        with pytest.raises(RuntimeError, match="shape"):
            small += torch.ones(3)


def test_without_gradients_it_stays_in_place(inplace: Any) -> None:
    with inplace.out_of_place():
        x = y = torch.ones(2)
        x += 1
        assert x is y
        with torch.no_grad():
            x = y = torch.ones(2, requires_grad=True)
            x += 1
            assert x is y and y.tolist() == [2, 2]


def test_a_slice_of_what_somebody_holds_is_changed_in_place(inplace: Any) -> None:
    with inplace.out_of_place():
        whole = torch.zeros(4)
        part = whole.narrow(0, 1, 2)
        part += torch.ones(2, requires_grad=True)
        assert whole.tolist() == [0, 1, 1, 0]


def test_other_threads_do_not_notice(inplace: Any) -> None:
    seen: list[bool] = []

    def work() -> None:
        x = y = torch.ones(2, requires_grad=True) * 1
        x += 1
        seen.append(x is y)

    with inplace.out_of_place():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert seen == [True]


def test_it_can_be_nested_and_ends_with_exceptions(inplace: Any) -> None:
    def fails(inside: AbstractContextManager[None]) -> None:
        with inside:
            raise KeyError

    with inplace.out_of_place():
        with pytest.raises(KeyError):
            fails(inplace.out_of_place())
        x = y = torch.ones(2, requires_grad=True) * 1
        x += 1
        assert x is not y
    x = y = torch.ones(2, requires_grad=True) * 1
    x += 1
    assert x is y
