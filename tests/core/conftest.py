"""What holds for the tests of this folder: new ledgers count their rows from 1."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hpskit.ledger import schema


@pytest.fixture(scope="session", autouse=True)
def _rows_from_one() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "before_first", lambda: 0)
        yield
