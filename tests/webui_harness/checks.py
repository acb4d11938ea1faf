"""One pytest case for every check function of a file, in every host that is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .worker_client import TIMEOUT, Worker, check_names


def checks(file: Path, *, timeout: float = TIMEOUT) -> Callable[..., None]:
    """Return a test of all check functions of `file`; it needs the fixture `worker`."""
    names = check_names(file)

    @pytest.mark.parametrize("check", [pytest.param(name, id=name[6:]) for name in names])
    def test(worker: Worker, check: str) -> None:
        __tracebackhide__ = True
        worker.run(file, check, timeout=timeout)

    return test
