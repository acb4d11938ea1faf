"""What holds for the tests of this folder: new ledgers count their rows from 1."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from hpskit.ledger import schema


@pytest.fixture(scope="session", autouse=True)
def _rows_from_one() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "before_first", lambda: 0)
        yield


@pytest.fixture(scope="session", autouse=True)
def _collect_what_tests_make_only() -> Iterator[None]:
    # What is imported by now stays anyway; going through it takes a third of a second at every gc.collect().
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
