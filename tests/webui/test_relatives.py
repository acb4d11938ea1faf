"""Hosts that differ from the two main ones: A1111 before 1.10, reForge, Forge Classic and Forge Neo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fakes.web import Web


def test_scores_stand_by_their_pictures_when_the_host_hands_over_copies_of_the_prompts(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ReForge and Forge Neo take comments out of the prompts first, so that the list is not the batch's own."""
    expected = web.scores(web.txt2img({"mode": "score"}, n_iter=2, batch_size=2))
    loop = web.host("fake_loop")
    create = loop.create_infotext

    def with_copies(p: Any, all_prompts: Any, *args: Any, **more: Any) -> str:
        return str(create(p, list(all_prompts), *args, **more))

    monkeypatch.setattr(loop, "create_infotext", with_copies)
    assert web.scores(web.txt2img({"mode": "score"}, n_iter=2, batch_size=2)) == expected
    assert len(set(expected)) == 4
