"""What holds for all tests: none of them writes into the ledger of whoever runs them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HPS_LEDGER", str(tmp_path_factory.mktemp("ledger") / "ledger.sqlite3"))
        yield
